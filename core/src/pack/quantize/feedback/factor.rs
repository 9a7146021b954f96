//! H = M D Mᵀ with M unit upper triangular and D diagonal, and what error feedback needs of it.

use std::thread;

/// Columns that are eliminated together before the rest of the matrix is touched.
const PANEL: usize = 64;

/// The factors of a damped matrix of second moments.
pub(in super::super::super) struct Factor {
    n: usize,
    /// M, `[n][n]`: row k says how much of an error of input k input j > k can take over. Only what is above the
    /// diagonal is set.
    m: Vec<f32>,
    /// D: what an error of input j costs that the inputs after it cannot make up for.
    d: Vec<f32>,
}

impl Factor {
    /// Factors `h`, `[n][n]`, of which only the upper triangle is read, after adding `damping` times the mean of the
    /// diagonal to the diagonal. `None` if it is not positive definite even so, or not finite.
    pub fn new(mut h: Vec<f64>, n: usize, damping: f64, threads: usize) -> Option<Self> {
        let mean = (0..n).map(|i| h[i * n + i]).sum::<f64>() / n as f64;
        // Inputs that are always 0 give no reason to prefer any weights: those are rounded to the nearest.
        let damping = if mean > 0.0 { damping * mean } else { 1.0 };
        for i in 0..n {
            h[i * n + i] += damping;
        }
        let mut factor = Self {
            n,
            m: vec![0.0; n * n],
            d: vec![0.0; n],
        };
        let mut end = n;
        while end > 0 {
            let start = end.saturating_sub(PANEL);
            let (columns, pivots) = eliminate(&h, n, start..end)?;
            for (j, (column, pivot)) in (start..).zip(columns.iter().zip(&pivots)) {
                factor.d[j] = *pivot as f32;
                for (i, share) in column.iter().enumerate() {
                    factor.m[i * n + j] = *share as f32;
                }
            }
            subtract(&mut h[..start * n], n, start, &columns, &pivots, threads);
            end = start;
        }
        Some(factor)
    }

    pub fn len(&self) -> usize {
        self.n
    }

    /// Row `k` of M.
    pub fn row(&self, k: usize) -> &[f32] {
        &self.m[k * self.n..][..self.n]
    }

    pub fn costs(&self) -> &[f32] {
        &self.d
    }

    /// Turns `x` into x M⁻ᵀ D⁻¹.
    pub fn solve(&self, x: &mut [f32]) {
        for j in (0..self.n).rev() {
            let (head, tail) = x.split_at_mut(j + 1);
            head[j] -= dot(tail, &self.row(j)[j + 1..]);
        }
        for (x, d) in x.iter_mut().zip(&self.d) {
            *x /= d;
        }
    }
}

/// Several sums side by side, for vector code.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; 16];
    let (a, a_rest) = a.as_chunks::<16>();
    let (b, b_rest) = b.as_chunks::<16>();
    for (a, b) in a.iter().zip(b) {
        for lane in 0..16 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

/// The columns `range` of M, each from row 0 to above its diagonal, and their pivots.
fn eliminate(h: &[f64], n: usize, range: std::ops::Range<usize>) -> Option<(Vec<Vec<f64>>, Vec<f64>)> {
    let mut columns: Vec<Vec<f64>> = range.clone().map(|j| (0..=j).map(|i| h[i * n + j]).collect()).collect();
    let mut pivots = vec![0.0; range.len()];
    for t in (0..range.len()).rev() {
        let (before, rest) = columns.split_at_mut(t);
        let column = &mut rest[0];
        let pivot = column.pop().filter(|pivot| pivot.is_finite() && *pivot > 0.0)?;
        pivots[t] = pivot;
        for (s, other) in before.iter_mut().enumerate() {
            let share = column[range.start + s] / pivot;
            for (x, y) in other.iter_mut().zip(&*column) {
                *x -= share * y;
            }
        }
        for x in column {
            *x /= pivot;
        }
    }
    Some((columns, pivots))
}

/// Takes the eliminated columns' part from the upper triangle of the first `end` rows and columns.
fn subtract(h: &mut [f64], n: usize, end: usize, columns: &[Vec<f64>], pivots: &[f64], threads: usize) {
    // Rows get shorter: handing them out in turns gives each thread as much.
    let threads = threads.clamp(1, end.div_ceil(PANEL).max(1));
    let mut shares: Vec<Vec<(usize, &mut [f64])>> = (0..threads).map(|_| Vec::new()).collect();
    for (i, row) in h.chunks_exact_mut(n).enumerate() {
        shares[i % threads].push((i, &mut row[i..end]));
    }
    thread::scope(|scope| {
        for share in shares {
            scope.spawn(move || {
                for (i, row) in share {
                    for (column, pivot) in columns.iter().zip(pivots) {
                        let share = column[i] * pivot;
                        for (x, y) in row.iter_mut().zip(&column[i..]) {
                            *x -= share * y;
                        }
                    }
                }
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Second moments of some made-up inputs.
    fn moments(n: usize) -> Vec<f64> {
        let x = |t: usize, i: usize| ((t * 31 + i * 17) % 23) as f64 - 11.0 + ((t * i) % 7) as f64;
        let mut h = vec![0.0; n * n];
        for t in 0..3 * n {
            for i in 0..n {
                for j in 0..n {
                    h[i * n + j] += x(t, i) * x(t, j);
                }
            }
        }
        h
    }

    #[test]
    fn the_factors_give_back_the_matrix() {
        // More than two panels, the last one part full.
        let n = 150;
        let h = moments(n);
        let damping = 0.01 * (0..n).map(|i| h[i * n + i]).sum::<f64>() / n as f64;
        for threads in [1, 3] {
            let factor = Factor::new(h.clone(), n, 0.01, threads).unwrap();
            let m = |i: usize, j: usize| match i.cmp(&j) {
                std::cmp::Ordering::Less => f64::from(factor.row(i)[j]),
                std::cmp::Ordering::Equal => 1.0,
                std::cmp::Ordering::Greater => 0.0,
            };
            for i in 0..n {
                for j in i..n {
                    let found: f64 = (0..n).map(|k| m(i, k) * f64::from(factor.costs()[k]) * m(j, k)).sum();
                    let expected = h[i * n + j] + if i == j { damping } else { 0.0 };
                    assert!((found - expected).abs() < 1e-4 * h[0], "{i} {j}: {found} {expected}");
                }
            }
        }
    }

    #[test]
    fn solving_undoes_the_product() {
        let n = 70;
        let factor = Factor::new(moments(n), n, 0.01, 1).unwrap();
        let expected: Vec<f32> = (0..n).map(|i| (i % 5) as f32 - 2.0).collect();
        // expected D Mᵀ
        let mut x: Vec<f32> = (0..n)
            .map(|j| {
                let scaled = |k: usize| expected[k] * factor.costs()[k];
                scaled(j) + (j + 1..n).map(|k| scaled(k) * factor.row(j)[k]).sum::<f32>()
            })
            .collect();
        factor.solve(&mut x);
        for (found, expected) in x.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-2, "{found} {expected}");
        }
    }

    #[test]
    fn what_is_not_a_matrix_of_moments_is_refused() {
        assert!(Factor::new(vec![f64::NAN; 4], 2, 0.01, 1).is_none());
        assert!(Factor::new(vec![1.0, 5.0, 5.0, 1.0], 2, 0.01, 1).is_none());
        let zero = Factor::new(vec![0.0; 4], 2, 0.01, 1).unwrap();
        assert_eq!((zero.row(0)[1], zero.costs()), (0.0, &[1.0, 1.0][..]));
    }
}
