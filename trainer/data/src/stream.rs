//! A corpus as an endless, shuffled, sharded stream of sequences that can be left and taken up again.
//!
//! The stream is one, whoever reads it: rank `r` of `w` takes every `w`-th sequence of it. So all ranks see the same
//! places and ends, and a run on four machines can be taken up by two.

mod options;

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::options::{LongDocuments, Packing, StreamOptions};
use super::batch::{Batch, Sequence};
use super::encode::{EncodeOptions, Encoded, Encoder, Language};
use super::error::DataError;
use super::reader::{Cursor, Document, Reader, shuffle};
use super::record::Content;
use super::report::DataReport;
use super::sources::{Part, Sources};
use crate::Random;

/// Files with the tokenizer and the template of a model.
#[derive(Clone)]
pub struct Corpus {
    sources: Arc<Sources>,
    encoder: Arc<Encoder>,
    encode: EncodeOptions,
}

impl Corpus {
    /// The text of `sources` as a model reads it whose embedding has `rows` rows.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] if the tokenizer has more tokens than that, [`DataError::NoEndOfDocument`] and
    /// [`DataError::Option`].
    pub fn new(sources: Sources, language: Language, rows: usize, options: EncodeOptions) -> Result<Self, DataError> {
        Ok(Self {
            sources: Arc::new(sources),
            encoder: Arc::new(Encoder::new(language, rows, options.clone())?),
            encode: options,
        })
    }

    /// Other files as the same model reads them.
    pub fn with_sources(&self, sources: Sources) -> Self {
        Self {
            sources: Arc::new(sources),
            ..self.clone()
        }
    }

    /// The tokenizer and the template.
    pub fn language(&self) -> &Language {
        self.encoder.language()
    }

    /// The files.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// The token after every document.
    pub fn end_of_document(&self) -> u32 {
        self.encoder.end_of_document
    }

    /// One side of the split from its beginning.
    ///
    /// # Errors
    /// [`DataError::Option`].
    pub fn stream(&self, part: Part, options: StreamOptions) -> Result<Stream, DataError> {
        Stream::new(self, part, options)
    }
}

/// Where a stream stands: write it into a checkpoint, and [`Stream::resume`] from it.
///
/// It is the same for all ranks, and small: what is being shuffled is read again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Of the files and the options that decide what the stream is.
    fingerprint: u64,
    /// The document that the block of sequences begins in.
    document: Cursor,
    /// Tokens of it that earlier blocks had.
    offset: usize,
    /// Blocks before it.
    block: u64,
    /// Sequences of it that were taken, by all ranks.
    taken: usize,
    /// What was counted before it.
    report: DataReport,
}

impl Position {
    /// Of the files and the options that decide what the stream is: the same on all ranks that read the same.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

impl Position {
    /// How often everything was read.
    pub fn epoch(&self) -> u64 {
        self.document.epoch
    }
}

/// A document in the queue.
struct Queued {
    /// Where it begins.
    cursor: Cursor,
    /// What was counted before it was read.
    counted: DataReport,
    encoded: Encoded,
}

/// Batches of a corpus.
pub struct Stream {
    corpus: Corpus,
    part: Part,
    options: StreamOptions,
    reader: Reader,
    /// Documents of which tokens are left.
    queue: VecDeque<Queued>,
    /// Tokens of the first one that were used.
    offset: usize,
    /// Tokens in the queue that were not.
    available: usize,
    /// Whether this epoch has had any.
    has_tokens: bool,
    /// Sequences that were shuffled together.
    block: Vec<Sequence>,
    /// Where the block begins.
    position: Position,
    report: DataReport,
}

impl Stream {
    fn new(corpus: &Corpus, part: Part, options: StreamOptions) -> Result<Self, DataError> {
        options.check()?;
        let position = Position {
            fingerprint: fingerprint(corpus, part, &options),
            document: Cursor::default(),
            offset: 0,
            block: 0,
            taken: 0,
            report: DataReport::default(),
        };
        Ok(Self::at(corpus.clone(), part, options, position))
    }

    fn at(corpus: Corpus, part: Part, options: StreamOptions, position: Position) -> Self {
        let seed = (options.shuffle > 0).then_some(options.seed);
        Self {
            reader: Reader::new(corpus.sources.clone(), part, seed, position.document),
            queue: VecDeque::new(),
            offset: position.offset,
            available: 0,
            // A position within the files means that there was something.
            has_tokens: position.document != Cursor::default(),
            block: Vec::new(),
            report: position.report.clone(),
            corpus,
            part,
            options,
            position,
        }
    }

    /// What was found so far.
    pub fn report(&self) -> &DataReport {
        &self.report
    }

    /// Where it stands: after the batch that was taken last.
    pub fn position(&self) -> Position {
        self.position.clone()
    }

    /// Goes to a position, of this stream or of one that any number of ranks read.
    ///
    /// # Errors
    /// [`DataError::Position`] if it is one of another stream: other files, tokenizer, options, part or seed.
    pub fn resume(&mut self, position: &Position) -> Result<(), DataError> {
        if position.fingerprint != self.position.fingerprint {
            let what = "other files, or to another tokenizer, length, order or split";
            return Err(DataError::Position { what });
        }
        let mut stream = Self::at(self.corpus.clone(), self.part, self.options.clone(), position.clone());
        stream.fill()?;
        if position.taken > stream.block.len() {
            return Err(CHANGED);
        }
        *self = stream;
        Ok(())
    }

    /// The next batch; `None` when everything was read as often as asked. All ranks get the same number of them: the
    /// last may be partly or wholly empty, its weights 0.
    ///
    /// # Errors
    /// [`DataError::Io`], [`DataError::BadLine`], and [`DataError::Nothing`] if there is not a token to train on.
    pub fn next_batch(&mut self) -> Result<Option<Batch>, DataError> {
        let StreamOptions {
            batch,
            time,
            rank,
            world,
            ..
        } = self.options;
        let mut rows = Batch::padding(batch, time, self.corpus.encoder.padding());
        for number in 0..batch * world {
            if !self.has_sequence()? {
                return Ok((number > 0).then_some(rows));
            }
            if number % world == rank {
                rows.set(number / world, &self.block[self.position.taken]);
            }
            self.position.taken += 1;
        }
        Ok(Some(rows))
    }

    /// Makes sure that the block has another sequence; not at the end.
    fn has_sequence(&mut self) -> Result<bool, DataError> {
        if self.position.taken < self.block.len() {
            return Ok(true);
        }
        // The place of the next block.
        let had = !self.block.is_empty();
        let report = DataReport {
            named: self.report.named.clone(),
            padding: self.report.padding,
            ..match self.queue.front() {
                Some(first) => first.counted.clone(),
                None => self.report.clone(),
            }
        };
        self.position = Position {
            document: self.queue.front().map_or(self.reader.cursor(), |first| first.cursor),
            offset: self.offset,
            block: self.position.block + u64::from(had),
            taken: 0,
            report,
            ..self.position
        };
        self.fill()?;
        Ok(!self.block.is_empty())
    }

    /// Fills the block with sequences that begin in one epoch, and shuffles it.
    fn fill(&mut self) -> Result<(), DataError> {
        self.block.clear();
        let mut epoch = None;
        while self.block.len() < self.options.shuffle.max(1) && self.pull(1)? {
            let begins = self.queue.front().map(|first| first.cursor.epoch);
            if *epoch.get_or_insert(begins) != begins {
                break;
            }
            let sequence = match self.options.packing {
                Packing::Continuous => self.continuous()?,
                Packing::WholeDocuments => self.whole_documents()?,
            };
            self.block.extend(sequence);
        }
        let mut random = Random::of(self.options.seed ^ self.position.block.rotate_left(32), "sequences");
        if self.options.shuffle > 0 {
            shuffle(&mut self.block, &mut random);
        }
        Ok(())
    }

    /// The next tokens, and the first after them, which the next sequence begins with.
    fn continuous(&mut self) -> Result<Option<Sequence>, DataError> {
        let places = self.options.time + 1;
        let is_full = self.pull(places)?;
        let mut sequence = self.empty();
        self.copy(places, &mut sequence);
        self.skip(places - usize::from(is_full));
        Ok(self.padded(sequence))
    }

    /// Documents as long as they fit. The first may be longer than the sequence: then it fills it.
    fn whole_documents(&mut self) -> Result<Option<Sequence>, DataError> {
        let places = self.options.time + 1;
        let mut sequence = self.empty();
        while self.pull(1)? {
            let left = self
                .queue
                .front()
                .map_or(0, |first| first.encoded.tokens.len() - self.offset);
            let room = places - sequence.tokens.len();
            if left > room && !sequence.tokens.is_empty() {
                break;
            }
            self.copy(left.min(room), &mut sequence);
            if left > room {
                // The last is read again by the next sequence, which it is no target of.
                self.skip(room - 1);
                break;
            }
            self.skip(left);
        }
        Ok(self.padded(sequence))
    }

    fn empty(&self) -> Sequence {
        let places = self.options.time + 1;
        Sequence {
            tokens: Vec::with_capacity(places),
            weights: Vec::with_capacity(places),
        }
    }

    /// Fills the rest of a sequence. One token alone has no target.
    fn padded(&mut self, mut sequence: Sequence) -> Option<Sequence> {
        if sequence.tokens.len() < 2 {
            return None;
        }
        let places = self.options.time + 1;
        self.report.padding += (places - sequence.tokens.len()) as u64;
        sequence.tokens.resize(places, self.corpus.encoder.padding());
        sequence.weights.resize(places, 0.0);
        Some(sequence)
    }

    /// Reads until there are so many tokens; `false` if everything was read as often as asked.
    fn pull(&mut self, wanted: usize) -> Result<bool, DataError> {
        while self.available < wanted {
            let (cursor, counted) = (self.reader.cursor(), self.report.counts());
            let Some(document) = self.reader.next(&mut self.report)? else {
                if !self.has_tokens {
                    return Err(self.nothing());
                }
                if self.options.epochs.is_some_and(|epochs| cursor.epoch + 1 >= epochs) {
                    return Ok(false);
                }
                self.reader.next_epoch();
                self.has_tokens = false;
                continue;
            };
            let encoded = match self.corpus.encoder.encode(&document) {
                Ok(encoded) => encoded,
                Err(problem) => {
                    self.reader.bad_line(document.place, problem, &mut self.report)?;
                    continue;
                }
            };
            if !self.takes(&document, &encoded) {
                continue;
            }
            // Not 0 for the first document after resuming.
            let used = if self.queue.is_empty() { self.offset } else { 0 };
            self.available += encoded.tokens.len().checked_sub(used).ok_or(CHANGED)?;
            self.has_tokens = true;
            self.reader.took();
            self.queue.push_back(Queued {
                cursor,
                counted,
                encoded,
            });
        }
        Ok(true)
    }

    /// Counts a document, and says whether it is of use.
    fn takes(&mut self, document: &Document, encoded: &Encoded) -> bool {
        let report = &mut self.report;
        if encoded.tokens.is_empty() {
            report.empty += 1;
            return false;
        }
        if document.begins && document.ends && encoded.tokens.len() > self.options.time + 1 {
            if self.options.long_documents == LongDocuments::Drop {
                report.dropped += 1;
                return false;
            }
            report.split += 1;
        }
        report.conversations += u64::from(matches!(document.content, Content::Chat(_)));
        report.tokens += encoded.tokens.len() as u64;
        report.trained_tokens += encoded.weights.iter().filter(|&&weight| weight > 0.0).count() as u64;
        true
    }

    /// Appends the next tokens of the queue, at most `most`.
    fn copy(&self, mut most: usize, sequence: &mut Sequence) {
        let mut offset = self.offset;
        for Queued { encoded, .. } in &self.queue {
            let end = encoded.tokens.len().min(offset + most);
            sequence.tokens.extend_from_slice(&encoded.tokens[offset..end]);
            sequence.weights.extend_from_slice(&encoded.weights[offset..end]);
            most -= end - offset;
            offset = 0;
            if most == 0 {
                break;
            }
        }
    }

    /// Leaves out the next tokens of the queue, at most `most`.
    fn skip(&mut self, most: usize) {
        let mut left = most.min(self.available);
        self.available -= left;
        while let Some(first) = self.queue.front() {
            let rest = first.encoded.tokens.len() - self.offset;
            if left < rest {
                self.offset += left;
                break;
            }
            left -= rest;
            self.offset = 0;
            self.queue.pop_front();
        }
    }

    fn nothing(&self) -> DataError {
        let held_out = self.corpus.sources.options.held_out;
        DataError::Nothing {
            part: self.part.name(),
            files: self.corpus.sources.files(),
            documents: self.report.documents,
            hint: match self.part {
                _ if self.report.bad_lines > 0 => ": see what the report says of bad lines",
                _ if self.report.dropped > 0 => ": all are longer than a sequence, and were to be dropped",
                Part::HeldOut if held_out < 1.0 => ": hold out a larger part",
                Part::Training if held_out > 0.0 => ": hold out a smaller part",
                _ => "",
            },
        }
    }
}

const CHANGED: DataError = DataError::Position {
    what: "files that have changed since",
};

/// What tells one stream from another: everything that its sequences follow from.
fn fingerprint(corpus: &Corpus, part: Part, options: &StreamOptions) -> u64 {
    let sources = &corpus.sources;
    // Names and lengths: files may have moved together with a run.
    let files = sources
        .files
        .iter()
        .map(|file| (file.path.file_name(), file.kind, file.bytes));
    let language = corpus.language();
    let text = format!(
        "{:?}",
        (
            (files.collect::<Vec<_>>(), &sources.options, &corpus.encode, part),
            (
                language.tokenizer.vocab_size(),
                corpus.end_of_document(),
                language.template.source()
            ),
            (
                options.time,
                options.packing,
                options.long_documents,
                options.shuffle,
                options.seed
            ),
        )
    );
    Random::of(0, &text).next()
}
