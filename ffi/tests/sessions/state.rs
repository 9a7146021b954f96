use crate::common::{Ears, TestFile, gated, tokens};
use halfpi_ffi::{HalfpiError, Session, SessionConfig};
use std::sync::Arc;

fn ask(session: &Session, question: &str) -> (String, u64) {
    let generation = session.generate(question.to_owned(), tokens(10), Ears::new()).unwrap();
    let answer = generation.wait().unwrap();
    (answer.text, answer.usage.cached_tokens)
}

fn session(model: &TestFile) -> Arc<Session> {
    model.load().session(SessionConfig::default()).unwrap()
}

#[test]
fn a_restored_conversation_goes_on_as_the_saved_one() {
    let (model, saved) = (TestFile::tiny(), TestFile::at("goes-on"));
    let first = session(&model);
    ask(&first, "Hello");
    first.save(saved.path()).unwrap();
    let expected = ask(&first, "And now?");

    let second = session(&model);
    second.restore(saved.path()).unwrap();
    assert_eq!(second.messages().unwrap().len(), 2);
    assert_eq!(ask(&second, "And now?"), expected);
    assert!(expected.1 > 0, "nothing was cached");
}

#[test]
fn a_fork_goes_its_own_way() {
    let model = TestFile::tiny();
    let trunk = session(&model);
    ask(&trunk, "Hello");
    let branch = trunk.fork().unwrap();
    let expected = ask(&trunk, "And now?");
    assert_eq!(ask(&branch, "And now?"), expected);
    branch.close();
    assert_eq!(trunk.messages().unwrap().len(), 4);
}

#[test]
fn a_file_that_is_no_saved_conversation_changes_nothing() {
    let (model, saved) = (TestFile::tiny(), TestFile::at("cut-short"));
    let here = session(&model);
    ask(&here, "Hello");
    here.save(saved.path()).unwrap();
    let bytes = std::fs::read(saved.path()).unwrap();
    std::fs::write(saved.path(), &bytes[..bytes.len() / 2]).unwrap();
    let before = here.messages().unwrap();
    for path in [saved.path(), model.path()] {
        match here.restore(path.clone()) {
            Err(HalfpiError::SavedState { path: named, .. }) => assert_eq!(named, path),
            other => panic!("{other:?}"),
        }
    }
    let missing = here.restore("/nonexistent/conversation".to_owned());
    assert!(matches!(missing, Err(HalfpiError::Io { .. })), "{missing:?}");
    assert_eq!(here.messages().unwrap(), before);
    ask(&here, "And now?");
}

#[test]
fn what_is_busy_or_closed_is_not_saved() {
    let (model, saved) = (TestFile::tiny(), TestFile::at("busy"));
    let engine = model.load();
    let session = engine.session(SessionConfig::default()).unwrap();
    let (ears, keeper) = gated();
    let generation = session.generate("Hello".to_owned(), tokens(8), ears).unwrap();
    keeper.wait();
    assert_eq!(session.save(saved.path()), Err(HalfpiError::SessionBusy));
    assert_eq!(session.restore(saved.path()), Err(HalfpiError::SessionBusy));
    assert_eq!(session.fork().err(), Some(HalfpiError::SessionBusy));
    keeper.open();
    generation.wait().unwrap();
    engine.close();
    assert_eq!(session.save(saved.path()), Err(HalfpiError::Closed));
    assert_eq!(session.restore(saved.path()), Err(HalfpiError::Closed));
    assert_eq!(session.fork().err(), Some(HalfpiError::Closed));
    assert!(!std::path::Path::new(&saved.path()).exists());
}
