//! Encodes any text and decodes any ids with a vocabulary of each family, or with one made of the input itself.
//!
//! The first byte chooses the vocabulary; the rest is the text, and its bytes in pairs are the ids. A vocabulary of its
//! own is pieces separated by NUL: tokens, merges, token types and scores, with the text as the last.
#![no_main]

use std::sync::LazyLock;

use halfpi::tokenizer::{Special, Tokenizer, Vocabulary};
use halfpi_tests::tokenizer::{VOCABULARIES, golden, vocabulary};
use libfuzzer_sys::fuzz_target;

static TOKENIZERS: LazyLock<Vec<(&str, Tokenizer)>> = LazyLock::new(|| {
    let build = |name| (name, Tokenizer::new(&vocabulary(&golden(name))).expect(name));
    VOCABULARIES.into_iter().map(build).collect()
});

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, rest)) = bytes.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(rest);
    match TOKENIZERS.get(usize::from(choice)) {
        Some((name, tokenizer)) => {
            round_trips(name, tokenizer, &text);
            decodes(tokenizer, rest);
        }
        None => any_vocabulary(choice, &text),
    }
});

fn encodes(tokenizer: &Tokenizer, text: &str, special: Special) -> Vec<u32> {
    let ids = tokenizer.encode(text, special);
    assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
    ids
}

fn round_trips(name: &str, tokenizer: &Tokenizer, text: &str) {
    let parsed = encodes(tokenizer, text, Special::Parse);
    let as_text = encodes(tokenizer, text, Special::AsText);
    assert!(
        as_text
            .iter()
            .all(|&id| !tokenizer.is_special(id) || Some(id) == tokenizer.unknown())
    );
    if name.starts_with("bpe_") {
        assert_eq!(tokenizer.decode(&parsed, true), text);
        assert_eq!(tokenizer.decode(&as_text, false), text);
    } else if !name.ends_with("squeezed")
        && !name.ends_with("normalized")
        && as_text.iter().all(|&id| !tokenizer.is_special(id))
    {
        assert_eq!(tokenizer.decode(&as_text, false), text.replace('▁', " "));
    }
}

/// Streamed text is what the bytes of the tokens are together.
fn decodes(tokenizer: &Tokenizer, bytes: &[u8]) {
    let ids: Vec<u32> = bytes
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |id, &b| id << 8 | u32::from(b)))
        .collect();
    let whole: Vec<u8> = ids
        .iter()
        .flat_map(|&id| tokenizer.token_bytes(id, true))
        .copied()
        .collect();
    let whole = String::from_utf8_lossy(&whole);
    let decoded = tokenizer.decode(&ids, true);
    assert!(
        decoded == whole || Some(decoded.as_str()) == whole.strip_prefix(' '),
        "{decoded:?} is not {whole:?}"
    );
}

fn any_vocabulary(choice: u8, input: &str) {
    let mut pieces = input.splitn(5, '\0');
    let mut piece = || pieces.next().unwrap_or_default();
    let (tokens, merges, types, scores, text) = (piece(), piece(), piece(), piece(), piece());
    let tokens: Vec<&str> = tokens.split('\n').collect();
    let some_id = |id: u8| Some(u32::from(id)).filter(|_| choice & 0x40 != 0);
    let vocabulary = Vocabulary {
        model: ["gpt2", "llama", "t5", ""][usize::from(choice & 3)],
        pre: [Some("smollm"), Some("llama-bpe"), Some("?"), None][usize::from(choice >> 2 & 3)],
        // Cut or repeated to the length they must have, so that most inputs get further than that check.
        scores: tokens
            .iter()
            .zip(scores.bytes().cycle())
            .map(|(_, b)| f32::from(b as i8) * 1e37)
            .collect(),
        token_types: tokens
            .iter()
            .zip(types.bytes().cycle())
            .map(|(_, b)| i32::from(b & 7))
            .collect(),
        merges: merges.split('\n').filter(|merge| !merge.is_empty()).collect(),
        unknown_token_id: some_id(0),
        bos_token_id: some_id(1),
        eos_token_id: some_id(choice),
        // Zeros are needed often and cannot be written, as they separate the pieces.
        precompiled_charsmap: scores.bytes().map(|b| b ^ 1).filter(|_| choice & 4 != 0).collect(),
        add_space_prefix: Some(choice & 0x10 != 0),
        remove_extra_whitespaces: choice & 0x20 != 0,
        tokens,
        ..Vocabulary::default()
    };
    match Tokenizer::new(&vocabulary) {
        Ok(tokenizer) => {
            let ids = encodes(&tokenizer, text, Special::Parse);
            encodes(&tokenizer, text, Special::AsText);
            tokenizer.decode(&ids, true);
            decodes(&tokenizer, text.as_bytes());
        }
        Err(error) => assert!(!error.to_string().contains(char::is_control)),
    }
}
