//! Packing checkpoints of the Hugging Face kind, which the tests make from random models.

mod pack_checkpoint;
mod pack_common;

use std::fs;
use std::ops::ControlFlow;

use halfpi::gguf::{Gguf, ModelFile};
use halfpi::pack::synthetic::SyntheticModel;
use halfpi::pack::{Format, Options, PackError, Source, pack};
use halfpi::tokenizer::{Special, Tokenizer};
use halfpi::transformer::Architecture;
use pack_checkpoint::{Checkpoint, Dtype};
use pack_common::{Directory, difference, logits, unwrap_pack_error};
use serde_json::json;

fn import(checkpoint: &Checkpoint, format: Format) -> ModelFile {
    let directory = Directory::new();
    checkpoint.write(directory.path(), Dtype::F32, 1);
    pack_directory(&directory, format)
}

fn pack_directory(directory: &Directory, format: Format) -> ModelFile {
    let source = Source::open(directory.path()).unwrap();
    let path = directory.path().join("packed.gguf");
    pack(
        &source,
        &Options::new(format),
        &path,
        &mut |_| ControlFlow::Continue(()),
    )
    .unwrap();
    ModelFile::from_bytes(fs::read(path).unwrap()).unwrap()
}

fn refuse(checkpoint: &Checkpoint) -> PackError {
    let directory = Directory::new();
    checkpoint.write(directory.path(), Dtype::F32, 1);
    unwrap_pack_error(Source::open(directory.path()))
}

/// The floats of a tensor.
fn floats(gguf: &Gguf<'_>, name: &str) -> Vec<f32> {
    let data = gguf.data(gguf.tensor(name).unwrap());
    data.chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

#[test]
fn every_architecture_gives_the_logits_of_its_gguf() {
    for architecture in [Architecture::Llama, Architecture::Qwen2, Architecture::Qwen3] {
        for tied in [false, true] {
            let mut model = SyntheticModel::tiny(architecture);
            model.tied = tied;
            let expected = model.to_model_file().unwrap();
            let found = import(&Checkpoint::new(&model), Format::F32);
            assert!(logits(found) == logits(expected), "{architecture:?}, tied: {tied}");
        }
    }
}

/// In transformers, a Qwen2 whose biases are zero is a Llama. In GGUF they differ by the order of the rows of queries
/// and keys, so this fails if the import permutes them wrongly.
#[test]
fn a_llama_answers_as_the_same_qwen2_does() {
    let model = SyntheticModel::tiny(Architecture::Llama);
    let llama = Checkpoint::new(&model);
    let mut qwen2 = Checkpoint::new(&model);
    qwen2.config["architectures"] = json!(["Qwen2ForCausalLM"]);
    for block in 0..2 {
        for (name, len) in [("q_proj", 64), ("k_proj", 32), ("v_proj", 32)] {
            let name = format!("model.layers.{block}.self_attn.{name}.bias");
            qwen2.tensors.insert(name, (vec![len], vec![0.0; len]));
        }
    }
    let (a, b) = (logits(import(&llama, Format::F32)), logits(import(&qwen2, Format::F32)));
    assert!(difference(&a, &b) < 1e-4, "{}", difference(&a, &b));

    // The same with biases, which a llama may have too.
    let mut llama = llama;
    for (name, (shape, _)) in &qwen2.tensors {
        if name.ends_with(".bias") {
            let bias = (0..shape[0]).map(|i| (i as f32 * 0.37).sin()).collect::<Vec<_>>();
            llama.tensors.insert(name.clone(), (shape.clone(), bias));
        }
    }
    for (name, tensor) in &llama.tensors {
        qwen2.tensors.insert(name.clone(), tensor.clone());
    }
    let (c, d) = (logits(import(&llama, Format::F32)), logits(import(&qwen2, Format::F32)));
    assert!(difference(&c, &d) < 1e-4, "{}", difference(&c, &d));
    assert!(difference(&a, &c) > 1e-2, "the biases change nothing");
}

#[test]
fn bitnet_weights_become_ternary() {
    let model = SyntheticModel::tiny(Architecture::BitNet);
    let checkpoint = Checkpoint::new(&model);
    let file = import(&checkpoint, Format::F32);
    let gguf = file.gguf().unwrap();
    for (to, from) in [("ffn_down", "mlp.down_proj"), ("attn_q", "self_attn.q_proj")] {
        let (_, original) = &checkpoint.tensors[&format!("model.layers.1.{from}.weight")];
        let mean = original.iter().map(|w| f64::from(w.abs())).sum::<f64>() / original.len() as f64;
        let found = floats(&gguf, &format!("blk.1.{to}.weight"));
        let mut counts = [0; 3];
        for (w, found) in original.iter().zip(&found) {
            let q = (f64::from(*w) / mean).round().clamp(-1.0, 1.0);
            counts[(q + 1.0) as usize] += 1;
            assert!((f64::from(*found) - q * mean).abs() < 1e-6, "{w} became {found}");
        }
        assert!(counts.iter().all(|&count| count > found.len() / 10), "{counts:?}");
    }
    // The embedding is no linear layer.
    assert_eq!(
        floats(&gguf, "token_embd.weight"),
        checkpoint.tensors["model.embed_tokens.weight"].1
    );
    assert_eq!(gguf.str("bitnet.hidden_activation").unwrap(), "relu2");
    // Ternary weights lose nothing in 8 bits.
    let directory = Directory::new();
    checkpoint.write(directory.path(), Dtype::F32, 1);
    let source = Source::open(directory.path()).unwrap();
    let path = directory.path().join("packed.gguf");
    let report = pack(&source, &Options::new(Format::Q8), &path, &mut |_| {
        ControlFlow::Continue(())
    })
    .unwrap();
    let mut tensors = report.tensors.iter();
    let packed = tensors.find(|t| t.name == "blk.0.ffn_up.weight").unwrap();
    assert_eq!(packed.sqnr_db, None);
}

/// The linear layers of a checkpoint as transformers saves ternary ones (`pack_weights` of its integrations/bitnet.py):
/// the i-th quarter of the rows in the i-th pair of bits, 0 to 2 for -1 to 1. `scale` makes `weight_scale` of the mean
/// magnitude.
fn pack_bit_linear(checkpoint: &mut Checkpoint, linear_class: &str, scale: impl Fn(f32) -> f32) {
    let is_linear = |name: &String| name.ends_with("_proj.weight");
    let names: Vec<String> = checkpoint
        .tensors
        .keys()
        .filter(|name| is_linear(name))
        .cloned()
        .collect();
    for name in names {
        let (shape, weights) = checkpoint.tensors.remove(&name).unwrap();
        let mean = (weights.iter().map(|w| f64::from(w.abs())).sum::<f64>() / weights.len() as f64) as f32;
        let quarter = shape[0] / 4;
        let mut bytes = vec![0u8; quarter * shape[1]];
        for (row, weights) in weights.chunks_exact(shape[1]).enumerate() {
            for (col, weight) in weights.iter().enumerate() {
                let code = (weight / mean).round_ties_even().clamp(-1.0, 1.0) as i8 + 1;
                bytes[row % quarter * shape[1] + col] |= (code as u8) << (2 * (row / quarter));
            }
        }
        checkpoint.bytes.insert(name.clone(), (vec![quarter, shape[1]], bytes));
        checkpoint
            .tensors
            .insert(format!("{name}_scale"), (vec![1], vec![scale(mean)]));
    }
    checkpoint.config["quantization_config"] = json!({
        "quant_method": "bitnet", "linear_class": linear_class, "quantization_mode": "offline"
    });
}

#[test]
fn packed_ternary_checkpoints_are_those_of_their_floats() {
    // Names differ: those of the directories.
    let bytes = |checkpoint: &Checkpoint, format| {
        let file = import(checkpoint, format);
        let gguf = file.gguf().unwrap();
        gguf.tensors()
            .iter()
            .map(|tensor| gguf.data(tensor).to_vec())
            .collect::<Vec<_>>()
    };
    let floats = Checkpoint::new(&SyntheticModel::tiny(Architecture::BitNet));
    let mut multiplied = floats.clone();
    pack_bit_linear(&mut multiplied, "autobitlinear", |mean| mean);
    for format in [Format::Ternary, Format::Q8] {
        assert!(bytes(&floats, format) == bytes(&multiplied, format), "{format}");
    }
    // The same but for the signs of zeros.
    assert!(logits(import(&floats, Format::F32)) == logits(import(&multiplied, Format::F32)));
    // To the bit as `ternary` has it, scale and all.
    let (lossless, ternary) = (
        import(&multiplied, Format::Lossless),
        import(&multiplied, Format::Ternary),
    );
    let data = |file: &ModelFile| {
        let gguf = file.gguf().unwrap();
        gguf.data(gguf.tensor("blk.1.ffn_down.weight").unwrap()).to_vec()
    };
    assert!(data(&lossless) == data(&ternary));

    let mut divided = floats.clone();
    pack_bit_linear(&mut divided, "bitlinear", |mean| 1.0 / mean);
    let error = difference(
        &logits(import(&divided, Format::F32)),
        &logits(import(&floats, Format::F32)),
    );
    assert!(error < 1e-4, "{error}");
}

/// Llamas are trained so too; their queries' and keys' rows change places.
#[test]
fn packed_ternary_llamas_answer_as_their_floats() {
    let mut packed = Checkpoint::new(&SyntheticModel::tiny(Architecture::Llama));
    let mut floats = packed.clone();
    pack_bit_linear(&mut packed, "autobitlinear", |_| 0.125);
    for (name, (shape, bytes)) in &packed.bytes {
        let quarter = shape[0];
        let weight = |i: usize| {
            let (row, col) = (i / shape[1], i % shape[1]);
            let code = bytes[row % quarter * shape[1] + col] >> (2 * (row / quarter)) & 3;
            (f32::from(code) - 1.0) * 0.125
        };
        let weights = (0..4 * bytes.len()).map(weight).collect();
        floats
            .tensors
            .insert(name.clone(), (vec![4 * quarter, shape[1]], weights));
    }
    let (packed, floats) = (import(&packed, Format::F32), import(&floats, Format::F32));
    assert!(logits(packed) == logits(floats));
}

#[test]
fn broken_ternary_checkpoints_are_refused() {
    let mut checkpoint = Checkpoint::new(&SyntheticModel::tiny(Architecture::BitNet));
    pack_bit_linear(&mut checkpoint, "autobitlinear", |mean| mean);
    let name = "model.layers.1.mlp.up_proj.weight";
    let changed = |change: &dyn Fn(&mut Checkpoint)| {
        let mut checkpoint = checkpoint.clone();
        change(&mut checkpoint);
        refuse(&checkpoint).to_string()
    };
    type Change<'a> = &'a dyn Fn(&mut Checkpoint);
    let scale =
        |scale: f32| move |c: &mut Checkpoint| c.tensors.get_mut(&format!("{name}_scale")).unwrap().1[0] = scale;
    let changes: [(&str, Change<'_>); 8] = [
        ("a code that is none", &|c| c.bytes.get_mut(name).unwrap().1[7] |= 0xc0),
        ("no positive number", &scale(f32::NAN)),
        ("no positive number", &scale(0.0)),
        ("holds the tensor", &|c| {
            drop(c.tensors.remove(&format!("{name}_scale")))
        }),
        ("quantization_config", &|c| {
            c.config["quantization_config"] = json!(null)
        }),
        ("quantization_config", &|c| {
            c.config["quantization_config"]["linear_class"] = json!("other")
        }),
        ("has the shape", &|c| {
            let (shape, bytes) = c.bytes.get_mut(name).unwrap();
            bytes.extend(vec![0; shape[1]]);
            shape[0] += 1;
        }),
        // The embedding is never packed so.
        ("holds U8", &|c| {
            let (shape, floats) = c.tensors.remove("model.embed_tokens.weight").unwrap();
            c.bytes
                .insert("model.embed_tokens.weight".into(), (shape, vec![0; floats.len()]));
        }),
    ];
    for (problem, change) in changes {
        let error = changed(change);
        assert!(error.contains(problem), "{problem}: {error}");
    }
}

#[test]
fn shards_and_types_make_no_difference() {
    let checkpoint = Checkpoint::new(&SyntheticModel::tiny(Architecture::Qwen3));
    let expected = logits(import(&checkpoint, Format::F32));
    for (dtype, shards, tolerance) in [(Dtype::F32, 3, 0.0), (Dtype::F16, 1, 0.01), (Dtype::Bf16, 2, 0.1)] {
        let directory = Directory::new();
        checkpoint.write(directory.path(), dtype, shards);
        let found = logits(pack_directory(&directory, Format::Lossless));
        let error = difference(&expected, &found);
        assert!(
            error <= tolerance && (tolerance == 0.0) == (error == 0.0),
            "{dtype:?} in {shards}: {error}"
        );
    }
}

#[test]
fn the_shape_and_the_tokenizer_become_metadata() {
    for architecture in Architecture::ALL {
        let model = SyntheticModel::tiny(architecture);
        let (expected, found) = (
            model.to_model_file().unwrap(),
            import(&Checkpoint::new(&model), Format::Q8),
        );
        let (expected, found) = (expected.gguf().unwrap(), found.gguf().unwrap());
        for (key, value) in expected.metadata() {
            // These are the directory's.
            if !["general.name", "halfpi.layout_version"].contains(&key) {
                assert_eq!(
                    found.get(key).map(|v| format!("{v:?}")),
                    Some(format!("{value:?}")),
                    "{key}"
                );
            }
        }
        assert!(!found.bool("tokenizer.ggml.add_eos_token").unwrap());
        Tokenizer::from_gguf(&found).unwrap();
    }
}

#[test]
fn llama_3_frequencies_are_those_of_transformers() {
    let mut checkpoint = Checkpoint::new(&SyntheticModel::tiny(Architecture::Llama));
    checkpoint.config["rope_theta"] = json!(500000.0);
    checkpoint.config["rope_scaling"] = json!({
        "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192
    });
    let file = import(&checkpoint, Format::Q8);
    let factors = floats(&file.gguf().unwrap(), "rope_freqs.weight");
    // Llama 3.2's scaling, at a head of 16, as `_compute_llama3_parameters` words it.
    let (low, high, old) = (8192.0 / 1.0, 8192.0 / 4.0, 8192.0);
    for (i, &factor) in factors.iter().enumerate() {
        let inv_freq = 1.0 / 500000f64.powf(2.0 * i as f64 / 16.0);
        let wavelen = std::f64::consts::TAU / inv_freq;
        let mut scaled = if wavelen > low { inv_freq / 32.0 } else { inv_freq };
        if wavelen >= high && wavelen <= low {
            let smooth = (old / wavelen - 1.0) / (4.0 - 1.0);
            scaled = (1.0 - smooth) * inv_freq / 32.0 + smooth * inv_freq;
        }
        assert!(
            (inv_freq / scaled / f64::from(factor) - 1.0).abs() < 1e-4,
            "{i}: {factor}"
        );
    }
    assert_eq!((factors.len(), factors[0], factors[7]), (8, 1.0, 32.0));
    // The blend in the middle is there.
    assert!(
        factors.iter().any(|&factor| factor > 1.0 && factor < 32.0),
        "{factors:?}"
    );
    logits(file);
}

#[test]
fn linear_scaling_and_windows_are_kept() {
    let mut checkpoint = Checkpoint::new(&SyntheticModel::tiny(Architecture::Llama));
    checkpoint.config["architectures"] = json!(["MistralForCausalLM"]);
    checkpoint.config["rope_parameters"] = json!({"rope_type": "linear", "factor": 4.0, "rope_theta": 20000.0});
    checkpoint.config.as_object_mut().unwrap().remove("rope_theta");
    checkpoint.config["sliding_window"] = json!(128);
    let file = import(&checkpoint, Format::Q8);
    let gguf = file.gguf().unwrap();
    assert_eq!(gguf.str("general.architecture").unwrap(), "llama");
    assert_eq!(gguf.str("llama.rope.scaling.type").unwrap(), "linear");
    assert_eq!(gguf.f32("llama.rope.scaling.factor").unwrap(), 4.0);
    assert_eq!(gguf.f32("llama.rope.freq_base").unwrap(), 20000.0);
    assert_eq!(gguf.u32("llama.attention.sliding_window").unwrap(), 128);
    logits(file);
}

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

#[test]
fn unsupported_configurations_are_named() {
    let model = SyntheticModel::tiny(Architecture::Llama);
    for (key, value, expected) in [
        ("architectures", json!(["GPT2LMHeadModel"]), "Qwen3ForCausalLM"),
        ("architectures", json!([]), "none"),
        ("hidden_act", json!("gelu"), "silu"),
        ("rope_scaling", json!({"rope_type": "yarn", "factor": 4.0}), "yarn"),
        ("rope_scaling", json!({"type": "linear"}), "rope_scaling.factor"),
        (
            "rope_scaling",
            json!({"rope_type": "linear", "factor": -1.0}),
            "positive",
        ),
        ("partial_rotary_factor", json!(0.5), "partial_rotary_factor"),
        ("head_dim", json!(15), "even"),
        ("hidden_size", json!(null), "hidden_size"),
        ("hidden_size", json!(0), "hidden_size"),
        ("num_hidden_layers", json!(4294967295u32), "num_hidden_layers"),
        ("num_attention_heads", json!("many"), "expected u32"),
        ("rms_norm_eps", json!(0.0), "rms_norm_eps"),
    ] {
        let mut checkpoint = Checkpoint::new(&model);
        checkpoint.config[key] = value;
        let error = refuse(&checkpoint).to_string();
        assert!(
            error.contains("config.json") && error.contains(expected),
            "{key}: {error}"
        );
    }
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let model = SyntheticModel::tiny(Architecture::Llama);
    let q = "model.layers.1.self_attn.q_proj.weight";
    let mut checkpoint = Checkpoint::new(&model);
    checkpoint.tensors.remove(q);
    let error = refuse(&checkpoint);
    assert!(
        matches!(&error, PackError::MissingTensor { name, .. } if name == q),
        "{error}"
    );

    let mut checkpoint = Checkpoint::new(&model);
    checkpoint.tensors.get_mut(q).unwrap().0 = vec![32, 128];
    let error = refuse(&checkpoint);
    assert!(
        matches!(&error, PackError::TensorShape { name, .. } if name == q),
        "{error}"
    );

    let mut checkpoint = Checkpoint::new(&model);
    checkpoint
        .tensors
        .insert("model.layers.1.mlp.extra".into(), (vec![1], vec![0.0]));
    assert!(matches!(refuse(&checkpoint), PackError::UnusedTensor { .. }));
    checkpoint.tensors.remove("model.layers.1.mlp.extra");
    let old = "model.layers.1.self_attn.rotary_emb.inv_freq";
    checkpoint.tensors.insert(old.into(), (vec![1], vec![0.0]));
    import(&checkpoint, Format::Q8);

    // Untied, but without an output matrix.
    let mut checkpoint = Checkpoint::new(&model);
    checkpoint.tensors.remove("lm_head.weight");
    assert!(matches!(refuse(&checkpoint), PackError::MissingTensor { name, .. } if name == "lm_head.weight"));

    // A vocabulary that nothing justifies takes no memory.
    let mut checkpoint = Checkpoint::new(&model);
    checkpoint.config["vocab_size"] = json!(200_000_000);
    assert!(matches!(refuse(&checkpoint), PackError::TensorShape { .. }));

    let directory = Directory::new();
    Checkpoint::new(&model).write(directory.path(), Dtype::I64, 1);
    let error = unwrap_pack_error(Source::open(directory.path()));
    assert!(matches!(error, PackError::Dtype { .. }), "{error}");
}

#[test]
fn broken_directories_are_refused() {
    let model = SyntheticModel::tiny(Architecture::Llama);
    let directory = Directory::new();
    let path = |name: &str| directory.path().join(name);
    let write = || Checkpoint::new(&model).write(directory.path(), Dtype::F32, 2);
    let refused = || Source::open(directory.path()).err().unwrap().to_string();

    for file in ["config.json", "tokenizer.json", "model-00002-of-00002.safetensors"] {
        write();
        Source::open(directory.path()).unwrap();
        fs::remove_file(path(file)).unwrap();
        assert!(refused().contains(file), "{}", refused());
        for content in [&b""[..], b"{", b"[]", b"\xff\xfe\x00", &[b'['; 100_000]] {
            fs::write(path(file), content).unwrap();
            assert!(refused().contains(file), "{}", refused());
        }
        fs::remove_file(path(file)).unwrap();
        fs::create_dir(path(file)).unwrap();
        assert!(refused().contains(file), "{}", refused());
        fs::remove_dir(path(file)).unwrap();
    }
    // Truncated weights, at every kind of place.
    write();
    let whole = fs::read(path("model-00001-of-00002.safetensors")).unwrap();
    for len in [1, 7, 8, 9, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(path("model-00001-of-00002.safetensors"), &whole[..len]).unwrap();
        assert!(
            refused().contains("model-00001-of-00002.safetensors"),
            "{len}: {}",
            refused()
        );
    }
    // An index that leads elsewhere.
    for shard in ["../model.safetensors", "/etc/passwd", "", ".", "a/b.safetensors"] {
        write();
        let index = json!({"weight_map": {"model.norm.weight": shard}});
        fs::write(path("model.safetensors.index.json"), index.to_string()).unwrap();
        let error = unwrap_pack_error(Source::open(directory.path()));
        assert!(
            matches!(&error, PackError::ShardName { name, .. } if name == shard),
            "{error}"
        );
    }
    // No weights at all.
    for entry in fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap().path();
        if entry.to_string_lossy().contains("safetensors") {
            fs::remove_file(entry).unwrap();
        }
    }
    assert!(refused().contains("model.safetensors"), "{}", refused());
}

/// Whatever a few bytes of a file become, the answer is a model or an error.
#[test]
fn damaged_files_never_panic() {
    let directory = Directory::new();
    let mut model = SyntheticModel::tiny(Architecture::Qwen3);
    model.config.block_count = 1;
    let checkpoint = Checkpoint::new(&model);
    checkpoint.write(directory.path(), Dtype::F32, 1);
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let mut opened = 0;
    for (file, first_bytes) in [
        ("config.json", 600),
        ("tokenizer.json", 40_000),
        ("model.safetensors", 1200),
    ] {
        let path = directory.path().join(file);
        let whole = fs::read(&path).unwrap();
        for _ in 0..150 {
            let mut damaged = whole.clone();
            for _ in 0..1 + random(2) {
                let end = damaged.len().min(first_bytes);
                match random(8) {
                    0..3 => damaged[random(end)] ^= 1 << random(8),
                    // Mostly digits and brackets, so that some of it is still JSON.
                    3..7 => damaged[random(end)] = b"0123456789-e[]{}\"n"[random(18)],
                    _ => damaged.truncate(damaged.len() - random(end / 2)),
                }
            }
            fs::write(&path, damaged).unwrap();
            if let Ok(source) = Source::open(directory.path()) {
                opened += 1;
                let out = directory.path().join("out.gguf");
                let _ = pack(&source, &Options::new(Format::Q8), &out, &mut |_| {
                    ControlFlow::Continue(())
                });
            }
        }
        fs::write(&path, whole).unwrap();
    }
    // Not all damage is found: a letter of a token may change.
    assert!((10..400).contains(&opened), "{opened} of 450 opened");
}

#[test]
fn broken_tokenizers_are_refused() {
    let model = SyntheticModel::tiny(Architecture::Llama);
    type Change = fn(&mut serde_json::Value);
    let cases: [(&str, Change); 8] = [
        ("Unigram", |t| t["model"]["type"] = json!("Unigram")),
        ("no object", |t| t["model"]["vocab"] = json!([])),
        ("no number", |t| t["model"]["vocab"]["x"] = json!(-1)),
        ("share the id", |t| t["model"]["vocab"]["two of them"] = json!(5)),
        ("there are 421 tokens", |t| {
            t["model"]["vocab"]["x"] = json!(4_000_000_000u32)
        }),
        ("there are 421 tokens", |t| {
            t["added_tokens"]
                .as_array_mut()
                .unwrap()
                .push(json!({"id": 421, "content": "x", "special": true}))
        }),
        ("has a space", |t| t["model"]["merges"] = json!([["a b", "c"]])),
        ("normalizer", |t| t["normalizer"] = json!({"type": "Lowercase"})),
    ];
    for (expected, change) in cases {
        let mut checkpoint = Checkpoint::new(&model);
        change(&mut checkpoint.tokenizer);
        let error = refuse(&checkpoint).to_string();
        assert!(error.contains("tokenizer.json") && error.contains(expected), "{error}");
    }
    // What the importer does not see, the engine's own tokenizer does.
    let mut checkpoint = Checkpoint::new(&model);
    checkpoint.tokenizer["model"]["merges"] = json!(["nosuch token"]);
    let directory = Directory::new();
    checkpoint.write(directory.path(), Dtype::F32, 1);
    assert!(matches!(
        Source::open(directory.path()),
        Err(halfpi::Error::Tokenizer(_))
    ));
}
