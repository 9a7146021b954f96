//! A model with a LoRA adapter is another one, which knows its own conversations.

use crate::common::{Ears, TestFile, tokens};
use halfpi_ffi::{Engine, EngineConfig, HalfpiError, ModelSource, Session, SessionConfig};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::Arc;

fn golden(name: &str) -> ModelSource {
    let path = format!("{}/../tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    ModelSource::Path { path }
}

fn load(adapter: Option<ModelSource>) -> Result<Arc<Engine>, HalfpiError> {
    let config = EngineConfig {
        threads: Some(1),
        adapter,
        ..EngineConfig::default()
    };
    Engine::load(golden("models/llama-q8_0.gguf"), config, None)
}

fn answer(session: &Session) -> String {
    let generation = session.generate("Hello".to_owned(), tokens(8), Ears::new()).unwrap();
    generation.wait().unwrap().text
}

#[test]
fn an_adapter_changes_the_answers() {
    let source = golden("sdk/llama-lora.gguf");
    let engines = [None, Some(source.clone())].map(|adapter| load(adapter).unwrap());
    let heap = |engine: &Engine| engine.memory().unwrap().weights_heap_bytes;
    assert!(heap(&engines[1]) > heap(&engines[0]));
    let sessions = engines
        .each_ref()
        .map(|engine| engine.session(SessionConfig::default()).unwrap());
    let [plain, adapted] = sessions.each_ref().map(|session| answer(session));
    assert_ne!(plain, adapted);

    // From an open file it is the same one.
    let ModelSource::Path { path } = source else {
        panic!("no path")
    };
    let file = File::open(path).unwrap();
    let descriptor = ModelSource::FileDescriptor {
        fd: file.as_raw_fd(),
        offset: 0,
        length: None,
    };
    let again = load(Some(descriptor)).unwrap();
    drop(file);
    let again = again.session(SessionConfig::default()).unwrap();
    assert_eq!(answer(&again), adapted);

    let saved = TestFile::at("state");
    sessions[1].save(saved.path()).unwrap();
    again.restore(saved.path()).unwrap();
    let error = sessions[0].restore(saved.path()).unwrap_err();
    assert!(matches!(error, HalfpiError::SavedState { .. }), "{error:?}");
}

#[test]
fn adapters_that_are_none_are_refused_by_name() {
    let other = golden("models/qwen2-f16.gguf");
    let error = load(Some(other.clone())).err().expect("it loads");
    assert!(
        matches!(&error, HalfpiError::ModelFile { path, detail } if ModelSource::Path { path: path.clone() } == other
            && detail.contains("LoRA")),
        "{error:?}"
    );
    let missing = ModelSource::Path {
        path: "/nowhere/lora.gguf".to_owned(),
    };
    let error = load(Some(missing)).err().expect("it loads");
    assert!(
        matches!(&error, HalfpiError::Io { path, .. } if path == "/nowhere/lora.gguf"),
        "{error:?}"
    );
}
