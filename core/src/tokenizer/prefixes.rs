//! Which of a set of byte strings start at a place in the text.

/// A set of byte strings, looked up by walking down their sorted list: as compact as the list, and a lookup costs a
/// binary search per byte at most.
pub(super) struct Prefixes {
    /// (bytes, id), sorted by bytes.
    keys: Vec<(Box<[u8]>, u32)>,
    /// Where in `keys` each first byte begins; one more entry closes the last.
    first_byte: Box<[u32; 257]>,
}

impl Prefixes {
    /// `keys` must not be empty strings.
    pub(super) fn new(mut keys: Vec<(Box<[u8]>, u32)>) -> Self {
        keys.retain(|(key, _)| !key.is_empty());
        keys.sort_unstable();
        let mut first_byte = Box::new([0; 257]);
        for (key, _) in &keys {
            first_byte[usize::from(key[0]) + 1] += 1;
        }
        for byte in 0..256 {
            first_byte[byte + 1] += first_byte[byte];
        }
        Self { keys, first_byte }
    }

    /// Calls `found` with the length and id of every key that `text` starts with, shortest first.
    #[inline]
    pub(super) fn each_at(&self, text: &[u8], mut found: impl FnMut(usize, u32)) {
        let Some(&first) = text.first() else { return };
        let range = |byte: usize| self.first_byte[byte] as usize..self.first_byte[byte + 1] as usize;
        let mut keys = &self.keys[range(usize::from(first))];
        for depth in 1.. {
            // All keys left share the first `depth` bytes of the text, so the shortest is the only one to end here.
            while let Some(((key, id), others)) = keys.split_first()
                && key.len() == depth
            {
                found(depth, *id);
                keys = others;
            }
            let (Some(&next), false) = (text.get(depth), keys.is_empty()) else {
                return;
            };
            let from = keys.partition_point(|(key, _)| key[depth] < next);
            let upto = keys.partition_point(|(key, _)| key[depth] <= next);
            keys = &keys[from..upto];
        }
    }

    /// The longest key accepted by `accept` that `text` starts with.
    pub(super) fn longest_at(&self, text: &[u8], accept: impl Fn(u32) -> bool) -> Option<(usize, u32)> {
        let mut longest = None;
        self.each_at(text, |length, id| {
            if accept(id) {
                longest = Some((length, id));
            }
        });
        longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_all_prefixes_and_the_longest() {
        let keys = ["<a>", "<a><b>", "<", "b", "<c>"];
        let prefixes = Prefixes::new((0..).zip(keys).map(|(id, key)| (key.as_bytes().into(), id)).collect());
        let all = |text: &str| {
            let mut found = Vec::new();
            prefixes.each_at(text.as_bytes(), |length, id| found.push((length, id)));
            found
        };
        assert_eq!(all("<a><b>x"), [(1, 2), (3, 0), (6, 1)]);
        assert_eq!(all("<a><"), [(1, 2), (3, 0)]);
        assert_eq!(all("b"), [(1, 3)]);
        assert_eq!(all("a<"), []);
        assert_eq!(all(""), []);
        assert_eq!(prefixes.longest_at(b"<a><b>", |_| true), Some((6, 1)));
        assert_eq!(prefixes.longest_at(b"<a><b>", |id| id != 1), Some((3, 0)));
    }
}
