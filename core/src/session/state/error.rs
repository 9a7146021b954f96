use crate::Error;
use crate::gguf::shown;
use std::path::Path;

/// Why a saved conversation cannot be taken up. The session is as it was, and can go on without: its messages, kept
/// elsewhere, are read again by the next answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The file begins with something else.
    #[error("not a saved conversation")]
    NotAState,
    /// Another version of halfpi wrote it.
    #[error("a saved conversation of version {version}, and only 1 is known: read the messages again instead")]
    Version {
        /// The version in the file.
        version: u32,
    },
    /// The file ends too soon.
    #[error("the saved conversation ends inside {place}: it was cut short")]
    Truncated {
        /// What was being read.
        place: &'static str,
    },
    /// More follows than was saved.
    #[error("the saved conversation goes on after its end: it is damaged")]
    TooLong,
    /// The bytes are not those that were saved.
    #[error("the checksum of the saved conversation is wrong: it is damaged")]
    Checksum,
    /// The header lacks something, or is not JSON.
    #[error("the header of the saved conversation is wrong: {}", shown(detail))]
    Header {
        /// What the parser said.
        detail: String,
    },
    /// It was saved from another model file.
    #[error("the conversation was saved from another model file: its cache means nothing to this one")]
    OtherModel,
    /// Its keys and values are stored as something else.
    #[error("the conversation was saved with {saved} elements, this session has {here}: make one with {saved}")]
    Element {
        /// In the file.
        saved: String,
        /// In the session.
        here: String,
    },
    /// Its cache has another shape.
    #[error("the conversation was saved with {saved} {what}, this model has {here}")]
    Shape {
        /// What is counted.
        what: &'static str,
        /// In the file.
        saved: usize,
        /// In the model.
        here: usize,
    },
    /// More tokens are cached than fit here.
    #[error("{tokens} tokens were saved, which do not fit in a context of {context_length}: take a longer context")]
    Context {
        /// Tokens in the file.
        tokens: usize,
        /// Tokens that fit.
        context_length: usize,
    },
    /// A token that the model does not have.
    #[error("token {id} of a vocabulary of {vocab_size}: the saved conversation is damaged")]
    Token {
        /// The id.
        id: u32,
        /// Tokens of the model.
        vocab_size: usize,
    },
    /// It cannot be read from where it comes.
    #[error("cannot read the saved conversation: {0}")]
    Read(#[source] std::io::Error),
}

impl StateError {
    /// With the file's name.
    pub(super) fn at(self, path: &Path) -> Error {
        Error::SavedState {
            path: path.to_owned(),
            source: self,
        }
    }
}

impl From<StateError> for Error {
    fn from(error: StateError) -> Self {
        error.at(Path::new("memory"))
    }
}
