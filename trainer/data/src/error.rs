//! What can be wrong with the data.

use std::path::{Path, PathBuf};

/// What can be wrong with the data, or with what was asked of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// There is nothing to read.
    #[error("{path} holds no text: files that end in {known} are read", path = path.display())]
    NoFiles {
        /// The directory.
        path: PathBuf,
        /// The endings of files that are taken from directories.
        known: &'static str,
    },
    /// A line cannot be used, and [`OnBadLine::Refuse`](super::OnBadLine::Refuse) was asked for.
    #[error("{path}:{line}: {problem}; correct the line, or skip bad lines", path = path.display())]
    BadLine {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: u64,
        /// What is wrong with it.
        problem: LineProblem,
    },
    /// There are more tokens than the model has rows for.
    #[error(
        "the tokenizer has {tokens} tokens and the model's embedding {rows} rows: it belongs to another model; take the \
         tokenizer that came with the model, or make the embedding larger"
    )]
    Tokenizer {
        /// Tokens of the tokenizer.
        tokens: usize,
        /// Rows of `token_embd.weight`.
        rows: usize,
    },
    /// No token separates documents.
    #[error("the tokenizer has no token that ends a text: name one (EncodeOptions::end_of_document)")]
    NoEndOfDocument,
    /// An option has no meaning.
    #[error("{option} is {value}, and has to be {wanted}")]
    Option {
        /// Its name.
        option: &'static str,
        /// What it is.
        value: String,
        /// What it could be.
        wanted: &'static str,
    },
    /// Everything was read and nothing of it was of use.
    #[error("there is nothing to take for {part}: of {documents} documents in {files} files none is left{hint}")]
    Nothing {
        /// `training` or `held-out`.
        part: &'static str,
        /// Files that were read.
        files: usize,
        /// Documents in them, of both parts.
        documents: u64,
        /// What may be the reason.
        hint: &'static str,
    },
    /// A position belongs to other data, or to other options.
    #[error("the saved position belongs to {what}: resume with what the run began with, or start anew")]
    Position {
        /// What differs.
        what: &'static str,
    },
    /// A tokenizer could not be trained.
    #[error("the tokenizer could not be trained: {problem}")]
    Training {
        /// What is wrong.
        problem: String,
    },
    /// A package is not the one that is known.
    #[error("{path}: {problem}", path = path.display())]
    Package {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl DataError {
    /// What the system said of a path.
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

/// Why a line cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LineProblem {
    /// More bytes than a line may have.
    #[error("the line has more than {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// Not text.
    #[error("byte {at} of the line is not UTF-8")]
    NotUtf8 {
        /// The first such byte, from 0.
        at: usize,
    },
    /// Not JSON.
    #[error("the line is not JSON: {message}")]
    NotJson {
        /// What the parser says, with the column.
        message: String,
    },
    /// JSON of another kind.
    #[error("the line has neither {field:?}, \"messages\" nor \"conversations\"")]
    NoContent {
        /// The field for text.
        field: String,
    },
    /// A field has another type.
    #[error("{field} is not {wanted}")]
    Type {
        /// The field, as `messages[2].content`.
        field: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// Nobody known speaks.
    #[error("messages[{index}] is by {role:?}: known are system, user, assistant and tool, and their usual synonyms")]
    Role {
        /// Of the message, from 0.
        index: usize,
        /// What was found.
        role: String,
    },
    /// A conversation of too many messages.
    #[error("the conversation has {found} messages, and {limit} are taken at most")]
    TooManyMessages {
        /// Messages in it.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// The model's template does not take the conversation.
    #[error("{message}")]
    Template {
        /// What the template says.
        message: String,
    },
    /// The template writes a conversation anew with every turn.
    #[error("the chat template rewrites what came before message {index}, so that its tokens cannot be told apart")]
    Rewritten {
        /// Of the assistant's message, from 0.
        index: usize,
    },
}
