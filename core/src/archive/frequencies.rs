//! How often each byte occurs, in parts of 4096: the model that encoder and decoder share.

/// Bits of a frequency: all of a table sum up to [`TOTAL`].
pub(super) const BITS: u32 = 12;
/// What the frequencies of a table sum up to.
pub(super) const TOTAL: u32 = 1 << BITS;

/// Frequencies of the 256 bytes, at least 1 for every byte that occurs. They sum up to [`TOTAL`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frequencies([u16; 256]);

impl Frequencies {
    /// The frequencies nearest to `counts`; `None` if nothing was counted.
    ///
    /// Each is rounded, and the sum is then put right where that costs the fewest bits.
    pub(super) fn of(counts: &[u32; 256]) -> Option<Self> {
        let sum: u64 = counts.iter().map(|&count| u64::from(count)).sum();
        if sum == 0 {
            return None;
        }
        let mut frequencies = counts.map(|count| {
            let share = (u64::from(count) * u64::from(TOTAL) + sum / 2) / sum;
            if count == 0 { 0 } else { share.max(1) as u16 }
        });
        let mut total: u32 = frequencies.iter().map(|&f| u32::from(f)).sum();
        let up = total < TOTAL;
        // The bits that a step saves; of a step down, less than none. What does not occur takes no step, and no
        // frequency falls to 0: there is always one above 1 to lower, since 256 bytes share 4096.
        let gain = |symbol: usize, f: u16| match f {
            0 => f64::NEG_INFINITY,
            1 if !up => f64::NEG_INFINITY,
            _ => {
                let to = if up { f + 1 } else { f - 1 };
                f64::from(counts[symbol]) * (f64::from(to) / f64::from(f)).log2()
            }
        };
        let mut gains: [f64; 256] = std::array::from_fn(|symbol| gain(symbol, frequencies[symbol]));
        while total != TOTAL {
            let best = (0..256).max_by(|&a, &b| gains[a].total_cmp(&gains[b]))?;
            if up {
                frequencies[best] += 1;
                total += 1;
            } else {
                frequencies[best] -= 1;
                total -= 1;
            }
            gains[best] = gain(best, frequencies[best]);
        }
        Some(Self(frequencies))
    }

    /// The frequency of every byte.
    pub(super) fn get(&self) -> &[u16; 256] {
        &self.0
    }

    /// Bits that bytes which occur as often as `counts` says take with these frequencies.
    pub(super) fn bits(&self, counts: &[u32; 256]) -> f64 {
        let cost = |(&count, &f): (&u32, &u16)| f64::from(count) * (f64::from(TOTAL) / f64::from(f.max(1))).log2();
        counts.iter().zip(&self.0).map(cost).sum()
    }

    /// Bytes that [`write`](Self::write) appends.
    pub(super) fn written_bytes(&self) -> usize {
        let bytes = |&f: &u16| usize::from(f > 0) + usize::from(f >= 128);
        32 + self.0.iter().map(bytes).sum::<usize>()
    }

    /// Appends a bit for each byte that occurs, then their frequencies: in one byte below 128, otherwise the low 7 bits
    /// with the top bit set, and the rest.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut occurs = [0u8; 32];
        for (symbol, _) in self.occurring() {
            occurs[symbol / 8] |= 1 << (symbol % 8);
        }
        out.extend(occurs);
        for (_, f) in self.occurring() {
            match f {
                0..128 => out.push(f as u8),
                _ => out.extend([f as u8 | 0x80, (f >> 7) as u8]),
            }
        }
    }

    /// Reads what [`write`](Self::write) appends off the front of `input`; `None` if it is not what that would write.
    pub(super) fn read(input: &mut &[u8]) -> Option<Self> {
        let occurs: [u8; 32] = *input.split_off(..32)?.first_chunk()?;
        let mut frequencies = [0u16; 256];
        let mut total = 0;
        for symbol in (0..256).filter(|symbol| occurs[symbol / 8] >> (symbol % 8) & 1 == 1) {
            let low = *input.split_off_first()?;
            let f = match low {
                0..128 => u16::from(low),
                _ => match *input.split_off_first()? {
                    0 => return None,
                    high => u16::from(low & 0x7f) | u16::from(high) << 7,
                },
            };
            if f == 0 {
                return None;
            }
            frequencies[symbol] = f;
            total += u32::from(f);
        }
        (total == TOTAL).then_some(Self(frequencies))
    }

    /// The bytes that occur, in order, and their frequencies.
    pub(super) fn occurring(&self) -> impl Iterator<Item = (usize, u16)> {
        self.0.iter().copied().enumerate().filter(|&(_, f)| f > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(u8, u32)]) -> [u32; 256] {
        let mut counts = [0; 256];
        of.iter()
            .for_each(|&(symbol, count)| counts[usize::from(symbol)] = count);
        counts
    }

    fn written(frequencies: &Frequencies) -> Vec<u8> {
        let mut bytes = Vec::new();
        frequencies.write(&mut bytes);
        bytes
    }

    #[test]
    fn every_byte_that_occurs_has_a_frequency_and_they_sum_up() {
        assert_eq!(Frequencies::of(&[0; 256]), None);
        let geometric = std::array::from_fn(|symbol| u32::MAX >> (symbol / 8));
        for counts in [
            counts(&[(7, 1)]),
            counts(&[(0, u32::MAX), (255, 1)]),
            counts(&[(1, 3), (2, 3), (3, 3)]),
            [1; 256],
            geometric,
        ] {
            let frequencies = Frequencies::of(&counts).unwrap();
            assert_eq!(frequencies.get().iter().map(|&f| u32::from(f)).sum::<u32>(), TOTAL);
            for (f, count) in frequencies.get().iter().zip(counts) {
                assert_eq!(*f == 0, count == 0);
            }
            let bytes = written(&frequencies);
            assert_eq!(bytes.len(), frequencies.written_bytes());
            let mut input = &[&bytes[..], b"rest"].concat()[..];
            assert_eq!(Frequencies::read(&mut input), Some(frequencies));
            assert_eq!(input, b"rest");
        }
    }

    #[test]
    fn frequencies_cost_little_more_than_the_entropy() {
        // Two codes of a bell curve in a byte, as packed weights have them.
        let bell = [19.0, 31.0, 52.0, 80.0, 112.0, 145.0, 173.0, 188.0];
        let weight = |nibble: usize| if nibble < 8 { bell[nibble] } else { bell[15 - nibble] };
        let counts = std::array::from_fn(|byte| (weight(byte % 16) * weight(byte / 16)) as u32);
        let sum: f64 = counts.iter().map(|&count| f64::from(count)).sum();
        let entropy: f64 = counts.iter().map(|&c| f64::from(c) * (sum / f64::from(c)).log2()).sum();
        let bits = Frequencies::of(&counts).unwrap().bits(&counts);
        assert!(bits >= entropy && bits < entropy * 1.0005, "{bits} bits for {entropy}");
    }

    #[test]
    fn impossible_tables_are_refused() {
        let good = written(&Frequencies::of(&counts(&[(3, 1), (200, 40)])).unwrap());
        assert_eq!(good.len(), 32 + 1 + 2);
        for len in 0..good.len() {
            assert_eq!(Frequencies::read(&mut &good[..len]), None, "{len} bytes");
        }
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                // Another byte may occur instead: that is a table, though a wrong one.
                let found = Frequencies::read(&mut &bad[..]);
                assert!(found.is_none() || at < 32, "byte {at}, bit {bit}: {found:?}");
            }
        }
        let overlong = [&good[..32], &[0x81, 0, 0xff, 0x1f]].concat();
        assert_eq!(Frequencies::read(&mut &overlong[..]), None);
        assert_eq!(Frequencies::read(&mut &[0; 40][..]), None);
    }
}
