use crate::common::{Ears, TestFile, Told, gated, tokens};
use halfpi_ffi::{
    CallbackError, Engine, EngineConfig, Generation, HalfpiError, LoadListener, LogLevel, LogSink, SessionConfig,
    set_log_sink,
};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};

fn failure() -> CallbackError {
    CallbackError::Failed {
        detail: "the screen is gone".to_owned(),
    }
}

fn callback_error() -> HalfpiError {
    HalfpiError::Callback {
        detail: "the screen is gone".to_owned(),
    }
}

/// Whatever a listener does at its first text, the answer fails and everything else goes on.
fn assert_fails_alone(ears: Arc<Ears>) {
    let model = TestFile::tiny();
    let engine = model.load();
    let session = engine.session(SessionConfig::default()).unwrap();
    session
        .generate("Hello".to_owned(), tokens(4), Ears::new())
        .unwrap()
        .wait()
        .unwrap();
    let before = session.messages().unwrap();
    let generation = session.generate("Fail".to_owned(), tokens(20), ears.clone()).unwrap();
    assert_eq!(generation.wait(), Err(callback_error()));
    assert_eq!(ears.told().len(), 2, "{:?}", ears.told());
    assert_eq!(ears.ends(), [Told::Failed(callback_error())]);
    assert_eq!(session.messages().unwrap(), before);

    let again = session.generate("Again".to_owned(), tokens(4), Ears::new()).unwrap();
    assert!(again.wait().unwrap().usage.cached_tokens > 0);
}

#[test]
fn a_listener_that_throws_ends_its_answer() {
    assert_fails_alone(Ears::with(|told| match told {
        Told::Text(_) => Err(failure()),
        _ => Ok(()),
    }));
}

#[test]
fn a_listener_that_panics_ends_its_answer() {
    assert_fails_alone(Ears::with(|told| match told {
        Told::Text(_) => panic!("the screen is gone"),
        _ => Ok(()),
    }));
}

#[test]
fn a_last_call_that_throws_changes_nothing() {
    let model = TestFile::tiny();
    let engine = model.load();
    let session = engine.session(SessionConfig::default()).unwrap();
    let ears = Ears::with(|told| match told {
        Told::Finished(_) => Err(failure()),
        _ => Ok(()),
    });
    let generation = session.generate("Hello".to_owned(), tokens(4), ears.clone()).unwrap();
    let answer = generation.wait().unwrap();
    assert_eq!(ears.ends(), [Told::Finished(answer)]);
    assert_eq!(session.messages().unwrap().len(), 2);
}

#[test]
fn waiting_inside_a_listener_is_refused_and_other_calls_are_not() {
    let model = TestFile::tiny();
    let engine = model.load();
    let session = engine.session(SessionConfig::default()).unwrap();
    let other = engine.session(SessionConfig::default()).unwrap();
    let own: Arc<OnceLock<Arc<Generation>>> = Arc::default();
    let refusal = Arc::new(Mutex::new(None));
    let (gate, keeper) = crate::common::Gate::new();
    let (inside, told_refusal, warm) = (own.clone(), refusal.clone(), other.clone());
    let ears = Ears::with(move |told| {
        if matches!(told, Told::Text(_)) {
            gate.pass();
            *told_refusal.lock().unwrap() = inside.get().unwrap().wait().err();
            warm.prewarm().unwrap();
        }
        Ok(())
    });
    let generation = session.generate("Hello".to_owned(), tokens(8), ears).unwrap();
    keeper.wait();
    assert!(own.set(generation.clone()).is_ok());
    keeper.open();
    let answer = generation.wait().unwrap();
    assert!(matches!(*refusal.lock().unwrap(), Some(HalfpiError::Callback { .. })));
    // The work in between did the answer no harm.
    let alone = engine.session(SessionConfig::default()).unwrap();
    let same = alone.generate("Hello".to_owned(), tokens(8), Ears::new()).unwrap();
    assert_eq!(same.wait().unwrap().text, answer.text);
}

/// Backpressure: a slow listener holds the engine up, and loses nothing.
#[test]
fn the_engine_waits_for_its_listener() {
    let model = TestFile::tiny();
    let engine = model.load();
    let session = engine.session(SessionConfig::default()).unwrap();
    let (ears, keeper) = gated();
    let generation = session.generate("Hello".to_owned(), tokens(30), ears.clone()).unwrap();
    keeper.wait();
    assert_eq!(ears.told().len(), 1);
    keeper.open();
    assert_eq!(generation.wait().unwrap().text, ears.text());
}

struct Progress {
    heard: Mutex<Vec<f64>>,
    answer: Result<bool, CallbackError>,
}

impl LoadListener for Progress {
    fn on_progress(&self, fraction: f64) -> Result<bool, CallbackError> {
        self.heard.lock().unwrap().push(fraction);
        self.answer.clone()
    }
}

/// Cancels the second time.
struct Late(AtomicUsize);

impl LoadListener for Late {
    fn on_progress(&self, _: f64) -> Result<bool, CallbackError> {
        Ok(self.0.fetch_add(1, Relaxed) == 0)
    }
}

#[test]
fn loading_tells_how_far_it_is_and_can_be_cancelled() {
    let model = TestFile::tiny();
    let load = |answer| {
        let progress = Arc::new(Progress {
            heard: Mutex::default(),
            answer,
        });
        let engine = Engine::load(model.source(), EngineConfig::default(), Some(progress.clone()));
        (engine, progress.heard.lock().unwrap().clone())
    };
    let (engine, heard) = load(Ok(true));
    assert!(engine.is_ok() && heard.is_sorted(), "{heard:?}");
    assert_eq!((heard.first(), heard.last()), (Some(&0.0), Some(&1.0)));
    let (engine, heard) = load(Ok(false));
    assert_eq!((engine.err(), heard.len()), (Some(HalfpiError::Cancelled), 1));
    // Later too, when the weights are at work.
    let late = Arc::new(Late(AtomicUsize::new(0)));
    let engine = Engine::load(model.source(), EngineConfig::default(), Some(late.clone()));
    assert_eq!((engine.err(), late.0.load(Relaxed)), (Some(HalfpiError::Cancelled), 2));
    let (engine, heard) = load(Err(failure()));
    assert_eq!((engine.err(), heard.len()), (Some(callback_error()), 1));
}

struct Lines(Mutex<Vec<String>>);

impl LogSink for Lines {
    fn log(&self, level: LogLevel, target: String, message: String) -> Result<(), CallbackError> {
        self.0.lock().unwrap().push(format!("{level:?} {target} {message}"));
        // A line in a sink is not the sink's business: this would go on for ever.
        log::info!("after {message}");
        // A sink that fails is nobody's problem.
        Err(failure())
    }
}

/// The sink is the process's: what other tests do meanwhile may be in it too.
#[test]
fn a_sink_gets_the_log() {
    let model = TestFile::tiny();
    let lines = Arc::new(Lines(Mutex::default()));
    set_log_sink(LogLevel::Info, Some(lines.clone())).unwrap();
    let engine = model.load();
    set_log_sink(LogLevel::Info, None).unwrap();
    drop(model.load());
    let path = model.path();
    let mut lines = lines.0.lock().unwrap().clone();
    lines.retain(|line| line.contains(&path));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].starts_with("Info halfpi") && lines[0].contains(&engine.backend()),
        "{lines:?}"
    );
}
