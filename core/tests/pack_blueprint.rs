//! Reading weights as floats, and writing models around others.

mod pack_checkpoint;
mod pack_common;

use std::fs;
use std::path::Path;

use halfpi::Error;
use halfpi::gguf::{GgufError, ModelFile};
use halfpi::model::{LoadedModel, ModelError};
use halfpi::pack::synthetic::{Storage, SyntheticModel};
use halfpi::pack::{Blueprint, PackError, Source, TensorShape, check_shapes, expected_tensors, vocab_size};
use halfpi::template::{Message, Role};
use halfpi::tokenizer::Special;
use halfpi::transformer::Architecture;
use halfpi_kernels::Serial;
use halfpi_kernels::format::Float;
use pack_checkpoint::{Checkpoint, Dtype};
use pack_common::{Directory, logits, unwrap_pack_error};

fn source_of(model: &SyntheticModel) -> Source {
    Source::from_model_file(model.to_model_file().unwrap())
}

/// The tensors of a source, by the way that reads all of them.
fn all(source: &Source) -> Vec<(TensorShape, Vec<f32>)> {
    let mut tensors = Vec::new();
    source
        .read_all(|shape, weights| {
            tensors.push((shape, weights));
            Ok::<_, Error>(())
        })
        .unwrap();
    tensors
}

#[test]
fn a_model_has_the_tensors_that_are_expected_of_it() {
    for architecture in Architecture::ALL {
        for tied in [false, true] {
            let mut model = SyntheticModel::tiny(architecture);
            model.tied = tied;
            let source = source_of(&model);
            assert_eq!(source.config().unwrap(), model.config);
            let expected: Vec<_> = expected_tensors(&model.config, tied).collect();
            assert_eq!(source.shapes().unwrap(), expected, "{architecture:?}");
            if tied && architecture.is_complex() {
                continue;
            }
            // The loader wants each of them, and nothing else; so does the check that needs no weights.
            let blueprint = Blueprint::of(&source).unwrap();
            let load = |tensors: &[TensorShape]| {
                let file = blueprint.to_model_file(Float::F32, tensors, |tensor| source.read(&tensor.name));
                let loaded = LoadedModel::new(file.unwrap(), &Serial).map(drop);
                let checked = check_shapes(&model.config, tensors.to_vec());
                assert_eq!(checked.is_ok(), loaded.is_ok(), "{checked:?}");
                loaded
            };
            load(&expected).unwrap();
            let name = |tensor: &TensorShape| tensor.name.clone();
            for missing in 0..expected.len() {
                let mut tensors = expected.clone();
                let missing = name(&tensors.remove(missing));
                let is_tied = missing == "output.weight" && !architecture.is_complex();
                match load(&tensors).map_err(|error| error.inner().to_string()) {
                    Ok(()) => assert!(is_tied, "{architecture:?} loads without {missing}"),
                    Err(error) => assert!(error.contains(&missing) && !is_tied, "{error}"),
                }
            }
        }
    }
}

#[test]
fn what_is_read_and_written_is_the_model() {
    for architecture in Architecture::ALL {
        let model = SyntheticModel::tiny(architecture);
        let source = source_of(&model);
        let tensors = all(&source);
        let blueprint = Blueprint::of(&source).unwrap();
        let shapes = source.shapes().unwrap();
        let mut read = tensors.iter();
        let file = blueprint.to_model_file(Float::F32, &shapes, |tensor| {
            let (shape, weights) = read.next().unwrap();
            assert_eq!(shape, tensor);
            Ok::<_, Error>(weights.clone())
        });
        let file = file.unwrap();
        assert_eq!(blueprint.tokenizer().unwrap().encode("hot day", Special::AsText), {
            let tokenizer = halfpi::tokenizer::Tokenizer::from_gguf(&file.gguf().unwrap()).unwrap();
            tokenizer.encode("hot day", Special::AsText)
        });
        let messages = [Message::new(Role::User, "hello")];
        assert_eq!(
            blueprint.template().unwrap().render(&messages, true).unwrap(),
            "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
        );
        assert!(
            logits(file) == logits(model.to_model_file().unwrap()),
            "{architecture:?}"
        );
    }
}

/// Blocks, packed codes and floats are all read as what the engine multiplies with.
#[test]
fn every_storage_is_read() {
    for name in Storage::names() {
        let storage = Storage::by_name(name).unwrap();
        let mut model = SyntheticModel::tiny(Architecture::Llama);
        if storage.is_complex() {
            model = SyntheticModel::tiny(Architecture::IFairy);
        }
        // Whole blocks of 256.
        (model.config.embedding_length, model.config.feed_forward_length) = (256, 512);
        (
            model.config.head_count,
            model.config.head_count_kv,
            model.config.head_dim,
        ) = (8, 8, 32);
        model.config.rope_dimension_count = 32;
        let model = model.with_storage(storage);
        let source = source_of(&model);
        for (shape, weights) in all(&source) {
            assert_eq!(weights.len(), shape.weights(), "{name}");
            assert_eq!(source.read(&shape.name).unwrap(), weights, "{name}");
            let mean = weights.iter().map(|weight| weight.abs()).sum::<f32>() / weights.len() as f32;
            assert!(mean > 0.005 && mean < 2.0, "{name}, {}: {mean}", shape.name);
        }
    }
}

#[test]
fn a_directory_is_read_as_its_gguf() {
    for architecture in [
        Architecture::Llama,
        Architecture::Qwen2,
        Architecture::Qwen3,
        Architecture::IFairy,
    ] {
        let model = SyntheticModel::tiny(architecture);
        let directory = Directory::new();
        Checkpoint::new(&model).write(directory.path(), Dtype::F32, 1);
        let source = Source::open(directory.path()).unwrap();
        assert_eq!(source.config().unwrap(), model.config);
        let from_gguf = source_of(&model);
        for (shape, weights) in all(&source) {
            // Training code's phases are rounded on the way.
            let is_rounded = architecture.is_complex() && shape.name.starts_with("blk.") && !shape.is_vector;
            assert!(
                is_rounded || from_gguf.read(&shape.name).unwrap() == weights,
                "{}",
                shape.name
            );
        }
        let mut names: Vec<_> = source.shapes().unwrap();
        let mut expected: Vec<_> = expected_tensors(&model.config, false).collect();
        names.sort_by(|a, b| a.name.cmp(&b.name));
        expected.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(names, expected);
    }
}

/// A tokenizer without a model, as training from nothing has it.
fn tokenizer_of(model: &SyntheticModel, directory: &Path) {
    Checkpoint::new(model).write(directory, Dtype::F32, 1);
    for file in ["model.safetensors", "config.json"] {
        fs::remove_file(directory.join(file)).unwrap();
    }
}

#[test]
fn a_new_model_has_its_tokenizer_from_elsewhere() {
    let model = SyntheticModel::tiny(Architecture::Qwen3);
    let directory = Directory::new();
    tokenizer_of(&model, directory.path());
    let gguf = directory.path().join("tokenizer.gguf");
    model.save(&gguf).unwrap();
    for tokenizer in [directory.path(), &gguf] {
        assert_eq!(vocab_size(tokenizer).unwrap(), 421);
        // As many rows as there are tokens, and more.
        for rows in [421, 448] {
            let mut config = SyntheticModel::tiny(Architecture::Llama).config;
            config.vocab_size = rows;
            let blueprint = Blueprint::new(&config, tokenizer).unwrap();
            assert_eq!(*blueprint.config(), config);
            let tensors: Vec<_> = expected_tensors(&config, true).collect();
            let path = directory.path().join("new.gguf");
            let weights = |tensor: &TensorShape| Ok::<_, Error>(vec![0.5; tensor.weights()]);
            for (float, bytes) in [(Float::F32, 4), (Float::F16, 2), (Float::Bf16, 2)] {
                blueprint.write(&path, float, &tensors, weights).unwrap();
                let file = ModelFile::open(&path).unwrap();
                let embedding = file.gguf().unwrap().tensor("token_embd.weight").unwrap().bytes;
                assert_eq!(embedding, bytes * 64 * rows as u64);
                let source = Source::from_model_file(file);
                assert_eq!(source.config().unwrap(), config);
                assert_eq!(source.read("blk.1.ffn_up.weight").unwrap(), [0.5; 160 * 64]);
            }
            let loaded = LoadedModel::new(ModelFile::open(&path).unwrap(), &Serial).unwrap();
            assert_eq!(*loaded.config(), config);
            let ids = blueprint
                .tokenizer()
                .unwrap()
                .encode("the day<|im_end|>", Special::Parse);
            assert_eq!(
                ids,
                Blueprint::of(&source_of(&model))
                    .unwrap()
                    .tokenizer()
                    .unwrap()
                    .encode("the day<|im_end|>", Special::Parse)
            );
        }
        let mut config = model.config;
        config.vocab_size = 420;
        let error = Blueprint::new(&config, tokenizer).map(drop).unwrap_err();
        match error.inner() {
            Error::Model(ModelError::Vocabulary { tokens: 421, rows: 420 }) => assert!(tokenizer.is_file()),
            Error::Pack(PackError::Tokenizer { problem, .. }) => assert!(problem.contains("420 tokens"), "{problem}"),
            error => panic!("{error}"),
        }
        let config = halfpi::transformer::Config {
            head_dim: 17,
            ..model.config
        };
        let error = Blueprint::new(&config, tokenizer).map(drop).unwrap_err();
        assert!(
            matches!(error.inner(), Error::Model(ModelError::Value { .. })),
            "{error}"
        );
    }
}

#[test]
fn an_id_far_beyond_all_tokens_makes_no_model_of_billions_of_rows() {
    let directory = Directory::new();
    tokenizer_of(&SyntheticModel::tiny(Architecture::Llama), directory.path());
    let path = directory.path().join("tokenizer.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    json["model"]["vocab"]["far"] = u32::MAX.into();
    fs::write(&path, json.to_string()).unwrap();
    let error = vocab_size(directory.path()).unwrap_err().to_string();
    assert!(error.contains("an id is 4294967295"), "{error}");
}

#[test]
fn wrong_weights_are_refused_and_leave_the_old_file() {
    let model = SyntheticModel::tiny(Architecture::Llama);
    let source = source_of(&model);
    let blueprint = Blueprint::of(&source).unwrap();
    let directory = Directory::new();
    let path = directory.path().join("model.gguf");
    fs::write(&path, "old").unwrap();
    let shapes = source.shapes().unwrap();
    let write = |float, change: fn(&mut Vec<f32>)| {
        unwrap_pack_error(blueprint.write(&path, float, &shapes, |tensor| {
            let mut weights = source.read(&tensor.name)?;
            if tensor.name == "blk.1.attn_k.weight" {
                change(&mut weights);
            }
            Ok::<_, Error>(weights)
        }))
    };
    let error = write(Float::F32, |weights| weights.truncate(7));
    assert!(
        matches!(
            error,
            PackError::WeightCount {
                found: 7,
                expected: 2048,
                ..
            }
        ),
        "{error}"
    );
    let error = write(Float::F32, |weights| weights[65] = f32::NAN);
    assert!(
        matches!(&error, PackError::NotFinite { name, row: 1 } if name == "blk.1.attn_k.weight"),
        "{error}"
    );
    let error = write(Float::F16, |weights| weights[129] = 1e6);
    assert!(matches!(error, PackError::Overflow { row: 2, .. }), "{error}");

    // What the caller's own code says comes back as it is.
    #[derive(Debug)]
    enum Own {
        Halfpi(Error),
        Mine,
    }
    impl From<Error> for Own {
        fn from(error: Error) -> Self {
            Own::Halfpi(error)
        }
    }
    let error = blueprint
        .write(&path, Float::F32, &shapes, |_| Err(Own::Mine))
        .unwrap_err();
    assert!(matches!(error, Own::Mine));
    let twice = [shapes[0].clone(), shapes[0].clone()];
    let error = blueprint
        .write(&path, Float::F32, &twice, |_| Err(Own::Mine))
        .unwrap_err();
    assert!(
        matches!(error, Own::Halfpi(Error::Gguf(GgufError::DuplicateTensor { .. }))),
        "{error:?}"
    );

    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_damaged_tensor_is_named() {
    let source = source_of(&SyntheticModel::tiny(Architecture::Llama));
    let error = source.read("blk.9.attn_q.weight").unwrap_err();
    assert!(
        matches!(error, Error::Model(ModelError::MissingTensor { .. })),
        "{error}"
    );

    let model = SyntheticModel::tiny(Architecture::Llama);
    let mut checkpoint = Checkpoint::new(&model);
    checkpoint.tensors.get_mut("model.norm.weight").unwrap().1[3] = f32::INFINITY;
    let directory = Directory::new();
    checkpoint.write(directory.path(), Dtype::F32, 1);
    let source = Source::open(directory.path()).unwrap();
    let error = unwrap_pack_error(source.read_all(|_, _| Ok::<_, Error>(())));
    assert!(
        matches!(&error, PackError::NotFinite { name, .. } if name == "output_norm.weight"),
        "{error}"
    );
}
