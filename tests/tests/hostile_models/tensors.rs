use crate::changed::{Tensor, llama, model};
use crate::{generate, load, refused};
use halfpi::Error::{self, Model};
use halfpi::engine::EngineError;
use halfpi::gguf::GgmlType;
use halfpi::model::ModelError;
use halfpi::transformer::Architecture;
use halfpi_kernels::format::{HEADER_BYTES, Layout};

#[test]
fn every_tensor_is_needed() {
    for architecture in Architecture::ALL {
        for name in model(architecture, "q4_0").names() {
            let file = model(architecture, "q4_0").without_tensor(&name).bytes();
            if name == "output.weight" && !architecture.is_complex() {
                // The embedding takes its place, as in models that never had one.
                generate(&load(file).unwrap()).unwrap();
            } else {
                refused!(file, Model(ModelError::MissingTensor { name: named }) if *named == name);
            }
        }
    }
}

#[test]
fn every_tensor_has_its_shape() {
    for architecture in Architecture::ALL {
        for name in model(architecture, "f32").names() {
            let mut file = model(architecture, "f32");
            let tensor = file.tensor(&name);
            let mut dims = tensor.dims.clone();
            *dims.last_mut().unwrap() -= 1;
            tensor.reshape(&dims);
            // The embedding says how many tokens there are.
            match name.as_str() {
                "token_embd.weight" if architecture == Architecture::BitNet => {
                    refused!(file.bytes(), Model(ModelError::Vocabulary { tokens: 421, rows: 420 }));
                }
                "token_embd.weight" => {
                    refused!(file.bytes(), Model(ModelError::Shape { name, .. }) if name == "output.weight");
                }
                _ => refused!(
                    file.bytes(),
                    Model(ModelError::Shape { name: named, found, .. }) if *named == name && *found == dims
                ),
            }
        }
    }
    let column = llama()
        .change("output_norm.weight", |norm| norm.reshape(&[64, 1]))
        .bytes();
    refused!(column, Model(ModelError::Shape { .. }));
    let turned = llama()
        .change("blk.0.ffn_up.weight", |up| up.reshape(&[160, 64]))
        .bytes();
    refused!(turned, Model(ModelError::Shape { .. }));
}

#[test]
fn types_that_no_kernel_reads() {
    let types = [
        GgmlType::Q5_0,
        GgmlType::Q5_1,
        GgmlType::MXFP4,
        GgmlType::I32,
        GgmlType::F64,
    ];
    for name in model(Architecture::Qwen3, "f32").names() {
        for ty in types {
            let mut file = model(Architecture::Qwen3, "f32");
            let tensor = file.tensor(&name);
            if !tensor.dims[0].is_multiple_of(ty.block_size()) {
                continue;
            }
            tensor.retype(ty);
            refused!(
                file.bytes(),
                Model(ModelError::Type { name: named, ty: found }) if *named == name && *found == ty
            );
        }
    }
    let message = load(
        llama()
            .change("output.weight", |output| output.retype(GgmlType::Q5_0))
            .bytes(),
    )
    .map(drop)
    .unwrap_err()
    .to_string();
    assert!(
        ["output.weight", "Q5_0", "halfpi pack"]
            .iter()
            .all(|part| message.contains(part)),
        "{message}"
    );
    // Vectors are floats.
    let blocks = llama()
        .change("output_norm.weight", |norm| norm.retype(GgmlType::Q8_0))
        .bytes();
    refused!(blocks, Model(ModelError::Type { ty: GgmlType::Q8_0, .. }));
}

#[test]
fn tensors_that_nothing_uses() {
    for (name, len) in [
        ("blk.0.attn_output.bias", 64),
        ("blk.0.attn_k.bias", 32),
        ("blk.0.attn_q_norm.weight", 16),
        ("blk.2.attn_norm.weight", 64),
        ("blk.00.attn_norm.weight", 64),
        ("token_types.weight", 64),
        ("", 1),
        // Not for a terminal.
        ("\x1b[2J\0\u{9b}", 1),
        (&"long".repeat(10_000), 1),
    ] {
        let file = llama().with_tensor(name, &[len], GgmlType::F32).bytes();
        refused!(file, Model(ModelError::UnusedTensor { name: named, .. }) if named == name);
    }
    // One bias asks for the two others.
    let biased = llama().with_tensor("blk.0.attn_q.bias", &[64], GgmlType::F32).bytes();
    refused!(biased, Model(ModelError::MissingTensor { name }) if name == "blk.0.attn_k.bias");
    // BitNet's norms may be anywhere, if they fit.
    let norm = llama()
        .with_tensor("blk.0.ffn_sub_norm.weight", &[9], GgmlType::F32)
        .bytes();
    refused!(norm, Model(ModelError::Shape { name, .. }) if name == "blk.0.ffn_sub_norm.weight");
    let factors = llama().with_tensor("rope_freqs.weight", &[9], GgmlType::F32).bytes();
    refused!(factors, Model(ModelError::Shape { name, .. }) if name == "rope_freqs.weight");
}

/// Weights that are not numbers give scores that are not numbers, which is an error and not a text.
#[test]
fn weights_that_are_not_numbers() {
    let bad = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX];
    for architecture in Architecture::ALL {
        let names = model(architecture, "f32").names();
        for name in &names {
            for value in bad {
                let fill = |data: &mut Vec<u8>| *data = value.to_le_bytes().repeat(data.len() / 4);
                let file = model(architecture, "f32").change(name, |tensor| fill(&mut tensor.data));
                let result = generate(&load(file.bytes()).unwrap());
                // Squared ReLU takes a NaN for a negative number.
                let is_seen = !(architecture == Architecture::BitNet && name.ends_with("ffn_gate.weight"));
                let expected = (value.is_nan() && is_seen) || (name == "output.weight" && value.is_infinite());
                match result {
                    Err(Error::Engine(EngineError::NotFinite)) => {}
                    Ok(_) if !expected => {}
                    other => panic!("{name} of {value}: {other:?}"),
                }
            }
        }
    }
}

/// Where a matrix has its f16 scales and minima, in bytes from its start.
fn halves(tensor: &Tensor) -> Vec<usize> {
    match tensor.ty {
        GgmlType::F32 => Vec::new(),
        GgmlType::I8 => {
            let scales = Layout::from_header(&tensor.data).unwrap().scales_offset();
            (HEADER_BYTES + scales..tensor.data.len()).step_by(2).collect()
        }
        ty => {
            let in_block = if ty == GgmlType::Q4_1 { &[0, 2][..] } else { &[0] };
            let blocks = (0..tensor.data.len()).step_by(ty.block_bytes() as usize);
            blocks
                .flat_map(|at| in_block.iter().map(move |half| at + half))
                .collect()
        }
    }
}

/// One scale that is no number is enough, wherever it is: in a query or a key it need not reach the scores.
#[test]
fn scales_that_are_not_numbers_are_refused() {
    let mut refused = 0;
    for format in ["q8_0", "q4_0", "q4_1", "iq4_nl", "q8", "phi4", "phase-t1"] {
        let good = model(Architecture::BitNet, format);
        for name in good.names() {
            for (n, bits) in [0x7e00u16, 0x7c00, 0xfc00, 0xfc01].into_iter().enumerate() {
                let mut file = good.clone();
                let tensor = file.tensor(&name);
                let halves = halves(tensor);
                if halves.is_empty() {
                    continue;
                }
                let at = halves[n * (halves.len() - 1) / 3];
                tensor.data[at..at + 2].copy_from_slice(&bits.to_le_bytes());
                refused!(
                    file.bytes(),
                    Model(ModelError::Scale { name: named, value }) if *named == name && !value.is_finite()
                );
                refused += 1;
            }
        }
    }
    assert!(refused > 300, "{refused}");
}

/// Scales as large as they can be pass through integers on their way; those of groups of zeros are zero.
#[test]
fn extreme_scales_do_not_panic() {
    for format in ["q8_0", "q4_0", "q4_1", "iq4_nl", "q8", "phi4", "phase-t1"] {
        let good = model(Architecture::BitNet, format);
        for name in good.names() {
            for bits in [0x7bffu16, 0xfbff, 0x0001, 0x0000] {
                let mut file = good.clone();
                let tensor = file.tensor(&name);
                for at in halves(tensor) {
                    tensor.data[at..at + 2].copy_from_slice(&bits.to_le_bytes());
                }
                match generate(&load(file.bytes()).unwrap()) {
                    Ok(_) | Err(Error::Engine(EngineError::NotFinite)) => {}
                    Err(other) => panic!("{other:?}"),
                }
            }
        }
    }
}
