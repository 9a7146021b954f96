//! What a model is trained on: text and conversations as the sequences of tokens that an engine would make of them.
//!
//! ```text
//! files ── lines of bounded length ── documents ── one side of the split, by the document's text alone
//!       ── tokens, by the model's own tokenizer and chat template ── sequences, packed ── shuffled ── every w-th
//! ```
//!
//! Nothing is held in memory but a line, a document and the sequences that are shuffled together. The order follows
//! from a seed, and a [`Position`] of a few numbers takes the stream up again, on as many machines as there are then.
//!
//! ```no_run
//! use halfpi::pack::{Blueprint, Source};
//! use halfpi_data::{Corpus, EncodeOptions, Language, Part, SourceOptions, Sources, StreamOptions};
//!
//! let model = Blueprint::of(&Source::open("model.gguf")?)?;
//! let sources = Sources::open(&["chats.jsonl"], SourceOptions::default())?;
//! let (language, rows) = (Language::of(&model)?, model.config().vocab_size);
//! let corpus = Corpus::new(sources, language, rows, EncodeOptions::default())?;
//! let mut stream = corpus.stream(Part::Training, StreamOptions::new(8, 256))?;
//! while let Some(batch) = stream.next_batch()? {
//!     println!("{} tokens", batch.tokens.len());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
mod bpe;
mod chitchat;
mod encode;
mod error;
mod json;
mod lines;
mod random;
mod reader;
mod record;
mod report;
mod sources;
mod stream;
#[cfg(test)]
mod tests;

pub use batch::Batch;
pub use bpe::{TokenizerOptions, TrainedTokenizer};
pub use chitchat::{ChitchatReport, prepare_chitchat};
pub use encode::{EncodeOptions, Language, TrainOn};
pub use error::{DataError, LineProblem};
pub use random::Random;
pub use record::{Chat, Content};
pub use report::{BadLine, DataReport};
pub use sources::{OnBadLine, Part, SourceOptions, Sources, TextDocuments};
pub use stream::{Corpus, LongDocuments, Packing, Position, Stream, StreamOptions};
