//! Log lines of the whole library, handed to the app.

use crate::CallbackError;
use crate::HalfpiError;
use crate::listener::guarded;
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::cell::Cell;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something works, but not as it should.
    Warn,
    /// What happens, once a call.
    Info,
    /// Details.
    Debug,
    /// Everything.
    Trace,
}

/// Takes log lines, on whatever thread they arise.
#[uniffi::export(with_foreign)]
pub trait LogSink: Send + Sync {
    /// One line. An error is ignored: there is nobody to tell.
    fn log(&self, level: LogLevel, target: String, message: String) -> Result<(), CallbackError>;
}

/// Hands lines of `level` and above to `sink`; without a sink, to nobody. The last one set counts.
///
/// # Errors
/// `InvalidOption` if the Rust program around this library already has a logger.
#[uniffi::export]
pub fn set_log_sink(level: LogLevel, sink: Option<Arc<dyn LogSink>>) -> Result<(), HalfpiError> {
    let filter = match (&sink, level) {
        (None, _) => LevelFilter::Off,
        (_, LogLevel::Error) => LevelFilter::Error,
        (_, LogLevel::Warn) => LevelFilter::Warn,
        (_, LogLevel::Info) => LevelFilter::Info,
        (_, LogLevel::Debug) => LevelFilter::Debug,
        (_, LogLevel::Trace) => LevelFilter::Trace,
    };
    // The logger of a process is set once.
    static SET: OnceLock<bool> = OnceLock::new();
    if !SET.get_or_init(|| log::set_logger(&LOGGER).is_ok()) {
        return Err(HalfpiError::option("sink", "this program has a logger of its own"));
    }
    *LOGGER.0.write().unwrap_or_else(PoisonError::into_inner) = sink;
    log::set_max_level(filter);
    Ok(())
}

thread_local! {
    /// This thread is in a sink.
    static IN_SINK: Cell<bool> = const { Cell::new(false) };
}

static LOGGER: Logger = Logger(RwLock::new(None));

struct Logger(RwLock<Option<Arc<dyn LogSink>>>);

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        // Not held during the call, so that a sink may set another one.
        let sink = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(sink) = sink.filter(|_| self.enabled(record.metadata())) else {
            return;
        };
        let level = match record.level() {
            Level::Error => LogLevel::Error,
            Level::Warn => LogLevel::Warn,
            Level::Info => LogLevel::Info,
            Level::Debug => LogLevel::Debug,
            Level::Trace => LogLevel::Trace,
        };
        // What a sink itself gives rise to would never end.
        if IN_SINK.replace(true) {
            return;
        }
        let _ = guarded(|| sink.log(level, record.target().to_owned(), record.args().to_string()));
        IN_SINK.set(false);
    }

    fn flush(&self) {}
}
