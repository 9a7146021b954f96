//! Byte-level byte-pair encoding (`tokenizer.ggml.model` = `gpt2`): Sennrich et al. 2016 over bytes, Radford et al. 2019.

use super::byte_level::{BYTE_TO_CHAR, write_escaped};
use super::error::{TokenizerError, excerpt};
use super::merge::{Merge, Merger, Symbol};
use super::pre::PreTokenizer;
use super::table::{Index, Tokens};

/// Stands for a byte that the vocabulary does not have.
const NO_TOKEN: u32 = u32::MAX;

pub(super) struct Bpe {
    pre: PreTokenizer,
    /// Take a word that is a token whole, merges or not.
    ignore_merges: bool,
    /// The token of each byte, or [`NO_TOKEN`].
    bytes: Box<[u32; 256]>,
    merges: Merges,
}

/// The merges in order of priority.
struct Merges {
    /// (left, right, what they become)
    list: Vec<(u32, u32, u32)>,
    index: Index,
}

impl Merges {
    #[inline]
    fn find(&self, left: u32, right: u32) -> Option<Merge> {
        let is_it = |rank: u32| {
            let (l, r, _) = self.list[rank as usize];
            l == left && r == right
        };
        let rank = self.index.find(self.index.hash_pair(left, right), is_it)?;
        Some(Merge {
            rank,
            id: self.list[rank as usize].2,
        })
    }
}

impl Bpe {
    pub(super) fn new(
        pre: PreTokenizer,
        ignore_merges: bool,
        tokens: &Tokens,
        merges: &[&str],
    ) -> Result<Self, TokenizerError> {
        let mut bytes = Box::new([NO_TOKEN; 256]);
        for (token, c) in bytes.iter_mut().zip(BYTE_TO_CHAR) {
            *token = tokens.find(c.encode_utf8(&mut [0; 2]).as_bytes()).unwrap_or(NO_TOKEN);
        }
        Ok(Self {
            pre,
            ignore_merges,
            bytes,
            merges: read_merges(tokens, merges)?,
        })
    }

    /// Appends the ids of `text`, which has no special tokens.
    ///
    /// A byte that the vocabulary lacks is left out, as the reference does.
    pub(super) fn encode(&self, text: &str, tokens: &Tokens, ids: &mut Vec<u32>) {
        let mut merger = Merger::default();
        let mut escaped = String::new();
        self.pre.split(text, |word| {
            if self.ignore_merges {
                escaped.clear();
                write_escaped(word.as_bytes(), &mut escaped);
                if let Some(id) = tokens.find(escaped.as_bytes()) {
                    ids.push(id);
                    return;
                }
            }
            merger.symbols.clear();
            let symbols = word.bytes().enumerate().filter_map(|(start, byte)| {
                let id = self.bytes[usize::from(byte)];
                (id != NO_TOKEN).then_some(Symbol {
                    id,
                    start,
                    end: start + 1,
                })
            });
            merger.symbols.extend(symbols);
            merger.merge(|left, right| self.merges.find(left.id, right.id));
            ids.extend(merger.symbols.iter().map(|symbol| symbol.id));
        });
    }
}

fn read_merges(tokens: &Tokens, merges: &[&str]) -> Result<Merges, TokenizerError> {
    if u32::try_from(merges.len()).is_err() {
        return Err(TokenizerError::VocabularyTooLarge { bytes: merges.len() });
    }
    let mut list: Vec<(u32, u32, u32)> = Vec::with_capacity(merges.len());
    let mut index = Index::with_capacity(merges.len());
    let mut joined = String::new();
    for (at, merge) in merges.iter().enumerate() {
        // No token has a space in it: the alphabet writes it Ġ.
        let Some((left, right)) = merge
            .split_once(' ')
            .filter(|(left, right)| !left.is_empty() && !right.is_empty())
        else {
            return Err(TokenizerError::BadMerge {
                index: at,
                merge: excerpt(merge),
            });
        };
        joined.clear();
        joined.push_str(left);
        joined.push_str(right);
        // Vocabularies list what merges make in the same order, so the next token is nearly always the one.
        let guess = list.last().map_or(0, |&(_, _, made)| made.wrapping_add(1));
        let made = if tokens.text(guess) == joined.as_bytes() {
            Some(guess)
        } else {
            tokens.find(joined.as_bytes())
        };
        let needs = |found: Option<u32>, text: &str| {
            found.ok_or_else(|| TokenizerError::UnknownMergeToken {
                index: at,
                token: excerpt(text),
            })
        };
        let left_id = needs(tokens.find(left.as_bytes()), left)?;
        let right_id = needs(tokens.find(right.as_bytes()), right)?;
        let made = needs(made, &joined)?;
        let rank = list.len() as u32;
        let hash = index.hash_pair(left_id, right_id);
        list.push((left_id, right_id, made));
        // The first of two equal merges counts; the other one can never be reached.
        let is_it = |rank: u32| {
            let (l, r, _) = list[rank as usize];
            l == left_id && r == right_id
        };
        if index.find(hash, is_it).is_none() {
            index.insert(hash, rank);
        }
    }
    Ok(Merges { list, index })
}
