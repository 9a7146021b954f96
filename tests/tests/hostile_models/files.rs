//! What can happen to a file, and whether the error says to which.

use crate::changed::llama;
use crate::{assert_readable, generate, one_thread};
use halfpi::Error;
use halfpi::engine::Engine;
use halfpi::gguf::{GgufError, ModelFile};
use halfpi::model::ModelError;
use halfpi::template::TemplateError;
use std::env;
use std::fs;
use std::path::PathBuf;

/// A file that is gone at the end of its test.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = env::temp_dir().join(format!("halfpi-{}-{name}.gguf", std::process::id()));
        fs::write(&path, bytes).unwrap();
        Self(path)
    }

    /// The error, which must name the file once.
    fn error(&self) -> Error {
        let error = Engine::open(&self.0, one_thread()).map(drop).unwrap_err();
        assert_readable(&error);
        let (message, path) = (error.to_string(), self.0.to_str().unwrap().to_owned());
        assert_eq!(message.matches(&path).count(), 1, "{message}");
        error
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn every_error_names_the_file() {
    let inner = |name: &str, bytes: &[u8]| match Temporary::new(name, bytes).error() {
        Error::ModelFile { source, .. } => *source,
        other => panic!("{other:?}"),
    };
    assert!(matches!(inner("empty", b""), Error::Gguf(GgufError::Empty)));
    assert!(matches!(
        inner("page", b"<!DOCTYPE html>"),
        Error::Gguf(GgufError::NotGguf { .. })
    ));
    let missing = llama().without("llama.block_count").bytes();
    assert!(matches!(
        inner("key", &missing),
        Error::Gguf(GgufError::MissingKey { .. })
    ));
    let incomplete = llama().without_tensor("output_norm.weight").bytes();
    assert!(matches!(
        inner("tensor", &incomplete),
        Error::Model(ModelError::MissingTensor { .. })
    ));
    let speechless = llama().without("tokenizer.ggml.tokens").bytes();
    assert!(matches!(inner("tokens", &speechless), Error::Tokenizer(_)));
    let template = llama().set("tokenizer.chat_template", "{% if %}").bytes();
    assert!(matches!(
        inner("template", &template),
        Error::Template(TemplateError::Syntax { .. })
    ));

    let gone = Temporary::new("gone", b"");
    fs::remove_file(&gone.0).unwrap();
    assert!(matches!(gone.error(), Error::Io { .. }));
    let directory = Temporary(env::temp_dir());
    assert!(matches!(directory.error().inner(), Error::Gguf(GgufError::NotAFile)));
}

#[test]
fn a_file_cut_short_anywhere() {
    let whole = llama().bytes();
    for part in 0..64 {
        let file = Temporary::new("short", &whole[..whole.len() * part / 64]);
        let error = file.error();
        assert!(
            matches!(
                error.inner(),
                Error::Gguf(
                    GgufError::Empty
                        | GgufError::Truncated { .. }
                        | GgufError::CountTooLarge { .. }
                        | GgufError::OutOfBounds { .. }
                )
            ),
            "{error:?}"
        );
    }
    // The padding behind the last tensor is not missed.
    let file = Temporary::new("whole", &whole);
    Engine::open(&file.0, one_thread()).unwrap();
}

#[test]
fn a_file_cut_short_between_opening_and_loading() {
    let file = Temporary::new("shrinks", &llama().bytes());
    let opened = ModelFile::open(&file.0).unwrap();
    fs::OpenOptions::new()
        .write(true)
        .open(&file.0)
        .unwrap()
        .set_len(1000)
        .unwrap();
    let error = Engine::load(opened, one_thread()).map(drop).unwrap_err();
    assert!(error.to_string().contains(file.0.to_str().unwrap()));
    assert!(
        matches!(error.inner(), Error::Gguf(GgufError::Shrank { now: 1000, .. })),
        "{error:?}"
    );
}

/// Windows does not let a mapped file be deleted.
#[cfg(unix)]
#[test]
fn a_file_that_vanishes_stays_usable() {
    // Floats are used where they lie in the file.
    let model = crate::changed::model(halfpi::transformer::Architecture::Llama, "f32");
    let file = Temporary::new("vanishes", &model.bytes());
    let before = generate(&Engine::open(&file.0, one_thread()).unwrap()).unwrap();
    let engine = Engine::open(&file.0, one_thread()).unwrap();
    fs::remove_file(&file.0).unwrap();
    assert_eq!(generate(&engine).unwrap().text, before.text);
    // Another file in its place is another file.
    fs::write(&file.0, b"GGUF").unwrap();
    assert_eq!(generate(&engine).unwrap().text, before.text);
}
