//! Finds stop strings in text that arrives in pieces.

/// Passes text on until one of its stop strings is complete. What may still become a stop string is held back; the
/// stop string itself never comes out.
///
/// The first stop string to be complete wins; of several that end at the same place, the longest. Time is linear in
/// the text times the number of stop strings, the held text is shorter than the longest of them, and nothing is
/// allocated after [`StopMatcher::new`] but what `out` needs.
#[derive(Clone, Debug)]
pub struct StopMatcher {
    stops: Vec<Stop>,
    held: String,
    stopped: bool,
}

/// One stop string and how much of it the text so far ends with (Knuth, Morris and Pratt 1977, on bytes).
#[derive(Clone, Debug)]
struct Stop {
    bytes: Vec<u8>,
    /// `fallback[i]`: length of the longest proper prefix of `bytes[..=i]` that is also its suffix.
    fallback: Vec<usize>,
    matched: usize,
}

impl Stop {
    fn new(text: String) -> Stop {
        let bytes = text.into_bytes();
        let mut fallback = vec![0; bytes.len()];
        let mut length = 0;
        for i in 1..bytes.len() {
            while length > 0 && bytes[i] != bytes[length] {
                length = fallback[length - 1];
            }
            length += usize::from(bytes[i] == bytes[length]);
            fallback[i] = length;
        }
        Stop {
            bytes,
            fallback,
            matched: 0,
        }
    }

    /// Takes one byte; says whether the stop string is complete.
    fn advance(&mut self, byte: u8) -> bool {
        while self.matched > 0 && byte != self.bytes[self.matched] {
            self.matched = self.fallback[self.matched - 1];
        }
        self.matched += usize::from(byte == self.bytes[self.matched]);
        self.matched == self.bytes.len()
    }
}

impl StopMatcher {
    /// A matcher for `stops`; empty strings among them are ignored.
    pub fn new(stops: Vec<String>) -> Self {
        let stops: Vec<Stop> = stops
            .into_iter()
            .filter(|stop| !stop.is_empty())
            .map(Stop::new)
            .collect();
        let longest = stops.iter().map(|stop| stop.bytes.len()).max().unwrap_or(0);
        StopMatcher {
            stops,
            held: String::with_capacity(longest),
            stopped: false,
        }
    }

    /// Takes the next piece of text, appends to `out` what is certain not to belong to a stop string, and returns
    /// whether a stop string is complete. After that all further text is ignored.
    pub fn push(&mut self, text: &str, out: &mut String) -> bool {
        if self.stopped {
            return true;
        }
        for (position, &byte) in text.as_bytes().iter().enumerate() {
            let mut complete = 0;
            for stop in &mut self.stops {
                if stop.advance(byte) {
                    complete = complete.max(stop.bytes.len());
                }
            }
            if complete > 0 {
                self.emit(self.held.len() + position + 1 - complete, text, out);
                self.held.clear();
                self.stopped = true;
                return true;
            }
        }
        let partial = self.stops.iter().map(|stop| stop.matched).max().unwrap_or(0);
        let certain = self.held.len() + text.len() - partial;
        self.emit(certain, text, out);
        if certain >= self.held.len() {
            let rest = certain - self.held.len();
            self.held.clear();
            self.held.push_str(&text[rest..]);
        } else {
            self.held.drain(..certain);
            self.held.push_str(text);
        }
        false
    }

    /// Appends the first `count` bytes of the held text followed by `text`. A match begins with the first byte of a
    /// stop string, so `count` is on a character boundary.
    fn emit(&self, count: usize, text: &str, out: &mut String) {
        out.push_str(&self.held[..count.min(self.held.len())]);
        out.push_str(&text[..count.saturating_sub(self.held.len())]);
    }

    /// Ends the text: appends what was held back, unless a stop string was found, and makes the matcher ready for
    /// another text.
    pub fn finish(&mut self, out: &mut String) {
        if !self.stopped {
            out.push_str(&self.held);
        }
        self.reset();
    }

    /// Forgets the text so far.
    pub fn reset(&mut self) {
        self.held.clear();
        self.stopped = false;
        for stop in &mut self.stops {
            stop.matched = 0;
        }
    }

    /// Whether a stop string was found.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut matcher = StopMatcher::new(stops.iter().map(|stop| stop.to_string()).collect());
        let mut out = String::new();
        let stopped = pieces.iter().any(|piece| matcher.push(piece, &mut out));
        assert_eq!(stopped, matcher.is_stopped());
        matcher.finish(&mut out);
        (out, stopped)
    }

    #[test]
    fn stops_split_over_pieces() {
        assert_eq!(
            run(&["<end>"], &["Hello <", "e", "nd", "> more"]),
            ("Hello ".into(), true)
        );
        assert_eq!(
            run(&["<end>"], &["Hello <", "e", "n", "tree>"]),
            ("Hello <entree>".into(), false)
        );
        assert_eq!(run(&["\n\n"], &["a\n", "b\n", "\n", "c"]), ("a\nb".into(), true));
        assert_eq!(run(&["abab"], &["aba", "aba", "b"]), ("aba".into(), true));
    }

    #[test]
    fn the_first_complete_stop_wins_and_of_those_the_longest() {
        assert_eq!(run(&["abc", "b"], &["xabc"]), ("xa".into(), true));
        assert_eq!(run(&["bc", "abc"], &["xa", "bc"]), ("x".into(), true));
        assert_eq!(run(&["abcd", "bc"], &["abce"]), ("a".into(), true));
    }

    #[test]
    fn text_is_held_no_longer_than_needed() {
        let mut matcher = StopMatcher::new(vec!["stop".into()]);
        let mut out = String::new();
        assert!(!matcher.push("on st", &mut out));
        assert_eq!(out, "on ");
        assert!(!matcher.push("s", &mut out));
        assert_eq!(out, "on st");
        assert!(matcher.push("top it", &mut out));
        assert!(matcher.push("ignored", &mut out));
        assert_eq!(out, "on st");
        matcher.finish(&mut out);
        assert_eq!(out, "on st");
        assert!(!matcher.push("next text", &mut out));
    }

    #[test]
    fn characters_stay_whole() {
        // é is c3 a9, è is c3 a8: a shared first byte is not a shared character.
        assert_eq!(run(&["é!"], &["caf", "è", "é", "?"]), ("cafèé?".into(), false));
        assert_eq!(run(&["👍🏽"], &["ok 👍", "🏽 done"]), ("ok ".into(), true));
        let mut matcher = StopMatcher::new(vec!["é".into()]);
        let mut out = String::new();
        matcher.push("è", &mut out);
        assert_eq!(out, "è");
    }

    #[test]
    fn no_stops_pass_everything() {
        assert_eq!(run(&[], &["a", "b"]), ("ab".into(), false));
        assert_eq!(run(&["", ""], &["a", "b"]), ("ab".into(), false));
    }

    /// The whole text searched at once.
    fn naive(stops: &[String], text: &str) -> (String, bool) {
        let found = stops.iter().filter(|stop| !stop.is_empty());
        let found = found.filter_map(|stop| text.find(stop.as_str()).map(|start| (start + stop.len(), start)));
        match found.min() {
            Some((_, start)) => (text[..start].into(), true),
            None => (text.into(), false),
        }
    }

    #[test]
    fn equals_a_search_of_the_whole_text() {
        let mut seed = 1u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) as usize % below
        };
        let letters = ["a", "b", "é", "è", "👍"];
        for _ in 0..20_000 {
            let mut word = |longest: usize| -> String { (0..random(longest)).map(|_| letters[random(5)]).collect() };
            let stops: Vec<String> = (0..3).map(|_| word(5)).collect();
            let text = word(30);
            let mut matcher = StopMatcher::new(stops.clone());
            let (mut out, mut rest, mut stopped) = (String::new(), text.as_str(), false);
            while !rest.is_empty() && !stopped {
                let mut cut = 1 + random(6).min(rest.len() - 1);
                while !rest.is_char_boundary(cut) {
                    cut += 1;
                }
                stopped = matcher.push(&rest[..cut], &mut out);
                rest = &rest[cut..];
            }
            matcher.finish(&mut out);
            assert_eq!((out, stopped), naive(&stops, &text), "{stops:?} in {text:?}");
        }
    }
}
