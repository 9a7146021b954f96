//! Tokenizers of every family, on small vocabularies that need no download.

use halfpi::gguf::Gguf;
use halfpi::tokenizer::{Special, Tokenizer, Vocabulary};
use halfpi_tests::tokenizer::{VOCABULARIES, golden, ids, strings, vocabulary};

/// Trained and encoded by `tests/reference/tokenizer_goldens.py` with Hugging Face `tokenizers`.
#[test]
fn byte_level_ids_are_those_of_the_reference() {
    let texts = golden("texts");
    for name in VOCABULARIES.iter().filter(|name| name.starts_with("bpe_")) {
        let golden = golden(name);
        let tokenizer = Tokenizer::new(&vocabulary(&golden)).unwrap();
        let texts = [strings(&texts["texts"]), strings(&golden["more_texts"])].concat();
        for (special, key) in [(Special::Parse, "ids"), (Special::AsText, "ids_as_text")] {
            let expected = golden[key].as_array().unwrap();
            assert_eq!(expected.len(), texts.len());
            for (text, expected) in texts.iter().zip(expected) {
                let found = tokenizer.encode(text, special);
                assert_eq!(found, ids(expected), "{name} {special:?} {text:?}");
                assert_eq!(tokenizer.decode(&found, true), *text, "{name} {special:?}");
            }
        }
    }
}

/// Trained and encoded by `tests/reference/sentencepiece_goldens.py` with SentencePiece.
#[test]
fn sentencepiece_ids_are_those_of_the_reference() {
    let texts = golden("texts");
    let texts = strings(&texts["texts"]);
    for name in VOCABULARIES.iter().filter(|name| name.starts_with("spm_")) {
        let golden = golden(name);
        let vocabulary = vocabulary(&golden);
        let tokenizer = Tokenizer::new(&vocabulary).unwrap();
        let expected = golden["ids"].as_array().unwrap();
        assert_eq!(expected.len(), texts.len());
        for (text, expected) in texts.iter().zip(expected) {
            // SentencePiece finds the tokens that users define after writing ▁ for spaces, so that a ▁ of the text
            // counts as a space; Hugging Face, and halfpi, look for them in the text as it is.
            if *name == "spm_gemma" && text.contains("▁▁") {
                continue;
            }
            let found = tokenizer.encode(text, Special::AsText);
            assert_eq!(found, ids(expected), "{name} {text:?}");
            let unknown = found.contains(&tokenizer.unknown().unwrap());
            if !unknown && !vocabulary.remove_extra_whitespaces {
                // A ▁ cannot be told from a space afterwards.
                assert_eq!(tokenizer.decode(&found, false), text.replace('▁', " "), "{name}");
            }
        }
    }
}

#[test]
fn metadata_is_read_from_a_file() {
    let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/golden/models/llama-f32.gguf")).unwrap();
    let tokenizer = Tokenizer::from_gguf(&Gguf::parse(&bytes).unwrap()).unwrap();
    assert_eq!(
        (tokenizer.bos(), tokenizer.eos(), tokenizer.eot()),
        (Some(1), Some(2), Some(2))
    );
    assert!(!tokenizer.add_bos() && tokenizer.is_end_of_generation(0) && tokenizer.is_end_of_generation(2));
    let id = |text| tokenizer.token_id(text).unwrap();
    let expected = [1, id("Ġthe"), id("Ġs"), id("e"), id("a"), 2];
    assert_eq!(
        tokenizer.encode("<|im_start|> the sea<|im_end|>", Special::Parse),
        expected
    );
    assert_eq!(tokenizer.decode(&expected, false), " the sea");
}

/// A vocabulary in the manner of Llama 2, with a chat format in control tokens.
fn llama2() -> Tokenizer {
    let words = [
        "<unk>", "<s>", "</s>", "[INST]", "▁", "a", "▁a", "b", "ab", "<", "/", "s", ">", "</", "s>",
    ];
    let bytes: Vec<String> = (0..=255).map(|byte| format!("<0x{byte:02X}>")).collect();
    let tokens: Vec<&str> = words.into_iter().chain(bytes.iter().map(String::as_str)).collect();
    let types = [2, 3, 3, 3].into_iter().chain([1; 11]).chain([6; 256]);
    Tokenizer::new(&Vocabulary {
        model: "llama",
        scores: (0..tokens.len()).map(|id| -(id as f32)).collect(),
        token_types: types.collect(),
        tokens,
        ..Vocabulary::default()
    })
    .unwrap()
}

#[test]
fn sentencepiece_handles_control_tokens_bytes_and_the_space_before() {
    let tokenizer = llama2();
    let byte = |byte: u8| 15 + u32::from(byte);
    // The ids that every Llama 2 file means, though this one names none.
    assert_eq!(
        (tokenizer.bos(), tokenizer.eos(), tokenizer.unknown()),
        (Some(1), Some(2), Some(0))
    );
    assert!(tokenizer.add_bos() && tokenizer.is_end_of_generation(2));
    assert_eq!(tokenizer.encode_with_bos("a", Special::Parse), [1, 6]);
    assert_eq!(tokenizer.encode_with_bos("", Special::Parse), [1]);
    // Each text after a control token gets its space, as in llama.cpp.
    assert_eq!(tokenizer.encode("a[INST]ab</s>", Special::Parse), [6, 3, 6, 7, 2]);
    // What people write stays text, even where merges would make the control token.
    assert_eq!(tokenizer.encode("</s>", Special::AsText), [4, 13, 14]);
    assert_eq!(
        tokenizer.encode("\n☃", Special::AsText),
        [4, byte(10), byte(0xe2), byte(0x98), byte(0x83)]
    );
    assert_eq!(
        tokenizer.decode(&tokenizer.encode("a\n☃ b", Special::AsText), false),
        "a\n☃ b"
    );
    assert_eq!(tokenizer.decode(&[1, 6, 3, 7], true), "<s> a[INST]b");
    assert_eq!(tokenizer.decode(&[1, 6, 3, 7], false), "ab");
}

/// What comes out of a model is any sequence of tokens: pieces of characters must wait, broken ones become U+FFFD.
#[test]
fn streaming_gives_out_whole_characters_only() {
    let tokenizer = llama2();
    let byte = |byte: u8| 15 + u32::from(byte);
    let steps = |bytes: &[u8]| -> Vec<String> {
        let mut decoder = tokenizer.decoder();
        let mut step = |id: Option<u32>| {
            let mut out = String::new();
            match id {
                Some(id) => decoder.push(&tokenizer, id, &mut out),
                None => decoder.finish(&mut out),
            }
            out
        };
        bytes
            .iter()
            .map(|&b| Some(byte(b)))
            .chain([None])
            .map(&mut step)
            .collect()
    };
    assert_eq!(steps("é😀".as_bytes()), ["", "é", "", "", "", "😀", ""]);
    assert_eq!(steps(b"\xf0\x9f\x98"), ["", "", "", "\u{fffd}"]);
    assert_eq!(steps(b"\xf0\x9fa"), ["", "", "\u{fffd}a", ""]);
    assert_eq!(steps(b"\xc3\xc3\xa9"), ["", "\u{fffd}", "é", ""]);
    assert_eq!(steps(b"\x80\xff"), ["\u{fffd}", "\u{fffd}", ""]);
    assert_eq!(
        steps(b"\xed\xa0\x80"),
        ["", "\u{fffd}\u{fffd}", "\u{fffd}", ""],
        "a surrogate"
    );

    // Any bytes, in any pieces, come out as the standard library reads them.
    let mut state = 1u32;
    for _ in 0..2000 {
        let bytes: Vec<u8> = (0..9)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                [0xe2, 0x98, 0x83, 0xf0, 0x9f, 0x80, b'a', 0xff][(state >> 24) as usize & 7]
            })
            .collect();
        assert_eq!(steps(&bytes).concat(), String::from_utf8_lossy(&bytes), "{bytes:x?}");
    }
}

#[test]
fn ids_outside_the_vocabulary_are_no_text() {
    let tokenizer = llama2();
    let outside = tokenizer.vocab_size() as u32;
    assert_eq!(tokenizer.decode(&[outside, 6, u32::MAX], true), "a");
    assert_eq!(
        (tokenizer.token_text(outside), tokenizer.token_bytes(outside, true)),
        (None, &b""[..])
    );
    assert!(!tokenizer.is_special(outside) && !tokenizer.is_end_of_generation(outside));
}
