//! The way back: a tokenizer as the hub has it.

use serde_json::{Map, Value, json};

use super::tokenizer::{LLAMA3, QWEN2};
use crate::tokenizer::Vocabulary;
use crate::tokenizer::token_type::{BYTE, CONTROL, NORMAL, UNUSED, USER_DEFINED};

/// The tokenizer's files, by their names: of a byte-level BPE with a pre-tokenizer that the importer knows. `None` of
/// other tokenizers, of which a GGUF says too little.
pub(in super::super::super) fn tokenizer_files(
    vocabulary: &Vocabulary<'_>,
    chat_template: Option<&str>,
) -> Option<Vec<(&'static str, Value)>> {
    if vocabulary.model != "gpt2" {
        return None;
    }
    let pre_tokenizer = pre_tokenizer(vocabulary.pre?)?;
    let merges: Option<Vec<_>> = vocabulary.merges.iter().map(|merge| merge.split_once(' ')).collect();
    let mut vocab = Map::new();
    let mut added = Vec::new();
    for (id, token) in vocabulary.tokens.iter().enumerate() {
        match vocabulary.token_types.get(id).copied().unwrap_or(NORMAL) {
            // Rows without a token have none here either.
            UNUSED if *token == format!("[PAD{id}]") => {}
            ty @ (CONTROL | USER_DEFINED) => added.push(json!({
                "id": id, "content": token, "special": ty == CONTROL,
                "single_word": false, "lstrip": false, "rstrip": false, "normalized": false
            })),
            BYTE => return None,
            _ => {
                vocab.insert(token.to_string(), json!(id));
            }
        }
    }
    let text = |id: Option<u32>| id.and_then(|id| vocabulary.tokens.get(id as usize)).copied();
    let (bos, eos) = (text(vocabulary.bos_token_id), text(vocabulary.eos_token_id));
    let add_bos = vocabulary.add_bos_token.unwrap_or(false) && bos.is_some();
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": added,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": if add_bos { begins_with(bos, vocabulary.bos_token_id) } else { byte_level(true) },
        "decoder": byte_level(true),
        "model": { "type": "BPE", "vocab": vocab, "merges": merges? }
    });
    let mut settings = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": add_bos,
        "add_eos_token": vocabulary.add_eos_token.unwrap_or(false),
        "bos_token": bos,
        "eos_token": eos,
        "pad_token": text(vocabulary.padding_token_id),
        "unk_token": text(vocabulary.unknown_token_id),
    });
    if let Some(template) = chat_template {
        settings["chat_template"] = json!(template);
    }
    let mut files = vec![("tokenizer.json", tokenizer), ("tokenizer_config.json", settings)];
    if let Some(eot) = vocabulary.eot_token_id {
        let ends: Vec<u32> = vocabulary.eos_token_id.into_iter().chain([eot]).collect();
        files.push(("generation_config.json", json!({ "eos_token_id": ends })));
    }
    Some(files)
}

fn byte_level(use_regex: bool) -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex })
}

/// The pre-tokenizer with this name of llama.cpp's.
fn pre_tokenizer(name: &str) -> Option<Value> {
    let split = |regex: &str| {
        let split = json!({ "type": "Split", "pattern": { "Regex": regex }, "behavior": "Isolated", "invert": false });
        json!({ "type": "Sequence", "pretokenizers": [split, byte_level(false)] })
    };
    Some(match name {
        "gpt-2" => byte_level(true),
        "smollm" => json!({
            "type": "Sequence",
            "pretokenizers": [{ "type": "Digits", "individual_digits": true }, byte_level(true)]
        }),
        "llama-bpe" => split(LLAMA3),
        "qwen2" => split(QWEN2),
        _ => return None,
    })
}

/// Puts a token before each text.
fn begins_with(token: Option<&str>, id: Option<u32>) -> Value {
    let special = json!({ "SpecialToken": { "id": token, "type_id": 0 } });
    let sequence = |id: &str| json!({ "Sequence": { "id": id, "type_id": 0 } });
    json!({
        "type": "TemplateProcessing",
        "single": [special, sequence("A")],
        "pair": [special, sequence("A"), sequence("B")],
        "special_tokens": { token.unwrap_or_default(): { "id": token, "ids": [id], "tokens": [token] } }
    })
}
