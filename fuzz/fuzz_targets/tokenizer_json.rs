//! A `tokenizer.json` of any bytes: an error, or a tokenizer that encodes and decodes.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use halfpi::pack::synthetic::SyntheticModel;
use halfpi::pack::{Blueprint, vocab_size};
use halfpi::tokenizer::Special;
use halfpi::transformer::Architecture;
use libfuzzer_sys::fuzz_target;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("halfpi-fuzz-tokenizer-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
});

const TEXT: &str = "Hello, <|im_start|>wörld 123\n\u{301}";

fuzz_target!(|bytes: &[u8]| {
    fs::write(FOLDER.join("tokenizer.json"), bytes).unwrap();
    let mut config = SyntheticModel::tiny(Architecture::Llama).config;
    // What a new model would have.
    let Ok(tokens) = vocab_size(&*FOLDER) else { return };
    config.vocab_size = tokens;
    let Ok(model) = Blueprint::new(&config, &*FOLDER) else {
        return;
    };
    let tokenizer = model.tokenizer().unwrap();
    for special in [Special::Parse, Special::AsText] {
        let ids = tokenizer.encode(TEXT, special);
        assert!(ids.iter().all(|&id| (id as usize) < tokens));
        tokenizer.decode(&ids, true);
    }
    let _ = model.template();
});
