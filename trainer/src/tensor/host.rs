//! Loops over numbers in this process's memory, with all threads. Results do not depend on how many threads there are.

use rayon::prelude::*;

use super::{Backend, Tensor, TensorData};

/// Numbers for which handing work to another thread pays.
const SHARE: usize = 1 << 13;
/// Sums that are computed side by side.
const LANES: usize = 16;

/// Calls `f` with every row and its number.
pub(super) fn each_row(out: &mut [f32], width: usize, f: impl Fn(usize, &mut [f32]) + Send + Sync) {
    let width = width.max(1);
    let rows = out.par_chunks_mut(width).with_min_len(SHARE.div_ceil(width));
    rows.enumerate().for_each(|(row, numbers)| f(row, numbers));
}

/// What `f` says of every row.
pub fn of_rows(x: &[f32], width: usize, f: impl Fn(usize, &[f32]) -> f32 + Send + Sync) -> Vec<f32> {
    let width = width.max(1);
    let rows = x.par_chunks(width).with_min_len(SHARE.div_ceil(width));
    rows.enumerate().map(|(row, numbers)| f(row, numbers)).collect()
}

/// `x` with its rows changed by `f`: where they lie, if nobody else has them.
pub fn change_rows<B: Backend>(x: Tensor<B, 2>, f: impl Fn(usize, &mut [f32]) + Send + Sync) -> Tensor<B, 2> {
    let ([_, width], device) = (x.dims(), x.device());
    let mut data: TensorData = x.into_data();
    if let Ok(numbers) = data.as_mut_slice::<f32>() {
        each_row(numbers, width, f);
    }
    Tensor::from_data(data, &device)
}

/// Changes the numbers of three tensors by `f`, which gets one of each and that of `with`; all have the same shape. They are
/// changed where they lie, if nobody else has them. `false`, and nothing has happened, if that is not this process's memory.
pub fn change_together<B: Backend>(
    tensors: [&mut Tensor<B, 2>; 3],
    with: &Tensor<B, 2>,
    f: impl Fn([&mut f32; 3], f32) + Send + Sync,
) -> bool {
    let (Some(numbers), device) = (B::floats(with), with.device()) else {
        return false;
    };
    let empty = || Tensor::empty([0, 0], &device);
    let taken = tensors.map(|tensor| (std::mem::replace(tensor, empty()).into_data(), tensor));
    let [(mut a, to_a), (mut b, to_b), (mut c, to_c)] = taken;
    if let (Ok(a), Ok(b), Ok(c)) = (a.as_mut_slice(), b.as_mut_slice(), c.as_mut_slice()) {
        let pairs = b.par_chunks_mut(SHARE).zip(c.par_chunks_mut(SHARE));
        let chunks = a.par_chunks_mut(SHARE).zip(pairs);
        chunks
            .zip(numbers.as_ref().par_chunks(SHARE))
            .for_each(|((a, (b, c)), with)| {
                for (((a, b), c), with) in a.iter_mut().zip(b).zip(c).zip(with) {
                    f([a, b, c], *with);
                }
            });
    }
    for (tensor, data) in [(to_a, a), (to_b, b), (to_c, c)] {
        *tensor = Tensor::from_data(data, &device);
    }
    true
}

/// The sum of `f` of all numbers.
#[inline(always)]
pub fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest: f32 = chunks.remainder().iter().map(|&x| f(x)).sum();
    for chunk in chunks {
        for (sum, &x) in sums.iter_mut().zip(chunk) {
            *sum += f(x);
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// The sum of products.
#[inline(always)]
pub(super) fn dot(x: &[f32], y: &[f32]) -> f32 {
    let mut sums = [0f32; LANES];
    let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let rest: f32 = xs.remainder().iter().zip(ys.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in xs.zip(ys) {
        for (sum, (x, y)) in sums.iter_mut().zip(x.iter().zip(y)) {
            *sum += x * y;
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// The largest number; one that is none is left out.
#[inline(always)]
pub(super) fn largest(x: &[f32]) -> f32 {
    let mut tops = [f32::NEG_INFINITY; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder().iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for chunk in chunks {
        for (top, &x) in tops.iter_mut().zip(chunk) {
            *top = if x > *top { x } else { *top };
        }
    }
    tops.into_iter().fold(rest, f32::max)
}

/// e^x with a relative error below 2e-7, in operations that several numbers take at once: Cody and Waite's reduction and
/// the polynomial of Cephes' `expf` (S. Moshier). Below -87 it stays at e^-87.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    /// What is added to it has no place for fractions, and its whole part in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let mut p = 1.987_569_2e-4;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + coefficient;
    }
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    (p * (r * r) + r + 1.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_that_of_the_library() {
        for i in -8_700..=8_800 {
            let x = i as f32 / 100.0;
            let expected = f64::from(x).exp();
            assert!((f64::from(exp(x)) / expected - 1.0).abs() < 2e-7, "{x}");
        }
        assert_eq!((exp(0.0), exp(-1e9)), (1.0, exp(-87.0)));
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn sums_take_every_number() {
        for len in [0, 1, 15, 16, 17, 40] {
            let x: Vec<f32> = (1..=len).map(|i| i as f32).collect();
            assert_eq!(sum(&x, |x| 2.0 * x), (len * (len + 1)) as f32);
            assert_eq!(dot(&x, &x), x.iter().map(|x| x * x).sum::<f32>());
            assert_eq!(largest(&x), if len == 0 { f32::NEG_INFINITY } else { len as f32 });
        }
    }
}
