//! Text, reasons and figures of answers.

use crate::common::*;
use halfpi::Error;
use halfpi::sampler::{SamplerError, SamplerOptions};
use halfpi::session::{FinishReason, GenerateOptions};
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::time::Duration;

#[test]
fn stop_texts_are_found_across_tokens() {
    let engine = engine();
    let mut pieces = Vec::new();
    let whole = session(&engine)
        .send("Hello", &seeded(3, 60), &mut |piece: &str| {
            pieces.push(piece.to_owned());
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(pieces.len() > 20);
    let borders: Vec<usize> = pieces
        .iter()
        .scan(0, |end, piece| {
            *end += piece.len();
            Some(*end)
        })
        .collect();
    let text = &whole.text;
    let starts: Vec<usize> = text.char_indices().map(|(start, _)| start).collect();
    let mut across = 0;
    for (i, &start) in starts.iter().enumerate().skip(3).step_by(5) {
        let Some(&end) = starts.get(i + 4) else { break };
        let stop = &text[start..end];
        let found = text.find(stop).unwrap();
        across += usize::from(
            borders
                .iter()
                .any(|&border| border > found && border < found + stop.len()),
        );
        let options = GenerateOptions {
            stop: vec!["never to be found".into(), stop.into()],
            ..seeded(3, 60)
        };
        let mut session = session(&engine);
        let answer = send(&mut session, "Hello", &options);
        assert_eq!(answer.finish, FinishReason::StopString);
        assert_eq!(answer.text, text[..found], "stop {stop:?}");
        assert_eq!(session.messages()[1], assistant(&answer.text));
    }
    assert!(across > 3, "only {across} stop texts go across tokens");
}

#[test]
fn a_stop_text_that_does_not_come_changes_nothing() {
    let engine = engine();
    let whole = send(&mut session(&engine), "Hello", &greedy(40));
    let last: String = whole
        .text
        .chars()
        .rev()
        .take(3)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect();
    // It ends with the beginning of the stop text, which is therefore held back until the end.
    let options = GenerateOptions {
        stop: vec![last + "\0\0"],
        ..greedy(40)
    };
    let answer = send(&mut session(&engine), "Hello", &options);
    assert_eq!((answer.text, answer.finish), (whole.text, FinishReason::MaxTokens));
}

#[test]
fn answers_have_as_many_tokens_as_allowed() {
    let engine = engine();
    let whole = send(&mut session(&engine), "Hello", &greedy(30));
    for most in [1, 2, 29] {
        let mut session = session(&engine);
        let answer = send(&mut session, "Hello", &greedy(most));
        assert_eq!(answer.finish, FinishReason::MaxTokens);
        assert_eq!(answer.usage.generated_tokens, most);
        assert!(whole.text.starts_with(answer.text.trim_end_matches('\u{fffd}')));
        assert_eq!(session.cached_tokens().len(), answer.usage.prompt_tokens + most - 1);
    }
}

#[test]
fn no_tokens_allowed_reads_the_prompt_only() {
    let engine = engine();
    let mut session = session(&engine);
    let answer = send(&mut session, "Hello", &greedy(0));
    assert_eq!((answer.finish, answer.text.as_str()), (FinishReason::MaxTokens, ""));
    assert_eq!(answer.usage.generated_tokens, 0);
    assert_eq!(session.messages(), [], "nothing was answered, so nothing was said");
    let tokens = prompt(&engine, &[user("Hello")]);
    assert_eq!(session.cached_tokens(), tokens);
    assert!(bits(session.logits()) == fresh_logits(&engine, &tokens));
    assert_eq!(send(&mut session, "Hello", &greedy(5)).usage.prefill_tokens, 1);
}

#[test]
fn the_model_can_end_its_turn() {
    let engine = engine();
    let tokenizer = engine.tokenizer();
    let mut session = session(&engine);
    let mut ended = 0;
    for seed in 0..60 {
        session.reset();
        let answer = send(&mut session, "Hello", &seeded(seed, 100));
        let usage = answer.usage;
        match answer.finish {
            FinishReason::EndOfTurn => {
                ended += 1;
                // The end itself is counted, neither shown nor read.
                assert!((1..=100).contains(&usage.generated_tokens));
                assert_eq!(
                    session.cached_tokens().len(),
                    usage.prompt_tokens + usage.generated_tokens - 1
                );
                let shown = &session.cached_tokens()[usage.prompt_tokens..];
                assert!(!shown.iter().any(|&id| tokenizer.is_end_of_generation(id)));
                assert_eq!(answer.text, tokenizer.decode(shown, false));
            }
            finish => assert_eq!((finish, usage.generated_tokens), (FinishReason::MaxTokens, 100)),
        }
    }
    assert!((5..60).contains(&ended), "{ended} of 60 answers ended by themselves");
}

#[test]
fn streamed_text_is_the_text_of_the_tokens_in_whole_characters() {
    let engine = engine();
    let (mut broken, mut whole) = (0, 0);
    for seed in 0..20 {
        let mut session = session(&engine);
        // Any token is as likely as another: bytes of all kinds.
        let mut options = seeded(seed, 100);
        options.sampler.temperature = 50.0;
        options.sampler.top_k = 0;
        options.sampler.top_p = 1.0;
        options.sampler.min_p = 0.0;
        let answer = send(&mut session, "Hello", &options);
        let shown = &session.cached_tokens()[answer.usage.prompt_tokens..];
        // But for the last token, which is not in the cache, unless it was the end.
        let decoded = engine.tokenizer().decode(shown, false);
        assert!(answer.text.starts_with(decoded.trim_end_matches('\u{fffd}')));
        broken += answer.text.matches('\u{fffd}').count();
        whole += answer
            .text
            .chars()
            .filter(|c| !c.is_ascii() && *c != '\u{fffd}')
            .count();
    }
    assert!(
        broken > 20 && whole > 0,
        "{broken} broken characters, {whole} whole ones"
    );
}

#[test]
fn a_seed_gives_the_same_text() {
    let engine = engine();
    let say = |options: &GenerateOptions| {
        let answer = send(&mut session(&engine), "Hello", options);
        (answer.text, answer.usage.seed)
    };
    let texts: HashSet<String> = (0..10)
        .map(|seed| {
            let (text, used) = say(&seeded(seed, 30));
            assert_eq!(used, seed);
            assert_eq!(say(&seeded(seed, 30)).0, text);
            text
        })
        .collect();
    assert!(texts.len() > 8);

    // A seed that was drawn can be had again.
    let mut options = seeded(0, 30);
    options.sampler.seed = None;
    let (text, seed) = say(&options);
    assert_eq!(say(&seeded(seed, 30)).0, text);
    assert_ne!(say(&options).1, seed);
}

#[test]
fn figures_fit_together() {
    let engine = engine();
    let mut session = session(&engine);
    for question in ["Hello", "Go on", "And?"] {
        let start = std::time::Instant::now();
        let answer = send(&mut session, question, &greedy(20));
        let (took, usage) = (start.elapsed(), answer.usage);
        assert_eq!(usage.cached_tokens + usage.prefill_tokens, usage.prompt_tokens);
        assert!(usage.prefill > Duration::ZERO && usage.prefill <= usage.time_to_first_token);
        assert!(usage.time_to_first_token + usage.decode <= took);
        let speed = usage.prefill_tokens as f64 / usage.prefill.as_secs_f64();
        assert_eq!(usage.prefill_tokens_per_second(), speed);
        let after_the_first = (usage.generated_tokens - 1) as f64;
        let speed = after_the_first / usage.decode.as_secs_f64();
        assert_eq!(usage.decode_tokens_per_second(), speed);
    }
}

#[test]
fn options_out_of_range_are_refused() {
    let engine = engine();
    let mut session = session(&engine);
    let options = GenerateOptions {
        sampler: SamplerOptions {
            temperature: f32::NAN,
            ..SamplerOptions::default()
        },
        ..greedy(5)
    };
    let result = session.send("Hello", &options, &mut |_: &str| ControlFlow::Continue(()));
    assert!(matches!(
        result,
        Err(Error::Sampler(SamplerError::OutOfRange {
            option: "temperature",
            ..
        }))
    ));
    assert_eq!((session.messages(), session.cached_tokens()), (&[][..], &[][..]));
}
