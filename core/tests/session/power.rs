//! Threads, pause and low power, changed while sessions answer.

use crate::common::*;
use halfpi::engine::{Engine, EngineOptions, PowerMode};
use halfpi::session::{CancelToken, FinishReason, GenerateOptions};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

fn engine_with(threads: usize) -> Engine {
    let options = EngineOptions {
        threads: Some(threads),
        ..one_thread()
    };
    engine_of(&tiny(), options)
}

#[test]
fn the_number_of_threads_can_change_during_an_answer() {
    let whole = send(&mut session(&engine()), LONG, &greedy(60));
    let engine = engine_with(4);
    assert_eq!(engine.threads(), 4);
    let mut pieces = 0;
    let answer = session(&engine).send(LONG, &greedy(60), &mut |_: &str| {
        pieces += 1;
        engine.set_threads(pieces % 6);
        assert_eq!(engine.threads(), (pieces % 6).clamp(1, 4));
        if pieces % 7 == 0 {
            engine.set_power_mode(if pieces % 2 == 0 {
                PowerMode::Full
            } else {
                PowerMode::Reduced
            });
        }
        engine.set_power_mode(PowerMode::Full);
        ControlFlow::Continue(())
    });
    assert_eq!(answer.unwrap().text, whole.text);
    assert!(pieces > 10);
}

#[test]
fn low_power_halves_the_threads() {
    let engine = engine_with(3);
    for (threads, reduced) in [(3, 2), (2, 1), (1, 1)] {
        engine.set_threads(threads);
        engine.set_power_mode(PowerMode::Reduced);
        assert_eq!((engine.threads(), engine.power_mode()), (reduced, PowerMode::Reduced));
        engine.set_power_mode(PowerMode::Full);
        assert_eq!(engine.threads(), threads);
    }
}

/// Until `done`, at most a minute.
fn wait_until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_paused_engine_says_nothing_and_goes_on_where_it_was() {
    let whole = send(&mut session(&engine()), LONG, &greedy(60));
    let engine = engine_with(2);
    let pieces = AtomicUsize::new(0);
    let (paused, is_paused) = mpsc::channel();
    let text = thread::scope(|scope| {
        let answering = scope.spawn(|| {
            let answer = session(&engine).send(LONG, &greedy(60), &mut |_: &str| {
                if pieces.fetch_add(1, SeqCst) == 5 {
                    engine.set_power_mode(PowerMode::Paused);
                    paused.send(()).unwrap();
                }
                ControlFlow::Continue(())
            });
            answer.unwrap().text
        });
        is_paused.recv().unwrap();
        thread::sleep(Duration::from_millis(200));
        assert_eq!(pieces.load(SeqCst), 6, "it went on");
        assert!(engine.memory().sessions[0].is_busy);
        engine.set_power_mode(PowerMode::Full);
        answering.join().unwrap()
    });
    assert_eq!(text, whole.text);
}

#[test]
fn a_paused_answer_can_be_cancelled() {
    let engine = engine();
    engine.set_power_mode(PowerMode::Paused);
    let cancel = CancelToken::new();
    let options = GenerateOptions {
        cancel: Some(cancel.clone()),
        ..greedy(20)
    };
    thread::scope(|scope| {
        let answering = scope.spawn(|| session(&engine).send(LONG, &options, &mut |_: &str| ControlFlow::Continue(())));
        wait_until("it does not begin", || {
            engine.memory().sessions.first().is_some_and(|session| session.is_busy)
        });
        thread::sleep(Duration::from_millis(100));
        assert!(!answering.is_finished());
        cancel.cancel();
        wait_until("it cannot be cancelled", || answering.is_finished());
        let answer = answering.join().unwrap().unwrap();
        assert_eq!(answer.finish, FinishReason::Cancelled);
        assert_eq!((answer.usage.prefill_tokens, answer.usage.generated_tokens), (0, 0));
    });
}

#[test]
fn twenty_sessions_at_once_say_what_they_say_one_by_one() {
    let engine = engine_with(3);
    let question = |i: usize, turn: usize| format!("{} Question {i}, turn {turn}?", &LONG[..i * 4 % 60]);
    let talk = |i: usize| -> Vec<String> {
        let mut session = session(&engine);
        let turns = (0..3).map(|turn| send(&mut session, &question(i, turn), &seeded(i as u64, 15 + i)).text);
        turns.collect()
    };
    let alone: Vec<_> = (0..20).map(talk).collect();
    let together = thread::scope(|scope| {
        let talking: Vec<_> = (0..20).map(|i| scope.spawn(move || talk(i))).collect();
        talking
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect::<Vec<_>>()
    });
    assert!(alone == together);
    let distinct: std::collections::HashSet<_> = alone.iter().collect();
    assert_eq!(distinct.len(), 20, "they all say the same");
}
