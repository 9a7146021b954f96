//! Pairs of symbols by how often they are found, while words shrink.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

/// A word in symbols, and how often it was found.
pub(super) struct Word {
    pub symbols: Vec<u32>,
    pub count: u64,
}

/// Two symbols, one after the other.
pub(super) type Pair = (u32, u32);

/// Words in symbols, and where each pair of symbols is.
pub(super) struct Pairs {
    words: Vec<Word>,
    /// How often, and in which words. Words that had it and have it no more may be among them.
    places: HashMap<Pair, (u64, HashSet<u32>)>,
    /// Every pair with a count that it has or had.
    queue: BinaryHeap<(u64, Reverse<Pair>)>,
}

impl Pairs {
    pub fn new(words: Vec<Word>) -> Self {
        let mut places: HashMap<Pair, (u64, HashSet<u32>)> = HashMap::new();
        for (place, word) in (0..).zip(&words) {
            for pair in pairs_of(&word.symbols) {
                let (count, at) = places.entry(pair).or_default();
                *count += word.count;
                at.insert(place);
            }
        }
        let queue = places
            .iter()
            .map(|(&pair, (count, _))| (*count, Reverse(pair)))
            .collect();
        Self { words, places, queue }
    }

    /// The most frequent pair, if it was found so often; of equally frequent ones that with the lower ids.
    pub fn most_frequent(&mut self, least: u64) -> Option<Pair> {
        while let Some((counted, Reverse(pair))) = self.queue.pop() {
            let count = self.places.get(&pair).map_or(0, |(count, _)| *count);
            if count == counted && count >= least {
                return Some(pair);
            }
            if count != counted && count >= least {
                self.queue.push((count, Reverse(pair)));
            }
        }
        None
    }

    /// Replaces a pair by a symbol everywhere.
    pub fn merge(&mut self, pair: Pair, id: u32) {
        let Some((_, words)) = self.places.remove(&pair) else {
            return;
        };
        let mut grown = HashSet::new();
        for place in words {
            let word = &mut self.words[place as usize];
            let merged = merged(&word.symbols, pair, id);
            if merged.len() == word.symbols.len() {
                continue;
            }
            for old in pairs_of(&word.symbols) {
                if let Some((count, _)) = self.places.get_mut(&old) {
                    *count = count.saturating_sub(word.count);
                }
            }
            for new in pairs_of(&merged) {
                let (count, at) = self.places.entry(new).or_default();
                *count += word.count;
                at.insert(place);
                if new.0 == id || new.1 == id {
                    grown.insert(new);
                }
            }
            word.symbols = merged;
        }
        let count = |pair| self.places.get(&pair).map_or(0, |(count, _)| *count);
        self.queue
            .extend(grown.into_iter().map(|pair| (count(pair), Reverse(pair))));
    }
}

fn pairs_of(symbols: &[u32]) -> impl Iterator<Item = Pair> + '_ {
    symbols.windows(2).map(|pair| (pair[0], pair[1]))
}

/// The symbols with every occurrence of `pair`, from the left, replaced.
fn merged(symbols: &[u32], pair: Pair, id: u32) -> Vec<u32> {
    let mut merged = Vec::with_capacity(symbols.len());
    let mut at = 0;
    while at < symbols.len() {
        let is_pair = symbols.get(at + 1).is_some_and(|&next| (symbols[at], next) == pair);
        merged.push(if is_pair { id } else { symbols[at] });
        at += if is_pair { 2 } else { 1 };
    }
    merged
}
