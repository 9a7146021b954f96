use super::*;
use crate::gguf::ModelFile;
use crate::model::LoadedModel;
use crate::pack::synthetic::{Storage, SyntheticModel};
use crate::pack::{Format, Options, Progress, pack};
use crate::transformer::{Architecture, KvCache, Precision, Runtime, workspace_len};
use halfpi_kernels::ops::KvElement;
use std::ops::ControlFlow;

/// A random text in words: tokens of several lengths.
fn text(seed: u64) -> String {
    let mut state = seed;
    let mut next = |n: u64| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) % n
    };
    let word = |next: &mut dyn FnMut(u64) -> u64| {
        let length = 1 + next(9);
        (0..length)
            .map(|_| char::from(b'a' + next(26) as u8))
            .collect::<String>()
    };
    (0..400).map(|_| word(&mut next) + " ").collect()
}

fn source(architecture: Architecture) -> Source {
    let model = SyntheticModel::tiny(architecture).with_storage(Storage::by_name("q8").unwrap());
    Source::from_model_file(model.to_model_file().unwrap())
}

/// Runs `test` on a pass over a tiny model, all of whose matrices will have a format.
fn with_pass(source: &Source, format: Format, test: impl FnOnce(&mut Pass<'_>, &Windows)) {
    let tensors = source.tensors().unwrap();
    let codings: Vec<Option<Coding>> = tensors
        .iter()
        .map(|tensor| match tensor.dims.len() {
            2 => Coding::new((tensor.rows, tensor.cols), format, format.scales(), Method::default()).unwrap(),
            _ => None,
        })
        .collect();
    let items = tensors
        .iter()
        .zip(&codings)
        .map(|(tensor, coding)| {
            let target = coding.as_ref();
            (tensor.name.as_str(), Item { tensor, target })
        })
        .collect();
    let prepared = Prepared::new(source, &items, &Calibration::new(text(1)), 2).unwrap();
    let mut done = |_: &str| Ok(());
    let mut pass = Pass {
        source,
        items,
        machine: prepared.machine,
        packed: HashMap::new(),
        done: &mut done,
    };
    test(&mut pass, &prepared.windows);
}

/// The pass is a second way through the layers: it must be the same.
#[test]
fn the_pass_computes_what_the_model_does() {
    for architecture in [
        Architecture::Llama,
        Architecture::Qwen2,
        Architecture::Qwen3,
        Architecture::BitNet,
    ] {
        // Packed before, so that packing to 8 bits again changes nothing.
        let path = std::env::temp_dir().join(format!("halfpi-pass-{}-{architecture:?}.gguf", std::process::id()));
        let progress = &mut |_: Progress<'_>| ControlFlow::Continue(());
        pack(&source(architecture), &Options::new(Format::Q8), &path, progress).unwrap();
        let file = ModelFile::from_bytes(std::fs::read(&path).unwrap()).unwrap();
        std::fs::remove_file(&path).unwrap();
        let loaded = LoadedModel::new(ModelFile::from_bytes(file.bytes()).unwrap(), &Pool::new(1)).unwrap();
        let source = Source::from_model_file(file);
        with_pass(&source, Format::Q8, |pass, windows| {
            let mut streams = pass.embed(windows).unwrap();
            for block in 0..pass.machine.config.block_count {
                let layer = pass.layer(block).unwrap();
                for step in Step::ALL {
                    streams.wanted.prepare(&pass.machine, step, &layer.source).unwrap();
                    streams.wanted.take(&pass.machine, step, &layer.source).unwrap();
                }
            }
            let (config, n) = (loaded.config(), windows.positions);
            let norm = read(pass.item("output_norm.weight").unwrap().tensor);
            let last = &streams.wanted.x[(n - 1) * config.embedding_length..][..config.embedding_length];
            let mut h = vec![0.0; last.len()];
            rms_norm(pass.machine.backend, last, &norm, config.layer_norm_rms_epsilon, &mut h).unwrap();
            let runtime = Runtime {
                backend: pass.machine.backend,
                parallel: &pass.machine.pool,
                precision: Precision::Int8,
            };
            let layout = KvCache::layout(config, n, KvElement::F16).unwrap();
            let mut data = vec![0; KvCache::bytes(config, &layout)];
            let mut memory = vec![0.0; workspace_len(config, &layout, n, 2)];
            let mut logits = vec![0.0; config.vocab_size];
            let mut cache = KvCache::new(layout, &mut data).unwrap();
            let model = loaded.model();
            let ids = &windows.ids[..n];
            model
                .forward(&runtime, ids, 0, &mut cache, &mut memory, &mut logits)
                .unwrap();
            let mut found = LayerWeights::default();
            let name = if pass.items.contains_key("output.weight") {
                "output.weight"
            } else {
                "token_embd.weight"
            };
            found.matrices.insert("output", pass.at_8_bits(name).unwrap());
            let [found] = pass.machine.products(&h, h.len(), &found, ["output"]).unwrap();
            assert_eq!(found, logits, "{architecture:?}");
        });
    }
}

/// Mean of the squared error of a matrix's output: Σ (wanted - packed x̂)².
fn output_error(wanted: &[f32], packed: &[u8], cols: usize, input: &[f32]) -> f64 {
    let matrix = stream::matrix(packed).unwrap();
    let mut weights = vec![0.0; matrix.rows() * cols];
    for (row, out) in weights.chunks_exact_mut(cols).enumerate() {
        matrix.dequantize_row(row, out).unwrap();
    }
    let found = exact_product(&weights, cols, input);
    wanted.iter().zip(found).map(|(a, b)| f64::from(a - b).powi(2)).sum()
}

fn exact_product(weights: &[f32], cols: usize, input: &[f32]) -> Vec<f32> {
    input
        .chunks_exact(cols)
        .flat_map(|x| {
            let dot = |w: &[f32]| w.iter().zip(x).map(|(a, b)| a * b).sum::<f32>();
            weights.chunks_exact(cols).map(dot).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn every_matrix_comes_closer_to_its_output_than_by_plain_rounding() {
    for architecture in [Architecture::Llama, Architecture::BitNet] {
        let source = source(architecture);
        for format in [
            Format::Phi4,
            Format::Phi4Additive,
            Format::Phi5,
            Format::Ternary,
            Format::TernaryDense,
            Format::Halfpi2,
        ] {
            with_pass(&source, format, |pass, windows| {
                let mut streams = pass.embed(windows).unwrap();
                for block in 0..pass.machine.config.block_count {
                    let mut layer = pass.layer(block).unwrap();
                    for step in Step::ALL {
                        let packed_before = layer.packed.clone();
                        streams.wanted.prepare(&pass.machine, step, &layer.source).unwrap();
                        let mut real = Stream {
                            positions: windows.positions,
                            x: streams.real.x.clone(),
                            input: streams.real.input.clone(),
                        };
                        real.prepare(&pass.machine, step, &packed_before).unwrap();
                        let off: Vec<f32> = streams.wanted.x.iter().zip(&real.x).map(|(a, b)| a - b).collect();
                        let input = streams.wanted.input.clone();
                        pass.step(block, step, &mut layer, &mut streams).unwrap();
                        for name in step.names() {
                            let full = format!("blk.{block}.{name}.weight");
                            let &Item { tensor, target } = pass.item(&full).unwrap();
                            let coding = target.unwrap();
                            let mut wanted = exact_product(&read(tensor), tensor.cols, &input);
                            if step.is_added() {
                                wanted.iter_mut().zip(&off).for_each(|(wanted, off)| *wanted += off);
                            }
                            let read = |row: usize, out: &mut [f32]| tensor.read_row(row, out);
                            let plain = pack_rows(&full, coding, None, 0..tensor.rows, &read, 1).unwrap();
                            let plain = plain.file_bytes(&coding.layout);
                            let error = |bytes: &[u8]| output_error(&wanted, bytes, tensor.cols, &real.input);
                            let ratio = error(&layer.packed.matrices[name]) / error(&plain);
                            println!("{architecture:?} {format} {full}: {ratio:.3} of plain rounding's error");
                            assert!(ratio < 0.95, "{architecture:?} {format} {full}: {ratio}");
                        }
                    }
                }
            });
        }
    }
}

#[test]
fn windows_cover_the_text_evenly() {
    let source = source(Architecture::Llama);
    let ids = |tokens| {
        let calibration = Calibration {
            tokens,
            text: text(2).repeat(4),
        };
        let tensors = source.tensors().unwrap();
        let items = tensors
            .iter()
            .map(|tensor| (tensor.name.as_str(), Item { tensor, target: None }))
            .collect();
        Prepared::new(&source, &items, &calibration, 1).map(|prepared| prepared.windows)
    };
    let all = ids(usize::MAX).unwrap();
    assert_eq!((all.positions, all.ids.len() % WINDOW), (WINDOW, 0));
    let windows = all.ids.len() / WINDOW;
    assert!(windows > 4, "{windows}");
    let two = ids(2 * WINDOW).unwrap();
    assert_eq!(two.ids[..WINDOW], all.ids[..WINDOW]);
    assert_eq!(two.ids[WINDOW..], all.ids[windows / 2 * WINDOW..][..WINDOW]);
    assert_eq!(ids(100).unwrap().ids.len(), 100);
    let refused = ids(LEAST_TOKENS - 1).map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("63 tokens and needs 64"), "{refused}");
}
