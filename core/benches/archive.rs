//! How fast archives are made and unpacked in memory: `cargo bench -p halfpi --bench archive [-- MODEL.gguf…]`.
//!
//! Without a model a random one of SmolLM2-135M's shape is taken. The rates are bytes of the model file per second, the
//! better of three runs; everything is counted, checksums too.

use std::hint::black_box;
use std::io;
use std::ops::ControlFlow;
use std::time::Instant;

use halfpi::archive::{self, Unpacker};
use halfpi::gguf::ModelFile;
use halfpi::pack::synthetic::{Storage, SyntheticModel};

fn main() -> halfpi::Result<()> {
    // Cargo adds `--bench`.
    let models: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    for path in &models {
        measure(path, &ModelFile::open(path)?)?;
    }
    if models.is_empty() {
        for name in ["phi4", "ternary", "q8"] {
            let shape = SyntheticModel::by_name("smollm2-135m").zip(Storage::by_name(name));
            let Some((shape, storage)) = shape else { continue };
            measure(
                &format!("random {storage:?}"),
                &shape.with_storage(storage).to_model_file()?,
            )?;
        }
    }
    Ok(())
}

fn measure(name: &str, model: &ModelFile) -> halfpi::Result<()> {
    let mut go_on = |_: archive::Progress<'_>| ControlFlow::Continue(());
    let bytes = model.bytes().len() as f64;
    for threads in [1, 2, 4] {
        let (mut archive, mut pack, mut unpack) = (Vec::new(), 0f64, 0f64);
        for _ in 0..3 {
            archive.clear();
            let start = Instant::now();
            archive::write(model, &mut archive, threads, &mut go_on)?;
            pack = pack.max(bytes / start.elapsed().as_secs_f64());
            let start = Instant::now();
            let unpacker = Unpacker::new(&archive[..])?.threads(threads);
            black_box(unpacker.write(io::sink(), &mut go_on)?);
            unpack = unpack.max(bytes / start.elapsed().as_secs_f64());
        }
        println!(
            "{name}, {threads} threads: {:.1} MB in {:.1} MB ({:.1}%), made at {:.0} MB/s, unpacked at {:.0} MB/s",
            bytes / 1e6,
            archive.len() as f64 / 1e6,
            archive.len() as f64 / bytes * 100.0,
            pack / 1e6,
            unpack / 1e6,
        );
    }
    Ok(())
}
