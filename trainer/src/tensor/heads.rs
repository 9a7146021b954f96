//! Heads, one after the other.

use super::host::each_row;
use super::{Backend, Step, Tensor, matrix};

/// How the channels of a head turn from position to position (RoFormer, arXiv:2104.09864, section 3.4).
#[derive(Clone, Debug)]
pub struct Turns<B: Backend> {
    /// The cosines of every channel's angle: `[length, head_dim]`.
    pub cos: Tensor<B, 2>,
    /// The sines.
    pub sin: Tensor<B, 2>,
    /// The channels that turn in one plane.
    pub pairs: Vec<[usize; 2]>,
}

/// Puts the heads of `x`, `[batch * length, heads * head_dim]`, one after the other, `[batch * heads * length, head_dim]`,
/// and turns them.
pub fn split_heads<B: Backend>(
    x: Tensor<B, 2>,
    [batch, heads]: [usize; 2],
    turns: Option<Turns<B::Inner>>,
) -> Tensor<B, 2> {
    let step = Heads {
        batch,
        heads,
        turns,
        is_back: false,
    };
    B::apply(step, [x])
}

/// The opposite, without turns.
pub fn join_heads<B: Backend>(x: Tensor<B, 2>, [batch, heads]: [usize; 2]) -> Tensor<B, 2> {
    let step = Heads::<B::Inner> {
        batch,
        heads,
        turns: None,
        is_back: true,
    };
    B::apply(step, [x])
}

#[derive(Clone, Debug)]
struct Heads<B: Backend> {
    batch: usize,
    heads: usize,
    turns: Option<Turns<B>>,
    /// Whether the step is the opposite. As both are orthogonal, that is what the other's gradients take too.
    is_back: bool,
}

impl<B: Backend> Heads<B> {
    fn split(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        let [rows, channels] = x.dims();
        let (length, width) = (rows / self.batch, channels / self.heads);
        let shape = [rows * self.heads, width];
        if let Some(numbers) = B::floats(&x) {
            let numbers = numbers.as_ref();
            let turn = self.turn(false);
            let mut out = vec![0f32; numbers.len()];
            each_row(&mut out, length * width, |index, out| {
                let (sequence, head) = (index / self.heads, index % self.heads);
                for (position, out) in out.chunks_mut(width).enumerate() {
                    let from = (sequence * length + position) * channels + head * width;
                    out.copy_from_slice(&numbers[from..from + width]);
                    turn(position, out);
                }
            });
            return matrix(out, shape, &x.device());
        }
        let x = x.reshape([self.batch, length, self.heads, width]);
        self.turned(x, false).swap_dims(1, 2).reshape(shape)
    }

    fn join(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        let [rows, width] = x.dims();
        let (length, channels) = (rows / self.batch / self.heads, width * self.heads);
        let shape = [self.batch * length, channels];
        if let Some(numbers) = B::floats(&x) {
            let numbers = numbers.as_ref();
            let turn = self.turn(true);
            let mut out = vec![0f32; numbers.len()];
            each_row(&mut out, channels, |row, out| {
                let (sequence, position) = (row / length, row % length);
                for (head, out) in out.chunks_mut(width).enumerate() {
                    let from = ((sequence * self.heads + head) * length + position) * width;
                    out.copy_from_slice(&numbers[from..from + width]);
                    turn(position, out);
                }
            });
            return matrix(out, shape, &x.device());
        }
        let x = x.reshape([self.batch, self.heads, length, width]).swap_dims(1, 2);
        self.turned(x, true).reshape(shape)
    }

    /// Turns a head of a position, forward or back.
    fn turn(&self, is_back: bool) -> impl Fn(usize, &mut [f32]) + Send + Sync {
        let tables = self.turns.as_ref().and_then(|turns| {
            let [Some(cos), Some(sin)] = [&turns.cos, &turns.sin].map(B::floats) else {
                return None;
            };
            Some((cos, sin, &turns.pairs))
        });
        let sign = if is_back { -1.0 } else { 1.0 };
        move |position, head| {
            let Some((cos, sin, pairs)) = &tables else { return };
            let row = position * head.len()..(position + 1) * head.len();
            let (cos, sin) = (&cos.as_ref()[row.clone()], &sin.as_ref()[row]);
            for &[first, second] in pairs.iter() {
                let (x, y) = (head[first], head[second]);
                let (cos, sin) = (cos[first], sign * sin[first]);
                head[first] = x * cos - y * sin;
                head[second] = y * cos + x * sin;
            }
        }
    }

    /// The same of `[batch, length, heads, head_dim]`: each channel's partner comes to its place by a product with a small
    /// matrix.
    fn turned(&self, x: Tensor<B, 4>, is_back: bool) -> Tensor<B, 4> {
        let Some(turns) = &self.turns else { return x };
        let shape @ [batch, length, heads, width] = x.dims();
        let sign = if is_back { -1.0 } else { 1.0 };
        let mut partners = vec![0f32; width * width];
        for &[first, second] in &turns.pairs {
            partners[second * width + first] = -sign;
            partners[first * width + second] = sign;
        }
        let flat = x.clone().reshape([batch * length * heads, width]);
        let partners = flat.matmul(matrix(partners, [width, width], &x.device()));
        let [cos, sin] = [&turns.cos, &turns.sin].map(|table| table.clone().reshape([1, length, 1, width]));
        x * cos + partners.reshape(shape) * sin
    }
}

impl<B: Backend> Step<B, 1> for Heads<B> {
    type Kept = ();

    fn forward(&self, [x]: [Tensor<B, 2>; 1]) -> (Tensor<B, 2>, ()) {
        (if self.is_back { self.join(x) } else { self.split(x) }, ())
    }

    fn needs(_: [bool; 1]) -> [bool; 1] {
        [false]
    }

    fn backward(
        &self,
        _: [Option<Tensor<B, 2>>; 1],
        (): (),
        gradient: Tensor<B, 2>,
        _: [bool; 1],
    ) -> [Option<Tensor<B, 2>>; 1] {
        [Some(if self.is_back {
            self.split(gradient)
        } else {
            self.join(gradient)
        })]
    }
}

#[cfg(test)]
mod tests {
    use super::super::Cpu;
    use super::super::testing::{assert_same, normal};
    use super::*;

    /// 2 sequences of 3 positions, 2 heads of 5 channels, 2 pairs of which turn.
    fn turns() -> Turns<<Cpu as Backend>::Inner> {
        let device = Default::default();
        let pairs = vec![[0, 1], [2, 4]];
        let mut angles = normal("angles", [3, 5]);
        angles
            .chunks_mut(5)
            .for_each(|row| (row[1], row[3], row[4]) = (row[0], 0.0, row[2]));
        let table = |f: fn(f32) -> f32| matrix(angles.iter().map(|&angle| f(angle)).collect(), [3, 5], &device);
        Turns {
            cos: table(f32::cos),
            sin: table(f32::sin),
            pairs,
        }
    }

    #[test]
    fn values_and_gradients_are_those_of_a_product() {
        let formula = |[x]: [Tensor<Cpu, 2>; 1]| {
            let step = Heads {
                batch: 2,
                heads: 2,
                turns: None::<Turns<Cpu>>,
                is_back: false,
            };
            let turns = turns();
            let turns = Turns {
                cos: Tensor::from_inner(turns.cos),
                sin: Tensor::from_inner(turns.sin),
                pairs: turns.pairs,
            };
            let x = x.reshape([2, 3, 2, 5]);
            let turned = Heads {
                turns: Some(turns),
                ..step
            }
            .turned(x, false);
            turned.swap_dims(1, 2).reshape([12, 5])
        };
        assert_same(|[x]| split_heads(x, [2, 2], Some(turns())), formula, [[6, 10]]);
        let joined = |[x]: [Tensor<Cpu, 2>; 1]| x.reshape([2, 2, 3, 5]).swap_dims(1, 2).reshape([6, 10]);
        assert_same(|[x]| join_heads(x, [2, 2]), joined, [[12, 5]]);
    }
}
