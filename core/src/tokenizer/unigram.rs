//! The unigram language model of SentencePiece (`tokenizer.ggml.model` = `t5`): the segmentation with the highest sum
//! of log probabilities, found by the Viterbi algorithm (Kudo 2018).

use super::error::TokenizerError;
use super::fallback::Fallback;
use super::prefixes::Prefixes;
use super::table::{Kind, Tokens};

/// How much worse than the worst token an unknown character is (`kUnkPenalty` in SentencePiece).
const UNKNOWN_PENALTY: f32 = 10.0;

pub(super) struct Unigram {
    pieces: Prefixes,
    scores: Vec<f32>,
    unknown_score: f32,
    fallback: Fallback,
}

/// The best way to reach a place in the text. Sums are rounded to `f32` as SentencePiece rounds them: it decides between
/// paths that are equally good, of which a run of one letter has many.
#[derive(Clone, Copy)]
struct Best {
    score: f32,
    /// Where its last token starts.
    start: usize,
    /// Its last token; `None` for an unknown character.
    id: Option<u32>,
}

impl Unigram {
    /// `texts` are those of `tokens`; `scores` has one finite score for each.
    pub(super) fn new(
        texts: &[&str],
        tokens: &Tokens,
        scores: &[f32],
        unknown: Option<u32>,
    ) -> Result<Self, TokenizerError> {
        let normal = || tokens.ids().filter(|&id| tokens.kind(id) == Some(Kind::Normal));
        let lowest = normal().map(|id| scores[id as usize]).fold(f32::INFINITY, f32::min);
        let lowest = if lowest.is_finite() { lowest } else { 0.0 };
        Ok(Self {
            pieces: Prefixes::new(normal().map(|id| (texts[id as usize].as_bytes().into(), id)).collect()),
            scores: scores.to_vec(),
            unknown_score: lowest - UNKNOWN_PENALTY,
            fallback: Fallback::new(texts, tokens, unknown)?,
        })
    }

    /// Appends the ids of `text`, in which spaces are written [`super::spm::SPACE`].
    pub(super) fn encode(&self, text: &str, ids: &mut Vec<u32>) {
        // best[end] is the best way to cover text[..end]; places inside a character stay unreached.
        let unreached = Best {
            score: f32::NEG_INFINITY,
            start: 0,
            id: None,
        };
        let mut best = vec![unreached; text.len() + 1];
        best[0].score = 0.0;
        for (start, c) in text.char_indices() {
            let before = best[start].score;
            let mut improve = |end: usize, score: f32, id: Option<u32>| {
                if score > best[end].score {
                    best[end] = Best { score, start, id };
                }
            };
            let mut has_char = false;
            self.pieces.each_at(&text.as_bytes()[start..], |length, id| {
                has_char |= length == c.len_utf8();
                improve(start + length, before + self.scores[id as usize], Some(id));
            });
            if !has_char {
                improve(start + c.len_utf8(), before + self.unknown_score, None);
            }
        }

        let mut path = Vec::new();
        let mut end = text.len();
        while end > 0 {
            path.push((end, best[end]));
            end = best[end].start;
        }
        let from = ids.len();
        for (end, Best { start, id, .. }) in path.into_iter().rev() {
            match id {
                Some(id) => ids.push(id),
                None => self.fallback.encode(&text[start..end], from, ids),
            }
        }
    }
}
