//! Answers that are stopped from outside.

use crate::common::*;
use halfpi::engine::{Engine, EngineOptions};
use halfpi::session::{CancelToken, FinishReason, GenerateOptions, Overflow, Session};
use std::ops::ControlFlow;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

fn with_cancel(max_tokens: usize) -> (CancelToken, GenerateOptions) {
    let cancel = CancelToken::new();
    let options = GenerateOptions {
        cancel: Some(cancel.clone()),
        ..greedy(max_tokens)
    };
    (cancel, options)
}

/// The session answers as one would that was never cancelled.
fn assert_usable(engine: &Engine, session: &mut Session) {
    let messages = [session.messages(), &[user("Still there?")]].concat();
    let fresh = respond(&mut self::session(engine), &messages, &greedy(20));
    let answer = send(session, "Still there?", &greedy(20));
    assert_eq!(answer.text, fresh.text);
    assert!(bits(session.logits()) == fresh_logits(engine, session.cached_tokens()));
}

#[test]
fn the_listener_can_break_off() {
    let engine = engine();
    let whole = send(&mut session(&engine), "Hello", &greedy(40));
    for breaks_at in [1, 2, 9] {
        let mut session = session(&engine);
        let mut pieces = Vec::new();
        let answer = session.send("Hello", &greedy(40), &mut |piece| {
            pieces.push(piece.to_owned());
            match pieces.len() == breaks_at {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        let answer = answer.unwrap();
        assert_eq!(answer.finish, FinishReason::Cancelled);
        assert_eq!(pieces.len(), breaks_at, "the listener was called after it broke off");
        assert_eq!(answer.text, pieces.concat());
        assert!(whole.text.starts_with(&answer.text) && answer.text.len() < whole.text.len());
        assert!(answer.usage.generated_tokens < 40);
        assert_eq!(session.messages(), [user("Hello"), assistant(&answer.text)]);
        assert_usable(&engine, &mut session);
    }
}

/// Text is held back while it may become a stop text; a listener that broke off does not get it.
#[test]
fn a_listener_that_broke_off_gets_nothing_that_was_held_back() {
    let engine = engine();
    let whole = send(&mut session(&engine), "Hello", &greedy(40)).text;
    let start = whole.char_indices().nth(whole.chars().count() / 2).unwrap().0;
    // Begins in the middle of the answer, and then never ends.
    let stop = whole[start..].to_owned() + "and no more";
    let options = GenerateOptions {
        stop: vec![stop],
        ..greedy(30)
    };
    let mut calls = 0;
    let answer = session(&engine).send("Hello", &options, &mut |_| {
        calls += 1;
        ControlFlow::Break(())
    });
    assert_eq!((calls, answer.unwrap().finish), (1, FinishReason::Cancelled));
}

#[test]
fn cancelled_before_it_began() {
    let engine = engine();
    let mut session = session(&engine);
    send(&mut session, "Hello", &greedy(5));
    let (messages, cached) = (session.messages().to_vec(), session.cached_tokens().to_vec());
    let (cancel, options) = with_cancel(10);
    cancel.cancel();
    assert!(cancel.is_cancelled());
    let answer = send(&mut session, "Go on", &options);
    assert_eq!((answer.finish, answer.text.as_str()), (FinishReason::Cancelled, ""));
    let usage = answer.usage;
    assert_eq!((usage.prefill_tokens, usage.generated_tokens), (0, 0));
    assert!(usage.cached_tokens > 0 && usage.cached_tokens < usage.prompt_tokens);
    assert_eq!(
        (usage.time_to_first_token, usage.decode),
        (Duration::ZERO, Duration::ZERO)
    );
    assert_eq!(
        session.messages(),
        messages,
        "nothing was answered, so nothing was said"
    );
    assert_eq!(session.cached_tokens(), &cached[..usage.cached_tokens]);
    assert_usable(&engine, &mut session);
}

#[test]
fn cancelled_by_another_thread_while_it_reads() {
    let options = EngineOptions {
        prefill_chunk: 1,
        ..one_thread()
    };
    let engine = engine_of(&tiny(), options);
    let question = LONG.repeat(4);
    // How far reading gets until the other thread has its turn is chance, so it is tried several times.
    let mut read = Vec::new();
    for attempt in 0..200 {
        let mut session = session(&engine);
        let (cancel, options) = with_cancel(10);
        let answer = thread::scope(|scope| {
            scope.spawn(move || {
                thread::sleep(Duration::from_micros(100 * attempt));
                cancel.cancel();
            });
            send(&mut session, &question, &options)
        });
        let usage = answer.usage;
        assert_eq!(usage.cached_tokens, 0);
        if usage.prefill_tokens == usage.prompt_tokens {
            // Cancelled too late.
            continue;
        }
        assert_eq!(answer.finish, FinishReason::Cancelled);
        assert_eq!(usage.generated_tokens, 0);
        assert_eq!(session.cached_tokens().len(), usage.prefill_tokens);
        assert_eq!(session.messages(), []);
        read.push(usage.prefill_tokens);
        if usage.prefill_tokens > 0 {
            // What was read is not read again.
            let again = send(&mut session, &question, &greedy(10));
            assert_eq!(again.usage.cached_tokens, usage.prefill_tokens);
            let fresh = send(&mut self::session(&engine), &question, &greedy(10));
            assert_eq!(again.text, fresh.text);
            return;
        }
    }
    panic!("never cancelled in the middle of the prompt: {read:?}");
}

#[test]
fn cancelled_by_another_thread_while_it_speaks() {
    let engine = engine();
    let mut session = session(&engine);
    let (cancel, options) = with_cancel(100);
    let (ask, asked) = mpsc::channel();
    let (done, is_done) = mpsc::channel();
    let mut pieces = 0;
    let answer = thread::scope(|scope| {
        scope.spawn(move || {
            asked.recv().unwrap();
            cancel.cancel();
            done.send(()).unwrap();
        });
        session.send("Hello", &options, &mut |_| {
            pieces += 1;
            if pieces == 5 {
                ask.send(()).unwrap();
                is_done.recv().unwrap();
            }
            ControlFlow::Continue(())
        })
    });
    let answer = answer.unwrap();
    assert_eq!(
        (answer.finish, pieces),
        (FinishReason::Cancelled, 5),
        "it stops within one token"
    );
    assert!(answer.usage.generated_tokens < 20);
    assert_usable(&engine, &mut session);
}

#[test]
fn cancelled_while_the_context_slides() {
    let engine = engine();
    let (cancel, options) = with_cancel(1000);
    let mut session = short_session(&engine, 64, Overflow::Slide);
    let mut answered = 0;
    let answer = session.send("Hello", &options, &mut |_| {
        answered += 1;
        if answered == 150 {
            cancel.cancel();
        }
        ControlFlow::Continue(())
    });
    let answer = answer.unwrap();
    assert_eq!(answer.finish, FinishReason::Cancelled);
    assert!(answer.usage.generated_tokens >= 150);
    assert!(bits(session.logits()) == fresh_logits(&engine, session.cached_tokens()));
}
