//! What cannot be packed is refused by name.

use super::*;

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
        // What a packed file with the same figures would be refused for.
        ("num_key_value_heads", json!(3), "head_count_kv"),
        ("head_dim", json!(18), "multiple of 16"),
        ("head_dim", json!(1024), "at most 512"),
        ("rope_theta", json!(0.5), "above 1"),
        ("hidden_size", json!(1 << 23), "2^22"),
        ("intermediate_size", json!(1 << 23), "2^22"),
        ("num_hidden_layers", json!(1 << 23), "2^22"),
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
