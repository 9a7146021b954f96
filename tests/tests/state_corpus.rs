//! What the fuzzer of saved conversations starts from is what sessions write.

use halfpi_tests::corpus::Corpus;
use halfpi_tests::state::{corpus_directory, repaired, seeds, sessions};

#[test]
fn corpus_is_what_sessions_write() {
    Corpus::new(corpus_directory(), seeds().unwrap())
        .assert_committed("if sessions are meant to write other files, count the version up");
}

#[test]
fn the_corpus_is_taken_up_by_its_session_and_no_other() {
    let mut sessions = sessions().unwrap();
    for (name, bytes) in seeds().unwrap() {
        assert_eq!(repaired(&bytes).as_ref(), Some(&bytes));
        for (element, session) in &mut sessions {
            let restored = session.restore_from(&mut &bytes[..]);
            assert_eq!(restored.is_ok(), name.starts_with(*element), "{name}: {restored:?}");
        }
    }
}

/// What the fuzzer does for longer: bytes are changed, cut out and repeated, and the checksums made right again.
#[test]
fn changed_states_are_refused_or_can_be_gone_on_with() {
    let mut sessions = sessions().unwrap();
    let mut random = 0x9e37_79b9_u32;
    let mut below = |limit: usize| {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        random as usize % limit.max(1)
    };
    let (mut taken_up, mut refused) = (0, 0);
    for (name, seed) in seeds().unwrap() {
        for _ in 0..2000 {
            let mut bytes = seed.clone();
            for _ in 0..1 + below(3) {
                let at = below(bytes.len());
                let end = at + below(bytes.len() - at).min(8);
                match below(4) {
                    0 => bytes.truncate(at),
                    1 => bytes.extend_from_within(at..end),
                    2 => drop(bytes.drain(at..end)),
                    _ => bytes[at..end].fill(below(256) as u8),
                }
            }
            let Some(bytes) = repaired(&bytes) else { continue };
            for (_, session) in &mut sessions {
                match session.restore_from(&mut &bytes[..]) {
                    Err(error) => {
                        refused += 1;
                        assert!(!error.to_string().contains(char::is_control), "{error:?}");
                    }
                    Ok(()) => {
                        taken_up += 1;
                        assert!(session.cached_tokens().len() <= 64);
                        if session.cached_tokens().len() < 64 {
                            // Finite, or an error.
                            let scores = session
                                .decode(1)
                                .map(|scores| scores.iter().all(|score| score.is_finite()));
                            assert!(scores.unwrap_or(true), "{name}");
                        }
                    }
                }
            }
        }
    }
    println!("{taken_up} taken up, {refused} refused");
    assert!(
        taken_up > 500 && refused > 5000,
        "{taken_up} taken up, {refused} refused"
    );
}
