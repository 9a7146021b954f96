//! What the tests of the Kotlin and Swift libraries read and cannot make: `tests/golden/sdk`.
//!
//! `HALFPI_BLESS=1 cargo test -p halfpi-tests --test sdk_files` writes them anew.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use halfpi::archive::{self, Unpacker};
use halfpi::gguf::{GgmlType, Gguf, ModelFile, Writer};
use halfpi_tests::corpus::Corpus;

const RANK: usize = 2;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name)
}

fn model() -> ModelFile {
    ModelFile::open(golden("models/llama-q8_0.gguf")).unwrap()
}

/// The model's archive.
fn archived(model: &ModelFile) -> Vec<u8> {
    let mut bytes = Vec::new();
    archive::write(model, &mut bytes, 1, &mut |_| ControlFlow::Continue(())).unwrap();
    bytes
}

/// An adapter of all models of that shape, whose weights are large enough to be heard in every answer.
fn adapter(model: &Gguf<'_>) -> Vec<u8> {
    let is_adapted = |name: &str| name.ends_with(".attn_q.weight") || name.ends_with(".attn_output.weight");
    let adapted = model.tensors().iter().filter(|tensor| is_adapted(tensor.name));
    let parts: Vec<(String, [u64; 2])> = adapted
        .flat_map(|tensor| {
            let (cols, rows, rank) = (tensor.dims()[0], tensor.dims()[1], RANK as u64);
            [
                (format!("{}.lora_a", tensor.name), [cols, rank]),
                (format!("{}.lora_b", tensor.name), [rank, rows]),
            ]
        })
        .collect();
    let mut writer = Writer::new();
    writer.set("general.type", "adapter").unwrap();
    writer.set("general.architecture", "llama").unwrap();
    writer.set("adapter.type", "lora").unwrap();
    writer.set("adapter.lora.alpha", RANK as f32).unwrap();
    for (name, shape) in &parts {
        writer.declare(name, shape, GgmlType::F32).unwrap();
    }
    let mut tensors = writer.write_header(Vec::new()).unwrap();
    let mut state = 1u32;
    for (name, shape) in &parts {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // From -1 to 1, in steps that floats have exactly.
            (state >> 24) as f32 / 128.0 - 1.0
        };
        let floats = (0..shape[0] * shape[1]).flat_map(|_| next().to_le_bytes());
        tensors.write(name, &floats.collect::<Vec<u8>>()).unwrap();
    }
    tensors.finish().unwrap()
}

#[test]
fn files_are_what_the_generator_makes() {
    let model = model();
    let files = [
        ("llama-q8_0.hpar", archived(&model)),
        ("llama-lora.gguf", adapter(&model.gguf().unwrap())),
    ];
    Corpus::new(golden("sdk"), files).assert_committed("HALFPI_BLESS=1 writes them anew");
}

#[test]
fn the_archive_is_the_models() {
    let archive = std::fs::read(golden("sdk/llama-q8_0.hpar")).unwrap();
    let mut restored = Vec::new();
    let unpacker = Unpacker::new(&archive[..]).unwrap();
    unpacker
        .write(&mut restored, &mut |_| ControlFlow::Continue(()))
        .unwrap();
    assert!(restored == model().bytes());
}
