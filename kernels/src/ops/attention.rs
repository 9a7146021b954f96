//! Grouped-query attention (Ainslie et al. 2023, arXiv:2305.13245) over the packed cache.

use super::kv_cache::KEY_TILE;
use super::{KvElement, KvLayer, KvLayout, KvView, OpError};
use crate::arch::simd::Simd;
use crate::{Backend, Parallel};

/// Queries that pass over the keys and values together.
const BLOCK: usize = 4;

/// One call to [`attention`].
#[derive(Debug)]
pub struct Attention<'a> {
    /// Query heads: a multiple of the cache's heads, each of which serves as many neighbours.
    pub heads: usize,
    /// The position of the first query; query `i` sees the positions up to `first + i`.
    pub first: usize,
    /// Scores are multiplied with this, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// `[position][head][channel]`.
    pub q: &'a [f32],
    /// At least [`scores_len`] floats of working memory.
    pub scores: &'a mut [f32],
    /// As `q`.
    pub out: &'a mut [f32],
}

/// Floats of working memory that [`attention`] needs.
pub fn scores_len(layout: &KvLayout, threads: usize) -> usize {
    (layout.positions * BLOCK).saturating_mul(threads)
}

/// One query head at one position.
#[derive(Clone, Copy)]
pub(crate) struct Query {
    q: *const f32,
    out: *mut f32,
    /// Positions that it sees, at least 1.
    limit: usize,
}

/// Buffers that the tasks share.
struct Shared {
    q: *const f32,
    out: *mut f32,
    scores: *mut f32,
}

// SAFETY: each task writes to the results of its own queries and to the scores of its own thread.
unsafe impl Sync for Shared {}

/// `out = softmax(q k^T * scale) v` with a causal mask, for every head of every query.
///
/// # Errors
/// [`OpError`] if lengths do not fit or the cache does not hold the positions.
pub fn attention(
    backend: Backend,
    parallel: &dyn Parallel,
    cache: &mut KvLayer<'_>,
    call: Attention<'_>,
) -> Result<(), OpError> {
    let layout = *cache.layout();
    let row = call.heads.saturating_mul(layout.head_dim);
    if call.heads == 0 || !call.heads.is_multiple_of(layout.heads) {
        return Err(OpError {
            what: "attention: heads",
            expected: layout.heads,
            found: call.heads,
        });
    }
    let positions = call.q.len() / row;
    OpError::exact("attention: q", positions * row, call.q.len())?;
    OpError::exact("attention: out", call.q.len(), call.out.len())?;
    OpError::at_least(
        "attention: scores",
        scores_len(&layout, parallel.threads()),
        call.scores.len(),
    )?;
    OpError::at_least(
        "attention: positions",
        call.first.saturating_add(positions),
        layout.positions,
    )?;

    let shared = Shared {
        q: call.q.as_ptr(),
        out: call.out.as_mut_ptr(),
        scores: call.scores.as_mut_ptr(),
    };
    let view = cache.view();
    let group = call.heads / layout.heads;
    let blocks = (positions * group).div_ceil(BLOCK);
    parallel.run(layout.heads * blocks, &|task, thread| {
        let shared = &shared;
        let (head, block) = (task / blocks, task % blocks);
        let all = block * BLOCK..(positions * group).min((block + 1) * BLOCK);
        // SAFETY: the lengths were checked above; every query belongs to one task, every score to one thread.
        unsafe {
            let query = |i: usize| {
                let (position, member) = (i / group, i % group);
                let offset = position * row + (head * group + member) * layout.head_dim;
                Query {
                    q: shared.q.add(offset),
                    out: shared.out.add(offset),
                    limit: call.first + position + 1,
                }
            };
            let mut queries = [query(all.start); BLOCK];
            for (query_slot, i) in queries.iter_mut().zip(all.clone()) {
                *query_slot = query(i);
            }
            let scores = shared.scores.add(thread * BLOCK * layout.positions);
            (backend.kernels().floats.attend)(&view, head, &queries[..all.len()], call.scale, scores);
        }
    });
    Ok(())
}

/// Up to 4 queries of one key/value head, ordered by their limits.
///
/// # Safety
/// `V`'s instruction set is present; the queries' positions lie inside the cache; `scores` has room for 4 rows of
/// `positions`.
#[inline(always)]
pub(crate) unsafe fn attend<V: Simd>(cache: &KvView, head: usize, queries: &[Query], scale: f32, scores: *mut f32) {
    // SAFETY: as this function's contract; every query's scores are there before they are used.
    unsafe {
        match cache.layout.element {
            KvElement::F16 => score_all::<V, F16>(cache, head, queries, scale, scores),
            KvElement::Int8 => score_all::<V, Int8>(cache, head, queries, scale, scores),
        }
        let Some(last) = queries.last() else { return };
        let mut inverse_sums = [0.0; BLOCK];
        for (i, (query, inverse)) in queries.iter().zip(&mut inverse_sums).enumerate() {
            *inverse = 1.0 / softmax::<V>(scores.add(i * cache.layout.positions), query.limit, last.limit);
        }
        match cache.layout.element {
            KvElement::F16 => add_all::<V, F16>(cache, head, queries, &inverse_sums, scores),
            KvElement::Int8 => add_all::<V, Int8>(cache, head, queries, &inverse_sums, scores),
        }
    }
}

/// # Safety
/// As [`attend`].
#[inline(always)]
unsafe fn score_all<V: Simd, E: Element>(cache: &KvView, head: usize, queries: &[Query], scale: f32, scores: *mut f32) {
    // SAFETY: as this function's contract.
    unsafe {
        match queries {
            [a] => score_block::<V, E, 1>(cache, head, [a], scale, scores),
            [a, b] => score_block::<V, E, 2>(cache, head, [a, b], scale, scores),
            [a, b, c] => score_block::<V, E, 3>(cache, head, [a, b, c], scale, scores),
            [a, b, c, d, ..] => score_block::<V, E, 4>(cache, head, [a, b, c, d], scale, scores),
            [] => {}
        }
    }
}

/// # Safety
/// As [`attend`].
#[inline(always)]
unsafe fn add_all<V: Simd, E: Element>(
    cache: &KvView,
    head: usize,
    queries: &[Query],
    inverse_sums: &[f32; BLOCK],
    scores: *const f32,
) {
    // SAFETY: as this function's contract.
    unsafe {
        match queries {
            [a] => add_block::<V, E, 1>(cache, head, [a], inverse_sums, scores),
            [a, b] => add_block::<V, E, 2>(cache, head, [a, b], inverse_sums, scores),
            [a, b, c] => add_block::<V, E, 3>(cache, head, [a, b, c], inverse_sums, scores),
            [a, b, c, d, ..] => add_block::<V, E, 4>(cache, head, [a, b, c, d], inverse_sums, scores),
            [] => {}
        }
    }
}

/// How cached numbers are read. (Types, not closures: those are compiled without the instruction set.)
///
/// # Safety
/// For all methods: `V`'s instruction set is present; the indices lie inside the cache.
trait Element {
    /// A key tile's 16 positions of a channel, without their scales.
    unsafe fn keys<V: Simd>(tile: *const u8, channel: usize) -> V;
    /// Multiplies the scores of a key tile with the keys' scales.
    unsafe fn scale_scores<V: Simd>(cache: &KvView, head: usize, tile: usize, scores: V) -> V;
    /// 16 channels of the value at a position.
    unsafe fn values<V: Simd>(cache: &KvView, head: usize, position: usize, channel: usize) -> V;
}

struct F16;

impl Element for F16 {
    #[inline(always)]
    unsafe fn keys<V: Simd>(tile: *const u8, channel: usize) -> V {
        // SAFETY: as the trait's contract (likewise below).
        unsafe { V::load_f16(tile.add(channel * KEY_TILE * 2)) }
    }

    #[inline(always)]
    unsafe fn scale_scores<V: Simd>(_cache: &KvView, _head: usize, _tile: usize, scores: V) -> V {
        scores
    }

    #[inline(always)]
    unsafe fn values<V: Simd>(cache: &KvView, head: usize, position: usize, channel: usize) -> V {
        // SAFETY: as `keys`.
        unsafe { V::load_f16(cache.value(head, position).add(channel * 2)) }
    }
}

struct Int8;

impl Element for Int8 {
    #[inline(always)]
    unsafe fn keys<V: Simd>(tile: *const u8, channel: usize) -> V {
        // SAFETY: as the trait's contract (likewise below).
        unsafe { V::load_i8(tile.add(channel * KEY_TILE).cast()) }
    }

    #[inline(always)]
    unsafe fn scale_scores<V: Simd>(cache: &KvView, head: usize, tile: usize, scores: V) -> V {
        // SAFETY: as `keys`.
        unsafe { scores.mul(V::load(cache.key_scale(head, tile * KEY_TILE))) }
    }

    #[inline(always)]
    unsafe fn values<V: Simd>(cache: &KvView, head: usize, position: usize, channel: usize) -> V {
        // SAFETY: as `keys`.
        unsafe {
            let scale = cache.value_scale(head, position).read_unaligned();
            V::load_i8(cache.value(head, position).add(channel).cast()).mul(V::splat(scale))
        }
    }
}

/// The queries' products with every key that one of them sees.
///
/// # Safety
/// As [`attend`].
#[inline(always)]
unsafe fn score_block<V: Simd, E: Element, const Q: usize>(
    cache: &KvView,
    head: usize,
    queries: [&Query; Q],
    scale: f32,
    scores: *mut f32,
) {
    let KvLayout {
        head_dim, positions, ..
    } = cache.layout;
    let limit = queries[Q - 1].limit;
    // SAFETY: as `attend`'s contract; `limit` is the largest, and rounded up to a tile still inside the cache.
    unsafe {
        let tiles = limit.div_ceil(KEY_TILE);
        let mut tile = 0;
        while tile < tiles {
            let both = V::WIDE && tile + 1 < tiles;
            let first_keys = cache.key_tile(head, tile);
            let second_keys = cache.key_tile(head, if both { tile + 1 } else { tile });
            let mut first = [V::splat(0.0); Q];
            let mut second = [V::splat(0.0); Q];
            for channel in 0..head_dim {
                let keys = E::keys::<V>(first_keys, channel);
                let more_keys = if both { E::keys::<V>(second_keys, channel) } else { keys };
                for (i, query) in queries.iter().enumerate() {
                    let q = V::splat(*query.q.add(channel));
                    first[i] = first[i].add(keys.mul(q));
                    if both {
                        second[i] = second[i].add(more_keys.mul(q));
                    }
                }
            }
            for i in 0..Q {
                let scores = scores.add(i * positions + tile * KEY_TILE);
                E::scale_scores(cache, head, tile, first[i])
                    .mul(V::splat(scale))
                    .store(scores);
                if both {
                    let second = E::scale_scores(cache, head, tile + 1, second[i]).mul(V::splat(scale));
                    second.store(scores.add(KEY_TILE));
                }
            }
            tile += if both { 2 } else { 1 };
        }
    }
}

/// The values that the queries see, weighed by their scores.
///
/// # Safety
/// As [`attend`].
#[inline(always)]
unsafe fn add_block<V: Simd, E: Element, const Q: usize>(
    cache: &KvView,
    head: usize,
    queries: [&Query; Q],
    inverse_sums: &[f32; BLOCK],
    scores: *const f32,
) {
    let KvLayout {
        head_dim, positions, ..
    } = cache.layout;
    let limit = queries[Q - 1].limit;
    // SAFETY: as `attend`'s contract; `limit` is the largest.
    unsafe {
        let mut channel = 0;
        while channel < head_dim {
            let both = V::WIDE && channel + 16 < head_dim;
            let mut first = [V::splat(0.0); Q];
            let mut second = [V::splat(0.0); Q];
            for position in 0..limit {
                let values = E::values::<V>(cache, head, position, channel);
                let more_values = if both {
                    E::values::<V>(cache, head, position, channel + 16)
                } else {
                    values
                };
                for i in 0..Q {
                    let weight = V::splat(*scores.add(i * positions + position));
                    first[i] = first[i].add(values.mul(weight));
                    if both {
                        second[i] = second[i].add(more_values.mul(weight));
                    }
                }
            }
            for (i, (query, &inverse)) in queries.iter().zip(inverse_sums).enumerate() {
                first[i].mul(V::splat(inverse)).store(query.out.add(channel));
                if both {
                    second[i].mul(V::splat(inverse)).store(query.out.add(channel + 16));
                }
            }
            channel += if both { 32 } else { 16 };
        }
    }
}

/// Turns the first `limit` scores into `e^(score - max)` and returns their sum; those up to `end`, masked, become 0.
///
/// # Safety
/// `V`'s instruction set is present; `scores` has room for `end` rounded up to 16.
#[inline(always)]
unsafe fn softmax<V: Simd>(scores: *mut f32, limit: usize, end: usize) -> f32 {
    let padded = limit.next_multiple_of(16);
    // SAFETY: as this function's contract.
    unsafe {
        for position in limit..padded {
            *scores.add(position) = f32::MIN;
        }
        let mut max = V::splat(f32::MIN);
        for position in (0..padded).step_by(16) {
            max = V::load(scores.add(position)).max(max);
        }
        let max = V::splat(max.max_lane());
        let mut sum = V::splat(0.0);
        for position in (0..padded).step_by(16) {
            let exp = V::load(scores.add(position)).sub(max).exp();
            exp.store(scores.add(position));
            if position + 16 <= limit {
                sum = sum.add(exp);
            }
        }
        for position in limit..end.next_multiple_of(16) {
            *scores.add(position) = 0.0;
        }
        if limit < padded {
            sum = sum.add(V::load(scores.add(padded - 16)));
        }
        sum.sum()
    }
}
