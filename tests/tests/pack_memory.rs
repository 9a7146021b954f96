//! Packing, with a calibration text or without, takes no more memory than its documentation promises.
//!
//! One test, because all threads of the process are counted. What counts is what is in use; the pages that an allocator
//! keeps, and those of the mapped source, are looked at in `peak_memory.rs`.

use std::env;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::process;

use halfpi::pack::synthetic::SyntheticModel;
use halfpi::pack::{Calibration, Format, Options, Scales, Source, pack};
use halfpi::transformer::{Architecture, Config};
use halfpi_tests::alloc::{CountingAllocator, peak_bytes_of_all_threads_during};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const TOKENS: usize = 256;
/// For what no tensor's size decides: buffers of the writer, stacks' bookkeeping, metadata.
const SMALL: usize = 2 << 20;

#[test]
fn packing_holds_two_tensors_and_the_output_and_calibration_what_it_promises() {
    let directory = env::temp_dir().join(format!("halfpi-pack-memory-{}", process::id()));
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join("model.gguf");
    let mut model = SyntheticModel::tiny(Architecture::Llama);
    (model.config.vocab_size, model.config.embedding_length) = (1024, 192);
    (model.config.feed_forward_length, model.config.block_count) = (384, 24);
    model.save(&path).unwrap();
    let whole = 4 * weights(&model.config);
    for calibrated in [false, true] {
        let options = Options {
            calibration: calibrated.then(|| Calibration {
                tokens: TOKENS,
                ..Calibration::new(text())
            }),
            ..options(Format::Phi4)
        };
        let (peak, output) = packed(&path, &options);
        let allowed = promised(&model.config, calibrated) + output + SMALL;
        println!("calibrated {calibrated}: peak {peak}, promised {allowed}, all weights {whole}");
        assert!(peak <= allowed, "{peak} bytes, not at most {allowed}");
        // What the promise forbids is more than it allows.
        assert!(whole > allowed);
    }
    // With one scale for a tensor, all of its weights are looked at together, twice: as they are, and in order.
    (model.config.vocab_size, model.config.block_count, model.tied) = (5126, 1, true);
    model.save(&path).unwrap();
    let tensor = 4 * model.config.vocab_size * model.config.embedding_length;
    for (format, cluster) in [(Format::Ternary, 1), (Format::PhaseT1, 1), (Format::Phi4, 8)] {
        let options = Options {
            head: format,
            scales: Some(Scales::Tensor),
            cluster,
            allow_loss: true,
            ..options(format)
        };
        let (peak, output) = packed(&path, &options);
        let allowed = 2 * tensor + output + SMALL;
        println!("{format}, a scale for each tensor: peak {peak}, promised {allowed}");
        assert!(peak <= allowed, "{format}: {peak} bytes, not at most {allowed}");
        assert!(3 * tensor > allowed);
    }
    fs::remove_dir_all(directory).unwrap();
}

fn options(format: Format) -> Options {
    Options {
        threads: 2,
        ..Options::new(format)
    }
}

/// The most bytes in use while the model is packed, and those of the output.
fn packed(path: &Path, options: &Options) -> (usize, usize) {
    let source = Source::open(path).unwrap();
    let output = path.with_extension("packed");
    let peak = peak_bytes_of_all_threads_during(|| {
        pack(&source, options, &output, &mut |_| ControlFlow::Continue(())).unwrap();
    });
    (peak, fs::metadata(output).unwrap().len() as usize)
}

/// As the documentation of `core/src/pack/calibrate` has it, besides the output.
fn promised(config: &Config, calibrated: bool) -> usize {
    let (narrow, wide) = (config.embedding_length, config.feed_forward_length);
    let largest = wide * narrow;
    let two_tensors = 2 * 4 * largest.max(config.vocab_size * narrow);
    if !calibrated {
        return two_tensors;
    }
    let layer = layer_weights(config) * 9 / 8;
    two_tensors + TOKENS * 7 * wide * 4 + 3 * wide * wide * 8 + 5 * largest * 4 + 2 * layer
}

fn layer_weights(config: &Config) -> usize {
    let (d, heads) = (config.embedding_length, config.head_dim);
    let attention = 2 * d * heads * (config.head_count + config.head_count_kv);
    attention + 3 * d * config.feed_forward_length
}

fn weights(config: &Config) -> usize {
    config.vocab_size * config.embedding_length + config.block_count * layer_weights(config)
}

/// Characters of all kinds in no order.
fn text() -> String {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        state >> 8
    };
    (0..2000).filter_map(|_| char::from_u32(next() % 0x500)).collect()
}
