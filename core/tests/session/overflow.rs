//! Conversations that outgrow their context.

use crate::common::*;
use halfpi::Error;
use halfpi::engine::{Engine, EngineError, EngineOptions};
use halfpi::session::{Answer, FinishReason, GenerateOptions, Overflow, Session, SessionOptions};
use halfpi::template::{Message, Role};
use std::ops::ControlFlow;

const CONTEXT: usize = 128;
const POLICIES: [Overflow; 3] = [Overflow::Error, Overflow::Slide, Overflow::Stop];

fn try_send(session: &mut Session, text: &str, options: &GenerateOptions) -> Result<Answer, EngineError> {
    match session.send(text, options, &mut |_: &str| ControlFlow::Continue(())) {
        Ok(answer) => Ok(answer),
        Err(Error::Engine(error)) => Err(error),
        Err(other) => panic!("{other:?}"),
    }
}

fn overflow(result: Result<Answer, EngineError>) -> (usize, usize) {
    match result {
        Err(EngineError::ContextOverflow { needed, context_length }) => (needed, context_length),
        other => panic!("{other:?}"),
    }
}

fn unlimited() -> GenerateOptions {
    GenerateOptions {
        max_tokens: None,
        ..greedy(0)
    }
}

/// What the cache holds, as text.
fn cached_text(session: &Session) -> String {
    session.engine().tokenizer().decode(session.cached_tokens(), true)
}

/// The cache and the scores are what reading the same tokens anew gives.
fn assert_like_fresh(engine: &Engine, session: &Session) {
    assert!(bits(session.logits()) == fresh_logits(engine, session.cached_tokens()));
}

#[test]
fn a_prompt_too_long_is_an_error_under_every_policy() {
    let engine = engine();
    let long = LONG.repeat(3);
    for policy in POLICIES {
        let mut session = short_session(&engine, CONTEXT, policy);
        let before = send(&mut session, "Hello", &greedy(5));
        let messages = session.messages().to_vec();
        let (needed, context_length) = overflow(try_send(&mut session, &long, &greedy(5)));
        let tokens = match policy {
            // All but the system message and the question was given up first.
            Overflow::Slide => prompt(&engine, &[messages[0].clone(), user(&long)]),
            Overflow::Error | Overflow::Stop => prompt(&engine, &[&messages[..], &[user(&long)]].concat()),
        };
        assert_eq!((needed, context_length), (tokens.len(), CONTEXT), "{policy:?}");
        assert_eq!(
            session.messages(),
            messages,
            "{policy:?}: the conversation is as before"
        );

        let mut other = short_session(&engine, CONTEXT, policy);
        assert_eq!(send(&mut other, "Hello", &greedy(5)).text, before.text);
        assert_eq!(
            send(&mut session, "Again", &greedy(5)).text,
            send(&mut other, "Again", &greedy(5)).text
        );
    }
}

#[test]
fn completing_a_text_too_long_is_an_error() {
    let engine = engine();
    for policy in POLICIES {
        let mut session = short_session(&engine, CONTEXT, policy);
        let result = session.complete(&LONG.repeat(3), &greedy(5), &mut |_: &str| ControlFlow::Continue(()));
        assert!(matches!(
            result,
            Err(Error::Engine(EngineError::ContextOverflow {
                context_length: CONTEXT,
                ..
            }))
        ));
    }
}

#[test]
fn an_answer_too_long_is_an_error() {
    let engine = engine();
    let mut session = short_session(&engine, CONTEXT, Overflow::Error);
    let messages = session.messages().to_vec();
    let mut streamed = String::new();
    let result = session.send("Hello", &unlimited(), &mut |piece: &str| {
        streamed.push_str(piece);
        ControlFlow::Continue(())
    });
    assert!(matches!(
        result,
        Err(Error::Engine(EngineError::ContextOverflow { needed, context_length: CONTEXT })) if needed == CONTEXT + 1
    ));
    assert!(streamed.len() > 20, "what came before was streamed");
    assert_eq!(session.messages(), messages);
    let fresh = send(
        &mut short_session(&engine, CONTEXT, Overflow::Error),
        "Hello",
        &greedy(20),
    );
    assert_eq!(send(&mut session, "Hello", &greedy(20)).text, fresh.text);
    assert!(streamed.starts_with(&fresh.text));
}

#[test]
fn an_answer_stops_where_the_context_is_full() {
    let engine = engine();
    let mut session = short_session(&engine, CONTEXT, Overflow::Stop);
    let answer = send(&mut session, "Hello", &unlimited());
    assert_eq!(answer.finish, FinishReason::ContextFull);
    // The last token is shown, but there is no room to read it.
    assert_eq!(answer.usage.prompt_tokens + answer.usage.generated_tokens, CONTEXT + 1);
    assert_eq!(session.cached_tokens().len(), CONTEXT);
    assert_eq!(session.messages().last(), Some(&assistant(&answer.text)));
    let mut long = short_session(&engine, 400, Overflow::Stop);
    assert!(send(&mut long, "Hello", &greedy(200)).text.starts_with(&answer.text));
    // Now the conversation itself does not fit any more.
    assert_eq!(overflow(try_send(&mut session, "More", &unlimited())).1, CONTEXT);
}

#[test]
fn a_sliding_answer_keeps_the_system_message_and_goes_on() {
    let engine = engine();
    let mut session = short_session(&engine, CONTEXT, Overflow::Slide);
    let system = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n";
    let most = 5 * CONTEXT;
    let answer = send(&mut session, "Hello", &greedy(most));
    assert_eq!(
        (answer.finish, answer.usage.generated_tokens),
        (FinishReason::MaxTokens, most)
    );
    assert!(cached_text(&session).starts_with(system), "{:?}", cached_text(&session));
    assert!(!cached_text(&session).contains("Hello"));
    assert_like_fresh(&engine, &session);

    // The same by hand.
    let mut by_hand = self::session(&engine);
    let tokens = prompt(&engine, &[session.messages()[0].clone(), user("Hello")]);
    let keep = common_prefix(
        &tokens,
        &prompt(&engine, &[session.messages()[0].clone(), user("World")]),
    );
    by_hand.prefill(&tokens, None).unwrap();
    let mut slides = 0;
    let mut ids: Vec<u32> = Vec::new();
    while ids.len() < most {
        if let Some(&last) = ids.last() {
            let cached = by_hand.cached_tokens().to_vec();
            if cached.len() == CONTEXT {
                let half = (CONTEXT - keep).div_ceil(2);
                let tokens = [&cached[..keep], &cached[keep + half..], &[last]].concat();
                by_hand.prefill(&tokens, None).unwrap();
                slides += 1;
            } else {
                by_hand.decode(last).unwrap();
            }
        }
        let best =
            by_hand.logits().iter().enumerate().fold(
                (0, f32::MIN),
                |best, (i, &score)| {
                    if score > best.1 { (i, score) } else { best }
                },
            );
        ids.push(best.0 as u32);
    }
    assert!(slides > 5);
    assert_eq!(answer.text, engine.tokenizer().decode(&ids, false));
}

/// Without this, a model that never ends its turn would talk for ever.
#[test]
fn a_sliding_answer_without_a_limit_ends() {
    let mut session = short_session(&engine(), CONTEXT, Overflow::Slide);
    let answer = send(&mut session, "Hello", &unlimited());
    assert_eq!(answer.finish, FinishReason::MaxTokens);
    assert_eq!(answer.usage.generated_tokens, CONTEXT);
}

#[test]
fn a_sliding_conversation_forgets_its_oldest_turns() {
    let engine = engine();
    let context = 320;
    let mut session = short_session(&engine, context, Overflow::Slide);
    let (mut slides, mut prompts) = (0, Vec::new());
    for turn in 0..24 {
        let question = format!("Question {turn:02}?");
        let answer = send(&mut session, &question, &greedy(24));
        let text = cached_text(&session);
        assert!(text.starts_with("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nQuestion"));
        assert!(text.contains(&question));
        assert!(answer.usage.prompt_tokens + 24 <= context);
        // A fresh session that gets the same turns says the same.
        let first = (0..=turn)
            .find(|turn| text.contains(&format!("Question {turn:02}?")))
            .unwrap();
        let messages = session.messages();
        let visible = [&messages[..1], &messages[1 + 2 * first..messages.len() - 1]].concat();
        assert_eq!(answer.usage.prompt_tokens, prompt(&engine, &visible).len());
        assert_eq!(
            answer.text,
            respond(&mut self::session(&engine), &visible, &greedy(24)).text
        );
        match prompts.last() {
            Some(&before) if answer.usage.prompt_tokens < before => {
                slides += 1;
                assert!(
                    answer.usage.prompt_tokens <= context / 2,
                    "half of the context is free again"
                );
            }
            // The last token of a prompt may melt into what follows it.
            Some(&before) => assert!(answer.usage.cached_tokens >= before - 1, "turn {turn}: read again"),
            None => {}
        }
        prompts.push(answer.usage.prompt_tokens);
    }
    assert!((2..=8).contains(&slides), "{prompts:?}");
    assert_eq!(session.messages().len(), 1 + 2 * 24, "what was said is still known");

    // The same transcript, kept by a caller, is treated alike.
    let mut caller = short_session(&engine, context, Overflow::Slide);
    let all = session.messages().to_vec();
    for (turn, &expected) in prompts.iter().enumerate() {
        let answer = respond(&mut caller, &all[..2 + 2 * turn], &greedy(24));
        assert_eq!(answer.usage.prompt_tokens, expected);
    }
}

#[test]
fn a_shorter_transcript_is_whole_again() {
    let engine = engine();
    let mut session = short_session(&engine, 256, Overflow::Slide);
    let long: Vec<Message> = (0..41)
        .map(|i| {
            if i % 2 == 0 {
                user("Why so?")
            } else {
                assistant("Because.")
            }
        })
        .collect();
    assert!(respond(&mut session, &long, &greedy(4)).usage.prompt_tokens <= 128);
    for turns in [1, 3, 5, 7] {
        let answer = respond(&mut session, &long[..turns], &greedy(4));
        assert_eq!(answer.usage.prompt_tokens, prompt(&engine, &long[..turns]).len());
    }
}

#[test]
fn the_smallest_contexts_end_too() {
    let engine = engine();
    for policy in POLICIES {
        for context in 1..=20 {
            let mut session = short_session(&engine, context, policy);
            // No chat fits, but a letter does. (One after which the model does not end its turn.)
            assert_eq!(overflow(try_send(&mut session, "a", &greedy(4))).1, context);
            let result = session.complete("f", &greedy(60), &mut |_: &str| ControlFlow::Continue(()));
            match (policy, result) {
                (Overflow::Error, Err(Error::Engine(EngineError::ContextOverflow { needed, .. }))) => {
                    assert_eq!(needed, context + 1);
                }
                (Overflow::Stop, Ok(answer)) => {
                    assert_eq!(answer.finish, FinishReason::ContextFull);
                    assert_eq!(answer.usage.generated_tokens, context);
                }
                (Overflow::Slide, Ok(answer)) => {
                    assert_eq!(answer.finish, FinishReason::MaxTokens);
                    assert_eq!(answer.usage.generated_tokens, 60);
                    assert!(session.cached_tokens().len() <= context);
                    assert_like_fresh(&engine, &session);
                }
                (_, other) => panic!("{policy:?} in {context}: {other:?}"),
            }
        }
    }
}

/// Whatever the roles and the context: an answer or an error, and the tokens fit.
#[test]
fn odd_conversations_in_small_contexts_end() {
    let engine = engine();
    let roles = [Role::System, Role::User, Role::Assistant, Role::Tool];
    let mut answers = 0;
    for policy in POLICIES {
        for context in [40, 100] {
            let mut session = short_session(&engine, context, policy);
            for pattern in 0..4u32.pow(4) {
                let count = pattern % 5;
                let messages: Vec<Message> = (0..count)
                    .map(|i| Message::new(roles[(pattern >> (2 * i)) as usize % 4], "ab".repeat(i as usize * 3)))
                    .collect();
                let result = session.respond(&messages, &greedy(2), &mut |_: &str| ControlFlow::Continue(()));
                assert!(session.cached_tokens().len() <= context);
                answers += usize::from(result.is_ok());
                if let Err(error) = result {
                    assert!(
                        matches!(error, Error::Engine(EngineError::ContextOverflow { .. })),
                        "{error:?}"
                    );
                }
            }
        }
    }
    assert!(answers > 500, "{answers}");
}

#[test]
fn impossible_context_lengths_are_refused() {
    let engine = engine();
    for context_length in [0, 513, usize::MAX] {
        let options = SessionOptions {
            context_length: Some(context_length),
            ..SessionOptions::default()
        };
        let error = engine.session(options).map(drop).unwrap_err();
        assert!(
            matches!(error, Error::Engine(EngineError::ContextLength { asked, most: 512 }) if asked == context_length),
            "{error:?}"
        );
    }
    assert_eq!(session(&engine).context_length(), 512);
}

#[test]
fn memory_that_cannot_be_had_is_an_error() {
    let mut model = tiny();
    model.config.context_length = 1 << 20;
    model.config.feed_forward_length = 1 << 18;
    let options = EngineOptions {
        prefill_chunk: usize::MAX,
        ..one_thread()
    };
    let engine = engine_of(&model, options);
    let options = SessionOptions {
        context_length: Some(1 << 20),
        ..SessionOptions::default()
    };
    match engine.session(options) {
        Err(Error::Engine(EngineError::Memory { bytes, .. })) => assert!(bytes > 1 << 40),
        Err(other) => panic!("{other:?}"),
        // Memory is only taken where it is written to, so a system may promise any amount.
        Ok(_) => println!("SKIPPED: this system promises two terabytes"),
    }
    // A session of the usual length has no need of so much.
    assert_eq!(
        send(&mut session(&engine), "Hello", &greedy(2)).usage.generated_tokens,
        2
    );
}
