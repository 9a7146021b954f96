//! Tokenizers of the hub become those of GGUF files.

use super::*;

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

#[test]
fn pre_tokenizers_are_told_by_their_parts() {
    let byte_level = |use_regex| json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": use_regex});
    let split = |regex| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
    let sequence = |parts: &[serde_json::Value]| json!({"type": "Sequence", "pretokenizers": parts});
    let digits = json!({"type": "Digits", "individual_digits": true});
    let mut checkpoint = Checkpoint::new(&SyntheticModel::tiny(Architecture::Llama));
    for (pre_tokenizer, name) in [
        (byte_level(true), "gpt-2"),
        (json!({"type": "ByteLevel", "add_prefix_space": false}), "gpt-2"),
        (sequence(&[digits.clone(), byte_level(true)]), "smollm"),
        (sequence(&[split(LLAMA3), byte_level(false)]), "llama-bpe"),
        (sequence(&[split(QWEN2), byte_level(false)]), "qwen2"),
    ] {
        checkpoint.tokenizer["pre_tokenizer"] = pre_tokenizer;
        let file = import(&checkpoint, Format::Q8);
        assert_eq!(file.gguf().unwrap().str("tokenizer.ggml.pre").unwrap(), name);
    }
    for pre_tokenizer in [
        json!(null),
        byte_level(false),
        json!({"type": "ByteLevel", "add_prefix_space": true}),
        sequence(&[split("\\w+"), byte_level(false)]),
        sequence(&[split(LLAMA3), byte_level(true)]),
        sequence(&[]),
        json!({"type": "Whitespace"}),
    ] {
        checkpoint.tokenizer["pre_tokenizer"] = pre_tokenizer.clone();
        let error = refuse(&checkpoint).to_string();
        assert!(
            error.contains("tokenizer.json") && error.contains("smollm, gpt-2, llama-bpe and qwen2"),
            "{error}"
        );
    }
}

#[test]
fn special_tokens_come_from_wherever_they_are_written() {
    let mut checkpoint = Checkpoint::new(&SyntheticModel::tiny(Architecture::Llama));
    let metadata = |checkpoint: &Checkpoint| {
        let file = import(checkpoint, Format::Q8);
        let gguf = file.gguf().unwrap();
        let id = |key: &str| gguf.opt_u32(&format!("tokenizer.ggml.{key}_token_id")).unwrap();
        let add = |key: &str| gguf.bool(&format!("tokenizer.ggml.add_{key}_token")).unwrap();
        let template = gguf.opt_str("tokenizer.chat_template").unwrap().map(str::to_owned);
        (id("bos"), id("eos"), id("eot"), add("bos"), add("eos"), template)
    };
    // 418, 419 and 420 are end of text, start and end of a turn.
    checkpoint.tokenizer_config = json!({});
    checkpoint.config["bos_token_id"] = json!(419);
    checkpoint.config["eos_token_id"] = json!([420, 418]);
    assert_eq!(metadata(&checkpoint), (Some(419), Some(420), None, false, false, None));

    checkpoint.tokenizer_config = json!({
        "bos_token": {"content": "<|endoftext|>"}, "eos_token": "<|im_end|>", "add_bos_token": true,
        "chat_template": [{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]
    });
    checkpoint.generation_config = Some(json!({"eos_token_id": [420, 418, 99999]}));
    let expected = (Some(418), Some(420), Some(418), true, false, Some("b".to_owned()));
    assert_eq!(metadata(&checkpoint), expected);

    checkpoint.tokenizer_config["add_bos_token"] = json!(null);
    assert!(!metadata(&checkpoint).3);
    let template = |parts| json!({"type": "TemplateProcessing", "single": parts});
    let special = |id| json!({"SpecialToken": {"id": id, "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    checkpoint.tokenizer["post_processor"] = template([special("<|endoftext|>"), text.clone()]);
    assert_eq!((metadata(&checkpoint).3, metadata(&checkpoint).4), (true, false));
    let both = template([special("<|endoftext|>"), text.clone()]);
    checkpoint.tokenizer["post_processor"] = json!({"type": "Sequence", "processors": [{"type": "ByteLevel"}, both]});
    assert!(metadata(&checkpoint).3);
    checkpoint.tokenizer["post_processor"] = template([text, special("<|im_end|>")]);
    assert_eq!((metadata(&checkpoint).3, metadata(&checkpoint).4), (false, true));

    checkpoint.chat_template = Some("from the file".into());
    assert_eq!(metadata(&checkpoint).5.as_deref(), Some("from the file"));
}

#[test]
fn sentence_piece_merges_become_scores() {
    let mut checkpoint = Checkpoint::new(&SyntheticModel::tiny(Architecture::Llama));
    let mut vocab = serde_json::Map::new();
    let pieces = ["<unk>", "<s>", "</s>"].map(str::to_owned).into_iter();
    let bytes = (0..=255u8).map(|byte| format!("<0x{byte:02X}>"));
    let letters = [
        "\u{2581}",
        "h",
        "e",
        "l",
        "o",
        "he",
        "ll",
        "hell",
        "hello",
        "\u{2581}hello",
        "el",
        "lo",
    ];
    for piece in pieces.chain(bytes).chain(letters.map(str::to_owned)) {
        vocab.insert(piece, json!(vocab.len()));
    }
    let merges = ["h e", "l l", "he ll", "hell o", "e l", "l o", "\u{2581} hello"];
    checkpoint.tokenizer = json!({
        "added_tokens": [
            {"id": 0, "content": "<unk>", "special": true}, {"id": 1, "content": "<s>", "special": true},
            {"id": 2, "content": "</s>", "special": true}
        ],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "\u{2581}"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"}
        ]},
        "pre_tokenizer": null,
        "post_processor": null,
        "model": {"type": "BPE", "unk_token": "<unk>", "byte_fallback": true, "vocab": vocab, "merges": merges}
    });
    checkpoint.tokenizer_config = json!({"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": true});
    let file = import(&checkpoint, Format::Q8);
    let gguf = file.gguf().unwrap();
    assert_eq!(gguf.str("tokenizer.ggml.model").unwrap(), "llama");
    let types: Vec<i32> = gguf.i32s("tokenizer.ggml.token_type").unwrap().collect();
    assert_eq!(
        (types[0], types[1], types[3], types[258], types[259], types[300]),
        (2, 3, 6, 6, 1, 5)
    );
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    let text = |ids: Vec<u32>| {
        ids.into_iter()
            .map(|id| tokenizer.token_text(id).unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        text(tokenizer.encode_with_bos("hello hello", Special::AsText)),
        ["<s>", "\u{2581}hello", "\u{2581}hello"]
    );
    // `l l` comes before `l o` and `e l`.
    assert_eq!(
        text(tokenizer.encode("ello", Special::AsText)),
        ["\u{2581}", "e", "ll", "o"]
    );
    assert_eq!(
        text(tokenizer.encode("é", Special::AsText)),
        ["\u{2581}", "<0xC3>", "<0xA9>"]
    );
}
