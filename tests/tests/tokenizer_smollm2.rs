//! The ids of SmolLM2's tokenizer against Hugging Face `tokenizers`, on ordinary text and on everything nasty.
//!
//! The goldens come from `tests/reference/tokenizer_goldens.py`; the vocabulary from the file that HALFPI_TEST_MODEL
//! names.

use halfpi::gguf::Gguf;
use halfpi::tokenizer::{Special, Tokenizer};
use halfpi_tests::tokenizer::{golden, ids, strings};

fn model() -> Option<Vec<u8>> {
    let Some(path) = std::env::var_os("HALFPI_TEST_MODEL") else {
        println!("SKIPPED: set HALFPI_TEST_MODEL to SmolLM2-135M-Instruct.Q4_1.gguf to run this test");
        return None;
    };
    Some(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

#[test]
fn ids_are_those_of_the_reference() {
    let Some(model) = model() else { return };
    let tokenizer = Tokenizer::from_gguf(&Gguf::parse(&model).unwrap()).unwrap();
    let (golden, texts) = (golden("smollm2"), golden("texts"));
    let (cases, texts) = (golden["cases"].as_array().unwrap(), strings(&texts["texts"]));
    assert!(cases.len() >= 400 && cases.len() == texts.len());
    let mut wrong = Vec::new();
    for (case, text) in cases.iter().zip(texts) {
        let parsed = ids(&case["ids"]);
        let as_text = case.get("ids_as_text").map_or(parsed.clone(), ids);
        for (special, expected) in [(Special::Parse, &parsed), (Special::AsText, &as_text)] {
            let found = tokenizer.encode(text, special);
            if found != *expected {
                wrong.push(format!(
                    "{special:?} {text:?}\n  expected {expected:?}\n  found    {found:?}"
                ));
            }
        }
        let expected = case.get("decoded").map_or(text, |decoded| decoded.as_str().unwrap());
        let decoded = tokenizer.decode(&parsed, true);
        if decoded != expected {
            wrong.push(format!(
                "decode {parsed:?}\n  expected {expected:?}\n  found    {decoded:?}"
            ));
        }
        let visible: Vec<u32> = parsed.iter().copied().filter(|&id| !tokenizer.is_special(id)).collect();
        assert_eq!(tokenizer.decode(&parsed, false), tokenizer.decode(&visible, true));
    }
    assert!(
        wrong.is_empty(),
        "{} of {} differ:\n{}",
        wrong.len(),
        cases.len() * 3,
        wrong.join("\n")
    );
}

#[test]
fn metadata_is_understood() {
    let Some(model) = model() else { return };
    let tokenizer = Tokenizer::from_gguf(&Gguf::parse(&model).unwrap()).unwrap();
    assert_eq!(tokenizer.vocab_size(), 49_152);
    assert_eq!(
        (tokenizer.bos(), tokenizer.eos(), tokenizer.eot()),
        (Some(1), Some(2), Some(2))
    );
    assert_eq!((tokenizer.unknown(), tokenizer.padding()), (Some(0), Some(2)));
    assert!(!tokenizer.add_bos() && !tokenizer.add_eos());
    assert_eq!(
        tokenizer.encode_with_bos("Hi", Special::Parse),
        tokenizer.encode("Hi", Special::Parse)
    );
    let ends: Vec<u32> = (0..49_152).filter(|&id| tokenizer.is_end_of_generation(id)).collect();
    assert_eq!(ends, [0, 2], "<|endoftext|> and <|im_end|>");
    assert_eq!(
        (tokenizer.token_id("<|im_start|>"), tokenizer.token_text(1)),
        (Some(1), Some("<|im_start|>"))
    );
    assert!(tokenizer.is_special(1) && !tokenizer.is_special(500));
    let the = tokenizer.token_id("Ġthe").unwrap();
    assert_eq!(tokenizer.token_bytes(the, false), b" the");
    assert_eq!(
        (tokenizer.token_bytes(1, false), tokenizer.token_bytes(1, true)),
        (&b""[..], &b"<|im_start|>"[..])
    );
    assert_eq!(
        (tokenizer.token_text(49_152), tokenizer.token_bytes(u32::MAX, true)),
        (None, &b""[..])
    );
}

/// A megabyte without a place to cut must not take the square of a second.
#[test]
fn hostile_texts_take_linear_time() {
    let Some(model) = model() else { return };
    let tokenizer = Tokenizer::from_gguf(&Gguf::parse(&model).unwrap()).unwrap();
    let texts = [
        "a",
        "ab",
        " ",
        "\n",
        "é",
        "=",
        "\u{301}",
        "1",
        "<",
        "<|im_end|",
        "'s",
        " \n",
        "字",
    ];
    for unit in texts {
        let text = unit.repeat((1 << 20) / unit.len());
        let start = std::time::Instant::now();
        let ids = tokenizer.encode(&text, Special::Parse);
        let seconds = start.elapsed().as_secs_f64();
        println!("1 MiB of {unit:?}: {} ids in {seconds:.3} s", ids.len());
        assert_eq!(tokenizer.decode(&ids, true), text);
        // Far above what it takes, far below what a quadratic algorithm would.
        assert!(seconds < 60.0, "1 MiB of {unit:?} took {seconds} s");
    }
}
