//! Int8 activations, as the engine has them.

use std::fmt;
use std::str::FromStr;

use halfpi_kernels::format::GROUP;

use crate::tensor::{Backend, Tensor, constant, straight_through};

/// What matrices are multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activations {
    /// Floats as they are.
    Floats,
    /// Int8, the largest of a position at ±127: as the engine does for `bitnet` (BitNet b1.58, arXiv:2402.17764,
    /// section 2).
    Token,
    /// Int8, the largest of 32 neighbours at ±127: as the engine does for `llama`, `qwen2` and `qwen3`.
    Group,
    /// Int8, real and imaginary parts of a position apart: as the engine does for `ifairy` (arXiv:2508.05571, section 3).
    Parts,
}

const NAMED: [(&str, Activations); 4] = [
    ("floats", Activations::Floats),
    ("token", Activations::Token),
    ("group", Activations::Group),
    ("parts", Activations::Parts),
];

/// The largest int8 code.
const MOST: f32 = 127.0;
/// A largest activation below this counts as this, so that zeros are not divided by zero.
const LEAST: f32 = 1e-30;

impl Activations {
    /// `x`, `[positions, channels]`, as the engine's kernels see it; the identity on the way back. Channels that are no
    /// whole number of groups share one scale.
    pub fn quantize<B: Backend>(self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        let [positions, channels] = x.dims();
        let shared = match self {
            Activations::Floats => return x,
            Activations::Group if channels.is_multiple_of(GROUP) => GROUP,
            Activations::Parts if channels.is_multiple_of(2) => channels / 2,
            Activations::Token | Activations::Group | Activations::Parts => channels,
        };
        let groups = constant(x.clone()).reshape([positions * channels / shared, shared]);
        let largest = groups.clone().max_abs_dim(1).clamp_min(LEAST);
        let codes = (groups * (largest.clone().recip() * MOST)).round();
        let quantized = codes * (largest / MOST);
        straight_through(x, quantized.reshape([positions, channels]))
    }
}

impl fmt::Display for Activations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = NAMED.iter().find(|(_, activations)| activations == self);
        f.write_str(named.map_or("", |(name, _)| name))
    }
}

impl FromStr for Activations {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = NAMED.iter().find(|(known, _)| *known == name);
        found.map(|&(_, activations)| activations).ok_or_else(|| {
            let known: Vec<_> = NAMED.iter().map(|(name, _)| *name).collect();
            format!("there are no activations {name}; there are {}", known.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{Cpu, matrix, values};

    /// Computed one by one, as the engine's documentation says.
    #[test]
    fn each_group_has_its_largest_at_127() {
        let x: Vec<f32> = (0..128)
            .map(|i| ((i * 37 % 64) as f32 / 9.0).sin() * (1.0 + i as f32))
            .collect();
        for (activations, shared) in [
            (Activations::Token, 64),
            (Activations::Group, 32),
            (Activations::Parts, 32),
        ] {
            let input = matrix::<Cpu>(x.clone(), [2, 64], &Default::default()).require_grad();
            let output = activations.quantize(input.clone());
            for (group, found) in x.chunks(shared).zip(values(output.clone()).chunks(shared)) {
                let largest = group.iter().fold(0f32, |largest, x| largest.max(x.abs()));
                for (x, found) in group.iter().zip(found) {
                    let code = (x * (127.0 / largest)).round_ties_even();
                    assert!(
                        (found - code * largest / 127.0).abs() <= 1e-6 * largest,
                        "{activations}: {x} {found}"
                    );
                }
            }
            let gradients = (output * 3.0).sum().backward();
            assert_eq!(values(input.grad(&gradients).unwrap()), vec![3.0; 128]);
        }
    }

    #[test]
    fn zeros_stay_zeros_and_floats_stay() {
        let zeros = matrix::<Cpu>(vec![0.0; 64], [1, 64], &Default::default());
        assert_eq!(values(Activations::Token.quantize(zeros)), [0.0; 64]);
        let odd = matrix::<Cpu>(vec![0.3; 5], [1, 5], &Default::default());
        assert_eq!(values(Activations::Floats.quantize(odd.clone())), [0.3; 5]);
        assert_eq!(values(Activations::Group.quantize(odd)).len(), 5);
    }
}
