//! Documents as tokens, the way the engine would write them.

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
    /// What the assistant writes: from where a session would let it speak to the token that ends its turn.
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

    /// The tokens of a document, with the one that ends it.
    pub fn encode(&self, document: &Document) -> Result<Encoded, LineProblem> {
        let mut encoded = Encoded::default();
        if document.after_break {
            encoded.push(self.end_of_document, 1.0);
        }
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
        if document.ends && !encoded.tokens.is_empty() {
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
        if self.options.train_on == TrainOn::Assistant {
            weights.fill(0.0);
            let mut end = 0;
            for (index, message) in messages.iter().enumerate() {
                if message.role != Role::Assistant {
                    continue;
                }
                let before = write(&messages[..index], true)?;
                let start = common_prefix(&before, &tokens);
                if start < end {
                    return Err(LineProblem::Rewritten { index });
                }
                let ends_turn = |&token: &u32| tokenizer.is_end_of_generation(token);
                let length = tokens[start..].iter().position(ends_turn).map(|at| at + 1);
                end = length.map_or(tokens.len(), |length| start + length);
                weights[start..end].fill(1.0);
            }
        } else if let (Some(first), true) = (weights.first_mut(), tokenizer.add_bos()) {
            *first = 0.0;
        }
        encoded.tokens.extend(tokens);
        encoded.weights.extend(weights);
        Ok(())
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

/// How many tokens two texts begin with alike.
fn common_prefix(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
