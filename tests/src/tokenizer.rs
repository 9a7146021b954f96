//! The tokenizer goldens of `golden/tokenizer`, made by `reference/tokenizer_goldens.py` and
//! `reference/sentencepiece_goldens.py`.

use halfpi::tokenizer::Vocabulary;
use serde_json::Value;

/// The goldens that bring a vocabulary.
pub const VOCABULARIES: [&str; 10] = [
    "bpe_gpt-2",
    "bpe_llama-bpe",
    "bpe_qwen2",
    "spm_gemma",
    "spm_llama",
    "spm_unigram",
    "spm_unigram_bytes",
    "spm_unigram_normalized",
    "spm_unigram_squeezed",
    "spm_unk",
];

/// Reads a golden by its name without `.json`.
///
/// # Panics
/// If it is not there or not JSON.
pub fn golden(name: &str) -> Value {
    let path = format!("{}/golden/tokenizer/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(&path).expect(&path)).expect(&path)
}

/// The elements of a list.
///
/// # Panics
/// If it is no list, or `item` refuses an element.
pub fn list<'v, T>(value: &'v Value, item: impl FnMut(&'v Value) -> Option<T>) -> Vec<T> {
    let items = value.as_array().and_then(|items| items.iter().map(item).collect());
    items.expect("a list of one type")
}

/// The elements of a list of strings.
///
/// # Panics
/// If it is none.
pub fn strings(value: &Value) -> Vec<&str> {
    list(value, Value::as_str)
}

/// One list of token ids.
///
/// # Panics
/// If it is none.
pub fn ids(value: &Value) -> Vec<u32> {
    list(value, as_u32)
}

/// The vocabulary of a golden, under the names of the GGUF keys.
///
/// # Panics
/// If it is not as the scripts write it.
pub fn vocabulary(golden: &Value) -> Vocabulary<'_> {
    let given = &golden["vocabulary"];
    let optional = |key: &str| Some(&given[key]).filter(|value| !value.is_null());
    Vocabulary {
        model: given["model"].as_str().expect("a model"),
        pre: given["pre"].as_str(),
        tokens: strings(&given["tokens"]),
        scores: optional("scores").map_or_else(Vec::new, |scores| list(scores, |score| Some(score.as_f64()? as f32))),
        token_types: list(&given["token_types"], |kind| kind.as_i64()?.try_into().ok()),
        merges: optional("merges").map_or_else(Vec::new, strings),
        bos_token_id: as_u32(&given["bos_token_id"]),
        eos_token_id: as_u32(&given["eos_token_id"]),
        unknown_token_id: as_u32(&given["unknown_token_id"]),
        add_space_prefix: given["add_space_prefix"].as_bool(),
        remove_extra_whitespaces: given["remove_extra_whitespaces"].as_bool().unwrap_or(false),
        precompiled_charsmap: optional("precompiled_charsmap")
            .map_or_else(Vec::new, |bytes| list(bytes, |byte| byte.as_u64()?.try_into().ok())),
        ..Vocabulary::default()
    }
}

fn as_u32(value: &Value) -> Option<u32> {
    value.as_u64()?.try_into().ok()
}
