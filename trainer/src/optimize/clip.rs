//! Gradient clipping by the norm of all gradients together (Pascanu et al. 2013, arXiv:1211.5063, algorithm 1).

use crate::Gradients;
use crate::tensor::{AutodiffBackend, Backend, of_rows, scalar, sum};

/// Numbers that are added up in one go.
const PART: usize = 4096;

/// The Euclidean norm of all gradients; not finite if one of them is not. On a processor it does not depend on how many
/// threads there are.
pub fn global_norm<B: AutodiffBackend>(gradients: &Gradients<B>) -> f32 {
    let squares = gradients.values().map(|gradient| match B::Inner::floats(gradient) {
        Some(numbers) => {
            let parts = of_rows(numbers.as_ref(), PART, |_, part| sum(part, |x| x * x));
            parts.into_iter().map(f64::from).sum()
        }
        None => f64::from(scalar((gradient.clone() * gradient.clone()).sum())),
    });
    squares.sum::<f64>().sqrt() as f32
}

/// Makes gradients smaller, all by the same factor, if their norm is above `limit`.
pub fn clip<B: AutodiffBackend>(gradients: &mut Gradients<B>, norm: f32, limit: f32) {
    if norm > limit {
        let factor = limit / norm;
        let whole = std::mem::take(gradients).into_iter();
        *gradients = whole.map(|(name, gradient)| (name, gradient * factor)).collect();
    }
}
