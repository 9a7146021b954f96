//! What the tests of packing share.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod weights;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use halfpi::gguf::ModelFile;
use halfpi::model::LoadedModel;
use halfpi::pack::PackError;
use halfpi::transformer::{KvCache, Precision, Runtime, adapter_len, workspace_len};
use halfpi_kernels::ops::KvElement;
use halfpi_kernels::{Backend, Serial};

/// A directory that goes away with the test.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("halfpi-pack-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The logits after each of some tokens, with f32 activations.
pub fn logits(file: ModelFile) -> Vec<f32> {
    logits_of(file, &TOKENS)
}

/// Some tokens of any model.
pub const TOKENS: [u32; 8] = [72, 101, 108, 259, 0, 420, 3, 3];

/// The logits after each of these tokens, with f32 activations.
pub fn logits_of(file: ModelFile, tokens: &[u32]) -> Vec<f32> {
    loaded_logits(&LoadedModel::new(file, &Serial).unwrap(), tokens)
}

/// The same of a model that is loaded.
pub fn loaded_logits(loaded: &LoadedModel, tokens: &[u32]) -> Vec<f32> {
    let config = loaded.config();
    let layout = KvCache::layout(config, tokens.len(), KvElement::F16).unwrap();
    let mut kv = vec![0; KvCache::bytes(config, &layout)];
    let mut cache = KvCache::new(layout, &mut kv).unwrap();
    let adapter = adapter_len(config, loaded.adapter_rank(), tokens.len());
    let mut memory = vec![0.0; workspace_len(config, &layout, tokens.len(), 1) + adapter];
    let mut logits = vec![0.0; tokens.len() * config.vocab_size];
    let runtime = Runtime {
        backend: Backend::detect(),
        parallel: &Serial,
        precision: Precision::F32,
    };
    let model = loaded.model();
    model
        .forward(&runtime, tokens, 0, &mut cache, &mut memory, &mut logits)
        .unwrap();
    logits
}

/// The root mean square of the differences.
pub fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let squares: f32 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
    (squares / a.len() as f32).sqrt()
}

pub fn unwrap_pack_error<T>(result: halfpi::Result<T>) -> PackError {
    match result {
        Err(halfpi::Error::Pack(error)) => error,
        Err(error) => panic!("not a pack error: {error}"),
        Ok(_) => panic!("no error"),
    }
}
