//! What broken and hostile vocabularies get: an error that says where, never a panic.

use halfpi::tokenizer::{Special, Tokenizer, TokenizerError, Vocabulary};

fn bpe() -> Vocabulary<'static> {
    Vocabulary {
        model: "gpt2",
        pre: Some("gpt-2"),
        tokens: vec!["a", "b", "ab", "<end>"],
        token_types: vec![1, 1, 1, 3],
        merges: vec!["a b"],
        eos_token_id: Some(3),
        ..Vocabulary::default()
    }
}

fn spm() -> Vocabulary<'static> {
    Vocabulary {
        model: "llama",
        tokens: vec!["<unk>", "<s>", "</s>", "a"],
        token_types: vec![2, 3, 3, 1],
        scores: vec![0.0, 0.0, 0.0, -1.0],
        ..Vocabulary::default()
    }
}

#[track_caller]
fn refused(vocabulary: &Vocabulary<'_>, expected: TokenizerError) {
    let error = Tokenizer::new(vocabulary).expect_err("a refusal");
    assert_eq!(error, expected);
    assert!(error.to_string().len() < 600, "{error}");
}

#[test]
fn the_unbroken_ones_work() {
    assert_eq!(
        Tokenizer::new(&bpe()).unwrap().encode("aab<end>", Special::Parse),
        [0, 2, 3]
    );
    // No byte tokens and unknown characters in a row; the space before the text is one too.
    assert_eq!(
        Tokenizer::new(&spm()).unwrap().encode("a☃☃a", Special::Parse),
        [0, 3, 0, 3]
    );
}

#[test]
fn broken_vocabularies_are_refused() {
    let long = "x".repeat(1025);
    refused(
        &Vocabulary { model: "bert", ..bpe() },
        TokenizerError::UnsupportedModel { model: "bert".into() },
    );
    refused(
        &Vocabulary {
            pre: Some("tekken"),
            ..bpe()
        },
        TokenizerError::UnknownPreTokenizer { pre: "tekken".into() },
    );
    refused(
        &Vocabulary {
            tokens: vec![],
            ..bpe()
        },
        TokenizerError::NoTokens,
    );
    refused(
        &Vocabulary {
            token_types: vec![1],
            ..bpe()
        },
        TokenizerError::LengthMismatch {
            key: "tokenizer.ggml.token_type",
            expected: 4,
            found: 1,
        },
    );
    refused(
        &Vocabulary {
            scores: vec![0.0; 5],
            ..bpe()
        },
        TokenizerError::LengthMismatch {
            key: "tokenizer.ggml.scores",
            expected: 4,
            found: 5,
        },
    );
    refused(
        &Vocabulary {
            scores: vec![],
            ..spm()
        },
        TokenizerError::LengthMismatch {
            key: "tokenizer.ggml.scores",
            expected: 4,
            found: 0,
        },
    );
    refused(
        &Vocabulary {
            tokens: vec!["a", "b", "ab", "a"],
            ..bpe()
        },
        TokenizerError::DuplicateToken {
            text: "a".into(),
            first: 0,
            second: 3,
        },
    );
    refused(
        &Vocabulary {
            tokens: vec!["a", "b", "ab", &long],
            ..bpe()
        },
        TokenizerError::TokenTooLong {
            id: 3,
            bytes: 1025,
            max: 1024,
        },
    );
    for merge in ["ab", "", " ", "a ", " b"] {
        let merges = vec!["a b", merge];
        refused(
            &Vocabulary { merges, ..bpe() },
            TokenizerError::BadMerge {
                index: 1,
                merge: merge.into(),
            },
        );
    }
    for (merge, token) in [("a c", "c"), ("b a", "ba"), ("a b b", "b b")] {
        let merges = vec![merge];
        refused(
            &Vocabulary { merges, ..bpe() },
            TokenizerError::UnknownMergeToken {
                index: 0,
                token: token.into(),
            },
        );
    }
    refused(
        &Vocabulary {
            eos_token_id: Some(4),
            ..bpe()
        },
        TokenizerError::IdOutOfRange {
            key: "tokenizer.ggml.eos_token_id",
            id: 4,
            vocab_size: 4,
        },
    );
    refused(
        &Vocabulary {
            add_bos_token: Some(true),
            ..bpe()
        },
        TokenizerError::MissingId {
            flag: "tokenizer.ggml.add_bos_token",
            key: "tokenizer.ggml.bos_token_id",
        },
    );
    for score in [f32::NEG_INFINITY, f32::INFINITY] {
        refused(
            &Vocabulary {
                scores: vec![0.0, 0.0, 0.0, score],
                ..spm()
            },
            TokenizerError::BadScore { id: 3, score },
        );
    }
    for text in ["<0x0>", "0x00", "<0xGG>", "<0x+1>", "<0x000>"] {
        let vocabulary = Vocabulary {
            tokens: vec!["<unk>", "<s>", "</s>", text],
            token_types: vec![2, 3, 3, 6],
            ..spm()
        };
        refused(
            &vocabulary,
            TokenizerError::BadByteToken {
                id: 3,
                text: text.into(),
            },
        );
    }
    refused(
        &Vocabulary {
            model: "t5",
            unknown_token_id: Some(0),
            precompiled_charsmap: vec![8, 0, 0, 0, 1, 2, 3, 4],
            ..spm()
        },
        TokenizerError::BadCharsmap { bytes: 8 },
    );
    refused(
        &Vocabulary {
            model: "t5",
            unknown_token_id: None,
            ..spm()
        },
        TokenizerError::NoFallback,
    );
}

#[test]
fn a_score_that_is_no_number_is_refused() {
    let scores = vec![0.0, 0.0, 0.0, f32::NAN];
    let error = Tokenizer::new(&Vocabulary { scores, ..spm() }).unwrap_err();
    assert!(
        matches!(error, TokenizerError::BadScore { id: 3, score } if score.is_nan()),
        "{error}"
    );
}

/// Numbers that are finite but add up to infinity, tokens of nothing, and merges that go round in circles.
#[test]
fn hostile_vocabularies_are_harmless() {
    let scores = vec![0.0, 0.0, 0.0, f32::MAX];
    for model in ["llama", "t5"] {
        for scores in [scores.clone(), scores.iter().map(|score| -score).collect()] {
            let tokenizer = Tokenizer::new(&Vocabulary {
                model,
                scores,
                unknown_token_id: Some(0),
                ..spm()
            })
            .unwrap();
            let ids = tokenizer.encode("aaaaaaaa☃aaaa", Special::Parse);
            assert!(!ids.is_empty() && ids.iter().all(|&id| id < 4), "{model} {ids:?}");
        }
    }
    let tokens = vec!["", "a", "aa", "", "aaaa"];
    let merges = vec!["aa aa", "a a", "a a"];
    let tokenizer = Tokenizer::new(&Vocabulary {
        tokens,
        merges,
        token_types: vec![3, 1, 1, 4, 1],
        eos_token_id: None,
        ..bpe()
    })
    .unwrap();
    assert_eq!(tokenizer.encode("aaaaaaa", Special::Parse), [4, 2, 1]);
    let ids = tokenizer.encode("☃", Special::Parse);
    assert!(ids.is_empty(), "no tokens for its bytes: {ids:?}");
}
