//! Tells what an answer says from what the model thinks and which tools it calls, while it arrives.

use crate::template::ThinkingTags;
use crate::tokenizer::Tokenizer;
use crate::tools::{ToolCall, ToolFormat, parse};

#[cfg(test)]
mod tests;

/// A part of an answer, trimmed of the spaces that models put between parts.
#[derive(Debug, PartialEq)]
pub(super) enum Piece<'a> {
    Text(&'a str),
    Thinking(&'a str),
    Call(ToolCall),
}

/// What a part begins or ends with.
#[derive(Clone, Debug)]
struct Tag {
    text: &'static str,
    /// Where the vocabulary has a control token for it, only this token is the tag: the same letters are text that
    /// somebody wrote to look like it.
    token: Option<u32>,
}

impl Tag {
    fn new(text: &'static str, tokenizer: &Tokenizer) -> Self {
        let token = tokenizer.token_id(text).filter(|&id| tokenizer.is_special(id));
        Tag { text, token }
    }

    /// What to search for in text.
    fn letters(&self) -> Option<&'static str> {
        self.token.is_none().then_some(self.text)
    }

    fn is_token(&self, id: u32) -> bool {
        self.token == Some(id)
    }

    /// Where the tag is in `text`, looking from `from` on.
    fn find(&self, text: &str, from: usize) -> Option<usize> {
        let mut from = from.min(text.len());
        while !text.is_char_boundary(from) {
            from -= 1;
        }
        Some(from + text[from..].find(self.letters()?)?)
    }

    /// Bytes at the end of `text` that may become the tag.
    fn begun(&self, text: &str) -> usize {
        let Some(tag) = self.letters() else { return 0 };
        let longest = (tag.len() - 1).min(text.len());
        (1..=longest)
            .rev()
            .find(|&n| text.as_bytes().ends_with(&tag.as_bytes()[..n]))
            .unwrap_or(0)
    }

    fn begins(&self, text: &str) -> bool {
        self.letters().is_some_and(|tag| text.starts_with(tag))
    }

    /// Whether `text` is the beginning of the tag and not all of it.
    fn may_come(&self, text: &str) -> bool {
        self.letters()
            .is_some_and(|tag| tag.len() > text.len() && tag.starts_with(text))
    }
}

#[derive(Debug)]
struct Calls {
    format: ToolFormat,
    open: Tag,
    close: Option<Tag>,
    /// The tools there are.
    names: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// Nothing but spaces since the answer, or its last part that was no text, began.
    Start {
        is_first: bool,
    },
    Text,
    Thinking {
        is_first: bool,
    },
    /// A call without a tag before it is all that Llama writes.
    Call {
        is_tagged: bool,
    },
}

/// The parts of one answer.
#[derive(Debug)]
pub(super) struct Channels {
    thinking: Option<(Tag, Tag)>,
    calls: Option<Calls>,
    state: State,
    /// What cannot be told yet.
    held: String,
    /// How much of it has no tag in it.
    searched: usize,
    /// The answer has a constraint, which begins with the token after the thoughts: nothing else counts.
    is_guided: bool,
    /// With which token thinking begins, if it may.
    begin: Option<u32>,
}

/// What an answer may consist of.
pub(super) struct Parts {
    pub thinking: Option<ThinkingTags>,
    pub calls: Option<(ToolFormat, Vec<String>)>,
    /// The answer has a constraint.
    pub is_guided: bool,
    /// The model was asked to think.
    pub wants_thinking: bool,
}

impl Channels {
    /// `None` where everything is text. `prompt` is what the answer goes on from: it may have begun to think.
    pub(super) fn new(tokenizer: &Tokenizer, parts: Parts, prompt: &[u32]) -> Option<Self> {
        let Parts { thinking, calls, .. } = parts;
        if thinking.is_none() && calls.is_none() {
            return None;
        }
        let tag = |text| Tag::new(text, tokenizer);
        // No tag has more tokens.
        let end = tokenizer.decode(&prompt[prompt.len().saturating_sub(16)..], true);
        let is_thinking = thinking.is_some_and(|tags| end.trim_end().ends_with(tags.open));
        Some(Channels {
            thinking: thinking.map(|tags| (tag(tags.open), tag(tags.close))),
            calls: calls.map(|(format, names)| Calls {
                format,
                open: tag(format.open()),
                close: format.close().map(tag),
                names,
            }),
            state: match is_thinking {
                true => State::Thinking { is_first: true },
                false => State::Start { is_first: true },
            },
            held: String::with_capacity(1024),
            searched: 0,
            is_guided: parts.is_guided,
            begin: thinking
                .filter(|_| parts.wants_thinking)
                .and_then(|tags| tokenizer.token_id(tags.open)),
        })
    }

    /// Whether what comes next is the answer, not what the model thinks before.
    pub(super) fn is_answering(&self) -> bool {
        !matches!(self.state, State::Thinking { .. })
    }

    /// The token with which the model may begin to think instead of answering.
    pub(super) fn thinking_token(&self) -> Option<u32> {
        self.begin.filter(|_| self.state == State::Start { is_first: true })
    }

    /// Takes the next piece of text.
    pub(super) fn push(&mut self, text: &str, each: &mut dyn FnMut(Piece<'_>)) {
        self.held.push_str(text);
        while self.step(each) {}
    }

    /// Takes a control token, which is written `text`.
    pub(super) fn push_control(&mut self, token: u32, text: &str, each: &mut dyn FnMut(Piece<'_>)) {
        let is_tag = |tag: Option<&Tag>| tag.is_some_and(|tag| tag.is_token(token));
        let thinking = self.thinking.as_ref();
        let (open, close) = (thinking.map(|tags| &tags.0), thinking.map(|tags| &tags.1));
        let calls = self.calls.as_ref();
        match self.state {
            State::Start { .. } | State::Text if is_tag(calls.map(|calls| &calls.open)) => {
                let end = self.held.len();
                self.open_call(end, end, each);
            }
            State::Start { .. } if is_tag(open) => self.turn(State::Thinking { is_first: true }, self.held.len()),
            State::Thinking { .. } if is_tag(close) => {
                let end = self.held.len();
                self.close_thinking(end, end, each);
            }
            State::Call { .. } if is_tag(calls.and_then(|calls| calls.close.as_ref())) => {
                let end = self.held.len();
                self.close_call(end, end, each);
            }
            // Names and arguments may have one between them.
            State::Call { .. } => self.held.push_str(text),
            _ => {}
        }
    }

    /// The answer is over; `is_whole` if the model ended it.
    pub(super) fn finish(&mut self, is_whole: bool, each: &mut dyn FnMut(Piece<'_>)) {
        let end = self.held.len();
        match self.state {
            State::Start { is_first: true } | State::Text => emit(&self.held, Piece::Text, each),
            State::Start { .. } => emit(self.held.trim_start(), Piece::Text, each),
            State::Thinking { .. } => self.close_thinking(end, end, each),
            State::Call { is_tagged } => match self.parsed(&self.held, is_tagged) {
                Ok(calls) => calls.into_iter().for_each(|call| each(Piece::Call(call))),
                // Half a call that was cut is of no use to anybody.
                Err(_) if is_tagged && !is_whole => {}
                Err(_) => self.show_call(end, is_tagged, each),
            },
        }
        self.held.clear();
    }

    /// Looks at what is held. Says whether there may be more to see.
    fn step(&mut self, each: &mut dyn FnMut(Piece<'_>)) -> bool {
        match self.state {
            State::Start { is_first } => self.start(is_first),
            State::Text => {
                let Some(calls) = &self.calls else {
                    emit(&self.held, Piece::Text, each);
                    self.held.clear();
                    return false;
                };
                if let Some(at) = calls.open.find(&self.held, 0) {
                    let end = at + calls.open.text.len();
                    self.open_call(at, end, each);
                    return true;
                }
                let begun = calls.open.begun(&self.held);
                self.give_out(begun, |text| Piece::Text(text), each);
                false
            }
            State::Thinking { is_first } => {
                let Some((_, close)) = &self.thinking else { return false };
                if is_first {
                    let spaces = self.held.len() - self.held.trim_start().len();
                    self.held.drain(..spaces);
                }
                if let Some(at) = close.find(&self.held, 0) {
                    let end = at + close.text.len();
                    self.close_thinking(at, end, each);
                    return true;
                }
                let begun = close.begun(&self.held);
                if self.give_out(begun, |text| Piece::Thinking(text), each) {
                    self.state = State::Thinking { is_first: false };
                }
                false
            }
            State::Call { is_tagged: true } => {
                let close = self.calls.as_ref().and_then(|calls| calls.close.as_ref());
                let Some((close, at)) = close.and_then(|tag| Some((tag, tag.find(&self.held, self.searched)?))) else {
                    // A tag that has begun is found next time.
                    let longest = close.map_or(0, |tag| tag.text.len());
                    self.searched = self.held.len().saturating_sub(longest);
                    return false;
                };
                let end = at + close.text.len();
                if self.parsed(&self.held[..at], true) == Err(parse::NoCall::Unfinished) {
                    // The tag stands in a text of the arguments.
                    self.searched = end;
                } else {
                    self.close_call(at, end, each);
                }
                true
            }
            State::Call { is_tagged: false } => {
                let may_be = parse::may_be_call(&self.held);
                if !may_be {
                    self.state = State::Text;
                }
                !may_be
            }
        }
    }

    /// Waits until it is clear what begins.
    fn start(&mut self, is_first: bool) -> bool {
        let spaces = self.held.len() - self.held.trim_start().len();
        let text = &self.held[spaces..];
        if text.is_empty() {
            return false;
        }
        let open = self.thinking.as_ref().map(|(open, _)| open);
        if let Some(open) = open.filter(|open| open.begins(text)) {
            self.turn(State::Thinking { is_first: true }, spaces + open.text.len());
            return true;
        }
        let call = self.calls.as_ref().map(|calls| &calls.open);
        if open.into_iter().chain(call).any(|tag| tag.may_come(text)) {
            return false;
        }
        let is_llama = self
            .calls
            .as_ref()
            .is_some_and(|calls| calls.format == ToolFormat::Llama);
        let state = match is_llama && parse::may_be_call(text) {
            true => State::Call { is_tagged: false },
            false => State::Text,
        };
        self.turn(state, if is_first { 0 } else { spaces });
        true
    }

    /// Goes to another part and forgets the first `end` bytes of what is held.
    fn turn(&mut self, state: State, end: usize) {
        self.state = state;
        self.searched = 0;
        self.held.drain(..end);
    }

    /// Gives out what is held but for `begun` bytes at its end and spaces before them. Says whether there was anything.
    fn give_out(&mut self, begun: usize, kind: fn(&str) -> Piece<'_>, each: &mut dyn FnMut(Piece<'_>)) -> bool {
        let certain = self.held[..self.held.len() - begun].trim_end().len();
        emit(&self.held[..certain], kind, each);
        self.held.drain(..certain);
        certain > 0
    }

    /// Ends a text, if there is one, before a call.
    fn open_call(&mut self, at: usize, end: usize, each: &mut dyn FnMut(Piece<'_>)) {
        let text = self.held[..at].trim_end();
        if self.state == State::Text {
            emit(text, Piece::Text, each);
        } else {
            emit(text.trim_start(), Piece::Text, each);
        }
        self.turn(State::Call { is_tagged: true }, end);
    }

    fn close_thinking(&mut self, at: usize, end: usize, each: &mut dyn FnMut(Piece<'_>)) {
        let mut text = self.held[..at].trim_end();
        if self.state == (State::Thinking { is_first: true }) {
            text = text.trim_start();
        }
        emit(text, Piece::Thinking, each);
        let end = if self.is_guided { self.held.len() } else { end };
        self.turn(State::Start { is_first: false }, end);
    }

    fn close_call(&mut self, at: usize, end: usize, each: &mut dyn FnMut(Piece<'_>)) {
        match self.parsed(&self.held[..at], true) {
            Ok(calls) => calls.into_iter().for_each(|call| each(Piece::Call(call))),
            Err(_) => self.show_call(end, true, each),
        }
        self.turn(State::Start { is_first: false }, end);
    }

    /// What does not read as a call is shown as it was written.
    fn show_call(&self, end: usize, is_tagged: bool, each: &mut dyn FnMut(Piece<'_>)) {
        if let Some(calls) = self.calls.as_ref().filter(|_| is_tagged) {
            emit(calls.open.text, Piece::Text, each);
        }
        emit(&self.held[..end], Piece::Text, each);
    }

    fn parsed(&self, text: &str, is_tagged: bool) -> Result<Vec<ToolCall>, parse::NoCall> {
        let calls = parse::calls(text)?;
        // Without a tag it may be any JSON.
        let is_known = |call: &ToolCall| {
            self.calls
                .as_ref()
                .is_some_and(|calls| calls.names.contains(&call.name))
        };
        if is_tagged || calls.iter().all(is_known) {
            Ok(calls)
        } else {
            Err(parse::NoCall::Malformed)
        }
    }
}

fn emit<'a>(text: &'a str, kind: fn(&'a str) -> Piece<'a>, each: &mut dyn FnMut(Piece<'_>)) {
    if !text.is_empty() {
        each(kind(text));
    }
}
