//! From float weights to a model that is trained quantized.

use super::{Method, Quantized, Rule, Scheme, magnitude};
use crate::tensor::{AutodiffBackend, Tensor, scalar};
use crate::{Parameters, Result};

/// Prepares all matrices of a model, from a checkpoint or random, for training with this scheme: adds what methods train
/// beside them, with good values to begin with, and checks that every matrix can be packed so.
///
/// The weights stay as they are: what they become is in [`Quantized::effective`].
///
/// # Errors
/// [`TrainError::Format`](crate::TrainError::Format) for the first matrix that cannot be packed so. Nothing is changed
/// then.
pub fn convert<B: AutodiffBackend>(parameters: &mut Parameters<B>, scheme: &Scheme) -> Result<()> {
    let mut added = Vec::new();
    for (name, parameter) in parameters.iter() {
        let weight = parameter.value.clone().inner();
        let Some(method) = scheme.method(name, weight.dims()) else {
            continue;
        };
        method.check(name, weight.dims())?;
        if let Some((suffix, is_trained, value)) = first_values::<B>(method, weight) {
            added.push((format!("{name}.{suffix}"), is_trained, value));
        }
    }
    for (name, is_trained, value) in added {
        parameters.insert(name.clone(), value);
        if !is_trained {
            parameters.freeze(|frozen| frozen == name);
        }
    }
    Ok(())
}

/// As [`convert`], for random weights of a given deviation, which quantizers change: makes matrices so much larger or
/// smaller that what they become has the deviation that the float weights had.
///
/// # Errors
/// As [`convert`].
pub fn match_deviation<B: AutodiffBackend>(parameters: &mut Parameters<B>, scheme: &Scheme) -> Result<()> {
    convert(parameters, scheme)?;
    let mut factors = Vec::new();
    for (name, parameter) in parameters.iter() {
        let weight = parameter.value.clone().inner();
        if scheme.method(name, weight.dims()).is_some() {
            let effective = Quantized { parameters, scheme }.effective(name)?.inner();
            let squares = |weight: Tensor<B::InnerBackend, 2>| scalar((weight.clone() * weight).sum());
            let (wanted, found) = (squares(weight), squares(effective));
            if found > 0.0 {
                factors.push((name.to_owned(), (wanted / found).sqrt()));
            }
        }
    }
    for (name, factor) in factors {
        parameters.update(&name, |weight| weight * factor)?;
    }
    convert(parameters, scheme)
}

/// What a method adds to a matrix, whether it is trained, and what it is at first.
fn first_values<B: AutodiffBackend>(
    method: &Method,
    weight: Tensor<B::InnerBackend, 2>,
) -> Option<(&'static str, bool, Tensor<B, 2>)> {
    let (is_trained, value) = match method.rule {
        Rule::Learned => (true, method.learned().first_alpha(weight)),
        Rule::FixedPhase => (false, magnitude::axes(weight)),
        _ => return None,
    };
    Some((method.added()?, is_trained, Tensor::from_inner(value)))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NAME, converted, weights};
    use super::*;
    use crate::TrainError;
    use crate::tensor::{Cpu, matrix, values};

    const SHAPE: [usize; 2] = [32, 64];

    #[test]
    fn quantized_weights_get_the_deviation_of_the_float_ones() {
        let deviation = |weights: &[f32]| (weights.iter().map(|w| w * w).sum::<f32>() / weights.len() as f32).sqrt();
        let before = weights(SHAPE);
        for method in [
            "ternary",
            "ternary:learned",
            "phase-t1",
            "phase-t2",
            "phase-magnitude",
            "phi4",
        ] {
            let (mut parameters, scheme) = converted(before.clone(), SHAPE, method);
            match_deviation(&mut parameters, &scheme).unwrap();
            let quantized = Quantized {
                parameters: &parameters,
                scheme: &scheme,
            };
            let after = deviation(&values(quantized.effective(NAME).unwrap()));
            assert!((after / deviation(&before) - 1.0).abs() < 0.01, "{method}: {after}");
        }
    }

    #[test]
    fn what_is_added_is_trained_or_kept() {
        let (parameters, _) = converted(weights(SHAPE), SHAPE, "ternary:learned");
        let scale = parameters.get(&format!("{NAME}.scale")).unwrap();
        assert!(scale.is_trained && !scale.decays);
        let (parameters, _) = converted(weights(SHAPE), SHAPE, "phase-magnitude");
        assert!(!parameters.get(&format!("{NAME}.phase")).unwrap().is_trained);
    }

    #[test]
    fn what_cannot_be_packed_is_refused() {
        let mut parameters: Parameters<Cpu> = Parameters::default();
        parameters.insert(NAME, matrix(vec![0.1; 96], [2, 48], &Default::default()));
        let refused = |method: &str, parameters: &mut Parameters<Cpu>| {
            let error = convert(parameters, &Scheme::new(method.parse().unwrap())).unwrap_err();
            assert!(
                matches!(&error, TrainError::Format { name, .. } if name == NAME),
                "{error}"
            );
            assert!(error.to_string().contains("48 columns"), "{error}");
            assert_eq!(parameters.iter().count(), 1);
        };
        refused("ternary:learned", &mut parameters);
        refused("phi4", &mut parameters);
        convert(&mut parameters, &Scheme::floats()).unwrap();
    }
}
