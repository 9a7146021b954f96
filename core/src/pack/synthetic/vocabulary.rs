//! A byte-level BPE vocabulary of any size, made up on the spot.

use std::collections::HashSet;

use crate::Result;
use crate::gguf::Writer;
use crate::tokenizer::token_type::{CONTROL, NORMAL, UNUSED};

/// The special tokens, last in the real vocabulary: end of text, start and end of a turn.
pub(super) const SPECIAL: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// ChatML.
pub(super) const CHAT_TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' \
    + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// Each word is merged from its letters, from left to right.
const WORDS: &str = " the and of to in is it that you he was for on are with as his they be at one have this from or \
    had by hot but some what there we can out other were all your when up use word how said an each she which do their \
    time if will way about many then them would write like so these her long make thing see him two has look more day";

/// The pieces of a tokenizer, as GGUF and tokenizer.json name them.
pub(super) struct Vocabulary {
    pub tokens: Vec<String>,
    /// ggml's `token_type`s.
    pub types: Vec<i32>,
    /// Pairs, best first.
    pub merges: Vec<(String, String)>,
    /// Of the three special tokens.
    pub special: [u32; 3],
}

impl Vocabulary {
    /// `size` tokens: the bytes, as many merges as there is room for, the special tokens, and unused ones.
    pub(super) fn new(size: usize) -> Self {
        let mut tokens: Vec<String> = (0..=u8::MAX).map(|byte| byte_char(byte).to_string()).collect();
        tokens.sort_unstable();
        let mut known: HashSet<String> = tokens.iter().cloned().collect();
        let room = size.saturating_sub(tokens.len() + SPECIAL.len());

        let mut merges = Vec::new();
        for word in WORDS
            .split_whitespace()
            .flat_map(|word| [format!(" {word}"), word.to_owned()])
        {
            let mut symbols = word.bytes().map(byte_char);
            let mut merged: String = symbols.next().into_iter().collect();
            for symbol in symbols {
                let left = merged.clone();
                merged.push(symbol);
                if merges.len() < room && known.insert(merged.clone()) {
                    merges.push((left, symbol.to_string()));
                    tokens.push(merged.clone());
                }
            }
        }
        let mut types = vec![NORMAL; tokens.len()];

        let first = tokens.len() as u32;
        tokens.extend(SPECIAL.map(str::to_owned));
        types.resize(tokens.len(), CONTROL);
        for unused in tokens.len()..size {
            tokens.push(format!("<|unused_{unused}|>"));
        }
        types.resize(tokens.len(), UNUSED);
        Self {
            tokens,
            types,
            merges,
            special: [first, first + 1, first + 2],
        }
    }

    pub(super) fn set_metadata(&self, writer: &mut Writer, pre_tokenizer: &str) -> Result<()> {
        let [end_of_text, _, end_of_turn] = self.special;
        writer.set("tokenizer.ggml.model", "gpt2")?;
        writer.set("tokenizer.ggml.pre", pre_tokenizer)?;
        writer.set_strings("tokenizer.ggml.tokens", &self.tokens)?;
        writer.set_i32s("tokenizer.ggml.token_type", self.types.iter().copied())?;
        let merges: Vec<String> = self
            .merges
            .iter()
            .map(|(left, right)| format!("{left} {right}"))
            .collect();
        writer.set_strings("tokenizer.ggml.merges", &merges)?;
        writer.set("tokenizer.ggml.bos_token_id", end_of_text)?;
        writer.set("tokenizer.ggml.eos_token_id", end_of_turn)?;
        writer.set("tokenizer.ggml.padding_token_id", end_of_text)?;
        writer.set("tokenizer.ggml.add_bos_token", false)?;
        writer.set("tokenizer.ggml.add_space_prefix", false)?;
        writer.set("tokenizer.chat_template", CHAT_TEMPLATE)?;
        Ok(())
    }
}

/// GPT-2's alphabet: printable Latin-1 stands for itself, the other bytes for the characters from U+0100 on.
fn byte_char(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&byte| !printable(byte)).count() as u32;
    char::from_u32(0x100 + before).unwrap_or_default()
}
