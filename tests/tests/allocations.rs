//! No token costs an allocation: not in the transformer, from the first call on, and not in a session.
//!
//! One test, because all threads of the process are counted.

use halfpi::engine::{Engine, EngineOptions};
use halfpi::gguf::ModelFile;
use halfpi::model::LoadedModel;
use halfpi::pack::synthetic::{Storage, SyntheticModel};
use halfpi::pool::Pool;
use halfpi::sampler::SamplerOptions;
use halfpi::session::{CancelToken, FinishReason, GenerateOptions, SessionOptions};
use halfpi::transformer::{Architecture, KvCache, Precision, Runtime, workspace_len};
use halfpi_kernels::ops::KvElement;
use halfpi_kernels::{Backend, Parallel, Serial};
use halfpi_tests::alloc::{CountingAllocator, allocations};
use std::ops::ControlFlow;
use std::thread;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

#[test]
fn tokens_cost_no_allocation() {
    let pool = Pool::new(2);
    settle();
    let before = allocations();
    drop(std::hint::black_box(vec![0u8; 100]));
    assert_eq!(allocations() - before, 1, "the allocator counts");
    for architecture in Architecture::ALL {
        let complex = architecture.is_complex().then_some("phase-complex");
        for format in ["f16", "q8_0", "q4_1", "phi4"].into_iter().chain(complex) {
            let model = SyntheticModel::tiny(architecture).with_storage(Storage::by_name(format).unwrap());
            let loaded = LoadedModel::new(model.to_model_file().unwrap(), &Serial).unwrap();
            for precision in [Precision::Int8, Precision::F32] {
                let name = format!("{} {format} {precision:?}", architecture.name());
                assert_eq!(allocations_of_forward(&loaded, precision, &Serial), 0, "{name}");
                assert_eq!(
                    allocations_of_forward(&loaded, precision, &pool),
                    0,
                    "{name}, 2 threads"
                );
            }
        }
        for threads in [1, 2] {
            let model = SyntheticModel::tiny(architecture).with_storage(Storage::by_name("q4_1").unwrap());
            assert_session_allocates_nothing(&|| model.to_model_file().unwrap(), threads);
        }
    }
    match std::env::var_os("HALFPI_TEST_MODEL") {
        Some(path) => assert_session_allocates_nothing(&|| ModelFile::open(&path).unwrap(), 2),
        None => println!("SKIPPED the real model: set HALFPI_TEST_MODEL to a GGUF file to run with it too"),
    }
}

/// Returns when the threads that have just begun, among them the test runner's own, have what they need.
fn settle() {
    let mut before = 0;
    while before != allocations() {
        before = allocations();
        thread::sleep(Duration::from_millis(100));
    }
}

/// Prefill, then decode.
fn allocations_of_forward(loaded: &LoadedModel, precision: Precision, parallel: &dyn Parallel) -> usize {
    let (model, config) = (loaded.model(), loaded.config());
    let layout = KvCache::layout(config, 100, KvElement::Int8).unwrap();
    let mut data = vec![0; KvCache::bytes(config, &layout)];
    let mut memory = vec![0.0; workspace_len(config, &layout, 20, parallel.threads())];
    let mut logits = vec![0.0; config.vocab_size];
    let runtime = Runtime {
        backend: Backend::detect(),
        parallel,
        precision,
    };

    let before = allocations();
    let mut cache = KvCache::new(layout, &mut data).unwrap();
    let tokens: [u32; 20] = std::array::from_fn(|i| i as u32);
    model
        .forward(&runtime, &tokens, 0, &mut cache, &mut memory, &mut logits)
        .unwrap();
    for position in 20..100 {
        model
            .forward(&runtime, &[7], position, &mut cache, &mut memory, &mut logits)
            .unwrap();
    }
    allocations() - before
}

/// From the first piece of an answer to its last.
fn assert_session_allocates_nothing(file: &dyn Fn() -> ModelFile, threads: usize) {
    let options = EngineOptions {
        threads: Some(threads),
        ..EngineOptions::default()
    };
    let engine = Engine::load(file(), options).unwrap();
    assert_eq!(engine.threads(), threads);
    let mut session = engine.session(SessionOptions::default()).unwrap();
    // Answers may end too soon, and a thread that starts late takes its memory in the middle of one. A token that
    // costs an allocation does so in every answer.
    let counts: Vec<usize> = (0..30)
        .filter_map(|seed| {
            session.reset();
            let (mut first, mut last) = (None, 0);
            let answer = session.send("Tell me a story.", &everything(seed), &mut |_: &str| {
                last = allocations();
                first.get_or_insert(last);
                ControlFlow::Continue(())
            });
            let answer = answer.unwrap();
            (answer.finish == FinishReason::MaxTokens && answer.text.len() > 64).then(|| last - first.unwrap_or(0))
        })
        .take(4)
        .collect();
    let name = engine.config().architecture.name();
    assert!(
        counts.contains(&0),
        "{name} with {threads} threads: {counts:?} allocations in answers of 80 tokens"
    );
}

/// All that a token can take.
fn everything(seed: u64) -> GenerateOptions {
    GenerateOptions {
        sampler: SamplerOptions {
            temperature: 0.8,
            top_k: 30,
            top_p: 0.9,
            min_p: 0.01,
            repetition_penalty: 1.1,
            frequency_penalty: 0.1,
            presence_penalty: 0.1,
            penalty_last_n: 64,
            seed: Some(seed),
        },
        max_tokens: Some(80),
        stop: vec!["never said".into(), "nor \u{1f600} this".into()],
        cancel: Some(CancelToken::new()),
        ..GenerateOptions::default()
    }
}
