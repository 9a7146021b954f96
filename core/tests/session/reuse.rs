//! What was read is not read again, and nobody can tell.

use crate::common::*;
use halfpi::engine::EngineOptions;
use halfpi::session::{Overflow, SessionOptions};
use halfpi::template::{ChatTemplate, Message, Role};
use halfpi::tokenizer::Special;
use std::ops::ControlFlow;

#[test]
fn a_second_turn_reads_only_what_is_new() {
    let engine = engine();
    let mut session = session(&engine);
    let first = send(&mut session, "Who are you?", &greedy(20));
    assert_eq!((first.usage.cached_tokens, first.usage.generated_tokens), (0, 20));
    assert_eq!(
        first.usage.prompt_tokens,
        prompt(&engine, &[user("Who are you?")]).len()
    );
    assert_eq!(first.usage.prefill_tokens, first.usage.prompt_tokens);
    // The last token of an answer is not read until something follows it.
    let cached = session.cached_tokens().to_vec();
    assert_eq!(cached.len(), first.usage.prompt_tokens + 19);

    let conversation = [user("Who are you?"), assistant(&first.text), user("And then?")];
    let tokens = prompt(&engine, &conversation);
    let second = send(&mut session, "And then?", &greedy(20));
    assert_eq!(second.usage.prompt_tokens, tokens.len());
    assert_eq!(second.usage.cached_tokens, common_prefix(&cached, &tokens));
    assert!(second.usage.cached_tokens >= first.usage.prompt_tokens);
    assert_eq!(second.usage.prefill_tokens, tokens.len() - second.usage.cached_tokens);

    let mut fresh = self::session(&engine);
    let again = respond(&mut fresh, &conversation, &greedy(20));
    assert_eq!((again.text, again.usage.cached_tokens), (second.text.clone(), 0));
    assert!(bits(session.logits()) == bits(fresh.logits()));
    let expected = [&conversation[..], &[assistant(&second.text)]].concat();
    assert_eq!(session.messages(), expected);
}

#[test]
fn logits_after_reuse_are_those_of_a_fresh_session() {
    let engine = engine();
    let mut session = session(&engine);
    let mut seen = 0;
    for (i, length) in [50, 120, 70, 70, 10, 200, 199, 1].into_iter().enumerate() {
        // Prompts that share beginnings of various lengths.
        let tokens: Vec<u32> = (0..length)
            .map(|k| if k < 40 + 7 * i { k as u32 } else { 100 + i as u32 })
            .collect();
        let before = session.cached_tokens().to_vec();
        let cached = session.prefill(&tokens, None).unwrap().unwrap();
        assert_eq!(cached, common_prefix(&before, &tokens).min(length - 1));
        assert_eq!(session.cached_tokens(), tokens);
        assert!(bits(session.logits()) == fresh_logits(&engine, &tokens), "prompt {i}");
        seen += cached;
    }
    assert!(seen > 200);
}

#[test]
fn a_transcript_kept_by_the_caller_finds_its_longest_prefix() {
    let engine = engine();
    let mut session = session(&engine);
    let system = Message::new(Role::System, "Be kind.");
    let first = [system.clone(), user("One?")];
    let longer = [system.clone(), user("One?"), assistant("Yes."), user("Two?")];
    let edited = [system.clone(), user("One?"), assistant("No."), user("Two?")];
    let other = [user("One?")];
    for messages in [&first[..], &longer, &edited, &longer, &other, &first] {
        let tokens = prompt(&engine, messages);
        let expected = common_prefix(session.cached_tokens(), &tokens).min(tokens.len() - 1);
        let answer = respond(&mut session, messages, &greedy(8));
        assert_eq!(answer.usage.cached_tokens, expected);
        assert_eq!(
            answer.text,
            respond(&mut self::session(&engine), messages, &greedy(8)).text
        );
        assert_eq!(session.messages(), [], "the session's own conversation is another one");
    }
}

#[test]
fn completing_continues_the_text() {
    let engine = engine();
    let text = "Once upon a time";
    let ids = engine.tokenizer().encode(text, Special::Parse);

    // By hand: the likeliest token each time.
    let mut by_hand = session(&engine);
    by_hand.prefill(&ids, None).unwrap();
    let mut chosen: Vec<u32> = Vec::new();
    while chosen.len() < 30 {
        let best = by_hand
            .logits()
            .iter()
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(b.1))
            .unwrap();
        let best = best.0 as u32;
        chosen.push(best);
        by_hand.decode(best).unwrap();
    }
    assert!(
        !chosen.iter().any(|&id| engine.tokenizer().is_end_of_generation(id)),
        "choose another seed"
    );

    let mut session = session(&engine);
    let answer = session
        .complete(text, &greedy(30), &mut |_: &str| ControlFlow::Continue(()))
        .unwrap();
    assert_eq!(answer.text, engine.tokenizer().decode(&chosen, false));
    assert_eq!(answer.usage.prompt_tokens, ids.len());
    assert_eq!(session.cached_tokens(), [&ids[..], &chosen[..29]].concat());
    assert_eq!(session.messages(), []);

    // The same again is all cached but for the last token, whose scores are wanted.
    let again = session
        .complete(text, &greedy(30), &mut |_: &str| ControlFlow::Continue(()))
        .unwrap();
    assert_eq!((again.text, again.usage.cached_tokens), (answer.text, ids.len() - 1));
}

#[test]
fn prewarming_leaves_less_to_read() {
    let engine = engine();
    let warm = |messages: Vec<Message>| {
        let options = SessionOptions {
            system: Some("You are a friendly assistant that answers in few words.".into()),
            ..SessionOptions::default()
        };
        let answers = [false, true].map(|prewarms| {
            let mut session = engine.session(options.clone()).unwrap();
            session.set_messages([session.messages(), &messages[..]].concat());
            if prewarms {
                session.prewarm().unwrap();
                let said = engine.template().render(session.messages(), false).unwrap();
                let said = engine.tokenizer().encode(&said, Special::Parse);
                assert_eq!(
                    session.cached_tokens()[..said.len()],
                    said,
                    "all that was said is cached"
                );
            }
            let before = session.cached_tokens().len();
            let answer = send(&mut session, "Hello", &greedy(10));
            assert_eq!(answer.usage.cached_tokens, before);
            answer
        });
        let [cold, warm] = answers;
        assert_eq!(cold.text, warm.text);
        assert_eq!(
            warm.usage.prefill_tokens,
            cold.usage.prompt_tokens - warm.usage.cached_tokens
        );
        warm.usage.cached_tokens
    };
    let system = warm(vec![]);
    assert!(warm(vec![user("One?"), assistant("Yes.")]) > system && system > 20);
}

/// SmolLM2's template, for one, has a system message of its own.
#[test]
fn prewarming_knows_the_templates_own_system_message() {
    let source = "{% if messages[0].role != 'system' %}[system] Be good. {% endif %}\
        {% for message in messages %}[{{ message.role }}] {{ message.content }} {% endfor %}[assistant]";
    let options = EngineOptions {
        chat_template: Some(ChatTemplate::new(source, "", "").unwrap()),
        ..one_thread()
    };
    let engine = engine_of(&tiny(), options);
    let mut session = session(&engine);
    session.prewarm().unwrap();
    let cached = engine.tokenizer().decode(session.cached_tokens(), true);
    assert!(cached.starts_with("[system] Be good. [user]"), "{cached:?}");
    let answer = send(&mut session, "Hello", &greedy(3));
    assert!(answer.usage.cached_tokens > "[system] Be good. [user]".len() / 4);
}

#[test]
fn prewarming_with_too_much_does_nothing() {
    let mut session = short_session(&engine(), 16, Overflow::Error);
    session.prewarm().unwrap();
    assert!(session.cached_tokens().is_empty());
}

#[test]
fn tokens_are_counted_as_they_are_encoded() {
    let engine = engine();
    let session = session(&engine);
    for (text, count) in [("", 0), ("a", 1), ("<|im_start|>", 1), ("<|im_start|><|im_end|>ab", 4)] {
        assert_eq!(session.token_count(text), count, "{text:?}");
    }
}

#[test]
fn resetting_keeps_the_system_message_and_what_is_cached_of_it() {
    let engine = engine();
    let mut session = short_session(&engine, 256, Overflow::Error);
    let first = send(&mut session, "Hello", &greedy(10));
    session.reset();
    assert_eq!(session.messages(), [Message::new(Role::System, "Be brief.")]);
    let again = send(&mut session, "Hello", &greedy(10));
    assert_eq!(again.text, first.text);
    assert_eq!(again.usage.prefill_tokens, 1);
}
