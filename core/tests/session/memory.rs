//! What sessions take, and what is given back.

use crate::common::*;
use halfpi::engine::{Engine, TrimLevel};
use halfpi::session::{Session, SessionOptions};
use halfpi_kernels::ops::KvElement;
use std::ops::ControlFlow;

fn int8(engine: &Engine) -> Session {
    let options = SessionOptions {
        kv_element: KvElement::Int8,
        ..SessionOptions::default()
    };
    engine.session(options).unwrap()
}

#[test]
fn a_report_counts_every_session() {
    let engine = engine();
    assert!(engine.memory().sessions.is_empty());
    let (mut first, second) = (session(&engine), int8(&engine));
    send(&mut first, "Hello", &greedy(10));
    let report = engine.memory();
    let [a, b] = report.sessions[..] else {
        panic!("{report:?}");
    };
    assert_eq!(a.cached_tokens, first.cached_tokens().len());
    let positions = first.cached_tokens().len();
    // 2 layers of 2 heads of 16 channels, 2 bytes each; keys come in tiles.
    let bytes = 2 * 2 * 16 * 2 * (positions.next_multiple_of(16) + positions);
    assert_eq!(a.cached_bytes, bytes as u64);
    assert_eq!((b.cached_tokens, b.cached_bytes), (0, 0));
    assert!(a.bytes > first.kv_bytes() as u64 && b.bytes < a.bytes);
    assert_eq!(report.sessions_bytes(), a.bytes + b.bytes);
    assert!(!a.is_busy && !b.is_busy);
    if cfg!(target_os = "linux") {
        assert!(report.resident_bytes.unwrap() > 1 << 20);
    }

    let mut busy = None;
    let mut listener = |_: &str| {
        busy.get_or_insert_with(|| engine.memory().sessions[0].is_busy);
        ControlFlow::Continue(())
    };
    first.send("And now?", &greedy(5), &mut listener).unwrap();
    assert_eq!(busy, Some(true));
    drop(first);
    assert_eq!(engine.memory().sessions.len(), 1);
    drop(second);
    assert_eq!(engine.memory().sessions_bytes(), 0);
}

/// Two turns, with something between them: texts, and how much of the second prompt was cached.
fn two_turns(mut session: Session, between: impl FnOnce(&mut Session)) -> ([String; 2], usize) {
    let first = send(&mut session, LONG, &greedy(30));
    between(&mut session);
    let second = send(&mut session, "Go on.", &greedy(30));
    ([first.text, second.text], second.usage.cached_tokens)
}

#[test]
fn trimming_changes_no_answer() {
    let engine = engine();
    for make in [session, int8] {
        let (texts, cached) = two_turns(make(&engine), |_| ());
        assert!(cached > 50);
        let moderate = two_turns(make(&engine), |_| engine.trim(TrimLevel::Moderate));
        assert_eq!(moderate, (texts.clone(), cached));
        let critical = two_turns(make(&engine), |session| {
            assert!(!session.cached_tokens().is_empty());
            engine.trim(TrimLevel::Critical);
            assert!(session.cached_tokens().is_empty());
            assert_eq!(session.messages().len(), 2, "the text stays");
            assert!(engine.memory().sessions.iter().all(|session| session.cached_bytes == 0));
        });
        assert_eq!(critical, (texts, 0));
    }
}

/// The first turn is long, the second much shorter: what is left of the first is not in use.
#[test]
fn what_was_forgotten_is_given_back_and_nothing_else() {
    let engine = engine();
    let mut session = session(&engine);
    send(&mut session, &LONG.repeat(3), &greedy(30));
    session.reset();
    let first = send(&mut session, "Hi", &greedy(10));
    let cached = session.cached_tokens().to_vec();
    engine.trim(TrimLevel::Moderate);
    assert_eq!(session.cached_tokens(), cached);
    let next = session.decode(7).map(bits).unwrap();
    assert!(
        next == fresh_logits(&engine, &[&cached[..], &[7]].concat()),
        "{first:?}"
    );
}

#[test]
fn an_answer_keeps_its_cache() {
    let engine = engine();
    let whole = send(&mut session(&engine), LONG, &greedy(40));
    for level in [TrimLevel::Moderate, TrimLevel::Critical] {
        let mut session = session(&engine);
        let mut listener = |_: &str| {
            engine.trim(level);
            assert!(engine.memory().sessions[0].cached_tokens > 0);
            ControlFlow::Continue(())
        };
        let answer = session.send(LONG, &greedy(40), &mut listener).unwrap();
        assert_eq!(answer.text, whole.text);
    }
}

#[test]
fn callers_who_choose_tokens_need_not_know() {
    let engine = engine();
    let tokens: Vec<u32> = (1..60).collect();
    let mut session = session(&engine);
    session.prefill(&tokens, None).unwrap();
    engine.trim(TrimLevel::Critical);
    let found = bits(session.decode(60).unwrap());
    assert!(found == fresh_logits(&engine, &(1..61).collect::<Vec<_>>()));
    assert_eq!(session.cached_tokens().len(), 60);
}
