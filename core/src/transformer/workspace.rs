//! Working memory: every buffer of a forward pass, cut from one piece.

use super::Config;
use super::adapter::adapter_len;
use halfpi_kernels::format::GROUP;
use halfpi_kernels::ops::{Int8RowsMut, KvLayout, OpError, scores_len};

/// The buffers of a pass over `n` positions. Rows are positions.
pub(super) struct Workspace<'a> {
    /// The residual stream: `n * embedding_length`.
    pub x: &'a mut [f32],
    /// Normed input of a block; later what attention gives: `n * max(embedding_length, query_length)`.
    pub h: &'a mut [f32],
    /// `n * query_length`
    pub q: &'a mut [f32],
    /// `n * kv_length`
    pub k: &'a mut [f32],
    /// `n * kv_length`
    pub v: &'a mut [f32],
    /// What a block adds to the stream: `n * embedding_length`.
    pub delta: &'a mut [f32],
    /// `n * feed_forward_length`
    pub gate: &'a mut [f32],
    /// `n * feed_forward_length`
    pub up: &'a mut [f32],
    /// Cosines and sines: `n * rope_dimension_count / 2`.
    pub angles: &'a mut [[f32; 2]],
    /// Attention scores of every thread.
    pub scores: &'a mut [f32],
    /// What a product needs.
    pub scratch: Scratch<'a>,
    /// What an adapter needs.
    pub adapter: &'a mut [f32],
}

/// Working memory of a product.
pub(super) struct Scratch<'a> {
    /// Its quantized input.
    pub int8: Int8RowsMut<'a>,
    /// The real products that a complex one is made of: [`PARTS_POSITIONS`] positions.
    pub parts: &'a mut [f32],
}

/// Positions that a complex product in parts takes at a time. Enough to be worth reading the weights for; they are
/// read again for the next ones, while packed complex matrices are products in one piece.
pub(super) const PARTS_POSITIONS: usize = 8;

/// The widest input of a product.
pub(super) fn widest(config: &Config) -> usize {
    config
        .embedding_length
        .max(config.query_length())
        .max(config.feed_forward_length)
}

/// Lengths, in floats, of the buffers in the order of [`Workspace`]'s fields, with adapters of so high a rank.
fn lengths(config: &Config, layout: &KvLayout, n: usize, threads: usize, rank: usize) -> [usize; 16] {
    let (d, q, kv, ff) = (
        config.embedding_length,
        config.query_length(),
        config.kv_length(),
        config.feed_forward_length,
    );
    // A shape that no memory can hold gives lengths that no memory has.
    let rows = |length: usize| n.saturating_mul(length);
    let groups = rows(widest(config).div_ceil(GROUP));
    let parts = if config.architecture.is_complex() {
        n.min(PARTS_POSITIONS)
            .saturating_mul(widest(config).max(kv))
            .saturating_mul(2)
    } else {
        0
    };
    [
        rows(d),
        rows(d.max(q)),
        rows(q),
        rows(kv),
        rows(kv),
        rows(d),
        rows(ff),
        rows(ff),
        rows(config.rope_dimension_count),
        scores_len(layout, threads),
        rows(widest(config)).div_ceil(4),
        groups,
        groups,
        groups,
        parts,
        adapter_len(config, rank, n),
    ]
    .map(|length| length.div_ceil(ALIGN).saturating_mul(ALIGN))
}

/// Buffers start at multiples of a cache line, if the memory does.
pub(super) const ALIGN: usize = 16;

/// Floats of working memory for passes over up to `positions` positions with up to `threads` threads; `usize::MAX` if
/// they cannot be counted.
pub fn workspace_len(config: &Config, layout: &KvLayout, positions: usize, threads: usize) -> usize {
    sum(&lengths(config, layout, positions, threads, 0))
}

fn sum(lengths: &[usize]) -> usize {
    lengths.iter().fold(0, |sum, &length| sum.saturating_add(length))
}

impl<'a> Workspace<'a> {
    pub fn new(
        config: &Config,
        layout: &KvLayout,
        n: usize,
        threads: usize,
        rank: usize,
        mut memory: &'a mut [f32],
    ) -> Result<Self, OpError> {
        let lengths = lengths(config, layout, n, threads, rank);
        let (expected, found) = (sum(&lengths), memory.len());
        if found < expected {
            return Err(OpError {
                what: "workspace",
                expected,
                found,
            });
        }
        let mut lengths = lengths.into_iter();
        let mut next = || {
            let (buffer, rest) = core::mem::take(&mut memory).split_at_mut(lengths.next().unwrap_or(0));
            memory = rest;
            buffer
        };
        let (d, q, kv, ff) = (
            config.embedding_length,
            config.query_length(),
            config.kv_length(),
            config.feed_forward_length,
        );
        Ok(Workspace {
            x: &mut next()[..n * d],
            h: next(),
            q: &mut next()[..n * q],
            k: &mut next()[..n * kv],
            v: &mut next()[..n * kv],
            delta: &mut next()[..n * d],
            gate: &mut next()[..n * ff],
            up: &mut next()[..n * ff],
            angles: &mut bytemuck::cast_slice_mut(next())[..n * config.rope_dimension_count / 2],
            scores: next(),
            scratch: Scratch {
                int8: Int8RowsMut {
                    codes: bytemuck::cast_slice_mut(next()),
                    scales: next(),
                    sums: next(),
                    running_sums: bytemuck::cast_slice_mut(next()),
                },
                parts: next(),
            },
            adapter: next(),
        })
    }
}
