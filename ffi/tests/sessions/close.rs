use crate::common::{Ears, TestFile, Told, gated, tokens};
use halfpi_ffi::{FinishReason, HalfpiError, PowerMode, SessionConfig, TrimLevel};
use std::sync::{Arc, Mutex};
use std::thread;

fn assert_cancelled(ears: &Ears) {
    match &ears.ends()[..] {
        [Told::Finished(answer)] => assert_eq!(answer.finish, FinishReason::Cancelled),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_closed_session_refuses_and_its_engine_goes_on() {
    let model = TestFile::tiny();
    let engine = model.load();
    let session = engine.session(SessionConfig::default()).unwrap();
    session.close();
    session.close();
    let closed = HalfpiError::Closed;
    let refused = session.generate("Hello".to_owned(), tokens(4), Ears::new());
    assert_eq!(refused.err(), Some(closed.clone()));
    assert_eq!(session.prewarm(), Err(closed.clone()));
    assert_eq!(session.messages(), Err(closed.clone()));
    assert_eq!(session.set_messages(Vec::new()), Err(closed.clone()));
    assert_eq!(session.reset(), Err(closed.clone()));
    assert_eq!(session.token_count("Hello".to_owned()), Err(closed));
    assert_eq!(session.context_length(), 512);

    let other = engine.session(SessionConfig::default()).unwrap();
    let generation = other.generate("Hello".to_owned(), tokens(4), Ears::new()).unwrap();
    generation.wait().unwrap();
}

#[test]
fn a_closed_engine_closes_its_sessions() {
    let model = TestFile::tiny();
    let engine = model.load();
    let session = engine.session(SessionConfig::default()).unwrap();
    engine.close();
    engine.close();
    let closed = HalfpiError::Closed;
    assert_eq!(engine.session(SessionConfig::default()).err(), Some(closed.clone()));
    assert_eq!(engine.token_count("Hello".to_owned()), Err(closed.clone()));
    let refused = session.generate("Hello".to_owned(), tokens(4), Ears::new());
    assert_eq!(refused.err(), Some(closed.clone()));
    assert_eq!(session.messages(), Err(closed));
    assert_eq!(engine.memory(), Err(HalfpiError::Closed));
    assert_eq!(engine.set_threads(1), Err(HalfpiError::Closed));
    // What a system's warning calls does nothing, and what was known before is known still.
    engine.trim(TrimLevel::Critical);
    engine.set_power_mode(PowerMode::Paused);
    assert_eq!((engine.threads(), engine.info().layers), (0, 2));
}

#[test]
fn closing_cancels_and_waits_for_the_last_call() {
    let model = TestFile::tiny();
    let engine = model.load();
    let (ears, keeper) = gated();
    let session = engine.session(SessionConfig::default()).unwrap();
    let generation = session.generate("Hello".to_owned(), tokens(200), ears.clone()).unwrap();
    keeper.wait();
    let second = Ears::new();
    let other = engine.session(SessionConfig::default()).unwrap();
    let queued = other.generate("Hello".to_owned(), tokens(200), second.clone()).unwrap();
    thread::scope(|scope| {
        let closers: Vec<_> = (0..3).map(|_| scope.spawn(|| engine.close())).collect();
        let session = scope.spawn(|| session.close());
        // Closed for newcomers at once, though the answer is still at the gate.
        while engine.token_count("Hello".to_owned()).is_ok() {
            thread::yield_now();
        }
        assert!(closers.iter().all(|closer| !closer.is_finished()) && !session.is_finished());
        keeper.open();
    });
    assert!(generation.is_finished() && queued.is_finished());
    assert_cancelled(&ears);
    assert_cancelled(&second);
}

/// A paused answer would wait for ever.
#[test]
fn closing_ends_what_is_paused() {
    let model = TestFile::tiny();
    let engine = model.load();
    let (ears, keeper) = gated();
    let session = engine.session(SessionConfig::default()).unwrap();
    let generation = session.generate("Hello".to_owned(), tokens(200), ears.clone()).unwrap();
    keeper.wait();
    engine.set_power_mode(PowerMode::Paused);
    keeper.open();
    assert!(!generation.is_finished());
    session.close();
    assert_cancelled(&ears);

    let config = SessionConfig {
        system: Some("Be brief.".to_owned()),
        ..SessionConfig::default()
    };
    let other = engine.session(config).unwrap();
    thread::scope(|scope| {
        let prewarm = scope.spawn(|| other.prewarm());
        while other.messages() != Err(HalfpiError::SessionBusy) {
            thread::yield_now();
        }
        other.close();
        assert_eq!(prewarm.join().unwrap(), Err(HalfpiError::Closed));
    });
    engine.close();
}

#[test]
fn a_listener_may_close_everything() {
    let model = TestFile::tiny();
    let engine = model.load();
    let session = engine.session(SessionConfig::default()).unwrap();
    let held = Arc::new(Mutex::new(Some((engine.clone(), session.clone()))));
    let ears = Ears::with(move |told| {
        if matches!(told, Told::Text(_))
            && let Some((engine, session)) = held.lock().unwrap().take()
        {
            session.close();
            engine.close();
        }
        Ok(())
    });
    let generation = session.generate("Hello".to_owned(), tokens(200), ears.clone()).unwrap();
    assert_eq!(generation.wait().unwrap().finish, FinishReason::Cancelled);
    assert_cancelled(&ears);
    assert_eq!(session.messages(), Err(HalfpiError::Closed));
    assert_eq!(
        engine.session(SessionConfig::default()).err(),
        Some(HalfpiError::Closed)
    );
}

/// The listener holds the last references: all is dropped on the engine's own thread, which must not wait for itself.
#[test]
fn the_last_reference_may_be_a_listeners() {
    let model = TestFile::tiny();
    let engine = model.load();
    let session = engine.session(SessionConfig::default()).unwrap();
    let held = Mutex::new(Some((engine.clone(), session.clone())));
    let ears = Ears::with(move |told| {
        if matches!(told, Told::Finished(_)) {
            drop(held.lock().unwrap().take());
        }
        Ok(())
    });
    let generation = session.generate("Hello".to_owned(), tokens(4), ears).unwrap();
    drop((engine, session));
    assert_eq!(generation.wait().unwrap().finish, FinishReason::MaxTokens);
}

#[test]
fn sessions_keep_their_engine() {
    let model = TestFile::tiny();
    let session = model.load().session(SessionConfig::default()).unwrap();
    let generation = session.generate("Hello".to_owned(), tokens(4), Ears::new()).unwrap();
    drop(session);
    assert_eq!(generation.wait().unwrap().finish, FinishReason::MaxTokens);
}
