use crate::changed::llama;
use crate::{generate, load, one_thread, refused};
use halfpi::Error::{Gguf, Model, Template, Tokenizer};
use halfpi::engine::{Engine, EngineOptions};
use halfpi::gguf::{GgufError, ModelFile};
use halfpi::model::ModelError;
use halfpi::template::{ChatTemplate, TemplateError};
use halfpi::tokenizer::TokenizerError;

const TEMPLATE: &str = "tokenizer.chat_template";

/// Without types, since those would have to change as well, and with an end of turn that is left in any case.
fn with_tokens(count: usize) -> Vec<u8> {
    let original = load(llama().bytes()).unwrap();
    let text = |id: usize| match original.tokenizer().token_text(id as u32) {
        Some(text) => text.to_owned(),
        None => format!("token {id}"),
    };
    let file = llama().set_strings("tokenizer.ggml.tokens", (0..count).map(text).collect());
    file.without("tokenizer.ggml.token_type")
        .set("tokenizer.ggml.eos_token_id", 418u32)
        .bytes()
}

#[test]
fn more_tokens_than_the_model_has() {
    assert_eq!(load(with_tokens(421)).unwrap().tokenizer().vocab_size(), 421);
    for tokens in [422, 10_000] {
        refused!(with_tokens(tokens), Model(ModelError::Vocabulary { tokens: found, rows: 421 }) if *found == tokens);
    }
}

/// Matrices are often padded. A token without a text adds nothing to the answer.
#[test]
fn fewer_tokens_than_the_model_has() {
    let engine = load(with_tokens(420)).unwrap();
    assert_eq!(
        (engine.tokenizer().vocab_size(), engine.config().vocab_size),
        (420, 421)
    );
    generate(&engine).unwrap();
}

#[test]
fn no_tokenizer() {
    for key in ["tokenizer.ggml.model", "tokenizer.ggml.tokens"] {
        refused!(
            llama().without(key).bytes(),
            Tokenizer(TokenizerError::Gguf(GgufError::MissingKey { key: named })) if named == key
        );
    }
    let other = llama().set("tokenizer.ggml.model", "bert").bytes();
    refused!(other, Tokenizer(TokenizerError::UnsupportedModel { .. }));
    let nowhere = llama().set("tokenizer.ggml.eos_token_id", 421u32).bytes();
    refused!(nowhere, Tokenizer(TokenizerError::IdOutOfRange { id: 421, .. }));
}

#[test]
fn templates() {
    let broken = llama().set(TEMPLATE, "{% for %}").bytes();
    refused!(&broken, Template(TemplateError::Syntax { line: 1, .. }));
    // The error says: supply another one.
    let options = EngineOptions {
        chat_template: Some(ChatTemplate::chatml()),
        ..one_thread()
    };
    let engine = Engine::load(ModelFile::from_bytes(broken).unwrap(), options).unwrap();
    generate(&engine).unwrap();

    refused!(llama().set(TEMPLATE, 7u32).bytes(), Gguf(GgufError::WrongType { .. }));
    let none = load(llama().without(TEMPLATE).bytes()).unwrap();
    assert_eq!(none.template().source(), ChatTemplate::chatml().source());

    for (endless, is_expected) in [
        (
            "{% for a in range(2000) %}{% for b in range(2000) %}{% endfor %}{% endfor %}",
            (|error| matches!(error, TemplateError::TooExpensive { .. })) as fn(&TemplateError) -> bool,
        ),
        ("{{ 'a' * 1000000000 }}", |error| {
            matches!(error, TemplateError::TooLarge { .. })
        }),
        ("{{ raise_exception('no') }}", |error| {
            matches!(error, TemplateError::Refused { .. })
        }),
    ] {
        let engine = load(llama().set(TEMPLATE, endless).bytes()).unwrap();
        let Err(Template(error)) = generate(&engine) else {
            panic!("{endless} must fail");
        };
        assert!(is_expected(&error), "{error:?}");
    }
}
