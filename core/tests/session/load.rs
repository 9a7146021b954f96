//! Engines from parts of open files, with progress and within a budget.

use crate::common::*;
use halfpi::Error;
use halfpi::engine::{Engine, EngineError, EngineOptions};
use halfpi::gguf::ModelFile;
use halfpi::model::{LoadProgress, ModelError, ModelInfo};
use halfpi::pack::synthetic::{Storage, SyntheticModel};
use halfpi::session::SessionOptions;
use halfpi::transformer::Architecture;
use halfpi_kernels::Backend;
use halfpi_kernels::ops::KvElement;
use std::fs::File;
use std::io::Write;
use std::ops::ControlFlow;
use std::thread;

/// A file with the model at an offset, open; its name is gone again.
fn inside_a_package(model: &[u8], offset: usize) -> ModelFile {
    let path = std::env::temp_dir().join(format!("halfpi-package-{}-{offset}", std::process::id()));
    let mut file = File::create(&path).unwrap();
    file.write_all(&vec![0xa5; offset]).unwrap();
    file.write_all(model).unwrap();
    file.write_all(&[0x5a; 333]).unwrap();
    let file = File::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    ModelFile::from_file(file, offset as u64, Some(model.len() as u64)).unwrap()
}

/// Android aligns what is in a package at 4 bytes, and zip files align at none.
#[test]
fn weights_are_used_in_place_wherever_the_file_begins() {
    let backends: Vec<Backend> = Backend::available().collect();
    for (index, name) in Storage::names().enumerate() {
        let storage = storage(name);
        let architecture = match storage.is_complex() {
            true => Architecture::IFairy,
            false => Architecture::Llama,
        };
        let mut model = SyntheticModel::tiny(architecture).with_storage(storage);
        // A multiple of every format's blocks.
        (model.config.embedding_length, model.config.feed_forward_length) = (256, 512);
        (model.config.block_count, model.config.head_dim) = (1, 64);
        model.config.rope_dimension_count = 64;
        let bytes = model.to_bytes().unwrap();
        for backend in [Backend::detect(), backends[index % backends.len()]] {
            let options = || EngineOptions {
                backend: Some(backend),
                ..one_thread()
            };
            let aligned = Engine::load(ModelFile::from_bytes(&bytes).unwrap(), options()).unwrap();
            let tokens: Vec<u32> = (10..40).collect();
            let expected = fresh_logits(&aligned, &tokens);
            for offset in [4, 4097] {
                let engine = Engine::load(inside_a_package(&bytes, offset), options()).unwrap();
                assert_eq!(
                    engine.memory().weights_heap_bytes,
                    aligned.memory().weights_heap_bytes,
                    "{name}: something was copied"
                );
                let found = fresh_logits(&engine, &tokens);
                assert!(found == expected, "{name} at {offset} with {}", backend.name());
            }
        }
    }
}

/// Some 20 MB of blocks to convert, which take several reports on one thread.
fn larger() -> SyntheticModel {
    let mut model = tiny();
    (model.config.embedding_length, model.config.feed_forward_length) = (256, 1024);
    (model.config.head_dim, model.config.rope_dimension_count) = (64, 64);
    model.config.vocab_size = 65536;
    model
}

fn load(model: &[u8], listener: &mut dyn FnMut(LoadProgress) -> ControlFlow<()>) -> halfpi::Result<Engine> {
    Engine::load_with(ModelFile::from_bytes(model).unwrap(), one_thread(), listener)
}

#[test]
fn loading_says_how_far_it_is() {
    let model = larger().to_bytes().unwrap();
    let mut reports = Vec::new();
    let here = thread::current().id();
    load(&model, &mut |progress| {
        assert_eq!(thread::current().id(), here);
        reports.push(progress);
        ControlFlow::Continue(())
    })
    .unwrap();
    let file = ModelFile::from_bytes(&model).unwrap();
    let info = ModelInfo::of(&file, &one_thread()).unwrap();
    assert!(reports.len() >= 3, "{reports:?}");
    assert!(
        reports.windows(2).all(|pair| pair[0].done < pair[1].done),
        "{reports:?}"
    );
    assert!(reports.iter().all(|report| report.total == info.tensor_bytes));
    let last = reports.last().unwrap();
    assert_eq!((last.done, last.fraction()), (last.total, 1.0));
}

#[test]
fn loading_can_be_cancelled_at_every_report() {
    let model = larger().to_bytes().unwrap();
    for cancelled_at in 1..=3 {
        let mut reports = 0;
        let result = load(&model, &mut |_| {
            reports += 1;
            if reports == cancelled_at {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        assert!(matches!(result.err(), Some(Error::Model(ModelError::Cancelled))));
        assert_eq!(reports, cancelled_at, "the listener was called after it broke off");
    }
}

fn budget_of(result: halfpi::Result<impl Sized>) -> [u64; 2] {
    match result.err() {
        Some(Error::Engine(EngineError::MemoryBudget { needed, budget })) => [needed, budget],
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_does_not_fit_is_refused_before_it_is_loaded() {
    let session_options = SessionOptions {
        context_length: Some(100),
        kv_element: KvElement::Int8,
        ..SessionOptions::default()
    };
    for format in ["q4_0", "phi4"] {
        let model = tiny().with_storage(storage(format));
        let file = || model.to_model_file().unwrap();
        let with = |budget| EngineOptions {
            memory_budget: Some(budget),
            threads: Some(3),
            ..one_thread()
        };
        let info = ModelInfo::of(&file(), &with(0)).unwrap();
        let needed = info.memory_needed(&with(0), &session_options).unwrap();
        let weights = needed.mapped + needed.heap;

        let mut reports = 0;
        let refused = Engine::load_with(file(), with(weights - 1), &mut |_| {
            reports += 1;
            ControlFlow::Continue(())
        });
        assert_eq!(budget_of(refused), [weights, weights - 1]);
        assert_eq!(reports, 0, "it began to load");

        let engine = Engine::load(file(), with(needed.total())).unwrap();
        let report = engine.memory();
        assert_eq!(report.weights_heap_bytes, needed.heap);
        assert_eq!((report.budget, report.sessions_bytes()), (Some(needed.total()), 0));
        let mut first = engine.session(session_options.clone()).unwrap();
        assert_eq!(engine.memory().sessions_bytes(), needed.session);
        let both = needed.total() + needed.session;
        let second = engine.session(session_options.clone());
        assert_eq!(budget_of(second), [both, needed.total()]);
        assert!(!send(&mut first, "Hello", &greedy(5)).text.is_empty());
        drop(first);
        engine.session(session_options.clone()).unwrap();

        let engine = Engine::load(file(), with(needed.total() - 1)).unwrap();
        let session = engine.session(session_options.clone());
        assert_eq!(budget_of(session), [needed.total(), needed.total() - 1]);
    }
}

#[test]
fn a_file_says_what_it_is() {
    let of = |format| {
        let model = tiny().with_storage(storage(format));
        let file = inside_a_package(&model.to_bytes().unwrap(), 12);
        let info = ModelInfo::of(&file, &one_thread()).unwrap();
        assert_eq!(info.parameters, model.parameters(), "{format}");
        assert_eq!(info.file_bytes, file.bytes().len() as u64);
        assert_eq!((info.config.vocab_size, info.config.block_count), (421, 2));
        assert_eq!(info.name.as_deref(), Some("synthetic"));
        assert_eq!(info.license, None);
        info
    };
    let (f16, phi4, q4_0) = (of("f16"), of("phi4"), of("q4_0"));
    assert!(
        (16.0..16.2).contains(&f16.bits_per_weight()),
        "{}",
        f16.bits_per_weight()
    );
    assert!(phi4.bits_per_weight() < 6.0);
    // The norms are widened in any case.
    assert!(f16.mapped_bytes > 0 && f16.converted_bytes < 10_000);
    assert!(phi4.mapped_bytes > 0 && phi4.converted_bytes == f16.converted_bytes);
    assert!(q4_0.mapped_bytes == 0 && q4_0.converted_bytes > phi4.converted_bytes);
}
