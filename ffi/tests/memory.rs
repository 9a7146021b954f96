//! What is closed gives its memory back. A test binary of its own: nothing else may allocate meanwhile.
#![cfg(target_os = "linux")]

use halfpi::pack::synthetic::SyntheticModel;
use halfpi::transformer::Architecture;
use halfpi_ffi::{
    Answer, CallbackError, Engine, EngineConfig, GenerationListener, GenerationOptions, HalfpiError, ModelSource,
    SessionConfig, ToolCall,
};
use std::sync::Arc;

struct Deaf;

impl GenerationListener for Deaf {
    fn on_text(&self, _: String) -> Result<(), CallbackError> {
        Ok(())
    }
    fn on_thinking(&self, _: String) -> Result<(), CallbackError> {
        Ok(())
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

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn a_thousand_lives_leave_nothing_behind() {
    let path = std::env::temp_dir().join(format!("halfpi-ffi-memory-{}.gguf", std::process::id()));
    SyntheticModel::tiny(Architecture::Llama).save(&path).unwrap();
    let live = || {
        let source = ModelSource::Path {
            path: path.to_str().unwrap().to_owned(),
        };
        let config = EngineConfig {
            threads: Some(2),
            ..EngineConfig::default()
        };
        let engine = Engine::load(source, config, None).unwrap();
        let session = engine.session(SessionConfig::default()).unwrap();
        let options = GenerationOptions {
            max_tokens: Some(4),
            ..GenerationOptions::default()
        };
        let generation = session.generate("Hello".to_owned(), options, Arc::new(Deaf)).unwrap();
        generation.wait().unwrap();
        engine.close();
    };
    // The allocator's own pools fill up first.
    (0..200).for_each(|_| live());
    let (before, crowd) = (resident_bytes(), threads());
    (0..1000).for_each(|_| live());
    let grown = resident_bytes().saturating_sub(before);
    std::fs::remove_file(&path).unwrap();
    println!("resident memory grew by {grown} bytes in 1000 lives");
    assert!(grown < 1 << 20, "{grown} bytes");
    assert!(threads() <= crowd + 1, "{} threads, {crowd} before", threads());
}
