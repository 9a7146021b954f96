use crate::common::{Ears, ModelPath, Told, tokens};
use halfpi_ffi::{ChatRole, SessionConfig};

#[test]
fn an_answer_is_streamed_whole_and_ends_once() {
    let model = ModelPath::tiny();
    let engine = model.load();
    let session = engine.session(SessionConfig::default()).unwrap();
    let ears = Ears::new();
    let generation = session.generate("Hello".to_owned(), tokens(20), ears.clone()).unwrap();
    let answer = generation.wait().unwrap();
    assert_eq!(ears.ends(), [Told::Finished(answer.clone())]);
    assert_eq!(ears.told().last(), Some(&Told::Finished(answer.clone())));
    assert_eq!(ears.text(), answer.text);
    assert!(
        generation.is_finished() && answer.usage.generated_tokens > 1,
        "{answer:?}"
    );
    let messages = session.messages().unwrap();
    let said: Vec<_> = messages
        .iter()
        .map(|message| (message.role, message.content.as_str()))
        .collect();
    assert_eq!(
        said,
        [(ChatRole::User, "Hello"), (ChatRole::Assistant, answer.text.as_str())]
    );
}
