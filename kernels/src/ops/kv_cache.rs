//! Keys and values of the positions so far, of one layer.
//!
//! Keys lie in tiles of 16 positions, `[head][tile][channel][16 positions]`, so that a score needs no horizontal sum:
//! the 16 lanes are 16 positions. Values lie `[head][position][channel]`. Int8 elements have one scale (absmax / 127) a
//! head and position.

use super::OpError;
use super::activations::to_codes;
use crate::Backend;
use crate::arch::simd::Simd;
use core::ops::Range;

/// Positions of a key tile.
pub(crate) const KEY_TILE: usize = 16;
/// The widest head: bounds the buffers that live on the stack.
pub(crate) const MAX_HEAD_DIM: usize = 512;

/// What a cached number is stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum KvElement {
    /// Half precision.
    #[default]
    F16,
    /// 8 bits, with a scale a head and position.
    Int8,
}

/// The shape of one layer's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvLayout {
    pub(crate) heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) positions: usize,
    pub(crate) element: KvElement,
}

impl KvLayout {
    /// A cache of `heads` key/value heads of `head_dim` channels, for at least `positions` positions.
    ///
    /// # Errors
    /// [`OpError`] unless `head_dim` is a multiple of 16 up to 512 and the cache can be addressed.
    pub fn new(heads: usize, head_dim: usize, positions: usize, element: KvElement) -> Result<Self, OpError> {
        if head_dim == 0 || !head_dim.is_multiple_of(16) || head_dim > MAX_HEAD_DIM {
            return Err(OpError {
                what: "kv_cache: head_dim, a multiple of 16",
                expected: 64,
                found: head_dim,
            });
        }
        let fits = heads
            .checked_mul(head_dim)
            .and_then(|n| n.checked_mul(positions))
            .and_then(|n| n.checked_mul(16));
        if heads == 0 || positions == 0 || fits.is_none_or(|n| n > isize::MAX as usize) {
            return Err(OpError {
                what: "kv_cache: positions",
                expected: 1,
                found: positions,
            });
        }
        Ok(KvLayout {
            heads,
            head_dim,
            positions: positions.next_multiple_of(KEY_TILE),
            element,
        })
    }

    /// Positions that fit: what was asked for, rounded up to 16.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Bytes of one layer.
    pub fn bytes(&self) -> usize {
        let elements = 2 * self.heads * self.head_dim * self.positions;
        match self.element {
            KvElement::F16 => 2 * elements,
            KvElement::Int8 => elements + 2 * self.heads * self.positions * size_of::<f32>(),
        }
    }

    /// Heads of keys, and of values.
    pub fn heads(&self) -> usize {
        self.heads
    }

    /// Channels of a head.
    pub fn head_dim(&self) -> usize {
        self.head_dim
    }

    /// What a number is stored as.
    pub fn element(&self) -> KvElement {
        self.element
    }

    /// Where in a layer's bytes the first `positions` positions are, in order and apart from each other. Keys come in
    /// whole tiles of 16 positions.
    pub fn used(&self, positions: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let positions = positions.min(self.positions);
        let (row, rows) = (self.head_dim * self.element_bytes(), 2 * self.heads);
        let keys = positions.next_multiple_of(KEY_TILE);
        // (The scales' start, the bytes of one.)
        let scales = match self.element {
            KvElement::F16 => None,
            KvElement::Int8 => Some((rows * self.positions * row, size_of::<f32>())),
        };
        let (all, heads) = (self.positions, self.heads);
        let elements = (0..rows).map(move |head| {
            let length = if head < heads { keys } else { positions };
            head * all * row..(head * all + length) * row
        });
        let scales = scales.into_iter().flat_map(move |(start, bytes)| {
            (0..rows).map(move |head| start + head * all * bytes..start + (head * all + positions) * bytes)
        });
        elements.chain(scales).filter(|part| !part.is_empty())
    }

    fn element_bytes(&self) -> usize {
        match self.element {
            KvElement::F16 => 2,
            KvElement::Int8 => 1,
        }
    }
}

/// One layer's cache.
#[derive(Debug)]
pub struct KvLayer<'a> {
    layout: KvLayout,
    data: &'a mut [u8],
}

impl<'a> KvLayer<'a> {
    /// A view of one layer's memory.
    ///
    /// # Errors
    /// [`OpError`] if `data` is not exactly as long as the layout says.
    pub fn new(layout: KvLayout, data: &'a mut [u8]) -> Result<Self, OpError> {
        OpError::exact("kv_cache: data", layout.bytes(), data.len())?;
        Ok(KvLayer { layout, data })
    }

    /// Its shape.
    pub fn layout(&self) -> &KvLayout {
        &self.layout
    }

    /// Writes the keys and values, `[position][head][channel]`, of the positions from `first` on.
    ///
    /// # Errors
    /// [`OpError`] if they do not fit.
    pub fn store(&mut self, backend: Backend, first: usize, k: &[f32], v: &[f32]) -> Result<(), OpError> {
        let KvLayout {
            heads,
            head_dim,
            positions,
            ..
        } = self.layout;
        let row = heads * head_dim;
        OpError::exact("kv_cache: v", k.len(), v.len())?;
        OpError::exact("kv_cache: k", k.len() / row * row, k.len())?;
        OpError::at_least("kv_cache: positions", first.saturating_add(k.len() / row), positions)?;
        let view = self.view();
        for (i, (k, v)) in k.chunks_exact(head_dim).zip(v.chunks_exact(head_dim)).enumerate() {
            // SAFETY: head and position lie inside the cache; `&mut self` makes this the only writer.
            unsafe { (backend.kernels().floats.kv_store)(&view, i % heads, first + i / heads, k, v) };
        }
        Ok(())
    }

    pub(crate) fn view(&mut self) -> KvView {
        KvView {
            layout: self.layout,
            data: self.data.as_mut_ptr(),
        }
    }
}

/// A layer's cache as the inner loops see it.
#[derive(Clone, Copy)]
pub(crate) struct KvView {
    pub(crate) layout: KvLayout,
    data: *mut u8,
}

// SAFETY: threads share a view only to read (`attention`); `store` writes from one thread.
unsafe impl Sync for KvView {}

impl KvView {
    /// The key tile's element `[channel][lane 0]` for channel 0.
    ///
    /// # Safety
    /// Head and position lie inside the cache (likewise below).
    #[inline(always)]
    pub(crate) unsafe fn key_tile(&self, head: usize, tile: usize) -> *mut u8 {
        let KvLayout {
            head_dim, positions, ..
        } = self.layout;
        let index = (head * positions + tile * KEY_TILE) * head_dim;
        // SAFETY: as this function's contract.
        unsafe { self.data.add(index * self.layout.element_bytes()) }
    }

    #[inline(always)]
    pub(crate) unsafe fn value(&self, head: usize, position: usize) -> *mut u8 {
        let KvLayout {
            heads,
            head_dim,
            positions,
            ..
        } = self.layout;
        let index = ((heads + head) * positions + position) * head_dim;
        // SAFETY: as this function's contract.
        unsafe { self.data.add(index * self.layout.element_bytes()) }
    }

    /// The key's int8 scale; those of a tile's positions follow each other. Need not be aligned.
    #[inline(always)]
    pub(crate) unsafe fn key_scale(&self, head: usize, position: usize) -> *mut f32 {
        let KvLayout {
            heads,
            head_dim,
            positions,
            ..
        } = self.layout;
        // SAFETY: as this function's contract; the scales follow the 1-byte elements.
        unsafe {
            self.data
                .add(2 * heads * head_dim * positions)
                .cast::<f32>()
                .wrapping_add(head * positions + position)
        }
    }

    #[inline(always)]
    pub(crate) unsafe fn value_scale(&self, head: usize, position: usize) -> *mut f32 {
        // SAFETY: as this function's contract; the values' scales follow the keys'.
        unsafe { self.key_scale(self.layout.heads + head, position) }
    }
}

/// Writes one position of one head.
///
/// # Safety
/// `V`'s instruction set is present; head and position lie inside the cache; `k` and `v` are `head_dim` long.
#[inline(always)]
pub(crate) unsafe fn kv_store<V: Simd>(cache: &KvView, head: usize, position: usize, k: &[f32], v: &[f32]) {
    let (tile, lane) = (position / KEY_TILE, position % KEY_TILE);
    // SAFETY: as this function's contract; `head_dim` is a multiple of 16.
    unsafe {
        let (keys, values) = (cache.key_tile(head, tile), cache.value(head, position));
        match cache.layout.element {
            KvElement::F16 => {
                for channel in (0..k.len()).step_by(16) {
                    let mut halves = [[0u8; 2]; 16];
                    V::load(k.as_ptr().add(channel)).store_f16(halves.as_mut_ptr().cast());
                    for (i, half) in halves.into_iter().enumerate() {
                        *keys.cast::<[u8; 2]>().add((channel + i) * KEY_TILE + lane) = half;
                    }
                    V::load(v.as_ptr().add(channel)).store_f16(values.add(channel * 2));
                }
            }
            KvElement::Int8 => {
                let mut codes = [0i8; MAX_HEAD_DIM];
                let scale = quantize_head::<V>(k, codes.as_mut_ptr());
                cache.key_scale(head, position).write_unaligned(scale);
                for (channel, code) in codes.into_iter().take(k.len()).enumerate() {
                    *keys.cast::<i8>().add(channel * KEY_TILE + lane) = code;
                }
                let scale = quantize_head::<V>(v, values.cast());
                cache.value_scale(head, position).write_unaligned(scale);
            }
        }
    }
}

/// Quantizes a head to int8 and returns its scale.
///
/// # Safety
/// `V`'s instruction set is present; `x` is a multiple of 16 long, `to` has room for as many bytes.
#[inline(always)]
unsafe fn quantize_head<V: Simd>(x: &[f32], to: *mut i8) -> f32 {
    // SAFETY: as this function's contract.
    unsafe {
        let mut max = V::splat(0.0);
        for i in (0..x.len()).step_by(16) {
            max = V::load(x.as_ptr().add(i)).abs().max(max);
        }
        let max = max.max_lane();
        let inverse = if max > 0.0 { 127.0 / max } else { 0.0 };
        for i in (0..x.len()).step_by(16) {
            to_codes(V::load(x.as_ptr().add(i)), inverse).store_i8(to.add(i));
        }
        max / 127.0
    }
}
