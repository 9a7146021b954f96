//! Restores any bytes as a saved conversation, as they are and with checksums made right. What is refused changes nothing;
//! what is taken up can be gone on with, or is refused then as numbers that no model computes.
#![no_main]

use halfpi::Error;
use halfpi::engine::EngineError;
use halfpi::session::Session;
use halfpi_tests::state::{repaired, sessions};
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;

thread_local! {
    static SESSIONS: RefCell<Vec<Session>> =
        RefCell::new(sessions().unwrap().into_iter().map(|(_, session)| session).collect());
}

fuzz_target!(|bytes: &[u8]| {
    SESSIONS.with_borrow_mut(|sessions| {
        for session in sessions {
            restore(session, bytes);
            if let Some(bytes) = repaired(bytes) {
                restore(session, &bytes);
            }
        }
    });
});

fn restore(session: &mut Session, bytes: &[u8]) {
    let before = (session.cached_tokens().to_vec(), session.messages().to_vec());
    if let Err(error) = session.restore_from(&mut &bytes[..]) {
        assert!(!error.to_string().contains(char::is_control));
        assert!(before == (session.cached_tokens().to_vec(), session.messages().to_vec()));
        return;
    }
    let mut saved = Vec::new();
    session.save_to(&mut saved).unwrap();
    assert!(saved.len() <= 2 * bytes.len() + 1024, "more came out than went in");
    session.restore_from(&mut &saved[..]).unwrap();
    if session.cached_tokens().len() < session.context_length() {
        match session.decode(1) {
            Ok(_) | Err(Error::Engine(EngineError::NotFinite)) => {}
            Err(other) => panic!("{other}"),
        }
    }
}
