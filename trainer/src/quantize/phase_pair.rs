//! A real matrix as a widely linear complex one with weights that are powers of i (Fairy2i, arXiv:2512.02901), one or two
//! stages.
//!
//! The blocks `[[a, b], [c, d]]` are those of the packed format: rows 16 apart in units of 32 and columns 16 apart in
//! groups of 32. A block is `u = (a + d)/2 + i (c - b)/2` and `w = (a - d)/2 + i (b + c)/2` (section 3.1), and the nearest
//! power of i has the signs of `re + im` and of `re - im`. So the phases are the signs of four coordinates, and a second
//! stage of half the scale makes them ±1 and ±3. In units of the rows' own deviations the coordinates are chosen, then
//! every row gets the scale of least squared error for them.

use halfpi::pack::Scales;
use halfpi_kernels::format::GROUP;

use super::scale::stored;
use crate::tensor::{Backend, Tensor, constant, straight_through};

/// Rows and columns of a block are so far apart.
const HALF: usize = GROUP / 2;
/// The scale of least squared error of the levels ±1 and ±3 for normal coordinates, in deviations.
const TWO_STAGES: f32 = 0.498;
/// What is divided by is at least this: rows of zeros stay so.
const LEAST: f32 = 1e-30;

/// Weights as the packed format has them; the identity on the way back.
pub(super) fn quantize<B: Backend>(weight: Tensor<B, 2>, scales: Scales, stages: u8) -> Tensor<B, 2> {
    let blocks = Blocks::new(constant(weight.clone()), scales);
    let quantized = blocks.quantized(stages, scales);
    straight_through(weight, quantized)
}

/// The four weights of all blocks, each `[scales, weights]`: the upper row's `a` and `b`, the lower row's `c` and `d`.
struct Blocks<B: Backend> {
    parts: [Tensor<B, 2>; 4],
    shape: [usize; 2],
}

impl<B: Backend> Blocks<B> {
    fn new(weight: Tensor<B, 2>, scales: Scales) -> Self {
        let shape @ [rows, cols] = weight.dims();
        let units = rows.div_ceil(GROUP);
        let weight = whole_units(weight);
        let groups = cols / GROUP;
        let count = units * HALF * groups * HALF;
        let per_scale = match scales {
            Scales::Tensor => count,
            Scales::Row => groups * HALF,
            Scales::Group(columns) => columns / 2,
        };
        let all: Tensor<B, 6> = weight.reshape([units, 2, HALF, groups, 2, HALF]);
        let part = |row: usize, col: usize| {
            let part = all
                .clone()
                .slice([0..units, row..row + 1, 0..HALF, 0..groups, col..col + 1, 0..HALF]);
            part.reshape([count / per_scale, per_scale])
        };
        let parts = [part(0, 0), part(0, 1), part(1, 0), part(1, 1)];
        Self { parts, shape }
    }

    /// The matrix of these blocks.
    fn matrix(self) -> Tensor<B, 2> {
        let [rows, cols] = self.shape;
        let (units, groups) = (rows.div_ceil(GROUP), cols / GROUP);
        let part = |part: Tensor<B, 2>| part.reshape([units, 1, HALF, groups, 1, HALF]);
        let [a, b, c, d]: [Tensor<B, 6>; 4] = self.parts.map(part);
        let upper = Tensor::cat(vec![a, b], 4);
        let lower = Tensor::cat(vec![c, d], 4);
        let all = Tensor::cat(vec![upper, lower], 1).reshape([units * GROUP, cols]);
        if units * GROUP > rows {
            all.slice([0..rows, 0..cols])
        } else {
            all
        }
    }

    fn quantized(self, stages: u8, scales: Scales) -> Tensor<B, 2> {
        let shape = self.shape;
        let levels = self.levels(stages, scales);
        let sums = |levels: &[Tensor<B, 2>; 4], others: &[Tensor<B, 2>; 4]| {
            row_sums([0, 1, 2, 3].map(|i| levels[i].clone() * others[i].clone()), scales)
        };
        let dot = sums(&levels, &self.parts);
        let norm = sums(&levels, &levels);
        let mut scale = dot
            .into_iter()
            .zip(norm)
            .map(|(dot, norm)| stored(dot / norm.clamp_min(LEAST), scales));
        let (Some(upper), Some(lower)) = (scale.next(), scale.next()) else {
            unreachable!("there are two rows")
        };
        let [a, b, c, d] = levels;
        let parts = [a * upper.clone(), b * upper, c * lower.clone(), d * lower];
        Blocks { parts, shape }.matrix()
    }

    /// What the weights are in units of their scales.
    fn levels(&self, stages: u8, scales: Scales) -> [Tensor<B, 2>; 4] {
        let squares = row_sums(self.parts.clone().map(|part| part.clone() * part), scales);
        // Of both rows alike: how many weights they have does not matter.
        let [upper, lower] = squares.map(|squares| squares.clamp_min(LEAST).sqrt().recip());
        let [a, b, c, d] = self.parts.clone();
        let (a, b, c, d) = (a * upper.clone(), b * upper, c * lower.clone(), d * lower);
        // Twice the real and imaginary parts of u and of w.
        let u = [a.clone() + d.clone(), c.clone() - b.clone()];
        let w = [a - d, b + c];
        // As many weights as share a scale in a row have a deviation of 1 together: the deviation of twice a coordinate.
        let per_row = 2 * self.parts[0].dims()[1] * if scales == Scales::Tensor { 2 } else { 1 };
        let deviation = 2.0 / (per_row as f32).sqrt();
        let level = |twice: Tensor<B, 2>| {
            let sign = twice.clone().greater_equal_elem(0.0).float() * 2.0 - 1.0;
            if stages == 1 {
                return sign;
            }
            let is_three = twice.abs().greater_elem(2.0 * TWO_STAGES * deviation).float();
            sign * (is_three * 2.0 + 1.0)
        };
        let [u, w] = [u, w].map(|[re, im]| {
            let (p, q) = (level(re.clone() + im.clone()), level(re - im));
            [(p.clone() + q.clone()) * 0.5, (p - q) * 0.5]
        });
        let ([u_re, u_im], [w_re, w_im]) = (u, w);
        [
            u_re.clone() + w_re.clone(),
            w_im.clone() - u_im.clone(),
            u_im + w_im,
            u_re - w_re,
        ]
    }
}

/// Adds the rows that the last unit of 32 lacks: partners like the rows that have none, whose two weights are then rounded
/// each for itself, and zeros.
fn whole_units<B: Backend>(weight: Tensor<B, 2>) -> Tensor<B, 2> {
    let [rows, cols] = weight.dims();
    let last = rows % GROUP;
    if last == 0 {
        return weight;
    }
    let first = rows - last;
    let alone = last.saturating_sub(HALF)..last.min(HALF);
    let zeros = HALF - last.min(HALF);
    let mut parts = vec![weight.clone()];
    if zeros > 0 {
        parts.push(Tensor::zeros([zeros, cols], &weight.device()));
    }
    parts.push(weight.slice([first + alone.start..first + alone.end, 0..cols]));
    if zeros > 0 {
        parts.push(parts[1].clone());
    }
    Tensor::cat(parts, 0)
}

/// The sums over the weights of the upper and of the lower row that share a scale, `[scales, 1]` each; of both where all
/// weights do.
fn row_sums<B: Backend>([a, b, c, d]: [Tensor<B, 2>; 4], scales: Scales) -> [Tensor<B, 2>; 2] {
    let (upper, lower) = ((a + b).sum_dim(1), (c + d).sum_dim(1));
    if scales == Scales::Tensor {
        let both = upper + lower;
        [both.clone(), both]
    } else {
        [upper, lower]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_on_grid, converted, run, sqnr, unpacked, upstream, weights};
    use halfpi::pack::Format;

    /// With rows that lack their partner, and a unit more.
    const SHAPES: [[usize; 2]; 4] = [[32, 64], [40, 64], [52, 32], [8, 96]];

    #[test]
    fn packing_changes_no_bit() {
        for shape in SHAPES {
            for method in ["phase-t1", "phase-t2"] {
                for scales in ["tensor", "row", "32"] {
                    assert_on_grid(&format!("{method}:scales={scales}"), shape);
                }
            }
        }
    }

    /// As good as what packing makes of the weights, but for the search that packing ends with.
    #[test]
    fn little_is_lost_beside_packing() {
        for (method, format) in [("phase-t1", Format::PhaseT1), ("phase-t2", Format::PhaseT2)] {
            let shape = [64, 64];
            let weights = weights(shape);
            let (parameters, scheme) = converted(weights.clone(), shape, method);
            let outcome = run(&parameters, &scheme, &upstream(weights.len()));
            let best = sqnr(&weights, &unpacked(&weights, shape, format, scheme.layers.scales));
            let found = sqnr(&weights, &outcome.effective);
            assert!(found > best - 0.35, "{method}: {found} dB, packing {best} dB");
            assert_eq!(outcome.gradient, upstream(weights.len()));
        }
    }

    /// The paper's formulas for one block, with one scale.
    #[test]
    fn a_block_is_two_powers_of_i() {
        let shape = [32, 32];
        let weights = weights(shape);
        let (parameters, scheme) = converted(weights.clone(), shape, "phase-t1:scales=tensor");
        let effective = run(&parameters, &scheme, &upstream(weights.len())).effective;
        let scale = effective.iter().fold(0f32, |largest, weight| largest.max(weight.abs())) / 2.0;
        let at = |matrix: &[f32], row: usize, col: usize| matrix[row * 32 + col];
        for (row, col) in [(0, 0), (3, 7), (15, 15)] {
            let block = |matrix: &[f32]| {
                [(row, col), (row, col + 16), (row + 16, col), (row + 16, col + 16)].map(|(i, j)| at(matrix, i, j))
            };
            let [a, b, c, d] = block(&weights);
            let nearest = |re: f32, im: f32| {
                if re.abs() > im.abs() {
                    [re.signum(), 0.0]
                } else {
                    [0.0, im.signum()]
                }
            };
            let u = nearest((a + d) / 2.0, (c - b) / 2.0);
            let w = nearest((a - d) / 2.0, (b + c) / 2.0);
            let expected = [u[0] + w[0], w[1] - u[1], u[1] + w[1], u[0] - w[0]].map(|level| level * scale);
            assert_eq!(block(&effective), expected);
        }
    }

    #[test]
    fn zeros_stay_zeros() {
        let (parameters, scheme) = converted(vec![0.0; 2048], [32, 64], "phase-t2");
        assert_eq!(run(&parameters, &scheme, &[1.0; 2048]).effective, [0.0; 2048]);
    }
}
