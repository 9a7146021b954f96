use crate::common::{Ears, TestFile, Told, tokens};
use halfpi_ffi::{
    Engine, EngineConfig, GenerationOptions, HalfpiError, ModelSource, Overflow, SessionConfig, available_backends,
    inspect_model, memory_needed,
};

fn path(path: &str) -> ModelSource {
    ModelSource::Path { path: path.to_owned() }
}

fn load_error(source: ModelSource, config: EngineConfig) -> HalfpiError {
    Engine::load(source, config, None).err().expect("it loads")
}

#[test]
fn files_that_are_no_models() {
    let missing = path("/nonexistent/model.gguf");
    for error in [
        load_error(missing.clone(), EngineConfig::default()),
        inspect_model(missing).unwrap_err(),
    ] {
        assert!(
            matches!(&error, HalfpiError::Io { path, .. } if path == "/nonexistent/model.gguf"),
            "{error:?}"
        );
    }
    // This very file is one that is no model.
    let foreign = path(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sessions/bad_input.rs"));
    for error in [
        load_error(foreign.clone(), EngineConfig::default()),
        inspect_model(foreign).unwrap_err(),
    ] {
        assert!(
            matches!(&error, HalfpiError::ModelFile { path, .. } if path.ends_with("bad_input.rs")),
            "{error:?}"
        );
    }
}

#[test]
fn options_out_of_range() {
    let model = TestFile::tiny();
    let defaults = EngineConfig::default();
    let wrong = [
        EngineConfig {
            threads: Some(0),
            ..defaults.clone()
        },
        EngineConfig {
            threads: Some(u32::MAX),
            ..defaults.clone()
        },
        EngineConfig {
            prefill_chunk: 0,
            ..defaults.clone()
        },
    ];
    for config in wrong {
        let error = load_error(model.source(), config);
        assert!(matches!(error, HalfpiError::InvalidOption { .. }), "{error:?}");
    }
    let unknown = EngineConfig {
        backend: Some("abacus".to_owned()),
        ..defaults
    };
    let expected = HalfpiError::Backend {
        name: "abacus".to_owned(),
        available: available_backends(),
    };
    assert_eq!(load_error(model.source(), unknown), expected);

    let engine = model.load();
    for context_length in [0, 513, u32::MAX] {
        let config = SessionConfig {
            context_length: Some(context_length),
            ..SessionConfig::default()
        };
        for error in [
            engine.session(config.clone()).err().expect("a session"),
            memory_needed(model.source(), EngineConfig::default(), config).unwrap_err(),
        ] {
            let is_named = matches!(&error, HalfpiError::InvalidOption { name, .. } if name == "context_length");
            assert!(is_named, "{error:?}");
        }
    }
    let session = engine.session(SessionConfig::default()).unwrap();
    let options = GenerationOptions {
        temperature: f32::NAN,
        ..tokens(4)
    };
    let error = session.generate("Hello".to_owned(), options, Ears::new()).err();
    assert!(
        matches!(&error, Some(HalfpiError::InvalidOption { name, .. }) if name == "temperature"),
        "{error:?}"
    );
    // Nothing was begun.
    session
        .generate("Hello".to_owned(), tokens(4), Ears::new())
        .unwrap()
        .wait()
        .unwrap();
}

#[test]
fn a_schema_that_cannot_be_followed() {
    let model = TestFile::tiny();
    let session = model.load().session(SessionConfig::default()).unwrap();
    let options = GenerationOptions {
        json_schema: Some("{".to_owned()),
        ..tokens(4)
    };
    let error = session.generate("Hello".to_owned(), options, Ears::new()).err();
    assert!(matches!(error, Some(HalfpiError::Schema { .. })), "{error:?}");
}

#[test]
fn a_prompt_longer_than_the_context() {
    let model = TestFile::tiny();
    let engine = model.load();
    let config = SessionConfig {
        context_length: Some(64),
        overflow: Overflow::Error,
        ..SessionConfig::default()
    };
    let session = engine.session(config).unwrap();
    let ears = Ears::new();
    let generation = session.generate("long ".repeat(500), tokens(4), ears.clone()).unwrap();
    let error = generation.wait().unwrap_err();
    assert!(
        matches!(
            error,
            HalfpiError::ContextOverflow {
                needed: 65..,
                context_length: 64
            }
        ),
        "{error:?}"
    );
    assert_eq!(ears.told(), [Told::Failed(error)]);
    assert!(session.messages().unwrap().is_empty());
    let short = session.generate("Hi".to_owned(), tokens(4), Ears::new()).unwrap();
    short.wait().unwrap();
}

#[test]
fn a_file_says_what_it_is_before_it_is_loaded() {
    let model = TestFile::tiny();
    let info = inspect_model(model.source()).unwrap();
    assert_eq!(
        (
            info.architecture.as_str(),
            info.layers,
            info.vocab_size,
            info.context_length
        ),
        ("llama", 2, 421, 512)
    );
    assert_eq!(info.file_bytes, std::fs::metadata(model.path()).unwrap().len());
    // All weights are f32.
    assert_eq!(info.bits_per_weight, 32.0);
    assert!(!info.supports_tools && !info.supports_thinking);
    assert_eq!(info, model.load().info());

    let config = SessionConfig::default();
    let needed = memory_needed(model.source(), EngineConfig::default(), config.clone()).unwrap();
    assert_eq!(
        needed.total_bytes,
        needed.weights_bytes + needed.heap_bytes + needed.session_bytes
    );
    assert!(needed.weights_bytes + needed.heap_bytes >= info.parameters * 4);
    let half = SessionConfig {
        context_length: Some(256),
        ..config
    };
    let less = memory_needed(model.source(), EngineConfig::default(), half).unwrap();
    assert!(less.session_bytes < needed.session_bytes);
}
