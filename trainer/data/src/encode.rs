//! Documents as tokens, the way the engine would write them.

use std::ops::Range;

use halfpi::pack::Blueprint;
use halfpi::session::Prompt;
use halfpi::template::{ChatTemplate, Message, Role};
use halfpi::tokenizer::{Special, Tokenizer};
use serde::{Deserialize, Serialize};

use super::error::{DataError, LineProblem};
use super::reader::Document;
use super::record::{Chat, Content};

/// Control tokens that separate texts, by their usual names. In chat models EOS often ends a turn, not a text.
const END_OF_DOCUMENT: [&str; 3] = ["<|endoftext|>", "<|end_of_text|>", "<|end▁of▁sentence|>"];

/// What a model reads and how it is spoken to: its tokenizer and its chat template.
#[derive(Debug)]
pub struct Language {
    /// Text to tokens.
    pub tokenizer: Tokenizer,
    /// Conversations to text.
    pub template: ChatTemplate,
}

impl Language {
    /// That of a model, as an engine would read it: ChatML if it has no template.
    ///
    /// # Errors
    /// [`halfpi::Error::Tokenizer`] and [`halfpi::Error::Template`].
    pub fn of(blueprint: &Blueprint) -> halfpi::Result<Self> {
        Ok(Self {
            tokenizer: blueprint.tokenizer()?,
            template: blueprint.template()?,
        })
    }
}

/// How documents become tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EncodeOptions {
    /// Which tokens of a conversation count in the loss.
    pub train_on: TrainOn,
    /// Takes control tokens that are written in plain texts for what they look like: for conversations that somebody
    /// has written out already. Messages of conversations never write control tokens.
    pub parse_special: bool,
    /// Whether the model is one that thinks, for templates that can do both; `None` leaves it to them.
    pub thinking: Option<bool>,
    /// The token after every document. `None`: the vocabulary's `<|endoftext|>`, or else EOS.
    pub end_of_document: Option<u32>,
}

/// Which tokens of a conversation count in the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrainOn {
    /// All of them.
    #[default]
    Everything,
    /// What the assistant writes: from where a session would let it speak to the token that ends its turn, or what its
    /// template ends it with instead.
    Assistant,
}

/// Tokens, and what each counts as a target.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Encoded {
    pub tokens: Vec<u32>,
    pub weights: Vec<f32>,
}

impl Encoded {
    fn push(&mut self, token: u32, weight: f32) {
        self.tokens.push(token);
        self.weights.push(weight);
    }
}

/// Makes tokens of documents.
pub(super) struct Encoder {
    language: Language,
    options: EncodeOptions,
    pub end_of_document: u32,
}

impl Encoder {
    /// For a model whose embedding has `rows` rows; those after the last token are padding, as many models have.
    pub fn new(language: Language, rows: usize, options: EncodeOptions) -> Result<Self, DataError> {
        let tokenizer = &language.tokenizer;
        let tokens = tokenizer.vocab_size();
        if tokens > rows || i32::try_from(tokens).is_err() {
            return Err(DataError::Tokenizer { tokens, rows });
        }
        let named = || END_OF_DOCUMENT.iter().find_map(|text| control(tokenizer, text));
        let usual = || named().or(tokenizer.eos()).or(tokenizer.eot());
        let end_of_document = options
            .end_of_document
            .or_else(usual)
            .ok_or(DataError::NoEndOfDocument)?;
        if end_of_document as usize >= tokens {
            return Err(DataError::Option {
                option: "end_of_document",
                value: end_of_document.to_string(),
                wanted: "a token of the vocabulary",
            });
        }
        Ok(Self {
            language,
            options,
            end_of_document,
        })
    }

    /// The language that it writes.
    pub fn language(&self) -> &Language {
        &self.language
    }

    /// The token for places that nothing is put in.
    pub fn padding(&self) -> u32 {
        self.language.tokenizer.padding().unwrap_or(self.end_of_document)
    }

    /// The tokens of a document, with the one that ends it, and before them the one that ends a text that broke off; none
    /// for one of nothing.
    pub fn encode(&self, document: &Document) -> Result<Encoded, LineProblem> {
        let mut encoded = Encoded::default();
        if document.after_break {
            encoded.push(self.end_of_document, 1.0);
        }
        let before = encoded.tokens.len();
        let end_weight = match &document.content {
            Content::Text(text) => {
                self.text(text, document.begins, &mut encoded);
                1.0
            }
            Content::Chat(chat) => {
                self.chat(chat, &mut encoded)?;
                match self.options.train_on {
                    TrainOn::Everything => 1.0,
                    // Sessions end with the turn.
                    TrainOn::Assistant => 0.0,
                }
            }
        };
        if encoded.tokens.len() == before {
            return Ok(Encoded::default());
        }
        if document.ends {
            encoded.push(self.end_of_document, end_weight);
        }
        Ok(encoded)
    }

    fn text(&self, text: &str, begins: bool, encoded: &mut Encoded) {
        let tokenizer = &self.language.tokenizer;
        let special = match self.options.parse_special {
            true => Special::Parse,
            false => Special::AsText,
        };
        let tokens = tokenizer.encode(text, special);
        if tokens.is_empty() {
            return;
        }
        if let Some(bos) = tokenizer.bos().filter(|_| begins && tokenizer.add_bos()) {
            // It is given, never written.
            encoded.push(bos, 0.0);
        }
        encoded.weights.resize(encoded.weights.len() + tokens.len(), 1.0);
        encoded.tokens.extend(tokens);
    }

    fn chat(&self, chat: &Chat, encoded: &mut Encoded) -> Result<(), LineProblem> {
        let Language { tokenizer, template } = &self.language;
        let refused = |error: halfpi::Error| LineProblem::Template {
            message: error.to_string(),
        };
        let messages = self.with_thoughts_apart(&chat.messages);
        let prompt = Prompt::new(tokenizer, template, &chat.tools, self.options.thinking).map_err(refused)?;
        let write = |messages: &[Message], opens: bool| {
            let tokens = prompt.tokens(tokenizer, template, messages, opens);
            tokens.map_err(refused)
        };
        let tokens = write(&messages, false)?;
        let mut weights = vec![1.0; tokens.len()];
        match self.options.train_on {
            TrainOn::Everything => {
                if let (Some(first), true) = (weights.first_mut(), tokenizer.add_bos()) {
                    *first = 0.0;
                }
            }
            TrainOn::Assistant => {
                weights.fill(0.0);
                for answer in self.answers(&messages, &tokens, write)? {
                    weights[answer].fill(1.0);
                }
            }
        }
        encoded.tokens.extend(tokens);
        encoded.weights.extend(weights);
        Ok(())
    }

    /// What the assistant wrote of `tokens`: from where a session would let it begin to the token that ends its turn, or
    /// else to where the template closes it.
    fn answers(
        &self,
        messages: &[Message],
        tokens: &[u32],
        write: impl Fn(&[Message], bool) -> Result<Vec<u32>, LineProblem>,
    ) -> Result<Vec<Range<usize>>, LineProblem> {
        let is_answer = |index: &usize| messages[*index].role == Role::Assistant;
        let indices: Vec<usize> = (0..messages.len()).filter(is_answer).collect();
        let start_of = |index: usize| match index {
            0 => Ok(0),
            _ => write(&messages[..index], true).map(|before| common_prefix(&before, tokens)),
        };
        let mut starts = Vec::new();
        if let (Some(&first), Some(&last)) = (indices.first(), indices.last()) {
            // Most templates open all turns of the assistant with the same control tokens, which nothing else has.
            starts = match self.opening(&messages[..=first], &write) {
                Some(opening) => ends_of(&opening, tokens),
                None => Vec::new(),
            };
            if starts.len() != indices.len() || starts.last() != Some(&start_of(last)?) {
                // The others are asked for every turn.
                starts = indices.iter().map(|&index| start_of(index)).collect::<Result<_, _>>()?;
            }
        }
        let ends_turn = |&token: &u32| self.language.tokenizer.is_end_of_generation(token);
        let until = |index: usize| match index + 1 == messages.len() {
            true => Ok(tokens.to_vec()),
            false => write(&messages[..=index], false),
        };
        // Not where the model has no token for it, as base models that are taught ChatML in letters.
        let has_end = match (indices.last(), starts.last()) {
            (Some(&last), Some(&start)) => until(last)?.iter().skip(start).any(ends_turn),
            _ => false,
        };
        let mut answers: Vec<Range<usize>> = Vec::with_capacity(starts.len());
        for (&index, start) in indices.iter().zip(starts) {
            let end = match has_end {
                true => tokens[start..].iter().position(ends_turn).map(|at| start + at + 1),
                false => {
                    let until = until(index)?;
                    let end = common_prefix(&until, tokens);
                    // Some templates leave only the last turn open.
                    let closes = tokens.get(end).is_some_and(ends_turn);
                    (end > start || end == until.len()).then_some(end + usize::from(closes))
                }
            };
            let end = end.filter(|&end| start <= end && answers.last().is_none_or(|before| before.end <= start));
            answers.push(start..end.ok_or(LineProblem::Rewritten { index })?);
        }
        Ok(answers)
    }

    /// The tokens that the template opens a turn of the assistant with, if a control token is among them.
    fn opening(
        &self,
        messages: &[Message],
        write: impl Fn(&[Message], bool) -> Result<Vec<u32>, LineProblem>,
    ) -> Option<Vec<u32>> {
        let (closed, opened) = (write(messages, false).ok()?, write(messages, true).ok()?);
        let opening = opened.strip_prefix(closed.as_slice())?;
        let is_control = |&token: &u32| self.language.tokenizer.is_special(token);
        opening.iter().any(is_control).then(|| opening.to_vec())
    }

    /// Thoughts written into the text of an answer become its thoughts, which templates write in their own way: as
    /// sessions hand them out.
    fn with_thoughts_apart(&self, messages: &[Message]) -> Vec<Message> {
        let mut messages = messages.to_vec();
        let Some(tags) = self.language.template.thinking_tags() else {
            return messages;
        };
        let answers = messages.iter_mut().filter(|message| message.role == Role::Assistant);
        for message in answers.filter(|message| message.thinking.is_none()) {
            let inside = message.content.trim_start().strip_prefix(tags.open);
            if let Some((thinking, answer)) = inside.and_then(|text| text.split_once(tags.close)) {
                let thinking = thinking.trim();
                message.thinking = (!thinking.is_empty()).then(|| thinking.to_owned());
                message.content = answer.trim_start().to_owned();
            }
        }
        messages
    }
}

/// The id of a control token.
fn control(tokenizer: &Tokenizer, text: &str) -> Option<u32> {
    tokenizer.token_id(text).filter(|&id| tokenizer.is_special(id))
}

/// Where each occurrence of `part`, which is not empty, ends.
fn ends_of(part: &[u32], tokens: &[u32]) -> Vec<usize> {
    let windows = tokens.windows(part.len()).enumerate();
    windows
        .filter(|(_, window)| *window == part)
        .map(|(at, _)| at + part.len())
        .collect()
}

/// How many tokens two texts begin with alike.
fn common_prefix(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
