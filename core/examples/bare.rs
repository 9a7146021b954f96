//! The transformer alone, as firmware or another runtime would use it: memory of the caller's, no threads, no session.
//! `cargo run --release -p halfpi --example bare -- MODEL.gguf`.

use halfpi::gguf::ModelFile;
use halfpi::model::LoadedModel;
use halfpi::tokenizer::{Special, Tokenizer};
use halfpi::transformer::{KvCache, workspace_len};
use halfpi_kernels::Serial;
use halfpi_kernels::ops::KvElement;

/// Needs `core` and nothing else: neither an allocator nor an operating system.
mod bare {
    use halfpi::transformer::{ForwardError, KvCache, Model, Precision, Runtime};
    use halfpi_kernels::{Backend, Serial};

    /// Reads the first `known` of `tokens` and fills the rest with the likeliest continuation.
    pub fn complete(
        model: &Model<'_>,
        cache: &mut KvCache<'_>,
        workspace: &mut [f32],
        logits: &mut [f32],
        tokens: &mut [u32],
        known: usize,
    ) -> Result<(), ForwardError> {
        let runtime = Runtime {
            backend: Backend::detect(),
            parallel: &Serial,
            precision: Precision::Int8,
        };
        let mut read = 0;
        for next in known..tokens.len() {
            model.forward(&runtime, &tokens[read..next], read, cache, workspace, logits)?;
            read = next;
            let best = (0u32..).zip(&*logits).max_by(|a, b| a.1.total_cmp(b.1));
            tokens[next] = best.map_or(0, |(id, _)| id);
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: bare MODEL.gguf")?;
    let loaded = LoadedModel::new(ModelFile::open(path)?, &Serial)?;
    let tokenizer = Tokenizer::from_gguf(&loaded.file().gguf()?)?;
    let (model, config) = (loaded.model(), loaded.config());

    let mut tokens = tokenizer.encode_with_bos("The three primary colours are", Special::AsText);
    let known = tokens.len();
    tokens.resize(known + 24, 0);

    // On a device these would be static arrays: their lengths follow from the model's shape.
    let layout = KvCache::layout(config, tokens.len(), KvElement::F16)?;
    let mut keys_and_values = vec![0; KvCache::bytes(config, &layout)];
    let mut workspace = vec![0.0; workspace_len(config, &layout, known, 1)];
    let mut logits = vec![0.0; config.vocab_size];

    let mut cache = KvCache::new(layout, &mut keys_and_values)?;
    bare::complete(&model, &mut cache, &mut workspace, &mut logits, &mut tokens, known)?;
    println!("{}", tokenizer.decode(&tokens, false));
    Ok(())
}
