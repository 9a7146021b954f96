use super::*;
use crate::pack::synthetic::SyntheticModel;
use crate::transformer::Architecture;
use std::sync::OnceLock;

const THINK: ThinkingTags = ThinkingTags {
    open: "<think>",
    close: "</think>",
};

/// A vocabulary that has none of the tags as control tokens.
fn tokenizer() -> &'static Tokenizer {
    static TOKENIZER: OnceLock<Tokenizer> = OnceLock::new();
    TOKENIZER.get_or_init(|| {
        let file = SyntheticModel::tiny(Architecture::Qwen3).to_model_file().unwrap();
        Tokenizer::from_gguf(&file.gguf().unwrap()).unwrap()
    })
}

fn channels(format: Option<ToolFormat>, thinking: bool) -> Channels {
    let parts = Parts {
        thinking: thinking.then_some(THINK),
        calls: format.map(|format| (format, vec!["weather".into(), "clock".into()])),
        is_guided: false,
        wants_thinking: false,
    };
    Channels::new(tokenizer(), parts, &[]).unwrap()
}

/// Everything that came out, by channel.
#[derive(Debug, Default, PartialEq, Clone)]
struct Said {
    text: String,
    thinking: String,
    calls: Vec<(String, String)>,
    /// Text and thinking in the order in which they came.
    all: String,
}

impl Said {
    fn take(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Text(text) => {
                assert!(!text.is_empty());
                self.text += text;
                self.all += text;
            }
            Piece::Thinking(text) => {
                assert!(!text.is_empty());
                self.thinking += text;
                self.all += text;
            }
            Piece::Call(call) => self.calls.push((call.name, call.arguments)),
        }
    }
}

fn said(text: &str, thinking: &str, calls: &[(&str, &str)]) -> Said {
    let own = |(name, arguments): &(&str, &str)| (name.to_string(), arguments.to_string());
    Said {
        text: text.into(),
        thinking: thinking.into(),
        all: format!("{thinking}{text}"),
        calls: calls.iter().map(own).collect(),
    }
}

fn run<'a>(mut channels: Channels, pieces: impl IntoIterator<Item = &'a str>, is_whole: bool) -> Said {
    let mut said = Said::default();
    for piece in pieces {
        channels.push(piece, &mut |piece| said.take(piece));
    }
    channels.finish(is_whole, &mut |piece| said.take(piece));
    said
}

/// However the text is cut, the same comes out.
#[track_caller]
fn check(format: Option<ToolFormat>, thinking: bool, text: &str, expected: &Said) {
    let fresh = || channels(format, thinking);
    assert_eq!(run(fresh(), [text], true), *expected, "{text:?} at once");
    let borders: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let chars = borders.windows(2).map(|pair| &text[pair[0]..pair[1]]);
    assert_eq!(run(fresh(), chars, true), *expected, "{text:?} by characters");
    for &cut in &borders {
        let (a, b) = text.split_at(cut);
        assert_eq!(run(fresh(), [a, b], true), *expected, "{a:?} and {b:?}");
    }
}

const ROME: &str = r#"{"city":"Rome"}"#;

#[test]
fn thinking_is_told_from_text() {
    for (text, expected) in [
        (
            "<think>\nTwo and two.\n</think>\n\nFour.",
            said("Four.", "Two and two.", &[]),
        ),
        ("\n<think>a\n\nb</think>c d \n", said("c d \n", "a\n\nb", &[])),
        ("<think>\n\n</think>\n\nFour.", said("Four.", "", &[])),
        ("<think>cut off", said("", "cut off", &[])),
        ("<think>cut off </thin", said("", "cut off </thin", &[])),
        // Only what comes first is thinking; what looks like it later is text.
        (
            " No <think> here </think>.",
            said(" No <think> here </think>.", "", &[]),
        ),
        ("<thinking>", said("<thinking>", "", &[])),
        ("<th", said("<th", "", &[])),
        ("", said("", "", &[])),
        (" \n", said(" \n", "", &[])),
    ] {
        check(None, true, text, &expected);
        check(Some(ToolFormat::Hermes), true, text, &expected);
    }
}

#[test]
fn calls_are_told_from_text() {
    let call = r#"<tool_call>
{"name": "weather", "arguments": {"city": "Rome"}}
</tool_call>"#;
    let clock = r#"<tool_call>{"name": "clock"}</tool_call>"#;
    let both: &[(&str, &str)] = &[("weather", ROME), ("clock", "{}")];
    for (text, expected) in [
        (call.to_owned(), said("", "", &both[..1])),
        (format!("I look.\n{call}\n{clock}\n"), said("I look.", "", both)),
        (format!("<think>Rome?</think>\n\n{call}"), said("", "Rome?", &both[..1])),
        (format!("<think>a</think>b {clock} c"), said("bc", "a", &both[1..])),
        // Without its end.
        ("<tool_call>{\"name\": \"clock\"}\n".into(), said("", "", &both[1..])),
        // The end of a call in an argument of one.
        (
            r#"<tool_call>{"name": "clock", "arguments": {"x": "</tool_call>"}}</tool_call>"#.into(),
            said("", "", &[("clock", r#"{"x":"</tool_call>"}"#)]),
        ),
        // No call: shown as it is.
        (
            "a <tool_call>oh</tool_call> b".into(),
            said("a<tool_call>oh</tool_call>b", "", &[]),
        ),
        ("a < b <tool".into(), said("a < b <tool", "", &[])),
        ("<tool_call>oh".into(), said("<tool_call>oh", "", &[])),
    ] {
        check(Some(ToolFormat::Hermes), true, &text, &expected);
    }
}

#[test]
fn llama_calls_without_a_mark() {
    let call = r#"{"name": "weather", "parameters": {"city": "Rome"}}"#;
    for (text, expected) in [
        (call.to_owned(), said("", "", &[("weather", ROME)])),
        (
            format!("\n{call}; {call}"),
            said("", "", &[("weather", ROME), ("weather", ROME)]),
        ),
        (format!("<|python_tag|>{call}"), said("", "", &[("weather", ROME)])),
        // Of a tool that does not exist, or JSON of another kind.
        (
            r#"{"name": "Bob", "age": 3}"#.into(),
            said(r#"{"name": "Bob", "age": 3}"#, "", &[]),
        ),
        (r#"{"city": "Rome"}"#.into(), said(r#"{"city": "Rome"}"#, "", &[])),
        (format!("It is {call}"), said(&format!("It is {call}"), "", &[])),
        (r#"{"name": "we"#.into(), said(r#"{"name": "we"#, "", &[])),
    ] {
        check(Some(ToolFormat::Llama), false, &text, &expected);
    }
}

#[test]
fn mistral_calls_to_the_end() {
    let list = r#"[{"name": "weather", "arguments": {"city": "Rome"}, "id": "abcdefghi"}, {"name": "clock"}]"#;
    let both: &[(&str, &str)] = &[("weather", ROME), ("clock", "{}")];
    check(
        Some(ToolFormat::Mistral),
        false,
        &format!("[TOOL_CALLS] {list}"),
        &said("", "", both),
    );
    check(
        Some(ToolFormat::Mistral),
        false,
        &format!("So: [TOOL_CALLS]{list}"),
        &said("So:", "", both),
    );
    let newer = r#"[TOOL_CALLS]weather[ARGS]{"city": "Rome"}"#;
    check(Some(ToolFormat::Mistral), false, newer, &said("", "", &both[..1]));
}

/// An answer that was cut within a call shows nothing of it.
#[test]
fn half_a_call_that_was_cut_is_not_shown() {
    let text = "I look. <tool_call>\n{\"name\": \"wea";
    let hermes = || channels(Some(ToolFormat::Hermes), false);
    assert_eq!(run(hermes(), [text], false), said("I look.", "", &[]));
    assert_eq!(
        run(hermes(), [text], true),
        said("I look.<tool_call>\n{\"name\": \"wea", "", &[])
    );
}

/// Text does not wait for longer than it may become a tag.
#[test]
fn text_is_shown_at_once() {
    let mut channels = channels(Some(ToolFormat::Hermes), true);
    let mut shown = Said::default();
    for (piece, text) in [
        ("Hello", "Hello"),
        (" there", "Hello there"),
        (" <", "Hello there"),
        ("tool", "Hello there"),
        ("s> \n", "Hello there <tools>"),
        ("!", "Hello there <tools> \n!"),
    ] {
        channels.push(piece, &mut |piece| shown.take(piece));
        assert_eq!(shown.text, text, "after {piece:?}");
    }
}

/// A prompt that ends within thoughts is answered with more of them.
#[test]
fn templates_may_begin_to_think() {
    let tokenizer = tokenizer();
    let parts = || Parts {
        thinking: Some(THINK),
        calls: None,
        is_guided: true,
        wants_thinking: true,
    };
    let prompt = |text| tokenizer.encode(text, crate::tokenizer::Special::Parse);
    let mut opened = Channels::new(tokenizer, parts(), &prompt("<|im_start|>assistant\n<think>\n")).unwrap();
    assert!(!opened.is_answering() && opened.thinking_token().is_none());
    let mut shown = Said::default();
    opened.push("Hm.</think> rest of a token", &mut |piece| shown.take(piece));
    // What comes with the end of the thoughts was not held to the constraint.
    assert!(opened.is_answering());
    assert_eq!(shown, said("", "Hm.", &[]));
    let closed = Channels::new(tokenizer, parts(), &prompt("<think>\n\n</think>\n\n")).unwrap();
    assert!(closed.is_answering());
}

/// Where the vocabulary has a control token for a tag, the same letters are text.
#[test]
fn control_tokens_cannot_be_spelled_out() {
    let tokenizer = tokenizer();
    let control = tokenizer.token_id("<|im_start|>").unwrap();
    assert!(tokenizer.is_special(control));
    let mut channels = channels(Some(ToolFormat::Mistral), false);
    if let Some(calls) = &mut channels.calls {
        calls.open.token = Some(control);
    }
    let mut shown = Said::default();
    let call = r#"{"name": "clock"}"#;
    channels.push(&format!("[TOOL_CALLS]{call} "), &mut |piece| shown.take(piece));
    channels.push_control(control, "[TOOL_CALLS]", &mut |piece| shown.take(piece));
    channels.push("clock", &mut |piece| shown.take(piece));
    channels.push_control(control + 1, "[ARGS]", &mut |piece| shown.take(piece));
    channels.push("{}", &mut |piece| shown.take(piece));
    channels.finish(true, &mut |piece| shown.take(piece));
    assert_eq!(shown, said(&format!("[TOOL_CALLS]{call}"), "", &[("clock", "{}")]));
}

/// Any text, cut anywhere: nothing is lost but spaces, and nothing panics.
#[test]
fn random_texts_come_out_whole() {
    let words = [
        "<think>",
        "</think>",
        "<tool_call>",
        "</tool_call>",
        "[TOOL_CALLS]",
        "<",
        "tool_call>",
        "{\"name\": ",
        "\"clock\"",
        "}",
        " ",
        "\n",
        "ß",
        "{",
        "\"",
        "<|python_tag|>",
        "thi",
        "nk>",
    ];
    let mut seed = 7u64;
    let mut random = move |below: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    for _ in 0..4000 {
        let pieces: Vec<&str> = (0..random(14)).map(|_| words[random(words.len())]).collect();
        let format = [
            None,
            Some(ToolFormat::Hermes),
            Some(ToolFormat::Llama),
            Some(ToolFormat::Mistral),
        ][random(4)];
        let once = run(channels(format, true), [pieces.concat().as_str()], true);
        assert_eq!(
            run(channels(format, true), pieces.iter().copied(), true),
            once,
            "{pieces:?} {format:?}"
        );
        if once.calls.is_empty() {
            let letters = |text: &str| {
                let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
                text.replace("<think>", "").replace("</think>", "")
            };
            assert_eq!(letters(&once.all), letters(&pieces.concat()), "{pieces:?} {format:?}");
        }
    }
}
