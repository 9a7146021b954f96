//! Merging neighbouring symbols in order of priority, in O(n log n) for any text.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Two neighbours that may become one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Merge {
    /// The lowest is merged first; among equals the leftmost.
    pub(super) rank: u32,
    /// What the two become.
    pub(super) id: u32,
}

/// One symbol of the word being merged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symbol {
    pub(super) id: u32,
    /// Where its text starts and ends in the word; empty once it was merged into the one before it.
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Words up to this many symbols are searched from end to end for the next merge, which needs no queue.
const SHORT: usize = 24;

/// Merges words; keeps its buffers from one to the next.
#[derive(Default)]
pub(super) struct Merger {
    pub(super) symbols: Vec<Symbol>,
    /// For short words, the merge of each symbol with the next.
    merges: Vec<Option<Merge>>,
    /// For long words, (previous, next) of each symbol.
    links: Vec<(usize, usize)>,
    /// (rank, where)
    queue: BinaryHeap<Reverse<(u32, usize)>>,
}

/// Stands for no symbol in `links`.
const NONE: usize = usize::MAX;

impl Merger {
    /// Merges `self.symbols` until nothing is left to merge and removes the ones merged away.
    ///
    /// `find` gives the merge of two neighbours.
    pub(super) fn merge(&mut self, find: impl Fn(&Symbol, &Symbol) -> Option<Merge>) {
        if self.symbols.len() <= SHORT {
            self.merge_short(find)
        } else {
            self.merge_long(find)
        }
    }

    fn merge_short(&mut self, find: impl Fn(&Symbol, &Symbol) -> Option<Merge>) {
        let Self { symbols, merges, .. } = self;
        merges.clear();
        merges.extend(symbols.windows(2).map(|pair| find(&pair[0], &pair[1])));
        let best = |merges: &[Option<Merge>]| {
            let ranked = merges
                .iter()
                .enumerate()
                .filter_map(|(at, merge)| Some((merge.as_ref()?.rank, at)));
            ranked.min()
        };
        while let Some((_, at)) = best(merges)
            && let Some(merge) = merges.remove(at)
        {
            let right = symbols.remove(at + 1);
            (symbols[at].id, symbols[at].end) = (merge.id, right.end);
            if let Some(next) = symbols.get(at + 1) {
                merges[at] = find(&symbols[at], next);
            }
            if at > 0 {
                merges[at - 1] = find(&symbols[at - 1], &symbols[at]);
            }
        }
    }

    fn merge_long(&mut self, find: impl Fn(&Symbol, &Symbol) -> Option<Merge>) {
        let Self {
            symbols, links, queue, ..
        } = self;
        let count = symbols.len();
        links.clear();
        links.extend((0..count).map(|at| (at.wrapping_sub(1), if at + 1 < count { at + 1 } else { NONE })));
        queue.clear();
        // Collected first and made a heap in one go, which is linear.
        let mut first = std::mem::take(queue).into_vec();
        let pairs = symbols.windows(2).enumerate();
        first.extend(pairs.filter_map(|(at, pair)| Some(Reverse((find(&pair[0], &pair[1])?.rank, at)))));
        *queue = first.into();

        while let Some(Reverse((rank, at))) = queue.pop() {
            let (previous, next) = links[at];
            if next == NONE || symbols[at].start == symbols[at].end {
                continue;
            }
            // The neighbours may have changed since this was queued. (Another merge of the same rank is as good: it was
            // queued under the same key.)
            let Some(merge) = find(&symbols[at], &symbols[next]).filter(|merge| merge.rank == rank) else {
                continue;
            };
            let after = links[next].1;
            (symbols[at].id, symbols[at].end) = (merge.id, symbols[next].end);
            symbols[next].end = symbols[next].start;
            links[at].1 = after;
            if after != NONE {
                links[after].0 = at;
                if let Some(merge) = find(&symbols[at], &symbols[after]) {
                    queue.push(Reverse((merge.rank, at)));
                }
            }
            if previous != NONE
                && let Some(merge) = find(&symbols[previous], &symbols[at])
            {
                queue.push(Reverse((merge.rank, previous)));
            }
        }
        symbols.retain(|symbol| symbol.start != symbol.end);
    }
}
