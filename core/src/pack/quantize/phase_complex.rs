//! PhaseQuant: complex weights become 1, i, -1 or -i times a scale (iFairy, arXiv:2508.05571, section 3).
//!
//! A weight goes to the power of i that is nearest by angle. Those that become ±1 share the scale mean |re w|, those that
//! become ±i the scale mean |im w|. Training has one pair of scales a matrix; here each row has its own, which is the
//! same where the weights were quantized in training.

use std::ops::Range;
use std::thread;

use halfpi_kernels::format::{Codes, Layout, ScaleGroup, TILE_ROWS};

use super::super::{Distortion, PackError};
use super::tiles::{Batch, MAX_THREADS};

/// The `k` in 0..4 for which `i^k` is nearest to `re + i·im` by angle. Each takes the angles from -π/4 of its own on, up
/// to but without π/4; zero is 1.
pub(in super::super) fn nearest_power(re: f32, im: f32) -> u8 {
    if re > 0.0 && -re <= im && im < re {
        0
    } else if im > 0.0 && -im < re && re <= im {
        1
    } else if re < 0.0 && re < im && im <= -re {
        2
    } else if im < 0.0 && im <= re && re < -im {
        3
    } else {
        0
    }
}

/// `i^k` as its real and its imaginary part.
fn power(k: u8) -> [f32; 2] {
    [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]][usize::from(k & 3)]
}

/// The scales of real and of imaginary codes, as they are gathered.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct PhaseScales {
    sums: [f64; 2],
    counts: [u64; 2],
}

impl PhaseScales {
    pub(in super::super) fn add(&mut self, re: f32, im: f32) {
        let axis = usize::from(nearest_power(re, im) % 2);
        self.sums[axis] += f64::from([re, im][axis].abs());
        self.counts[axis] += 1;
    }

    /// The means; 0 where there is nothing to scale.
    pub(in super::super) fn means(&self) -> [f32; 2] {
        [0, 1].map(|axis| (self.sums[axis] / self.counts[axis].max(1) as f64) as f32)
    }
}

/// What a weight becomes. One that is not a number stays, for others to find.
pub(in super::super) fn quantized(re: f32, im: f32, [re_scale, im_scale]: [f32; 2]) -> [f32; 2] {
    if !(re.is_finite() && im.is_finite()) {
        return [re, im];
    }
    let [re, im] = power(nearest_power(re, im));
    [re * re_scale, im * im_scale]
}

/// The layout of a complex matrix of `rows` x `cols`.
pub(in super::super) fn layout(rows: usize, cols: usize) -> Result<Layout, halfpi_kernels::format::FormatError> {
    let (rows, cols) = (rows.saturating_mul(2), cols.saturating_mul(2));
    Ok(Layout::new(rows, cols, Codes::PhaseComplex, ScaleGroup::Row, false)?.with_f32_scales())
}

/// Writes the real and the imaginary parts of a row.
type ReadRow<'a> = dyn Fn(usize, &mut [f32], &mut [f32]) + Sync + 'a;

/// Packs complex rows `range` of a matrix with `cols` columns. The range begins at a tile and ends at one, or at the
/// last row.
pub(in super::super) fn pack_complex_rows(
    name: &str,
    cols: usize,
    range: Range<usize>,
    read: &ReadRow<'_>,
    threads: usize,
) -> Result<Batch, PackError> {
    let format = |source| PackError::Format {
        name: name.to_owned(),
        source,
    };
    let tile = layout(TILE_ROWS, cols).map_err(format)?;
    let tiles = range.len().div_ceil(TILE_ROWS);
    let mut codes = vec![0; tiles * tile.codes_bytes()];
    let mut scales = vec![0; tiles * tile.scales_bytes()];
    // One entry a tile, summed in order: the figures do not depend on the number of threads.
    let mut distortions = vec![Distortion::default(); tiles];

    let pack_tile = |first: usize, codes: &mut [u8], scales: &mut [u8], lost: &mut Distortion| {
        let (mut re, mut im) = (vec![0.0; cols], vec![0.0; cols]);
        for row in first..range.end.min(first + TILE_ROWS) {
            read(row, &mut re, &mut im);
            if !re.iter().chain(&im).all(|weight| weight.is_finite()) {
                let name = name.to_owned();
                return Err(PackError::NotFinite { name, row });
            }
            let mut means = PhaseScales::default();
            re.iter().zip(&im).for_each(|(&re, &im)| means.add(re, im));
            let means = means.means();
            let lane = row - first;
            for (scale, col) in means.into_iter().zip([0, cols]) {
                let at = tile.scale_position(lane, col);
                scales[at..at + 4].copy_from_slice(&scale.to_le_bytes());
            }
            for (col, (&re, &im)) in re.iter().zip(&im).enumerate() {
                let code = nearest_power(re, im);
                tile.write_code(codes, lane, col, code.into()).map_err(format)?;
                let [stored_re, stored_im] = quantized(re, im, means);
                lost.add(re, stored_re);
                lost.add(im, stored_im);
            }
        }
        Ok(())
    };
    let share = tiles.div_ceil(threads.clamp(1, MAX_THREADS)).max(1);
    thread::scope(|scope| {
        let parts = codes
            .chunks_mut(share * tile.codes_bytes())
            .zip(scales.chunks_mut(share * tile.scales_bytes()))
            .zip(distortions.chunks_mut(share));
        let threads: Vec<_> = parts
            .enumerate()
            .map(|(part, ((codes, scales), distortions))| {
                let first = range.start + part * share * TILE_ROWS;
                let (tile, pack_tile) = (&tile, &pack_tile);
                scope.spawn(move || {
                    codes
                        .chunks_exact_mut(tile.codes_bytes())
                        .zip(scales.chunks_exact_mut(tile.scales_bytes()))
                        .zip(distortions)
                        .enumerate()
                        .try_for_each(|(i, ((codes, scales), lost))| {
                            pack_tile(first + i * TILE_ROWS, codes, scales, lost)
                        })
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    let distortion = distortions.into_iter().fold(Distortion::default(), Distortion::plus);
    Ok(Batch {
        codes,
        scales,
        distortion,
        judged: distortion,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every angle goes to its quarter, and the edges to the side that PhaseQuant gives them.
    #[test]
    fn quarters_are_half_open() {
        for degree in 0..360 {
            let angle = f64::from(degree).to_radians();
            let (re, im) = (angle.cos() as f32 * 3.0, angle.sin() as f32 * 3.0);
            if degree % 90 != 45 {
                assert_eq!(u32::from(nearest_power(re, im)), (degree + 45) / 90 % 4, "{degree}");
            }
        }
        for (re, im, expected) in [
            (1.0, 1.0, 1),
            (-1.0, 1.0, 2),
            (-1.0, -1.0, 3),
            (1.0, -1.0, 0),
            (0.0, 0.0, 0),
        ] {
            assert_eq!(nearest_power(re, im), expected, "{re} {im}");
        }
    }

    /// Multiplying a weight by i adds one to its power: exactly, without a rounding.
    #[test]
    fn a_quarter_turn_is_the_next_power() {
        for n in 0..1000 {
            let (re, im) = ((n as f32 * 0.37).sin(), (n as f32 * 0.73).cos());
            assert_eq!((nearest_power(re, im) + 1) % 4, nearest_power(-im, re));
        }
    }
}
