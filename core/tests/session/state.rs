//! Conversations that are saved, taken up again, and forked.

use crate::common::*;
use halfpi::engine::{Engine, EngineError, EngineOptions};
use halfpi::session::{GenerateOptions, Overflow, Session, SessionOptions, StateError};
use halfpi::template::Message;
use halfpi::{Error, Result};
use halfpi_kernels::ops::KvElement;
use std::path::PathBuf;
use std::{env, fs, process};

fn with(engine: &Engine, context_length: usize, kv_element: KvElement) -> Session {
    let options = SessionOptions {
        context_length: Some(context_length),
        kv_element,
        system: Some("Be brief.".into()),
        ..SessionOptions::default()
    };
    engine.session(options).unwrap()
}

fn saved(session: &Session) -> Vec<u8> {
    let mut bytes = Vec::new();
    session.save_to(&mut bytes).unwrap();
    bytes
}

fn refusal(result: Result<()>) -> StateError {
    match result {
        Err(Error::SavedState { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

/// The text, what was cached, and the scores at its end.
fn next(session: &mut Session, options: &GenerateOptions) -> (String, usize, Vec<u32>) {
    let answer = send(session, "And what came then?", options);
    (answer.text, answer.usage.cached_tokens, bits(session.logits()))
}

/// A folder that goes away again.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("halfpi-state-{}-{name}", process::id()));
        fs::create_dir(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_restored_conversation_goes_on_as_if_nothing_had_been() {
    let folder = Folder::new("goes-on");
    let path = folder.0.join("chat.hpst");
    for element in [KvElement::F16, KvElement::Int8] {
        for options in [greedy(40), seeded(3, 40)] {
            let engine = engine();
            let mut session = with(&engine, 400, element);
            send(&mut session, LONG, &options);
            session.save(&path).unwrap();
            let cached = session.cached_tokens().to_vec();
            let messages = session.messages().to_vec();
            let expected = next(&mut session, &options);
            assert!(expected.1 > 50, "nothing was cached");

            // Another process would load the file again; other contexts hold the same cache.
            for context_length in [400, 512, 300] {
                let engine = self::engine();
                let mut restored = with(&engine, context_length, element);
                send(&mut restored, "Something else first.", &greedy(5));
                restored.restore(&path).unwrap();
                assert_eq!(restored.cached_tokens(), cached);
                assert_eq!(restored.messages(), messages);
                assert!(
                    next(&mut restored, &options) == expected,
                    "{element:?}, {context_length}"
                );
            }
        }
    }
    assert_eq!(
        fs::read_dir(&folder.0).unwrap().count(),
        1,
        "only the file itself is left"
    );
}

#[test]
fn a_conversation_that_slid_goes_on_from_where_it_was() {
    let engine = engine();
    let mut session = short_session(&engine, 160, Overflow::Slide);
    for turn in 0..4 {
        send(&mut session, &format!("Turn {turn}: {LONG}"), &greedy(20));
    }
    let bytes = saved(&session);
    let expected = next(&mut session, &greedy(30));
    let mut restored = short_session(&engine, 160, Overflow::Slide);
    restored.restore_from(&mut &bytes[..]).unwrap();
    assert!(next(&mut restored, &greedy(30)) == expected);
}

#[test]
fn only_what_is_used_is_saved() {
    let engine = engine();
    let mut session = with(&engine, 512, KvElement::F16);
    let empty = saved(&session).len();
    assert!(empty < 600, "{empty} bytes of nothing");
    send(&mut session, LONG, &greedy(20));
    let report = engine.memory().sessions[0];
    let text: usize = session.messages().iter().map(|message| message.content.len()).sum();
    let most = report.cached_bytes as usize + 4 * report.cached_tokens + 2 * text + 600;
    assert!((report.cached_bytes as usize..most).contains(&saved(&session).len()));
}

#[test]
fn what_was_given_back_is_not_saved() {
    let engine = engine();
    let mut session = session(&engine);
    let expected = {
        let mut session = self::session(&engine);
        send(&mut session, LONG, &greedy(20));
        next(&mut session, &greedy(20))
    };
    send(&mut session, LONG, &greedy(20));
    engine.trim(halfpi::engine::TrimLevel::Critical);
    let bytes = saved(&session);
    let mut restored = self::session(&engine);
    restored.restore_from(&mut &bytes[..]).unwrap();
    let (text, cached, scores) = next(&mut restored, &greedy(20));
    assert_eq!((text, cached), (expected.0, 0));
    assert!(scores == expected.2);
}

/// What a session is to its caller.
fn all_of(session: &Session) -> (Vec<u32>, Vec<Message>, Vec<u8>) {
    (
        session.cached_tokens().to_vec(),
        session.messages().to_vec(),
        saved(session),
    )
}

#[test]
fn states_of_others_are_refused_and_change_nothing() {
    let engine = engine();
    let mut long = with(&engine, 400, KvElement::F16);
    send(&mut long, LONG, &greedy(40));
    let state = saved(&long);

    let refused = |session: &mut Session| {
        send(session, "Hello", &greedy(5));
        let before = all_of(session);
        let error = refusal(session.restore_from(&mut &state[..]));
        assert!(all_of(session) == before, "{error}");
        error
    };
    let other_weights = engine_of(&tiny().with_seed(2), one_thread());
    let other_format = engine_of(&tiny().with_storage(storage("q8_0")), one_thread());
    for engine in [&other_weights, &other_format] {
        let error = refused(&mut with(engine, 400, KvElement::F16));
        assert!(matches!(error, StateError::OtherModel), "{error}");
    }
    // How an engine works makes no difference to what it reads.
    let options = EngineOptions {
        threads: Some(2),
        prefill_chunk: 7,
        ..EngineOptions::default()
    };
    let same = engine_of(&tiny(), options);
    with(&same, 400, KvElement::F16).restore_from(&mut &state[..]).unwrap();

    let error = refused(&mut with(&engine, 400, KvElement::Int8));
    assert!(
        matches!(&error, StateError::Element { saved, here } if saved == "F16" && here == "Int8"),
        "{error}"
    );
    let tokens = long.cached_tokens().len();
    let error = refused(&mut with(&engine, tokens - 1, KvElement::F16));
    assert!(
        matches!(error, StateError::Context { tokens: found, context_length } if found == tokens && context_length == tokens - 1),
        "{error}"
    );
    with(&engine, tokens, KvElement::F16)
        .restore_from(&mut &state[..])
        .unwrap();
}

#[test]
fn damaged_and_truncated_states_are_refused_and_change_nothing() {
    let engine = engine();
    let mut small = with(&engine, 64, KvElement::Int8);
    small.prefill(&[1, 2, 3], None).unwrap();
    let state = saved(&small);
    let mut session = with(&engine, 64, KvElement::Int8);
    session.prefill(&[4, 5, 6, 7], None).unwrap();
    let before = all_of(&session);
    let mut restore = |bytes: &[u8]| {
        let error = refusal(session.restore_from(&mut &bytes[..]));
        assert!(!error.to_string().contains(char::is_control));
        assert!(all_of(&session) == before, "{error}");
        error
    };
    for length in 0..state.len() {
        let error = restore(&state[..length]);
        match length {
            0..8 => assert!(matches!(error, StateError::NotAState), "{length}: {error}"),
            _ => assert!(matches!(error, StateError::Truncated { .. }), "{length}: {error}"),
        }
    }
    for at in 0..state.len() {
        let mut damaged = state.clone();
        damaged[at] ^= 1 << (at % 8);
        let error = restore(&damaged);
        let header = 20..20 + u32::from_le_bytes(state[12..16].try_into().unwrap()) as usize;
        let is_right = match at {
            0..8 => matches!(error, StateError::NotAState),
            8..12 => matches!(error, StateError::Version { .. }),
            12..16 => matches!(error, StateError::Checksum | StateError::Truncated { .. }),
            _ if at < header.end => matches!(error, StateError::Checksum),
            // A token may become one that does not exist, which is noticed before the checksum.
            _ => matches!(error, StateError::Checksum | StateError::Token { .. }),
        };
        assert!(is_right, "byte {at}: {error}");
    }
    assert!(matches!(restore(&[&state[..], &[0]].concat()), StateError::TooLong));
    assert!(matches!(
        restore(b"GGUF and so on, a file of another kind"),
        StateError::NotAState
    ));
}

/// With the checksums right: what only someone who means it writes.
fn forged(state: &[u8], change: impl Fn(&str) -> String) -> Vec<u8> {
    let length = u32::from_le_bytes(state[12..16].try_into().unwrap()) as usize;
    let header = change(std::str::from_utf8(&state[20..20 + length]).unwrap());
    let mut forged = [&state[..12], &(header.len() as u32).to_le_bytes()].concat();
    forged.extend(crc32fast::hash(header.as_bytes()).to_le_bytes());
    forged.extend(header.as_bytes());
    forged.extend(&state[20 + length..state.len() - 4]);
    let sum = crc32fast::hash(&forged);
    forged.extend(sum.to_le_bytes());
    forged
}

#[test]
fn forged_states_are_refused() {
    let engine = engine();
    let mut session = with(&engine, 64, KvElement::F16);
    session.prefill(&[1, 2, 3], None).unwrap();
    let state = saved(&session);
    let mut restore = |change: &dyn Fn(&str) -> String| session.restore_from(&mut &forged(&state, change)[..]);
    restore(&|header| header.to_owned()).unwrap();

    let replaced = |from: &'static str, to: &'static str| {
        move |header: &str| {
            assert!(header.contains(from), "{header}");
            header.replace(from, to)
        }
    };
    let mut with_header = |from, to| refusal(restore(&replaced(from, to)));
    for (from, to, what) in [
        ("\"layers\":2", "\"layers\":3", "layers"),
        ("\"heads\":2", "\"heads\":0", "heads"),
        (
            "\"head_dim\":16",
            "\"head_dim\":18446744073709551615",
            "channels of a head",
        ),
    ] {
        let error = with_header(from, to);
        assert!(
            matches!(error, StateError::Shape { what: named, .. } if named == what),
            "{error}"
        );
    }
    let error = with_header("\"tokens\":3", "\"tokens\":18446744073709551615");
    assert!(matches!(error, StateError::Context { .. }), "{error}");
    let error = with_header("\"tokens\":3", "\"tokens\":64");
    assert!(
        matches!(error, StateError::Token { .. } | StateError::Truncated { .. }),
        "{error}"
    );
    let error = with_header("\"tokens\":3", "\"tokens\":2");
    assert!(matches!(error, StateError::Checksum | StateError::TooLong), "{error}");
    for (from, to) in [
        ("\"tokens\":3", "\"tokens\":-1"),
        ("\"tokens\":3,", ""),
        ("\"f16\"", "\"f64\""),
        ("{\"model\"", "[[[[[[[[{\"model\""),
        ("\"role\":\"system\"", "\"role\":\"root\""),
    ] {
        let error = with_header(from, to);
        assert!(matches!(error, StateError::Header { .. }), "{error}");
    }
    let deep = |header: &str| header.replace('{', &format!("{{\"x\":{}", "[".repeat(1_000_000)));
    let error = refusal(restore(&deep));
    assert!(matches!(error, StateError::Header { .. }), "{error}");
    let escape = |header: &str| header.replace("system", &format!("\\u001b{}", "x".repeat(10_000)));
    let message = refusal(restore(&escape)).to_string();
    assert!(message.len() < 200 && !message.contains(char::is_control), "{message}");
}

/// Numbers that no pass would have written do not crash the next one.
#[test]
fn forged_keys_and_values_are_an_error_of_the_next_answer_at_most() {
    let engine = engine();
    let mut session = with(&engine, 256, KvElement::F16);
    send(&mut session, "Hello", &greedy(5));
    let state = saved(&session);
    let length = u32::from_le_bytes(state[12..16].try_into().unwrap()) as usize;
    let tokens = session.cached_tokens().len();
    for byte in [0x00, 0x7c, 0x7f, 0xff] {
        let mut forged = state.clone();
        let end = forged.len() - 4;
        forged[20 + length + 4 * tokens..end].fill(byte);
        let sum = crc32fast::hash(&forged[..end]);
        forged[end..].copy_from_slice(&sum.to_le_bytes());
        session.restore_from(&mut &forged[..]).unwrap();
        match session.send("And?", &greedy(5), &mut |_: &str| std::ops::ControlFlow::Continue(())) {
            Ok(_) | Err(Error::Engine(EngineError::NotFinite)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    session.restore_from(&mut &state[..]).unwrap();
    assert!(!send(&mut session, "And?", &greedy(5)).text.is_empty());
}

#[test]
fn files_that_cannot_be_read_or_written_are_named() {
    let folder = Folder::new("named");
    let engine = engine();
    let mut session = session(&engine);
    let nowhere = folder.0.join("none").join("chat.hpst");
    assert!(matches!(session.save(&nowhere), Err(Error::Io { .. })));
    assert!(matches!(session.restore(&nowhere), Err(Error::Io { path, .. }) if path == nowhere));
    let is_folder = session.restore(&folder.0);
    assert!(matches!(is_folder, Err(Error::SavedState { path, source: StateError::NotAState }) if path == folder.0));

    let path = folder.0.join("chat.hpst");
    fs::write(&path, "halfpi-s").unwrap();
    let message = session.restore(&path).unwrap_err().to_string();
    assert!(
        message.contains("chat.hpst") && message.contains("cut short"),
        "{message}"
    );
    // A failed save leaves what was there.
    session.save(&path).unwrap();
    let before = fs::read(&path).unwrap();
    fs::create_dir(folder.0.join("taken")).unwrap();
    assert!(session.save(folder.0.join("taken")).is_err());
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(
        fs::read_dir(&folder.0).unwrap().count(),
        2,
        "nothing half-written stays"
    );
}

#[test]
fn a_fork_goes_its_own_way() {
    let engine = engine();
    for element in [KvElement::F16, KvElement::Int8] {
        let mut session = with(&engine, 400, element);
        send(&mut session, LONG, &greedy(30));
        let mut fork = session.fork().unwrap();
        assert_eq!(fork.cached_tokens(), session.cached_tokens());
        assert_eq!(bits(fork.logits()), bits(session.logits()));
        assert_eq!(fork.context_length(), 400);
        let aside = send(&mut fork, "Quite another question", &greedy(20));
        assert!(aside.usage.cached_tokens > 50);
        let mut again = session.fork().unwrap();
        let expected = next(&mut again, &greedy(30));
        assert!(next(&mut session, &greedy(30)) == expected);
        assert_ne!(fork.messages(), session.messages());
    }
}

#[test]
fn a_fork_counts_against_the_budget() {
    let options = EngineOptions {
        memory_budget: Some(2 << 20),
        ..one_thread()
    };
    let engine = engine_of(&tiny(), options);
    let session = engine.session(SessionOptions::default()).unwrap();
    let mut forks = Vec::new();
    let refused = loop {
        match session.fork() {
            Ok(fork) => forks.push(fork),
            Err(error) => break error,
        }
        assert!(forks.len() < 100);
    };
    assert!(
        matches!(refused, Error::Engine(EngineError::MemoryBudget { .. })),
        "{refused}"
    );
    assert!(!forks.is_empty());
    forks.pop();
    session.fork().unwrap();
}
