use crate::common::{Ears, TestFile, tokens};
use halfpi_ffi::{Engine, GenerationOptions, SessionConfig};
use std::sync::Barrier;
use std::thread;

/// A conversation of its own for every number.
fn conversation(engine: &Engine, number: u64) -> Vec<String> {
    let session = engine.session(SessionConfig::default()).unwrap();
    let ask = |turn| {
        let options = GenerationOptions {
            seed: Some(number),
            ..tokens(10)
        };
        let question = format!("Question {turn} of {number}");
        let ears = Ears::new();
        let answer = session
            .generate(question, options, ears.clone())
            .unwrap()
            .wait()
            .unwrap();
        assert_eq!(ears.text(), answer.text);
        answer.text
    };
    (0..3).map(ask).collect()
}

#[test]
fn twenty_sessions_at_once_say_what_they_say_one_by_one() {
    const SESSIONS: u64 = 20;
    let model = TestFile::tiny();
    let engine = model.load();
    let alone: Vec<_> = (0..SESSIONS).map(|number| conversation(&engine, number)).collect();
    let start = Barrier::new(SESSIONS as usize);
    let together: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..SESSIONS)
            .map(|number| {
                let (engine, start) = (&engine, &start);
                scope.spawn(move || {
                    start.wait();
                    conversation(engine, number)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(together, alone);
    assert_ne!(alone[0], alone[1], "the seeds make no difference");
}
