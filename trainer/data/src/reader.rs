//! Documents of a corpus, one after another, from any place on.

use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::error::{DataError, LineProblem};
use super::lines::{Line, Lines};
use super::record::Content;
use super::report::DataReport;
use super::sources::{Kind, OnBadLine, Part, Sources, TextDocuments};
use crate::Random;

/// Bytes of a text file that are read, and held out, together.
const FILE_PIECE: usize = 4 << 10;
/// Bytes after which a text between blank lines is cut into documents.
const PARAGRAPH_PIECE: usize = 64 << 10;

/// A place between two documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// How often everything has been read.
    pub epoch: u64,
    /// Files that were read in this epoch.
    pub file: usize,
    /// Bytes of the next one that were read.
    pub byte: u64,
    /// Lines of it.
    pub line: u64,
    /// What comes next in the file goes on with the document that was read last.
    pub goes_on: bool,
    /// The text that was taken last breaks off, for what would go on with it is on the other side of the split, and
    /// nothing has come after it yet.
    pub owes_end: bool,
}

impl Cursor {
    /// What was read last will not be gone on with.
    fn break_off(&mut self) {
        self.owes_end |= std::mem::take(&mut self.goes_on);
    }
}

/// A document, or a piece of a long text.
#[derive(Debug)]
pub(super) struct Document {
    pub content: Content,
    /// The text before it was broken off, and its end is still to be written.
    pub after_break: bool,
    /// A document begins with it.
    pub begins: bool,
    /// A document ends with it.
    pub ends: bool,
    /// For what is found wrong with it later.
    pub place: Place,
}

/// Where a document is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// In the list of the sources.
    file: usize,
    line: u64,
}

/// Reads one side of the split.
pub(super) struct Reader {
    sources: Arc<Sources>,
    part: Part,
    /// Shuffles the files of every epoch, if there is one.
    seed: Option<u64>,
    cursor: Cursor,
    /// The files in the order of this epoch.
    order: Vec<usize>,
    /// The file that is being read.
    lines: Option<Lines<BufReader<File>>>,
}

impl Reader {
    /// Goes on from `cursor`.
    pub fn new(sources: Arc<Sources>, part: Part, seed: Option<u64>, cursor: Cursor) -> Self {
        let mut reader = Self {
            sources,
            part,
            seed,
            cursor,
            order: Vec::new(),
            lines: None,
        };
        reader.order = reader.order_of(cursor.epoch);
        reader
    }

    /// Where it stands.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Begins the next epoch.
    pub fn next_epoch(&mut self) {
        self.cursor.break_off();
        self.cursor = Cursor {
            epoch: self.cursor.epoch + 1,
            owes_end: self.cursor.owes_end,
            ..Cursor::default()
        };
        self.order = self.order_of(self.cursor.epoch);
        self.lines = None;
    }

    fn order_of(&self, epoch: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.sources.files.len()).collect();
        if let Some(seed) = self.seed {
            shuffle(&mut order, &mut Random::of(seed ^ epoch.rotate_left(32), "files"));
        }
        order
    }

    /// The next document of this side; `None` at the end of the epoch.
    pub fn next(&mut self, report: &mut DataReport) -> Result<Option<Document>, DataError> {
        while let Some(&file) = self.order.get(self.cursor.file) {
            let kind = self.sources.files[file].kind;
            self.open(file)?;
            let found = match kind {
                Kind::JsonLines => self.json_line(file, report)?,
                Kind::Text => self.text(file, report)?,
            };
            let Some(document) = found else {
                self.cursor.file += 1;
                (self.cursor.byte, self.cursor.line) = (0, 0);
                self.cursor.break_off();
                self.lines = None;
                continue;
            };
            report.documents += u64::from(document.begins);
            if self.sources.part_of(&document.content) != self.part {
                report.other_part += u64::from(document.begins);
                self.cursor.break_off();
                continue;
            }
            let went_on = std::mem::replace(&mut self.cursor.goes_on, !document.ends);
            return Ok(Some(Document {
                after_break: self.cursor.owes_end,
                begins: !went_on,
                ..document
            }));
        }
        Ok(None)
    }

    /// The document that was read last is of use, and the end of the one that broke off is written before it.
    pub fn took(&mut self) {
        self.cursor.owes_end = false;
    }

    /// Opens the file at the cursor, unless it is open.
    fn open(&mut self, file: usize) -> Result<(), DataError> {
        if self.lines.is_some() {
            return Ok(());
        }
        let path = &self.sources.files[file].path;
        let mut input = File::open(path).map_err(DataError::io(path))?;
        let Cursor { byte, line, .. } = self.cursor;
        input.seek(SeekFrom::Start(byte)).map_err(DataError::io(path))?;
        let limit = self.sources.options.max_line_bytes;
        self.lines = Some(Lines::new(BufReader::with_capacity(1 << 16, input), limit, byte, line));
        Ok(())
    }

    /// Hands the next line to `take`. `None` at the end of the file.
    fn line<T>(
        &mut self,
        file: usize,
        take: impl FnOnce(&[u8]) -> Result<T, LineProblem>,
    ) -> Result<Option<Result<T, LineProblem>>, DataError> {
        let Some(lines) = &mut self.lines else { return Ok(None) };
        let io = DataError::io(&self.sources.files[file].path);
        let limit = self.sources.options.max_line_bytes;
        let taken = match lines.next().map_err(io)? {
            Some(Line::Bytes(bytes)) => Some(take(bytes)),
            Some(Line::TooLong) => Some(Err(LineProblem::TooLong { limit })),
            None => None,
        };
        (self.cursor.byte, self.cursor.line) = (lines.byte(), lines.line());
        Ok(taken)
    }

    /// The place of the line that was read last.
    fn place(&self, file: usize) -> Place {
        let line = self.cursor.line;
        Place { file, line }
    }

    fn json_line(&mut self, file: usize, report: &mut DataReport) -> Result<Option<Document>, DataError> {
        let sources = self.sources.clone();
        loop {
            let field = &sources.options.text_field;
            let parse = |bytes: &[u8]| match bytes.trim_ascii().is_empty() {
                true => Ok(None),
                false => Content::parse(bytes, field).map(Some),
            };
            let Some(line) = self.line(file, parse)? else {
                return Ok(None);
            };
            report.lines += 1;
            let place = self.place(file);
            match line {
                Ok(Some(content)) => return Ok(Some(whole(content, place))),
                // Blank lines are no mistake.
                Ok(None) => {}
                Err(problem) => self.bad_line(place, problem, report)?,
            }
        }
    }

    fn text(&mut self, file: usize, report: &mut DataReport) -> Result<Option<Document>, DataError> {
        let documents = self.sources.options.text_documents;
        let piece = match documents {
            TextDocuments::File => FILE_PIECE,
            TextDocuments::BlankLine => PARAGRAPH_PIECE,
            TextDocuments::Line => 0,
        };
        let (mut text, mut ends) = (String::new(), false);
        while !ends && (text.is_empty() || text.len() < piece) {
            let mut is_blank = false;
            let add = |bytes: &[u8]| {
                let line = str::from_utf8(bytes).map_err(|error| LineProblem::NotUtf8 {
                    at: error.valid_up_to(),
                })?;
                is_blank = line.trim().is_empty();
                // Blank lines at the start of a document are no part of it.
                if !is_blank || (documents == TextDocuments::File && !text.is_empty()) {
                    text.push_str(line);
                    text.push('\n');
                }
                Ok(())
            };
            let Some(line) = self.line(file, add)? else {
                ends = true;
                break;
            };
            report.lines += 1;
            if let Err(problem) = line {
                self.bad_line(self.place(file), problem, report)?;
            }
            ends = match documents {
                TextDocuments::File => false,
                TextDocuments::BlankLine => !text.is_empty() && (is_blank || text.len() >= piece),
                TextDocuments::Line => !text.is_empty(),
            };
        }
        if text.is_empty() {
            return Ok(None);
        }
        if !ends && let Some(lines) = &mut self.lines {
            let path = &self.sources.files[file].path;
            ends = lines.at_end().map_err(DataError::io(path))?;
        }
        if ends && documents != TextDocuments::File {
            // The end of the line is where the document ends.
            text.truncate(text.trim_end_matches('\n').len());
        }
        Ok(Some(Document {
            ends,
            ..whole(Content::Text(text), self.place(file))
        }))
    }

    /// Counts a line that cannot be used, or refuses it.
    pub fn bad_line(&self, place: Place, problem: LineProblem, report: &mut DataReport) -> Result<(), DataError> {
        let path = self.sources.files[place.file].path.clone();
        let line = place.line;
        match self.sources.options.on_bad_line {
            OnBadLine::Refuse => Err(DataError::BadLine { path, line, problem }),
            OnBadLine::Skip => {
                report.add_bad_line(&path, line, &problem);
                Ok(())
            }
        }
    }
}

fn whole(content: Content, place: Place) -> Document {
    Document {
        content,
        after_break: false,
        begins: true,
        ends: true,
        place,
    }
}

/// Puts items in a random order (Fisher and Yates, as Durstenfeld 1964 has it).
pub(super) fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for last in (1..items.len()).rev() {
        items.swap(last, random.below(last as u64 + 1) as usize);
    }
}
