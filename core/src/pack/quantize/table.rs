//! Sixteen values that are not each other's opposites.

use super::search::Levels;

/// The values of a table and their codes.
#[derive(Clone)]
pub(in super::super) struct Table {
    /// In ascending order: the i-th has code `codes[i]`.
    levels: [f32; 16],
    codes: [u8; 16],
    /// Above the i-th, a weight goes to the next but i-th level.
    thresholds: [f32; 15],
    /// Of the levels, in ascending order.
    magnitudes: [f32; 16],
    /// The value of each code.
    values: [f32; 16],
}

impl Table {
    pub(super) fn new(table: [i8; 16]) -> Self {
        let mut codes: [u8; 16] = std::array::from_fn(|code| code as u8);
        codes.sort_by_key(|&code| table[usize::from(code)]);
        let levels = codes.map(|code| f32::from(table[usize::from(code)]));
        let mut magnitudes = levels.map(f32::abs);
        magnitudes.sort_by(f32::total_cmp);
        Self {
            levels,
            magnitudes,
            codes,
            thresholds: std::array::from_fn(|i| (levels[i] + levels[i + 1]) / 2.0),
            values: table.map(f32::from),
        }
    }

    pub(super) fn code(&self, x: f32) -> u16 {
        let place = self.thresholds.iter().filter(|&&threshold| x > threshold).count();
        self.codes[place].into()
    }

    pub(super) fn value(&self, code: u16) -> f32 {
        self.values[usize::from(code) % 16]
    }
}

impl Levels for Table {
    fn magnitudes(&self) -> impl Iterator<Item = f32> {
        self.magnitudes.iter().copied().filter(|&magnitude| magnitude > 0.0)
    }

    fn is_symmetric(&self) -> bool {
        false
    }

    #[inline(always)]
    fn nearest(&self, x: f32) -> f32 {
        let mut level = self.levels[0];
        for (i, &threshold) in self.thresholds.iter().enumerate() {
            level = if x > threshold { self.levels[i + 1] } else { level };
        }
        level
    }
}
