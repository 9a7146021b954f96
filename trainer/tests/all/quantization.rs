//! Models trained quantized: the loss falls with every method, and the engine computes with what training computed with.

use std::time::Instant;

use halfpi::engine::{Engine, EngineOptions};
use halfpi::gguf::ModelFile;
use halfpi::pack::synthetic::SyntheticModel;
use halfpi::pack::{Blueprint, Options, PackReport, Source, pack};
use halfpi::session::SessionOptions;
use halfpi::transformer::{Architecture, Precision};
use halfpi_kernels::format::Float;
use halfpi_trainer::model::{Arrangement, Transformer};
use halfpi_trainer::objective::NextToken;
use halfpi_trainer::optimize::{AdamW, Schedule};
use halfpi_trainer::parallel::Single;
use halfpi_trainer::quantize::{Activations, Quantized, Scheme, convert, match_deviation};
use halfpi_trainer::tensor::{Cpu, Distribution, Int, Tensor, TensorData, values};
use halfpi_trainer::train::Trainer;
use halfpi_trainer::{Parameters, TrainError};

use super::{counting, parameters};

const LENGTH: usize = 8;
const UPDATES: u64 = 6;

const METHODS: [&str; 19] = [
    "ternary",
    "ternary:threshold=0.8:scales=row",
    "ternary:learned",
    "ternary:least-squares:scales=32",
    "halfpi2:learned",
    "halfpi2",
    "halfpi4:largest",
    "halfpi8",
    "phase-t1",
    "phase-t2",
    "phase-t2:scales=32",
    "phase-magnitude",
    "phase-magnitude:largest",
    "phi4",
    "phi4:cluster=2:clip",
    "phi4-additive",
    "phi5",
    "phi5-additive",
    "phi4, head=q8",
];

/// A random model of one layer.
fn model(architecture: Architecture) -> SyntheticModel {
    let mut model = SyntheticModel::tiny(architecture);
    model.config.block_count = 1;
    model
}

fn trainer(model: &SyntheticModel, method: &str, updates: u64) -> Trainer<Cpu> {
    let scheme: Scheme = method.parse().unwrap();
    let mut parameters = parameters(&model.to_model_file().unwrap());
    match_deviation(&mut parameters, &scheme).unwrap();
    Trainer {
        model: Transformer::new(&model.config, LENGTH, &[], &Default::default()),
        parameters,
        arrangement: Box::new(scheme),
        votes: None,
        optimizer: Box::new(AdamW::default()),
        schedule: Schedule::cosine(updates, 1e-2, 0.1),
        clip: 1.0,
        recompute: false,
    }
}

#[test]
fn the_loss_falls_with_every_method() {
    let llama = METHODS.map(|method| (Architecture::Llama, method));
    let others = [
        (Architecture::BitNet, "ternary"),
        (Architecture::IFairy, "phase-complex"),
    ];
    let mut falls = Vec::new();
    for (architecture, method) in llama.into_iter().chain(others) {
        let mut trainer = trainer(&model(architecture), method, UPDATES);
        let before = trainer.evaluate([Ok(counting(3, 4, LENGTH))].into_iter()).unwrap();
        for i in 0..UPDATES as i32 {
            let update = trainer.update(&mut NextToken, &[counting(i, 4, LENGTH)], &mut Single);
            update.unwrap();
        }
        let after = trainer.evaluate([Ok(counting(3, 4, LENGTH))].into_iter()).unwrap();
        assert!(after < before - 0.5, "{architecture:?} {method}: {before} {after}");
        falls.push(format!("{method}: {before:.2} to {after:.2}"));
    }
    println!("{}", falls.join("\n"));
}

/// The model as training uses it, packed.
fn packed(
    model: &SyntheticModel,
    parameters: &Parameters<Cpu>,
    scheme: &Scheme,
    name: &str,
) -> (ModelFile, PackReport) {
    let source = Source::from_model_file(model.to_model_file().unwrap());
    let quantized = Quantized { parameters, scheme };
    let floats = Blueprint::of(&source).unwrap().to_model_file(
        Float::F32,
        &source.shapes().unwrap(),
        |tensor| -> Result<Vec<f32>, TrainError> { Ok(values(quantized.effective(&tensor.name)?)) },
    );
    let options = Options {
        head: halfpi::pack::Format::F32,
        // Native complex weights have 10 dB; the others say what they lose below.
        allow_loss: true,
        ..Options::new(scheme.layers.format)
    };
    let path = std::env::temp_dir().join(format!("halfpi-quantization-{name}-{}.gguf", std::process::id()));
    let source = Source::from_model_file(floats.unwrap());
    let report = pack(&source, &options, &path, &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
    let file = ModelFile::open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    (file, report)
}

/// Nothing is lost in packing, and the logits differ by the rounding of keys and values alone.
#[test]
fn the_engine_computes_with_what_training_computed_with() {
    let methods = [
        "ternary",
        "halfpi2:learned",
        "phase-t2",
        "phase-magnitude",
        "phi4-additive",
    ];
    let llama = methods.map(|method| (Architecture::Llama, method));
    let others = [
        (Architecture::BitNet, "ternary:learned"),
        (Architecture::IFairy, "phase-complex"),
    ];
    for (architecture, method) in llama.into_iter().chain(others) {
        let model = model(architecture);
        // Int8 activations are the engine's own, and round differently by a last bit.
        let scheme: Scheme = format!("{method}:activations=floats").parse().unwrap();
        let mut parameters = parameters(&model.to_model_file().unwrap());
        convert(&mut parameters, &scheme).unwrap();
        let (file, report) = packed(&model, &parameters, &scheme, &method.replace(':', "-"));
        for tensor in &report.tensors {
            assert_eq!(tensor.sqnr_db, None, "{method}: {}", tensor.name);
        }

        let tokens: Vec<u32> = (0..LENGTH as u32).map(|i| i * 37 % 300).collect();
        let ids: Vec<i32> = tokens.iter().map(|&token| token as i32).collect();
        let ids = Tensor::<Cpu, 2, Int>::from_data(TensorData::new(ids, [1, LENGTH]), &Default::default());
        let transformer = Transformer::new(&model.config, LENGTH, &[], &Default::default());
        let weights = Arrangement::<Cpu>::weights(&scheme, &parameters);
        let logits = values(transformer.forward(&*weights, ids, &mut ()).unwrap());
        let options = EngineOptions {
            precision: Precision::F32,
            ..EngineOptions::default()
        };
        let engine = Engine::load(file, options).unwrap();
        let mut session = engine.session(SessionOptions::default()).unwrap();
        let mut largest = 0f32;
        let rows = model.config.vocab_size;
        let result = session.evaluate(&tokens, |position, expected| {
            let found = &logits[position * rows..][..rows];
            let errors = found
                .iter()
                .zip(expected)
                .map(|(found, expected)| (found - expected).abs());
            largest = errors.fold(largest, f32::max);
        });
        result.unwrap();
        let size = logits.iter().map(|logit| logit.abs()).fold(0f32, f32::max);
        assert!(largest < 4e-3 * size, "{architecture:?} {method}: {largest} of {size}");
    }
}

/// What quantizing a matrix costs, beside the product it is for: a measurement, for
/// `cargo test --release -p halfpi-trainer --test all -- --ignored --nocapture what_quantizing_costs`.
#[test]
#[ignore = "a measurement"]
fn what_quantizing_costs() {
    const SIDE: usize = 1024;
    const POSITIONS: usize = 1024;
    const NAME: &str = "blk.0.ffn_up.weight";
    let device = Default::default();
    let random = |rows| Tensor::<Cpu, 2>::random([rows, SIDE], Distribution::Normal(0.0, 0.02), &device);
    let best_of = |work: &dyn Fn()| {
        let times = (0..5).map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64() * 1e3
        });
        times.fold(f64::INFINITY, f64::min)
    };
    let (weight, x) = (random(SIDE).require_grad(), random(POSITIONS).require_grad());
    let product = || x.clone().matmul(weight.clone().transpose());
    let millis = best_of(&|| drop(product().sum().backward()));
    println!("a product of {POSITIONS} positions with {SIDE} x {SIDE} and back: {millis:.1} ms");
    for activations in ["token", "group"] {
        let activations: Activations = activations.parse().unwrap();
        let millis = best_of(&|| drop(activations.quantize(x.clone()).sum().backward()));
        println!("activations {activations}: {millis:.1} ms");
    }
    for method in METHODS
        .into_iter()
        .filter(|method| !method.contains(','))
        .chain(["phase-complex"])
    {
        let scheme: Scheme = method.parse().unwrap();
        let mut parameters = Parameters::default();
        parameters.insert(NAME, weight.clone());
        convert(&mut parameters, &scheme).unwrap();
        let (parameters, scheme) = (&parameters, &scheme);
        let quantized = Quantized { parameters, scheme };
        let millis = best_of(&|| drop(quantized.effective(NAME).unwrap().sum().backward()));
        println!("{method}: {millis:.1} ms");
    }
}
