use std::path::PathBuf;

/// Why predictions could not be kept, or those that were kept not be learnt from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The directory has no pieces.
    #[error("{} holds no predictions of a teacher: write them with --teacher MODEL --cache-teacher", path.display())]
    Empty {
        /// The directory.
        path: PathBuf,
    },
    /// A piece that is cut off, was changed, or never was one.
    #[error("{} is damaged: {what}; remove it, and its predictions are made again", path.display())]
    Damaged {
        /// The piece.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// Predictions of another teacher, for other sequences, or at another temperature.
    #[error("{} has predictions with another {what}: {found}, and not {expected}", path.display())]
    Other {
        /// The piece, or the directory.
        path: PathBuf,
        /// What is another.
        what: &'static str,
        /// That of the piece.
        found: String,
        /// What was asked for.
        expected: String,
    },
    /// A sequence that the teacher has not seen.
    #[error(
        "{} has no predictions for {missing} of the sequences that are still to be read, of which it has {found}: it was \
         made for other data, another seed or split, or fewer updates; add --teacher MODEL to have them made",
        path.display()
    )]
    Missing {
        /// The directory.
        path: PathBuf,
        /// Sequences without predictions.
        missing: u64,
        /// Sequences with.
        found: u64,
    },
    /// A sequence's predictions do not fit into a piece.
    #[error(
        "the predictions of a sequence take {bytes} bytes, and a piece has {limit}: keep fewer of each position, or larger \
         pieces"
    )]
    TooLarge {
        /// Bytes of a sequence.
        bytes: u64,
        /// Bytes of a piece.
        limit: u64,
    },
    /// The teacher predicts nothing.
    #[error("a prediction of the teacher is not finite: there is nothing to learn from it")]
    NotFinite,
}
