//! What is written is what was given.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, process};

use halfpi::Error;
use halfpi::gguf::ModelFile;
use halfpi::pack::synthetic::{Storage, SyntheticModel};
use halfpi::pack::{Blueprint, Format, Keep, PackError, Source, TensorShape};
use halfpi::tokenizer::Special;
use halfpi::transformer::Architecture;
use halfpi_kernels::format::Float;

use super::{CodesFile, OutputError, Weights, pack, shape, write_codes, write_hub};
use crate::tensor::{Cpu, matrix};
use crate::{Parameters, Random, Result, TrainError};

/// A directory that goes away with the test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("halfpi-output-{}-{count}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn source(model: &SyntheticModel) -> Source {
    Source::from_model_file(model.to_model_file().unwrap())
}

/// All weights of a model, in memory.
fn weights(source: &Source) -> Vec<(TensorShape, Vec<f32>)> {
    let shapes = source.shapes().unwrap();
    let read = |shape: TensorShape| (shape.clone(), source.read(&shape.name).unwrap());
    shapes.into_iter().map(read).collect()
}

fn packed(weights: &[(TensorShape, Vec<f32>)], blueprint: &Blueprint, keep: &[Keep], path: &Path) -> Result<()> {
    pack(weights, blueprint, keep, path, &mut |_| ControlFlow::Continue(())).map(drop)
}

fn keep(pattern: &str, format: Format) -> Keep {
    Keep {
        pattern: pattern.into(),
        format,
    }
}

fn assert_same<W: Weights + ?Sized>(found: &W, expected: &[(TensorShape, Vec<f32>)], what: &str) {
    let mut names: Vec<_> = found.shapes().unwrap();
    let mut expected_names: Vec<_> = expected.iter().map(|(shape, _)| shape.clone()).collect();
    names.sort_by(|a, b| a.name.cmp(&b.name));
    expected_names.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(names, expected_names, "{what}");
    for (shape, values) in expected {
        assert!(found.read(shape).unwrap() == *values, "{what}: {}", shape.name);
    }
}

/// A model whose matrices are random levels of a format times random f16 scales.
fn trained(format: Format) -> SyntheticModel {
    let storage = Storage::of(format).unwrap();
    let architecture = if storage.is_complex() {
        Architecture::IFairy
    } else {
        Architecture::Llama
    };
    SyntheticModel::tiny(architecture).with_storage(storage)
}

/// What training can use comes out of the packed file and of its codes to the bit.
#[test]
fn every_format_gives_back_what_training_used() {
    let directory = Directory::new();
    for format in Format::all().filter(|format| format.codes().is_some()) {
        let model = source(&trained(format));
        let (blueprint, weights) = (Blueprint::of(&model).unwrap(), weights(&model));
        let is_complex = format == Format::PhaseComplex;
        let keep = if is_complex {
            // The embedding of a complex model is real, and so is its output matrix.
            vec![keep("blk.*", format), keep("*", Format::Q8)]
        } else {
            vec![keep("*", format)]
        };
        let path = directory.join("model.gguf");
        packed(&weights, &blueprint, &keep, &path).unwrap_or_else(|error| panic!("{format}: {error}"));
        let file = ModelFile::open(&path).unwrap();
        let gguf = file.gguf().unwrap();
        assert_eq!(gguf.str("halfpi.format").unwrap(), keep[0].format.name());
        let matrix = gguf.tensor("blk.0.ffn_up.weight").unwrap();
        assert!(
            matrix.bytes < 64 * 192 + 1000 + 64 * 192 / 8,
            "{format} takes {} bytes",
            matrix.bytes
        );
        assert_same(&Source::open(&path).unwrap(), &weights, format.name());

        let codes = directory.join("model.safetensors");
        write_codes(&path, &codes).unwrap();
        let file = CodesFile::open(&codes).unwrap();
        assert_same(&file, &weights, &format!("codes of {format}"));
        let header = String::from_utf8_lossy(&fs::read(&codes).unwrap()[..2000]).into_owned();
        assert!(
            header.contains("halfpi-codes") && header.contains("blk.0.attn_q.weight"),
            "{header}"
        );
        assert_eq!(directory.names(), ["model.gguf", "model.safetensors"]);
    }
}

#[test]
fn parameters_are_written_without_what_training_adds() {
    let directory = Directory::new();
    let source = source(&trained(Format::Halfpi2));
    let (blueprint, weights) = (Blueprint::of(&source).unwrap(), weights(&source));
    let (mut parameters, device) = (Parameters::<Cpu>::default(), Default::default());
    for (shape, values) in &weights {
        parameters.insert(&shape.name, matrix(values.clone(), [shape.rows, shape.cols], &device));
    }
    parameters.insert("blk.0.attn_q.weight.scale", matrix(vec![1.0; 64], [64, 1], &device));
    let path = directory.join("model.gguf");
    let halfpi2 = [keep("*", Format::Halfpi2)];
    pack(&parameters, &blueprint, &halfpi2, &path, &mut |_| {
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_same(&Source::open(&path).unwrap(), &weights, "parameters");
}

/// Each tensor in the format of the first pattern that matches; where none does, as it is.
#[test]
fn schemes_mix_formats() {
    let directory = Directory::new();
    let mut model = SyntheticModel::tiny(Architecture::Qwen2);
    model.attention = Storage::of(Format::Ternary).unwrap();
    model.feed_forward = Storage::of(Format::Phi4).unwrap();
    let source = source(&model);
    let (blueprint, weights) = (Blueprint::of(&source).unwrap(), weights(&source));
    let path = directory.join("model.gguf");
    let scheme = [
        keep("blk.*.attn_*.weight", Format::Ternary),
        keep("blk.*.ffn_*", Format::Phi4),
    ];
    packed(&weights, &blueprint, &scheme, &path).unwrap();
    assert_same(&Source::open(&path).unwrap(), &weights, "a scheme");
    let file = ModelFile::open(&path).unwrap();
    let bytes = |name: &str| file.gguf().unwrap().tensor(name).unwrap().bytes;
    assert_eq!(bytes("token_embd.weight"), 421 * 64 * 4);
    assert!(bytes("blk.0.attn_q.weight") < 64 * 64);
    assert!(bytes("blk.0.ffn_up.weight") < 160 * 64);
}

#[test]
fn weights_off_the_grid_are_named_and_the_old_file_stays() {
    let directory = Directory::new();
    let source = source(&trained(Format::Phi4));
    let (blueprint, mut weights) = (Blueprint::of(&source).unwrap(), weights(&source));
    let path = directory.join("model.gguf");
    fs::write(&path, "old").unwrap();
    let damaged = weights
        .iter_mut()
        .find(|(shape, _)| shape.name == "blk.1.ffn_down.weight")
        .unwrap();
    damaged.1[160 * 3 + 5] *= 1.01;
    let error = packed(&weights, &blueprint, &[keep("*", Format::Phi4)], &path).unwrap_err();
    match error {
        TrainError::Model(Error::Pack(PackError::Changed { name, row, .. })) => {
            assert_eq!(name, "blk.1.ffn_down.weight");
            assert_eq!(row, 3);
        }
        error => panic!("{error}"),
    }
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(directory.names(), ["model.gguf"]);
}

#[test]
fn a_directory_of_the_hub_says_the_same_model() {
    let families = [Architecture::Llama, Architecture::Qwen2, Architecture::Qwen3];
    for (architecture, tied) in families
        .into_iter()
        .flat_map(|family| [(family, false), (family, true)])
    {
        let directory = Directory::new();
        let mut model = SyntheticModel::tiny(architecture);
        model.tied = tied;
        let source = source(&model);
        let (blueprint, weights) = (Blueprint::of(&source).unwrap(), weights(&source));
        let first = directory.join("first");
        write_hub(&source, &blueprint, Float::F32, None, &first).unwrap();
        let hub = Source::open(&first).unwrap();
        assert_eq!(hub.config().unwrap(), model.config);
        assert_same(&hub, &weights, architecture.name());
        let text = "<|im_start|>user\nthe 12 days of hot WORDs, it's\n\n<|im_end|>";
        let ids = |source: &Source| {
            Blueprint::of(source)
                .unwrap()
                .tokenizer()
                .unwrap()
                .encode(text, Special::Parse)
        };
        assert_eq!(ids(&hub), ids(&source));

        // From the hub to the hub, with what the first directory says.
        let second = directory.join("second");
        let blueprint = Blueprint::of(&hub).unwrap();
        write_hub(weights.as_slice(), &blueprint, Float::F32, Some(&first), &second).unwrap();
        let again = Source::open(&second).unwrap();
        assert_same(&again, &weights, architecture.name());
        assert_eq!(ids(&again), ids(&source));
        for name in ["tokenizer.json", "model.safetensors"] {
            assert!(
                fs::read(first.join(name)).unwrap() == fs::read(second.join(name)).unwrap(),
                "{name}"
            );
        }
        for float in [Float::F16, Float::Bf16] {
            write_hub(weights.as_slice(), &blueprint, float, Some(&first), &second).unwrap();
            let rounded = Source::open(&second).unwrap();
            for (shape, values) in &weights {
                let stored = rounded.read(&shape.name).unwrap();
                let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 0.004 * b.abs() + 1e-7;
                assert!(stored.iter().zip(values).all(near), "{float:?}: {}", shape.name);
                assert!(stored.len() == values.len() && stored != *values);
            }
        }
    }
}

/// A llama with biases, Llama 3's frequencies and a tokenizer that no `tokenizer.json` can be made of.
#[test]
fn what_a_directory_cannot_say_is_said() {
    let directory = Directory::new();
    let model = SyntheticModel::tiny(Architecture::Llama);
    let plain = source(&model);
    let blueprint = Blueprint::of(&plain).unwrap();
    let mut random = Random::new(3);
    let mut weights = weights(&plain);
    for (name, len) in [("attn_q", 64), ("attn_k", 32), ("attn_v", 32)] {
        for block in 0..2 {
            let bias = (0..len).map(|_| random.normal()).collect();
            weights.push((shape(&format!("blk.{block}.{name}.bias"), [1, len]), bias));
        }
    }
    let path = directory.join("hub");
    write_hub(weights.as_slice(), &blueprint, Float::F32, None, &path).unwrap();
    assert_same(&Source::open(&path).unwrap(), &weights, "biases");

    weights.push((
        shape("rope_freqs.weight", [1, 8]),
        vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
    ));
    let error = write_hub(weights.as_slice(), &blueprint, Float::F32, None, &path).unwrap_err();
    assert!(
        matches!(error, TrainError::Output(OutputError::NotSaid { .. })),
        "{error}"
    );
    weights.pop();

    weights.push((shape("blk.0.attn_rot.weight", [64, 64]), vec![0.0; 64 * 64]));
    let error = write_hub(weights.as_slice(), &blueprint, Float::F32, None, &path).unwrap_err();
    assert!(
        matches!(error, TrainError::Output(OutputError::NoHubName { .. })),
        "{error}"
    );
    weights.pop();

    weights[0].1[64 * 7] = 1e6;
    let error = write_hub(weights.as_slice(), &blueprint, Float::F16, None, &path).unwrap_err();
    assert!(
        matches!(
            &error,
            TrainError::Model(Error::Pack(PackError::Overflow { row: 7, .. }))
        ),
        "{error}"
    );
    fs::write(path.join("model.safetensors.index.json"), "{}").unwrap();
    let error = write_hub(weights.as_slice(), &blueprint, Float::F32, None, &path).unwrap_err();
    assert!(
        matches!(error, TrainError::Output(OutputError::InUse { .. })),
        "{error}"
    );

    let complex = source(&SyntheticModel::tiny(Architecture::IFairy));
    let blueprint = Blueprint::of(&complex).unwrap();
    let error = write_hub(&complex, &blueprint, Float::F32, None, &directory.join("complex")).unwrap_err();
    assert!(
        matches!(error, TrainError::Output(OutputError::Architecture { .. })),
        "{error}"
    );
}

#[test]
fn broken_codes_are_refused() {
    let directory = Directory::new();
    let path = directory.join("codes.safetensors");
    assert!(matches!(CodesFile::open(&path), Err(TrainError::Io { .. })));
    fs::write(&path, "no tensors").unwrap();
    let error = CodesFile::open(&path).map(drop).unwrap_err();
    assert!(
        matches!(error, TrainError::Output(OutputError::Safetensors { .. })),
        "{error}"
    );

    let view = |dtype, shape: &[usize], bytes: &'static [u8]| {
        safetensors::tensor::TensorView::new(dtype, shape.to_vec(), bytes).unwrap()
    };
    use safetensors::Dtype::{F16, I8, U8};
    let matrix = TensorShape::matrix("x", 2, 4);
    for (codes, scales) in [
        (view(I8, &[2, 4], &[1; 8]), view(F16, &[1, 1], &[0; 2])),
        (view(I8, &[2, 4], &[1; 8]), view(F16, &[2, 3], &[0; 12])),
        (view(I8, &[2, 4], &[1; 8]), view(U8, &[2, 1], &[0; 2])),
        (view(U8, &[2, 4], &[1; 8]), view(F16, &[2, 1], &[0; 4])),
        (view(I8, &[2, 0], &[]), view(F16, &[2, 1], &[0; 4])),
        (view(I8, &[8], &[1; 8]), view(F16, &[2, 1], &[0; 4])),
    ] {
        let bytes = safetensors::serialize([("x.codes", codes), ("x.scales", scales)], None).unwrap();
        fs::write(&path, bytes).unwrap();
        let error = CodesFile::open(&path).unwrap().read(&matrix).unwrap_err();
        assert!(
            matches!(error, TrainError::Output(OutputError::BadCodes { .. })),
            "{error}"
        );
    }
    // Minima, and blocks.
    for name in ["q4_1", "q4_0"] {
        let mut model = SyntheticModel::tiny(Architecture::Llama).with_storage(Storage::by_name(name).unwrap());
        model.config.feed_forward_length = 192;
        let gguf = directory.join("blocks.gguf");
        model.save(&gguf).unwrap();
        let error = write_codes(&gguf, &path).unwrap_err();
        assert!(
            matches!(error, TrainError::Output(OutputError::NotCodes { .. })),
            "{error}"
        );
    }
}

/// A disk of 64 KB, which only root can make.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_the_old_files() {
    let directory = Directory::new();
    let mount = |program: &str, arguments: &[&str]| {
        let status = process::Command::new(program)
            .args(arguments)
            .arg(&directory.0)
            .output();
        status.is_ok_and(|output| output.status.success())
    };
    if !mount("mount", &["-t", "tmpfs", "-o", "size=64k", "tmpfs"]) {
        println!("skipped: only root can make a small disk");
        return;
    }
    let source = source(&trained(Format::Ternary));
    let blueprint = Blueprint::of(&source).unwrap();
    let outside = Directory::new();
    let packed = outside.join("model.gguf");
    pack(&source, &blueprint, &[keep("*", Format::Ternary)], &packed, &mut |_| {
        ControlFlow::Continue(())
    })
    .unwrap();
    let old = directory.join("model.safetensors");
    fs::write(&old, "old").unwrap();
    let results = [
        pack(
            &source,
            &blueprint,
            &[keep("*", Format::Ternary)],
            &directory.join("model.gguf"),
            &mut |_| ControlFlow::Continue(()),
        )
        .map(drop),
        write_hub(&source, &blueprint, Float::F32, None, &directory.0),
        write_codes(&packed, &old),
    ];
    let (kept, names) = (fs::read(&old), directory.names());
    assert!(mount("umount", &[]));
    for result in results {
        let error = result.unwrap_err();
        let full = match &error {
            TrainError::Model(Error::Write(source) | Error::Io { source, .. }) | TrainError::Io { source, .. } => {
                source.kind() == std::io::ErrorKind::StorageFull
            }
            _ => false,
        };
        assert!(full, "{error}");
    }
    assert_eq!(kept.unwrap(), b"old");
    assert!(
        names
            .iter()
            .all(|name| !name.contains(".part") && !name.ends_with(".f32")),
        "{names:?}"
    );
}
