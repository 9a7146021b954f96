//! The forward pass of training is the engine's.

use halfpi::engine::{Engine, EngineOptions};
use halfpi::pack::synthetic::SyntheticModel;
use halfpi::session::SessionOptions;
use halfpi::transformer::Architecture;
use halfpi_trainer::Parameters;
use halfpi_trainer::distill::Teacher;
use halfpi_trainer::model::{Arrangement, Plain, Transformer};
use halfpi_trainer::tensor::{Backend, Cpu, Int, Precision, Tensor, TensorData, values};

use super::parameters;

type Inner = <Cpu as Backend>::Inner;

const LENGTH: usize = 12;

/// What a teacher with these weights predicts.
fn taught(model: &SyntheticModel, parameters: &Parameters<Cpu>, ids: Tensor<Cpu, 2, Int>) -> Tensor<Inner, 2> {
    let weights = parameters
        .iter()
        .map(|(name, parameter)| (name.to_owned(), parameter.value.clone().inner()));
    let transformer = Transformer::new(&model.config, LENGTH, &[], &Default::default());
    Teacher::new(transformer, weights.collect())
        .logits(ids.inner(), &mut ())
        .unwrap()
}

#[test]
fn logits_are_those_of_the_engine() {
    for architecture in Architecture::ALL {
        let model = SyntheticModel::tiny(architecture);
        let tokens: Vec<u32> = (0..2 * LENGTH as u32).map(|i| i * 37 % 300).collect();
        let rows = model.config.vocab_size;

        let device = Default::default();
        let mut parameters = parameters(&model.to_model_file().unwrap());
        let ids: Vec<i32> = tokens.iter().map(|&token| token as i32).collect();
        let ids = Tensor::<Cpu, 2, Int>::from_data(TensorData::new(ids, [2, LENGTH]), &device);
        let transformer = Transformer::new(&model.config, LENGTH, &[], &device);
        let weights = Arrangement::<Cpu>::weights(&Plain, &parameters);
        let logits = values(transformer.forward(&*weights, ids.clone(), &mut ()).unwrap());
        assert_eq!(
            values(taught(&model, &parameters, ids.clone())),
            logits,
            "{architecture:?}"
        );

        // Rounding what is multiplied to 8 bits moves logits by a hundredth of the largest.
        drop(weights);
        parameters.precision = Precision::Bf16;
        let weights = Arrangement::<Cpu>::weights(&Plain, &parameters);
        let rounded = values(transformer.forward(&*weights, ids, &mut ()).unwrap());
        let errors = rounded
            .iter()
            .zip(&logits)
            .map(|(rounded, logit)| (rounded - logit).abs());
        let error = errors.fold(0f32, f32::max);

        let options = EngineOptions {
            precision: halfpi::transformer::Precision::F32,
            ..EngineOptions::default()
        };
        let engine = Engine::load(model.to_model_file().unwrap(), options).unwrap();
        let mut largest = 0f32;
        for (sequence, tokens) in tokens.chunks(LENGTH).enumerate() {
            let mut session = engine.session(SessionOptions::default()).unwrap();
            let mut seen = 0;
            let result = session.evaluate(tokens, |position, expected| {
                let found = &logits[(sequence * LENGTH + position) * rows..][..rows];
                let errors = found
                    .iter()
                    .zip(expected)
                    .map(|(found, expected)| (found - expected).abs());
                largest = errors.fold(largest, f32::max);
                seen += 1;
            });
            result.unwrap();
            assert_eq!(seen, LENGTH);
        }
        let size = logits.iter().map(|logit| logit.abs()).fold(0f32, f32::max);
        // Products of squares make rounding larger; the engine keeps keys and values in f16.
        let [of_products, limit] = if architecture.is_complex() {
            [0.1, 2e-2]
        } else {
            [2e-2, 4e-3]
        };
        assert!(
            error > 0.0 && error < of_products * size,
            "{architecture:?}: {error} of {size}"
        );
        assert!(largest < limit * size, "{architecture:?}: {largest} of {size}");
    }
}
