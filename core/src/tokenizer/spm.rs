//! SentencePiece byte-pair encoding (`tokenizer.ggml.model` = `llama`): merges chosen by the score of what they make
//! (Kudo & Richardson 2018).

use std::borrow::Cow;

use super::error::TokenizerError;
use super::fallback::Fallback;
use super::merge::{Merge, Merger, Symbol};
use super::table::{Kind, Tokens};

/// What SentencePiece writes for a space.
pub(super) const SPACE: char = '▁';

/// Stands for a character that the vocabulary does not have.
const NO_TOKEN: u32 = u32::MAX;

pub(super) struct Spm {
    /// The priority of each token that merges may make; the lowest goes first.
    ranks: Vec<Option<u32>>,
    fallback: Fallback,
    /// The characters that some token has before a space, in order. Only there can a token reach from one word into
    /// the next; elsewhere words are merged one by one, which gives the same ids sooner.
    joints: Vec<char>,
    /// The longest token in bytes: nothing longer needs to be looked up.
    longest: usize,
}

impl Spm {
    /// `texts` are those of `tokens`; `scores` has one finite score for each.
    pub(super) fn new(
        texts: &[&str],
        tokens: &Tokens,
        scores: &[f32],
        unknown: Option<u32>,
    ) -> Result<Self, TokenizerError> {
        // Control tokens must not come out of ordinary text, and user-defined ones were found before.
        let mergeable = |id: u32| tokens.kind(id) == Some(Kind::Normal);
        let ranks = (0..)
            .zip(scores)
            .map(|(id, &score)| mergeable(id).then(|| rank(score)))
            .collect();
        let mergeable = || (0..).zip(texts).filter(|&(id, _)| mergeable(id)).map(|(_, text)| *text);
        Ok(Self {
            ranks,
            fallback: Fallback::new(texts, tokens, unknown)?,
            joints: joints(mergeable()),
            longest: mergeable().map(str::len).max().unwrap_or(0),
        })
    }

    /// Appends the ids of `text`, in which spaces are written [`SPACE`].
    pub(super) fn encode(&self, text: &str, tokens: &Tokens, ids: &mut Vec<u32>) {
        let from = ids.len();
        let mut merger = Merger::default();
        let mut rest = text;
        while !rest.is_empty() {
            let (word, after) = rest.split_at(word_length(rest, &self.joints));
            rest = after;
            merger.symbols.clear();
            merger.symbols.extend(word.char_indices().map(|(start, c)| {
                let end = start + c.len_utf8();
                Symbol {
                    id: self.find(tokens, &word[start..end]).map_or(NO_TOKEN, |merge| merge.id),
                    start,
                    end,
                }
            }));
            merger.merge(|left, right| self.find(tokens, &word[left.start..right.end]));
            for symbol in &merger.symbols {
                match symbol.id {
                    NO_TOKEN => self.fallback.encode(&word[symbol.start..symbol.end], from, ids),
                    id => ids.push(id),
                }
            }
        }
    }

    /// The token that is written so, if merges may make it.
    fn find(&self, tokens: &Tokens, text: &str) -> Option<Merge> {
        if text.len() > self.longest {
            return None;
        }
        let id = tokens.find(text.as_bytes())?;
        Some(Merge {
            rank: self.ranks[id as usize]?,
            id,
        })
    }
}

/// A token as it looks in the text: with spaces.
pub(super) fn unescape(token: &str) -> Cow<'_, str> {
    if token.contains(SPACE) {
        token.replace(SPACE, " ").into()
    } else {
        token.into()
    }
}

/// Orders scores from the highest to the lowest.
fn rank(score: f32) -> u32 {
    // Adding zero makes both zeros the same.
    let bits = (score + 0.0).to_bits();
    let ascending = if score.is_sign_negative() && bits << 1 != 0 {
        !bits
    } else {
        bits | 1 << 31
    };
    !ascending
}

/// The characters that stand before a space within a token, in order.
fn joints<'t>(texts: impl Iterator<Item = &'t str>) -> Vec<char> {
    let joint = |(before, after)| (after == SPACE && before != SPACE).then_some(before);
    let mut joints: Vec<char> = texts
        .flat_map(|text| text.chars().zip(text.chars().skip(1)).filter_map(joint))
        .collect();
    joints.sort_unstable();
    joints.dedup();
    joints
}

/// The length of the first word: spaces and what follows them up to the next, or further over `joints`.
fn word_length(text: &str, joints: &[char]) -> usize {
    let mut before = SPACE;
    let starts_word = |&(_, c): &(usize, char)| {
        let starts = c == SPACE && before != SPACE && joints.binary_search(&before).is_err();
        before = c;
        starts
    };
    text.char_indices().find(starts_word).map_or(text.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_follow_scores() {
        let scores = [
            3.5,
            1.0,
            f32::MIN_POSITIVE,
            0.0,
            -f32::MIN_POSITIVE,
            -1.0,
            -259.0,
            f32::MIN,
        ];
        assert!(scores.windows(2).all(|pair| rank(pair[0]) < rank(pair[1])));
        assert_eq!(rank(0.0), rank(-0.0));
    }

    #[test]
    fn words_take_the_spaces_before_them() {
        let joints = joints(["▁▁", ">▁</", "▁a>▁"].into_iter());
        assert_eq!(joints, ['>']);
        assert_eq!(word_length("▁▁a▁b", &joints), "▁▁a".len());
        assert_eq!(word_length("▁a>▁b▁c", &joints), "▁a>▁b".len());
        assert_eq!(word_length("a", &joints), 1);
        assert_eq!(word_length("▁▁", &joints), 6);
    }
}
