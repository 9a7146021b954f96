//! Answers that are stopped from outside.

use crate::common::*;
use halfpi::engine::Engine;
use halfpi::session::{CancelToken, FinishReason, GenerateOptions, Overflow, Session, SessionOptions};
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
        let answer = session.send("Hello", &greedy(40), &mut |piece: &str| {
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
    let mut pieces = Vec::new();
    session(&engine)
        .send("Hello", &greedy(40), &mut |piece: &str| {
            pieces.push(piece.to_owned());
            ControlFlow::Continue(())
        })
        .unwrap();
    // A stop text that begins with the end of a piece and then does not come: the rest of the piece is shown alone.
    let (index, piece) = (pieces.iter().enumerate())
        .find(|(i, piece)| piece.len() > 1 && piece.is_ascii() && !pieces[..*i].concat().contains(&piece[1..]))
        .unwrap();
    let options = GenerateOptions {
        stop: vec![piece[1..].to_owned() + "\0\0\0"],
        ..greedy(40)
    };
    let expected = pieces[..index].concat() + &piece[..1];
    let mut shown = String::new();
    let answer = session(&engine).send("Hello", &options, &mut |piece: &str| {
        assert!(shown.len() < expected.len(), "{piece:?} after the end");
        shown.push_str(piece);
        match shown.len() == expected.len() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    let answer = answer.unwrap();
    assert_eq!((answer.text, answer.finish), (expected, FinishReason::Cancelled));
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
    // Reading all of the question takes many seconds.
    let mut model = tiny();
    model.config.context_length = 1 << 15;
    let engine = engine_of(&model, one_thread());
    let question = LONG.repeat(500);
    let options = SessionOptions {
        context_length: Some(1 << 15),
        ..SessionOptions::default()
    };
    // On a busy machine the other thread may have its turn before anything was read: then later.
    for wait in [10, 40, 160, 640, 2560] {
        let mut session = engine.session(options.clone()).unwrap();
        let (cancel, options) = with_cancel(10);
        let answer = thread::scope(|scope| {
            scope.spawn(move || {
                thread::sleep(Duration::from_millis(wait));
                cancel.cancel();
            });
            send(&mut session, &question, &options)
        });
        let usage = answer.usage;
        assert_eq!(answer.finish, FinishReason::Cancelled);
        assert_eq!((usage.cached_tokens, usage.generated_tokens), (0, 0));
        assert!(usage.prefill_tokens < usage.prompt_tokens);
        assert!(usage.prefill_tokens.is_multiple_of(16), "it stops between two chunks");
        let tokens = prompt(&engine, &[user(&question)]);
        assert_eq!(session.cached_tokens(), &tokens[..usage.prefill_tokens]);
        assert_eq!(session.messages(), []);
        if usage.prefill_tokens > 0 {
            // What was read is not read again.
            let more = &tokens[..usage.prefill_tokens + 1];
            assert_eq!(session.prefill(more, None).unwrap(), Some(usage.prefill_tokens));
            assert_usable(&engine, &mut session);
            return;
        }
    }
    panic!("never cancelled in the middle of the prompt");
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
        session.send("Hello", &options, &mut |_: &str| {
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
    let answer = session.send("Hello", &options, &mut |_: &str| {
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
