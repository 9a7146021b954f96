//! What the way through ffi costs: tokens per second of the same answer, asked of the core and asked of ffi, whose
//! listener takes every piece of text. The two take turns; the medians are compared.
//!
//! `cargo bench -p halfpi-ffi --bench overhead [-- MODEL]`, with SmolLM2's shape and random weights by default.

use halfpi::engine::{Engine as CoreEngine, EngineOptions};
use halfpi::pack::synthetic::{Storage, SyntheticModel};
use halfpi::session::{GenerateOptions, SessionOptions};
use halfpi_ffi::{
    Answer, CallbackError, Engine, EngineConfig, GenerationListener, GenerationOptions, HalfpiError, ModelSource,
    Session, SessionConfig, ToolCall,
};
use std::error::Error;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

const ROUNDS: usize = 9;
const TOKENS: u32 = 64;
const SEED: u64 = 1;

/// Counts bytes, so that nobody can leave the text out.
#[derive(Default)]
struct Count(AtomicUsize);

impl GenerationListener for Count {
    fn on_text(&self, text: String) -> Result<(), CallbackError> {
        self.0.fetch_add(text.len(), Relaxed);
        Ok(())
    }
    fn on_thinking(&self, text: String) -> Result<(), CallbackError> {
        self.on_text(text)
    }
    fn on_tool_call(&self, _: ToolCall) -> Result<(), CallbackError> {
        Ok(())
    }
    fn on_finished(&self, _: Answer) -> Result<(), CallbackError> {
        Ok(())
    }
    fn on_failed(&self, _: HalfpiError) -> Result<(), CallbackError> {
        Ok(())
    }
}

/// Tokens per second and bytes of text, from the question to the last call.
type Speed = (f64, usize);

fn through_ffi(session: &Session) -> Result<Speed, Box<dyn Error>> {
    session.reset()?;
    let count = Arc::new(Count::default());
    let options = GenerationOptions {
        max_tokens: Some(TOKENS),
        seed: Some(SEED),
        ..GenerationOptions::default()
    };
    let start = Instant::now();
    let answer = session.generate("Hello".to_owned(), options, count.clone())?.wait()?;
    let seconds = start.elapsed().as_secs_f64();
    Ok((answer.usage.generated_tokens as f64 / seconds, count.0.load(Relaxed)))
}

fn through_core(session: &mut halfpi::session::Session) -> Result<Speed, Box<dyn Error>> {
    session.reset();
    let mut options = GenerateOptions {
        max_tokens: Some(TOKENS as usize),
        ..GenerateOptions::default()
    };
    options.sampler.seed = Some(SEED);
    let mut bytes = 0;
    let start = Instant::now();
    let answer = session.send("Hello", &options, &mut |text: &str| {
        bytes += text.len();
        ControlFlow::Continue(())
    })?;
    let seconds = start.elapsed().as_secs_f64();
    Ok((answer.usage.generated_tokens as f64 / seconds, bytes))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<(), Box<dyn Error>> {
    // Cargo adds --bench.
    let given = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let made = std::env::temp_dir().join(format!("halfpi-overhead-{}.gguf", std::process::id()));
    let path = match &given {
        Some(path) => PathBuf::from(path),
        None => {
            let storage = Storage::by_name("q4_0").ok_or("no q4_0")?;
            let model = SyntheticModel::by_name("smollm2-135m").ok_or("no shape")?;
            model.with_storage(storage).save(&made)?;
            made.clone()
        }
    };
    let result = compare(path);
    if given.is_none() {
        std::fs::remove_file(made)?;
    }
    result
}

fn compare(path: PathBuf) -> Result<(), Box<dyn Error>> {
    let mut core = CoreEngine::open(&path, EngineOptions::default())?.session(SessionOptions::default())?;
    let source = ModelSource::Path {
        path: path.to_str().ok_or("the path is not UTF-8")?.to_owned(),
    };
    let ffi = Engine::load(source, EngineConfig::default(), None)?.session(SessionConfig::default())?;
    let (mut direct, mut through) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let (core, ffi) = (through_core(&mut core)?, through_ffi(&ffi)?);
        if core.1 != ffi.1 {
            return Err(format!("{} bytes of text from the core, {} through ffi", core.1, ffi.1).into());
        }
        // The first round reads the file.
        if round > 0 {
            direct.push(core.0);
            through.push(ffi.0);
        }
    }
    let (direct, through) = (median(direct), median(through));
    println!(
        "core {direct:.1} tokens/s, ffi {through:.1} tokens/s: {:+.2}% (medians of {ROUNDS} answers of {TOKENS} tokens)",
        100.0 * (direct / through - 1.0)
    );
    Ok(())
}
