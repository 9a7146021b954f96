//! Filling the arena: llama.cpp's blocks and dense trits into tiles, on all threads, without ever holding a weight twice for long.

use super::ModelError;
use super::progress::Steps;
use super::tensors::{Conversion, Source};
use crate::gguf::ModelFile;
use halfpi_kernels::Parallel;
use halfpi_kernels::format::{Packed, TILE_ROWS};
use memmap2::MmapMut;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Blocks of a job, in bytes: small enough to share among threads and to give back early.
const JOB_BYTES: usize = 1 << 20;
/// Jobs between two reports, for each thread: some hundredths of a second, of which little is spent waiting for the last.
const JOBS_PER_REPORT: usize = 16;

/// Some row tiles of one tensor.
struct Job<'a> {
    conversion: &'a Conversion,
    tiles: Range<usize>,
    codes: &'a mut [u8],
    scales: &'a mut [u8],
    minima: &'a mut [u8],
}

/// Packs every conversion's blocks into its part of a new arena.
pub(super) fn fill_arena(
    file: &ModelFile,
    conversions: &[Conversion],
    arena_bytes: usize,
    parallel: &dyn Parallel,
    steps: &mut Steps<'_, '_>,
) -> Result<Option<MmapMut>, ModelError> {
    if arena_bytes == 0 {
        return Ok(None);
    }
    let mut arena = MmapMut::map_anon(arena_bytes).map_err(|source| ModelError::Memory {
        bytes: arena_bytes,
        source,
    })?;
    // Only a hint: where huge pages are not to be had, small ones do.
    #[cfg(target_os = "linux")]
    let _ = arena.advise(memmap2::Advice::HugePage);

    let mut jobs = split(conversions, &mut arena).into_iter();
    let batch = JOBS_PER_REPORT * parallel.threads();
    let mut outcome = Ok(());
    while outcome.is_ok() && jobs.len() > 0 {
        let now: Vec<_> = jobs.by_ref().take(batch).collect();
        let bytes = now.iter().map(|job| job.from().len() as u64).sum();
        outcome = run_all(file, now, parallel).and_then(|()| steps.advance(bytes));
    }
    // What jobs left at their edges. Tensors in between that are used in place come back when they are.
    let start = conversions.iter().map(|conversion| conversion.from.start).min();
    let end = conversions.iter().map(|conversion| conversion.from.end).max();
    file.release(start.unwrap_or(0)..end.unwrap_or(0));
    outcome.map(|()| Some(arena))
}

fn run_all(file: &ModelFile, jobs: Vec<Job<'_>>, parallel: &dyn Parallel) -> Result<(), ModelError> {
    let (count, jobs, failure) = (jobs.len(), Mutex::new(jobs.into_iter()), Mutex::new(None));
    parallel.run(count, &|_, _| {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
        if let Some(Err(error)) = job.map(|job| run(file, job)) {
            *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    });
    let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    failure.map_or(Ok(()), Err)
}

/// Cuts the arena into jobs.
fn split<'a>(conversions: &'a [Conversion], mut arena: &'a mut [u8]) -> Vec<Job<'a>> {
    let mut jobs = Vec::new();
    for conversion in conversions {
        let layout = &conversion.layout;
        let (tensor, rest) = arena.split_at_mut(layout.bytes().next_multiple_of(64).min(arena.len()));
        arena = rest;
        let (mut codes, rest) = tensor.split_at_mut(layout.codes_bytes());
        let (mut scales, rest) = rest.split_at_mut(layout.scales_bytes());
        let minima_bytes = layout.minima_offset().map_or(0, |_| layout.scales_bytes());
        let mut minima = &mut rest[..minima_bytes];

        let tiles = layout.rows().div_ceil(TILE_ROWS);
        let (code_step, scale_step) = (codes.len() / tiles, scales.len() / tiles);
        let minima_step = minima.len() / tiles;
        let job_tiles = (JOB_BYTES / code_step).max(1);
        for first in (0..tiles).step_by(job_tiles) {
            let tiles = first..tiles.min(first + job_tiles);
            let part;
            (part, codes) = codes.split_at_mut(tiles.len() * code_step);
            let (codes_part, scales_part, minima_part);
            codes_part = part;
            (scales_part, scales) = scales.split_at_mut(tiles.len() * scale_step);
            (minima_part, minima) = minima.split_at_mut(tiles.len() * minima_step);
            jobs.push(Job {
                conversion,
                tiles,
                codes: codes_part,
                scales: scales_part,
                minima: minima_part,
            });
        }
    }
    jobs
}

impl Job<'_> {
    /// What it reads of the file.
    fn from(&self) -> Range<usize> {
        let Conversion { source, from, .. } = self.conversion;
        let tile_bytes = match source {
            Source::Blocks(blocks) => blocks.row_bytes() * TILE_ROWS,
            Source::Trits(layout) => layout.unit_bytes(),
        };
        // Of the last tile, rows are missing.
        let end = (from.start + self.tiles.end * tile_bytes).min(from.end);
        from.start + self.tiles.start * tile_bytes..end
    }
}

fn run(file: &ModelFile, job: Job<'_>) -> Result<(), ModelError> {
    let Conversion {
        source, from, layout, ..
    } = job.conversion;
    let (read, bytes, tiles) = (job.from(), &file.bytes()[from.clone()], job.tiles.clone());
    let name = || job.conversion.name.clone();
    let done = match source {
        Source::Blocks(blocks) => blocks.pack_tiles(bytes, tiles, job.codes, job.scales, job.minima),
        Source::Trits(dense) => {
            Packed::new(*dense, bytes).and_then(|dense| dense.expand_tiles(tiles, job.codes, job.scales))
        }
    };
    done.map_err(|source| ModelError::Format { name: name(), source })?;
    file.release(read);
    // As they were written: a product of two scales can be infinite where neither is.
    match [job.scales, job.minima].iter().find_map(|part| layout.not_finite(part)) {
        Some(value) => Err(ModelError::Scale { name: name(), value }),
        None => Ok(()),
    }
}
