//! Bytes of one meaning, taken apart from those of another.
//!
//! A float's high byte follows another law than its low one, and a plane of 4-bit codes another than a plane of single
//! bits. So a block may be a *cycle* of runs: lane `k` is the `k`-th run of every cycle. f16 values have the runs 1, 1;
//! blocks of Q8_0 the runs 1, 1, 32. The last cycle may be cut short.

/// Lanes that a block has at most.
pub(super) const MOST_LANES: usize = 8;

/// A lane's place in a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lane {
    /// Bytes of a cycle.
    cycle: usize,
    /// Where in a cycle its run begins.
    start: usize,
    /// Bytes of its run.
    run: usize,
}

impl Lane {
    /// The lanes of a cycle of these runs, of which none may be 0.
    pub(super) fn of(runs: &[u16]) -> impl Iterator<Item = Lane> {
        let cycle = runs.iter().map(|&run| usize::from(run)).sum();
        let mut end = 0;
        runs.iter().map(move |&run| {
            let (start, run) = (end, usize::from(run));
            end += run;
            Lane { cycle, start, run }
        })
    }

    /// Its share of a block of `bytes`.
    pub(super) fn bytes(&self, bytes: usize) -> usize {
        let cut_short = (bytes % self.cycle).saturating_sub(self.start).min(self.run);
        bytes / self.cycle * self.run + cut_short
    }

    /// Its bytes in `block`.
    pub(super) fn take(&self, block: &[u8]) -> Vec<u8> {
        let mut lane = Vec::with_capacity(self.bytes(block.len()));
        for cycle in block.chunks(self.cycle) {
            let rest = cycle.get(self.start..).unwrap_or_default();
            lane.extend_from_slice(&rest[..rest.len().min(self.run)]);
        }
        lane
    }

    /// Puts its bytes in their places in `block`.
    pub(super) fn put(&self, mut lane: &[u8], block: &mut [u8]) {
        for cycle in block.chunks_mut(self.cycle) {
            let rest = cycle.get_mut(self.start..).unwrap_or_default();
            let bytes = rest.len().min(self.run).min(lane.len());
            let (run, left) = lane.split_at(bytes);
            rest[..bytes].copy_from_slice(run);
            lane = left;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_come_apart_and_together() {
        let block: Vec<u8> = (0..100).collect();
        for runs in [&[1][..], &[1, 1], &[1, 1, 32], &[1, 2, 3, 4, 5, 6, 7, 8], &[256, 64]] {
            for len in 0..block.len() {
                let block = &block[..len];
                let mut again = vec![0; len];
                let mut total = 0;
                for lane in Lane::of(runs) {
                    let bytes = lane.take(block);
                    assert_eq!(bytes.len(), lane.bytes(len), "{runs:?} {len}");
                    total += bytes.len();
                    lane.put(&bytes, &mut again);
                }
                assert_eq!((total, &again[..]), (len, block), "{runs:?}");
            }
        }
        let lanes: Vec<_> = Lane::of(&[1, 1, 3]).map(|lane| lane.take(&block[..12])).collect();
        assert_eq!(lanes, [&[0, 5, 10][..], &[1, 6, 11], &[2, 3, 4, 7, 8, 9]]);
    }
}
