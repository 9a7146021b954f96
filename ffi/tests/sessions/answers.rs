use crate::common::{Ears, TestFile, Told, gated, tokens};
use halfpi_ffi::{
    ChatMessage, ChatRole, FinishReason, GenerationOptions, HalfpiError, SessionConfig, ToolCall, ToolDeclaration,
};
use std::sync::{Arc, Mutex, mpsc};

fn message(role: ChatRole, content: &str) -> ChatMessage {
    ChatMessage {
        role,
        content: content.to_owned(),
        thinking: None,
        tool_calls: Vec::new(),
    }
}

#[test]
fn an_answer_is_streamed_whole_and_ends_once() {
    let model = TestFile::tiny();
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
    assert_eq!(
        session.messages().unwrap(),
        [
            message(ChatRole::User, "Hello"),
            message(ChatRole::Assistant, &answer.text)
        ]
    );
}

#[test]
fn the_next_question_reads_only_what_is_new() {
    let model = TestFile::tiny();
    let engine = model.load();
    let config = SessionConfig {
        system: Some("Be brief.".to_owned()),
        ..SessionConfig::default()
    };
    let session = engine.session(config).unwrap();
    session.prewarm().unwrap();
    let mut cached = Vec::new();
    for question in ["Hello", "And now?"] {
        let generation = session.generate(question.to_owned(), tokens(8), Ears::new()).unwrap();
        cached.push(generation.wait().unwrap().usage.cached_tokens);
    }
    assert!(0 < cached[0] && cached[0] < cached[1], "{cached:?}");
    assert_eq!(session.messages().unwrap()[0], message(ChatRole::System, "Be brief."));
    session.reset().unwrap();
    assert_eq!(session.messages().unwrap(), [message(ChatRole::System, "Be brief.")]);
}

#[test]
fn a_conversation_of_the_callers_leaves_the_sessions_own_alone() {
    let model = TestFile::tiny();
    let engine = model.load();
    let session = engine.session(SessionConfig::default()).unwrap();
    let own = vec![message(ChatRole::User, "mine")];
    session.set_messages(own.clone()).unwrap();
    let asked = vec![message(ChatRole::User, "Hello")];
    let respond = session.respond(asked, tokens(12), Ears::new()).unwrap().wait().unwrap();
    assert_eq!(session.messages().unwrap(), own);

    let other = engine.session(SessionConfig::default()).unwrap();
    let generate = other.generate("Hello".to_owned(), tokens(12), Ears::new()).unwrap();
    assert_eq!(generate.wait().unwrap().text, respond.text);
}

#[test]
fn a_busy_session_says_so_and_goes_on() {
    let model = TestFile::tiny();
    let engine = model.load();
    let session = engine.session(SessionConfig::default()).unwrap();
    let (ears, keeper) = gated();
    let generation = session.generate("Hello".to_owned(), tokens(20), ears.clone()).unwrap();
    keeper.wait();
    let busy = HalfpiError::SessionBusy;
    let second = session.generate("No".to_owned(), tokens(20), Ears::new());
    assert_eq!(second.err(), Some(busy.clone()));
    assert_eq!(session.prewarm(), Err(busy.clone()));
    assert_eq!(session.messages(), Err(busy.clone()));
    assert_eq!(session.reset(), Err(busy));
    assert!(session.token_count("Hello".to_owned()).unwrap() > 0);
    assert!(!generation.is_finished());
    keeper.open();
    assert_ne!(generation.wait().unwrap().finish, FinishReason::Cancelled);
    assert_eq!(session.messages().unwrap().len(), 2);
}

#[test]
fn the_last_call_may_ask_the_next_question() {
    let model = TestFile::tiny();
    let engine = model.load();
    let session = engine.session(SessionConfig::default()).unwrap();
    let (sender, receiver) = mpsc::channel();
    let (asker, second) = (session.clone(), Ears::new());
    let next = second.clone();
    let first = Ears::with(move |told| {
        if let Told::Finished(_) = told {
            let generation = asker.generate("And now?".to_owned(), tokens(4), next.clone()).unwrap();
            sender.send(generation).unwrap();
        }
        Ok(())
    });
    let _first = session.generate("Hello".to_owned(), tokens(4), first).unwrap();
    let answer = receiver.recv().unwrap().wait().unwrap();
    assert_eq!(second.ends(), [Told::Finished(answer)]);
    assert_eq!(session.messages().unwrap().len(), 4);
}

#[test]
fn first_come_first_served() {
    let model = TestFile::tiny();
    let engine = model.load();
    let ends = Arc::new(Mutex::new(Vec::new()));
    let (ears, keeper) = gated();
    let session = engine.session(SessionConfig::default()).unwrap();
    let first = session.generate("Hello".to_owned(), tokens(4), ears).unwrap();
    keeper.wait();
    let queued: Vec<_> = (0..5)
        .map(|number| {
            let ends = ends.clone();
            let ears = Ears::with(move |told| {
                if let Told::Finished(_) = told {
                    ends.lock().unwrap().push(number);
                }
                Ok(())
            });
            let session = engine.session(SessionConfig::default()).unwrap();
            session.generate("Hello".to_owned(), tokens(4), ears).unwrap()
        })
        .collect();
    keeper.open();
    first.wait().unwrap();
    let answers: Vec<_> = queued
        .iter()
        .map(|generation| generation.wait().unwrap().text)
        .collect();
    assert_eq!(*ends.lock().unwrap(), [0, 1, 2, 3, 4]);
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
}

#[cfg(feature = "structured")]
#[test]
fn an_answer_follows_its_schema() {
    let model = TestFile::tiny();
    let session = model.load().session(SessionConfig::default()).unwrap();
    let options = GenerationOptions {
        json_schema: Some(r#"{"enum": ["red", "green", "blue"]}"#.to_owned()),
        ..tokens(50)
    };
    let answer = session
        .generate("A colour?".to_owned(), options, Ears::new())
        .unwrap()
        .wait()
        .unwrap();
    assert!(
        [r#""red""#, r#""green""#, r#""blue""#].contains(&answer.text.as_str()),
        "{answer:?}"
    );
    assert_eq!(answer.finish, FinishReason::EndOfTurn);
}

#[test]
fn results_of_tools_go_on_with_the_conversation() {
    // A token is a byte, mostly, and how tools are called takes some hundred.
    let model = TestFile::with_context(2048);
    let tool = ToolDeclaration {
        name: "clock".to_owned(),
        description: "Tells the time.".to_owned(),
        parameters_json_schema: r#"{"type": "object", "properties": {}}"#.to_owned(),
    };
    let config = SessionConfig {
        tools: vec![tool.clone()],
        ..SessionConfig::default()
    };
    let engine = model.load();
    let session = engine.session(config).unwrap();
    let call = ToolCall {
        name: "clock".to_owned(),
        arguments_json: "{}".to_owned(),
    };
    let calls = ChatMessage {
        thinking: Some("I need a clock.".to_owned()),
        tool_calls: vec![call],
        ..message(ChatRole::Assistant, "")
    };
    let said = vec![message(ChatRole::User, "How late is it?"), calls];
    session.set_messages(said.clone()).unwrap();
    let results = vec!["noon".to_owned()];
    let generation = session.reply_tool_results(results, tokens(4), Ears::new()).unwrap();
    let answer = generation.wait().unwrap();
    let expected = [
        message(ChatRole::Tool, "noon"),
        message(ChatRole::Assistant, &answer.text),
    ];
    assert_eq!(session.messages().unwrap(), [said, expected.to_vec()].concat());

    let broken = SessionConfig {
        tools: vec![ToolDeclaration {
            parameters_json_schema: "none".to_owned(),
            ..tool
        }],
        ..SessionConfig::default()
    };
    let error = engine.session(broken).err();
    assert!(
        matches!(&error, Some(HalfpiError::InvalidOption { name, .. }) if name == "tools"),
        "{error:?}"
    );
}
