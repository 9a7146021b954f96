//! The generator behind synthetic weights.

/// SplitMix64 (Steele, Lea and Flood 2014): one addition and two multiplications for 64 bits, the same everywhere.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Evenly from -1 to 1.
    pub(super) fn symmetric(&mut self) -> f32 {
        // 24 bits are exact in a float.
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// Random bytes.
    pub(super) fn fill(&mut self, out: &mut [u8]) {
        let (words, rest) = out.as_chunks_mut::<8>();
        for word in words {
            *word = self.next().to_le_bytes();
        }
        if !rest.is_empty() {
            rest.copy_from_slice(&self.next().to_le_bytes()[..rest.len()]);
        }
    }
}
