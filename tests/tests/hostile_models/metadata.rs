use crate::changed::{Changed, llama, model};
use crate::{generate, load, refused};
use halfpi::Error::{Gguf, Model};
use halfpi::gguf::{GgufError, Value};
use halfpi::model::ModelError;
use halfpi::transformer::{Architecture, MAX_POSITIONS};

/// The value must be refused, with its key.
fn refused_value(key: &'static str, value: impl Into<Value<'static>>) {
    let value = value.into();
    refused!(llama().set(key, value).bytes(), Model(ModelError::Value { key: named, .. }) if named == key);
}

#[test]
fn the_unchanged_models_run() {
    for architecture in Architecture::ALL {
        for format in ["f32", "q4_0", "q8"] {
            let engine = load(model(architecture, format).bytes()).unwrap();
            assert!(generate(&engine).unwrap().usage.generated_tokens > 0);
        }
    }
}

#[test]
fn architectures() {
    for name in ["gpt9", "", "LLAMA", "clip", "\x1b[2J\r"] {
        let file = llama().set("general.architecture", name).bytes();
        refused!(file, Model(ModelError::Architecture { name: named }) if named == name);
    }
    refused!(
        llama().without("general.architecture").bytes(),
        Gguf(GgufError::MissingKey { .. })
    );
    refused!(
        llama().set("general.architecture", 1u32).bytes(),
        Gguf(GgufError::WrongType { .. })
    );
    // Its keys have another prefix.
    refused!(
        llama().set("general.architecture", "qwen2").bytes(),
        Gguf(GgufError::MissingKey { .. })
    );
}

#[test]
fn split_files() {
    for count in [2u32, 7, u32::MAX] {
        let file = llama().set("split.count", count).bytes();
        refused!(file, Model(ModelError::Split { count: found }) if *found == count);
    }
    load(llama().set("split.count", 1u32).bytes()).unwrap();
}

#[test]
fn counts_out_of_range() {
    for key in [
        "llama.block_count",
        "llama.embedding_length",
        "llama.feed_forward_length",
        "llama.attention.head_count",
        "llama.attention.head_count_kv",
        "llama.attention.key_length",
        "llama.attention.value_length",
        "llama.rope.dimension_count",
    ] {
        for value in [0, (1 << 22) + 1, u32::MAX] {
            refused_value(key, value);
        }
        for value in [Value::I32(-1), Value::U64(1 << 32), Value::F32(2.0), Value::Str("2")] {
            let file = llama().set(key, value).bytes();
            refused!(file, Gguf(GgufError::WrongType { key: named, .. }) if named == key);
        }
    }
    refused_value("llama.context_length", 0u32);
}

#[test]
fn counts_that_do_not_fit_together() {
    refused_value("llama.attention.head_count_kv", 3u32);
    refused_value("llama.attention.head_count_kv", 8u32);
    for key_length in [8u32, 17, 24, 528] {
        refused_value("llama.attention.key_length", key_length);
    }
    refused_value("llama.attention.value_length", 32u32);
    for dimensions in [1u32, 7, 18] {
        refused_value("llama.rope.dimension_count", dimensions);
    }
    refused_value("llama.expert_count", 8u32);
}

#[test]
fn keys_that_are_missing() {
    for key in [
        "llama.block_count",
        "llama.embedding_length",
        "llama.feed_forward_length",
        "llama.attention.head_count",
        "llama.context_length",
        "llama.attention.layer_norm_rms_epsilon",
    ] {
        let file = llama().without(key).bytes();
        refused!(file, Gguf(GgufError::MissingKey { key: named }) if named == key);
    }
    // These have defaults, which are right for this model.
    let without = |file: Changed, key| file.without(key);
    let file = [
        "llama.attention.key_length",
        "llama.attention.value_length",
        "llama.rope.dimension_count",
        "llama.rope.freq_base",
    ]
    .into_iter()
    .fold(llama(), without);
    assert_eq!(
        load(file.bytes()).unwrap().config(),
        load(llama().bytes()).unwrap().config()
    );
}

#[test]
fn numbers_out_of_range() {
    for epsilon in [0.0, -1e-5, f32::NAN, f32::INFINITY] {
        refused_value("llama.attention.layer_norm_rms_epsilon", epsilon);
    }
    for base in [0.0, 1.0, -10_000.0, f32::NAN, f32::INFINITY] {
        refused_value("llama.rope.freq_base", base);
    }
    for factor in [0.0, -2.0, f32::NAN, f32::INFINITY] {
        refused_value("llama.rope.scaling.factor", factor);
    }
    refused_value("llama.rope.scaling.type", "yarn");
}

/// The metadata asks for more, or less, than the tensors have.
#[test]
fn shapes_that_tensors_do_not_have() {
    for (key, value) in [
        ("llama.embedding_length", 128u32),
        ("llama.feed_forward_length", 128),
        ("llama.attention.head_count", 8),
        ("llama.attention.head_count_kv", 4),
        ("llama.attention.key_length", 32),
        ("llama.embedding_length", 1 << 22),
        ("llama.attention.head_count", 1 << 22),
    ] {
        let mut file = llama().set(key, value);
        if key.ends_with("key_length") {
            file = file.without("llama.attention.value_length");
        }
        refused!(file.bytes(), Model(ModelError::Shape { expected, found, .. }) if expected != found);
    }
    let more = llama().set("llama.block_count", 3u32).bytes();
    refused!(more, Model(ModelError::MissingTensor { name }) if name == "blk.2.attn_q.weight");
    let endless = llama().set("llama.block_count", 1u32 << 22).bytes();
    refused!(endless, Model(ModelError::MissingTensor { name }) if name == "blk.2.attn_q.weight");
    let fewer = llama().set("llama.block_count", 1u32).bytes();
    refused!(fewer, Model(ModelError::UnusedTensor { name, architecture: "llama" }) if name.starts_with("blk.1."));
}

#[test]
fn contexts_are_cut_to_what_can_be() {
    let context = |file: Changed| load(file.bytes()).unwrap().config().context_length;
    assert_eq!(context(llama().set("llama.context_length", u32::MAX)), MAX_POSITIONS);
    // A window that the context is no longer than changes nothing.
    assert_eq!(context(llama().set("llama.attention.sliding_window", 100u32)), 100);
    assert_eq!(context(llama().set("llama.attention.sliding_window", 0u32)), 512);
    let engine = load(llama().set("llama.context_length", u32::MAX).bytes()).unwrap();
    generate(&engine).unwrap();
}
