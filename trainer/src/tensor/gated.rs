//! Gated activations of feed-forward networks (Shazeer 2020, arXiv:2002.05202, section 2).

use super::host::{change_rows, exp};
use super::{Backend, Step, Tensor, activation};

/// `silu(gate) * up` with `silu(x) = x / (1 + e^-x)`.
pub fn swiglu<B: Backend>(gate: Tensor<B, 2>, up: Tensor<B, 2>) -> Tensor<B, 2> {
    B::apply(Swiglu, [gate, up])
}

#[derive(Clone, Copy, Debug)]
struct Swiglu;

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    (1.0 + exp(-x)).recip()
}

impl<B: Backend> Step<B, 2> for Swiglu {
    type Kept = ();

    fn forward(&self, [gate, up]: [Tensor<B, 2>; 2]) -> (Tensor<B, 2>, ()) {
        let [_, channels] = gate.dims();
        let product = match B::floats(&up) {
            Some(up) => change_rows(gate, |position, row| {
                let up = &up.as_ref()[position * channels..][..channels];
                for (gate, up) in row.iter_mut().zip(up) {
                    *gate = *gate * sigmoid(*gate) * up;
                }
            }),
            None => activation::silu(gate) * up,
        };
        (product, ())
    }

    fn backward(
        &self,
        inputs: [Option<Tensor<B, 2>>; 2],
        (): (),
        gradient: Tensor<B, 2>,
        _: [bool; 2],
    ) -> [Option<Tensor<B, 2>>; 2] {
        let [Some(gate), Some(up)] = inputs else {
            return [None, None];
        };
        let [_, channels] = gate.dims();
        if let [Some(gates), Some(upstream)] = [&gate, &gradient].map(B::floats) {
            let (gates, upstream) = (gates.as_ref(), upstream.as_ref());
            let of = |position: usize| position * channels..(position + 1) * channels;
            let of_gate = change_rows(up.clone(), |position, row| {
                let numbers = row.iter_mut().zip(&gates[of(position)]).zip(&upstream[of(position)]);
                for ((up, gate), gradient) in numbers {
                    let share = sigmoid(*gate);
                    *up *= gradient * share * (1.0 + gate * (1.0 - share));
                }
            });
            let of_up = change_rows(up, |position, row| {
                let numbers = row.iter_mut().zip(&gates[of(position)]).zip(&upstream[of(position)]);
                for ((up, gate), gradient) in numbers {
                    *up = gradient * gate * sigmoid(*gate);
                }
            });
            return [Some(of_gate), Some(of_up)];
        }
        let share = activation::sigmoid(gate.clone());
        let silu = gate.clone() * share.clone();
        let slope = share.clone() + silu.clone() * (share.neg() + 1.0);
        [Some(gradient.clone() * up * slope), Some(gradient * silu)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::Cpu;
    use super::super::testing::assert_same;
    use super::*;

    #[test]
    fn values_and_gradients_are_those_of_silu() {
        let formula = |[gate, up]: [Tensor<Cpu, 2>; 2]| activation::silu(gate) * up;
        assert_same(|[gate, up]| swiglu(gate, up), formula, [[9, 21], [9, 21]]);
    }
}
