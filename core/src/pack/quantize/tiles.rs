//! Runs a quantizer over the row tiles of a matrix, on several threads.

use std::ops::Range;
use std::thread;

use halfpi_kernels::format::{Layout, ScaleGroup, TILE_ROWS};

use super::super::{Distortion, PackError};
use super::Quantizer;

/// More threads than this are not started, whatever is asked for.
pub(super) const MAX_THREADS: usize = 256;

/// The packed form of some row tiles.
pub(in super::super) struct Batch {
    pub codes: Vec<u8>,
    pub scales: Vec<u8>,
    pub distortion: Distortion,
}

/// Packs rows `range` of a matrix of `rows` x `cols` weights. The range begins at a tile and ends at one, or at the last
/// row. `read` writes a row of floats.
pub(in super::super) fn pack_rows(
    name: &str,
    quantizer: &Quantizer,
    layout: &Layout,
    (rows, cols): (usize, usize),
    range: Range<usize>,
    read: &(dyn Fn(usize, &mut [f32]) + Sync),
    threads: usize,
) -> Result<Batch, PackError> {
    let scales_per_row = layout.scale_groups();
    let group = cols / scales_per_row;
    let scales = if scales_per_row == 1 {
        ScaleGroup::Row
    } else {
        ScaleGroup::Columns(group)
    };
    let tile = Layout::new(TILE_ROWS, cols, layout.codes(), scales, false).map_err(|source| PackError::Format {
        name: name.to_owned(),
        source,
    })?;
    let worker = Worker {
        name,
        quantizer,
        tile,
        group,
        cols,
        end: rows.min(range.end),
        read,
    };

    let tiles = range.len().div_ceil(TILE_ROWS);
    let mut codes = vec![0; tiles * tile.codes_bytes()];
    let mut scales = vec![0; tiles * tile.scales_bytes()];
    // One entry a tile, summed in order: the figures do not depend on the number of threads.
    let mut distortions = vec![Distortion::default(); tiles];
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
                let worker = &worker;
                scope.spawn(move || worker.run(first, codes, scales, distortions))
            })
            .collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    Ok(Batch {
        codes,
        scales,
        distortion: distortions.into_iter().fold(Distortion::default(), Distortion::plus),
    })
}

struct Worker<'a> {
    name: &'a str,
    quantizer: &'a Quantizer,
    /// The layout of one tile alone.
    tile: Layout,
    group: usize,
    cols: usize,
    /// Rows from here on are padding.
    end: usize,
    read: &'a (dyn Fn(usize, &mut [f32]) + Sync),
}

impl Worker<'_> {
    /// Packs whole tiles from row `first` on.
    fn run(
        &self,
        first: usize,
        codes: &mut [u8],
        scales: &mut [u8],
        distortions: &mut [Distortion],
    ) -> Result<(), PackError> {
        let mut weights = vec![0.0; self.cols];
        let mut row_codes = vec![0; self.cols];
        let tiles = codes
            .chunks_exact_mut(self.tile.codes_bytes())
            .zip(scales.chunks_exact_mut(self.tile.scales_bytes()));
        for (index, ((codes, scales), distortion)) in tiles.zip(distortions).enumerate() {
            let first = first + index * TILE_ROWS;
            for row in first..self.end.min(first + TILE_ROWS) {
                (self.read)(row, &mut weights);
                if !weights.iter().all(|weight| weight.is_finite()) {
                    return Err(PackError::NotFinite {
                        name: self.name.to_owned(),
                        row,
                    });
                }
                self.row(row - first, &weights, &mut row_codes, codes, scales, distortion)?;
            }
        }
        Ok(())
    }

    /// Packs one row of a tile.
    fn row(
        &self,
        lane: usize,
        weights: &[f32],
        row_codes: &mut [u8],
        codes: &mut [u8],
        scales: &mut [u8],
        distortion: &mut Distortion,
    ) -> Result<(), PackError> {
        let groups = weights
            .chunks_exact(self.group)
            .zip(row_codes.chunks_exact_mut(self.group));
        for (group, (weights, row_codes)) in groups.enumerate() {
            let scale = self.quantizer.quantize(weights, row_codes);
            let at = self.tile.scale_position(lane, group * self.group);
            scales[at..at + 2].copy_from_slice(&scale.to_le_bytes());
            let scale = scale.to_f32();
            for (weight, &code) in weights.iter().zip(&*row_codes) {
                distortion.add(*weight, scale * self.quantizer.value(code));
            }
        }
        for (col, &code) in row_codes.iter().enumerate() {
            let written = self.tile.write_code(codes, lane, col, code.into());
            written.map_err(|source| PackError::Format {
                name: self.name.to_owned(),
                source,
            })?;
        }
        Ok(())
    }
}
