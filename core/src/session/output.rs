//! From tokens to the listener: whole characters, stop texts held back.

use super::{Answer, FinishReason, GenerateOptions, Listener, Session, Usage};
use crate::stop::StopMatcher;
use crate::tokenizer::{Detokenizer, Tokenizer};

/// Bytes of text reserved for a token, so that text does not grow while tokens are made.
const TEXT_PER_TOKEN: usize = 16;

/// What becomes of an answer's tokens.
pub(super) struct Output<'l> {
    listener: &'l mut dyn Listener,
    /// The listener wants no more.
    is_closed: bool,
    detokenizer: Detokenizer,
    stop: StopMatcher,
    /// Text of the token at hand.
    piece: String,
    /// Text that may be shown.
    ready: String,
    text: String,
}

impl<'l> Output<'l> {
    pub(super) fn new(session: &Session, options: &GenerateOptions, listener: &'l mut dyn Listener) -> Self {
        let tokens = options.max_tokens.unwrap_or(usize::MAX).min(session.context_length);
        Output {
            listener,
            is_closed: false,
            detokenizer: session.engine.tokenizer().decoder(),
            stop: StopMatcher::new(options.stop.clone()),
            piece: String::with_capacity(256),
            ready: String::with_capacity(1024),
            text: String::with_capacity(tokens * TEXT_PER_TOKEN),
        }
    }

    /// Shows what a token adds. `Some` ends the answer.
    pub(super) fn push(&mut self, tokenizer: &Tokenizer, token: u32) -> Option<FinishReason> {
        self.piece.clear();
        self.detokenizer.push(tokenizer, token, &mut self.piece);
        let is_stopped = self.stop.push(&self.piece, &mut self.ready);
        self.show();
        match (is_stopped, self.is_closed) {
            (true, _) => Some(FinishReason::StopString),
            (false, true) => Some(FinishReason::Cancelled),
            (false, false) => None,
        }
    }

    /// Shows what was held back, which may complete a stop text.
    pub(super) fn finish(mut self, mut finish: FinishReason, usage: Usage) -> Answer {
        if finish != FinishReason::StopString && !self.is_closed {
            self.piece.clear();
            self.detokenizer.finish(&mut self.piece);
            if self.stop.push(&self.piece, &mut self.ready) {
                finish = FinishReason::StopString;
            }
            self.stop.finish(&mut self.ready);
            self.show();
        }
        Answer {
            text: self.text,
            thinking: None,
            tool_calls: Vec::new(),
            finish,
            usage,
        }
    }

    fn show(&mut self) {
        if !self.ready.is_empty() {
            self.text.push_str(&self.ready);
            self.is_closed = self.listener.on_text(&self.ready).is_break();
            self.ready.clear();
        }
    }
}
