//! Chunks, threads, instruction sets and the cache's history change the time an answer takes, never its bits.

use crate::common::*;
use halfpi::engine::{Engine, EngineOptions};
use halfpi::pack::synthetic::SyntheticModel;
use halfpi::session::{Session, SessionOptions};
use halfpi::transformer::{Architecture, Precision};
use halfpi_kernels::Backend;
use halfpi_kernels::ops::KvElement;

/// More than the largest chunk below.
const TOKENS: usize = 70;

fn tokens() -> Vec<u32> {
    (0..TOKENS as u32).map(|i| i * i % 419).collect()
}

fn with_cache(engine: &Engine, kv_element: KvElement) -> Session {
    let options = SessionOptions {
        kv_element,
        ..SessionOptions::default()
    };
    engine.session(options).unwrap()
}

/// The scores after a prompt, and after three tokens more.
fn scores(engine: &Engine, kv_element: KvElement) -> Vec<Vec<u32>> {
    let mut session = with_cache(engine, kv_element);
    session.prefill(&tokens(), None).unwrap();
    let mut scores = vec![bits(session.logits())];
    scores.extend([7, 300, 7].map(|token| bits(session.decode(token).unwrap())));
    scores
}

fn models() -> Vec<(SyntheticModel, Precision)> {
    let model = |architecture, format| SyntheticModel::tiny(architecture).with_storage(storage(format));
    let formats = ["f16", "q8_0", "q4_1"];
    let all = Architecture::ALL
        .into_iter()
        .flat_map(|architecture| formats.map(|format| (model(architecture, format), Precision::Int8)));
    all.chain([
        (model(Architecture::Llama, "phi4"), Precision::Int8),
        (model(Architecture::Llama, "phi4"), Precision::F32),
        (model(Architecture::IFairy, "phase-complex"), Precision::Int8),
        (model(Architecture::IFairy, "phase-complex"), Precision::F32),
        (half_complex_model(), Precision::Int8),
    ])
    .collect()
}

/// Products in one piece and in parts, side by side.
fn half_complex_model() -> SyntheticModel {
    SyntheticModel {
        feed_forward: storage("q8_0"),
        ..SyntheticModel::tiny(Architecture::IFairy).with_storage(storage("phase-complex"))
    }
}

#[test]
fn chunks_threads_and_backends_give_the_same_bits() {
    for (model, precision) in models() {
        let plain = EngineOptions {
            threads: Some(1),
            backend: Some(Backend::scalar()),
            prefill_chunk: TOKENS,
            precision,
            ..EngineOptions::default()
        };
        let chunks = [1, 7, 64].map(|prefill_chunk| EngineOptions {
            prefill_chunk,
            ..plain.clone()
        });
        let threads = EngineOptions {
            threads: Some(3),
            prefill_chunk: 64,
            ..plain.clone()
        };
        let backends = Backend::available().map(|backend| EngineOptions {
            backend: Some(backend),
            ..plain.clone()
        });
        let others: Vec<_> = chunks.into_iter().chain([threads]).chain(backends).collect();
        for element in [KvElement::F16, KvElement::Int8] {
            let reference = scores(&engine_of(&model, plain.clone()), element);
            for options in &others {
                assert!(
                    scores(&engine_of(&model, options.clone()), element) == reference,
                    "{model:?}, {element:?} cache: other bits with {options:?}"
                );
            }
        }
    }
}

/// Guards the test above: what should change the bits does.
#[test]
fn precision_cache_and_tokens_change_the_bits() {
    let model = tiny();
    let engine = engine_of(&model, one_thread());
    let exact = EngineOptions {
        precision: Precision::F32,
        ..one_thread()
    };
    let all = [
        scores(&engine, KvElement::F16),
        scores(&engine, KvElement::Int8),
        scores(&engine_of(&model, exact), KvElement::F16),
        scores(&engine_of(&model.clone().with_seed(2), one_thread()), KvElement::F16),
    ];
    for (i, a) in all.iter().enumerate() {
        for b in &all[..i] {
            assert!(a.iter().zip(b).all(|(a, b)| a != b));
        }
    }
}

#[test]
fn evaluating_decoding_and_reading_agree() {
    let engine = engine();
    let mut decoding = session(&engine);
    let mut evaluated = Vec::new();
    session(&engine)
        .evaluate(&tokens(), |position, logits| evaluated.push((position, bits(logits))))
        .unwrap();
    assert_eq!(evaluated.len(), TOKENS);
    for (i, ((position, evaluated), token)) in evaluated.into_iter().zip(tokens()).enumerate() {
        assert_eq!(position, i);
        assert!(bits(decoding.decode(token).unwrap()) == evaluated, "position {i}");
        assert!(fresh_logits(&engine, &tokens()[..=i]) == evaluated, "position {i}");
    }
}

#[test]
fn every_backend_gives_the_same_text() {
    let model = tiny();
    let texts: Vec<String> = Backend::available()
        .flat_map(|backend| {
            [1, 2].map(|threads| {
                let options = EngineOptions {
                    backend: Some(backend),
                    threads: Some(threads),
                    ..one_thread()
                };
                let mut session = session(&engine_of(&model, options));
                send(&mut session, "Hello", &seeded(5, 60)).text + &send(&mut session, "More", &seeded(6, 60)).text
            })
        })
        .collect();
    assert!(texts[0].len() > 60);
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:#?}");
}

#[test]
fn sessions_of_an_engine_do_not_disturb_each_other() {
    let options = EngineOptions {
        threads: Some(2),
        ..one_thread()
    };
    let engine = engine_of(&tiny(), options);
    let talk = |seed: u64| {
        let mut session = session(&engine);
        let question = format!("Question {seed}");
        [1, 2].map(|turn| send(&mut session, &question, &seeded(seed + turn, 40)).text)
    };
    let alone: Vec<_> = (0..4).map(talk).collect();
    let together: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|seed| scope.spawn(move || talk(seed))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(alone, together);
    assert_ne!(alone[0], alone[1]);
}
