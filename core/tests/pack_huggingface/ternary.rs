//! Checkpoints whose weights are ternary already.

use super::*;

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
