use super::Config;
use halfpi_kernels::ops::{KvElement, KvLayer, KvLayout, OpError};

/// The keys and values of all layers.
#[derive(Debug)]
pub struct KvCache<'a> {
    layout: KvLayout,
    data: &'a mut [u8],
}

impl<'a> KvCache<'a> {
    /// How one layer's memory is laid out for at least `positions` positions.
    ///
    /// # Errors
    /// [`OpError`] if heads of this shape cannot be cached.
    pub fn layout(config: &Config, positions: usize, element: KvElement) -> Result<KvLayout, OpError> {
        KvLayout::new(config.head_count_kv, config.head_dim, positions, element)
    }

    /// Bytes of a cache; `usize::MAX` if they cannot be counted.
    pub fn bytes(config: &Config, layout: &KvLayout) -> usize {
        layout.bytes().saturating_mul(config.block_count)
    }

    /// A cache in the caller's memory. Nothing in it is read before it was written.
    ///
    /// # Errors
    /// [`OpError`] if `data` is not a whole number of layers.
    pub fn new(layout: KvLayout, data: &'a mut [u8]) -> Result<Self, OpError> {
        if !data.len().is_multiple_of(layout.bytes()) {
            return Err(OpError {
                what: "kv_cache: data",
                expected: layout.bytes(),
                found: data.len(),
            });
        }
        Ok(KvCache { layout, data })
    }

    /// Positions that fit.
    pub fn positions(&self) -> usize {
        self.layout.positions()
    }

    pub(super) fn shape(&self) -> &KvLayout {
        &self.layout
    }

    pub(super) fn layer(&mut self, layer: usize) -> Result<KvLayer<'_>, OpError> {
        let bytes = self.layout.bytes();
        let found = self.data.len();
        let data = self.data.get_mut(layer * bytes..(layer + 1) * bytes);
        let data = data.ok_or(OpError {
            what: "kv_cache: layers",
            expected: (layer + 1) * bytes,
            found,
        })?;
        KvLayer::new(self.layout, data)
    }
}
