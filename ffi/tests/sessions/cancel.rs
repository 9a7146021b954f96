use crate::common::{Ears, TestFile, Told, gated, tokens};
use halfpi_ffi::{FinishReason, Generation, SessionConfig};
use std::sync::{Arc, OnceLock};

#[test]
fn a_cancelled_answer_ends_within_a_token() {
    let model = TestFile::tiny();
    let engine = model.load();
    let session = engine.session(SessionConfig::default()).unwrap();
    let (ears, keeper) = gated();
    let generation = session.generate("Hello".to_owned(), tokens(200), ears.clone()).unwrap();
    keeper.wait();
    generation.cancel();
    keeper.open();
    let answer = generation.wait().unwrap();
    assert_eq!(answer.finish, FinishReason::Cancelled);
    // The first piece, and perhaps the beginning of a character that waited for its end.
    assert!(ears.told().len() <= 3, "{:?}", ears.told());
    assert_eq!(ears.text(), answer.text);
    assert_eq!(ears.ends(), [Told::Finished(answer)]);

    let again = session.generate("Again".to_owned(), tokens(4), Ears::new()).unwrap();
    assert_eq!(again.wait().unwrap().usage.generated_tokens, 4);
}

#[test]
fn dropping_the_generation_cancels() {
    let model = TestFile::tiny();
    let engine = model.load();
    let session = engine.session(SessionConfig::default()).unwrap();
    let (ears, keeper) = gated();
    let generation = session.generate("Hello".to_owned(), tokens(200), ears.clone()).unwrap();
    keeper.wait();
    drop(generation);
    keeper.open();
    // Waits for the last call.
    session.close();
    match &ears.ends()[..] {
        [Told::Finished(answer)] => assert_eq!(answer.finish, FinishReason::Cancelled),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_listener_may_cancel_its_own_answer() {
    let model = TestFile::tiny();
    let engine = model.load();
    let session = engine.session(SessionConfig::default()).unwrap();
    let own: Arc<OnceLock<Arc<Generation>>> = Arc::default();
    let (gate, keeper) = crate::common::Gate::new();
    let inside = own.clone();
    let ears = Ears::with(move |told| {
        if matches!(told, Told::Text(_)) {
            gate.pass();
            inside.get().unwrap().cancel();
        }
        Ok(())
    });
    let generation = session.generate("Hello".to_owned(), tokens(200), ears).unwrap();
    keeper.wait();
    assert!(own.set(generation.clone()).is_ok());
    keeper.open();
    assert_eq!(generation.wait().unwrap().finish, FinishReason::Cancelled);
}

#[test]
fn what_is_still_queued_can_be_cancelled() {
    let model = TestFile::tiny();
    let engine = model.load();
    let (ears, keeper) = gated();
    let first = engine.session(SessionConfig::default()).unwrap();
    let running = first.generate("Hello".to_owned(), tokens(8), ears).unwrap();
    keeper.wait();
    let second = engine.session(SessionConfig::default()).unwrap();
    let waiting = Ears::new();
    let queued = second.generate("Hello".to_owned(), tokens(8), waiting.clone()).unwrap();
    queued.cancel();
    keeper.open();
    assert_eq!(running.wait().unwrap().finish, FinishReason::MaxTokens);
    let answer = queued.wait().unwrap();
    assert_eq!((answer.finish, answer.text.as_str()), (FinishReason::Cancelled, ""));
    assert_eq!(answer.usage.prefill_tokens, 0);
    assert_eq!(waiting.told(), [Told::Finished(answer)]);
    assert!(second.messages().unwrap().is_empty());
}
