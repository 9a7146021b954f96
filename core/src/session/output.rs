//! From tokens to the listener: whole characters, each part in its channel, stop texts held back.

use super::channels::{Channels, Piece};
use super::{Answer, FinishReason, GenerateOptions, Listener, Session, Usage};
use crate::stop::StopMatcher;
use crate::tokenizer::{Detokenizer, Tokenizer};
use crate::tools::ToolCall;

/// Bytes of text reserved for a token, so that text does not grow while tokens are made.
const TEXT_PER_TOKEN: usize = 16;

/// What becomes of an answer's tokens.
pub(super) struct Output<'l> {
    detokenizer: Detokenizer,
    /// Text of the token at hand.
    piece: String,
    /// `None` where everything is text.
    channels: Option<Channels>,
    shown: Shown<'l>,
}

/// What is shown to the listener and kept for the answer.
struct Shown<'l> {
    listener: &'l mut dyn Listener,
    /// The listener wants no more.
    is_closed: bool,
    stop: StopMatcher,
    /// Text that may be shown.
    ready: String,
    text: String,
    thinking: String,
    tool_calls: Vec<ToolCall>,
}

impl<'l> Output<'l> {
    pub(super) fn new(
        session: &Session,
        channels: Option<Channels>,
        options: &GenerateOptions,
        listener: &'l mut dyn Listener,
    ) -> Self {
        let tokens = options.max_tokens.unwrap_or(usize::MAX).min(session.context_length);
        Output {
            detokenizer: session.engine.tokenizer().decoder(),
            piece: String::with_capacity(256),
            channels,
            shown: Shown {
                listener,
                is_closed: false,
                stop: StopMatcher::new(options.stop.clone()),
                ready: String::with_capacity(1024),
                text: String::with_capacity(tokens * TEXT_PER_TOKEN),
                thinking: String::new(),
                tool_calls: Vec::new(),
            },
        }
    }

    /// Whether the next token is one of the answer, not of what the model thinks before.
    pub(super) fn is_answering(&self) -> bool {
        self.channels.as_ref().is_none_or(Channels::is_answering)
    }

    /// The token with which the model may begin to think instead of answering.
    pub(super) fn thinking_token(&self) -> Option<u32> {
        self.channels.as_ref().and_then(Channels::thinking_token)
    }

    /// Shows what a token adds. `Some` ends the answer.
    pub(super) fn push(&mut self, tokenizer: &Tokenizer, token: u32) -> Option<FinishReason> {
        let Output {
            detokenizer,
            piece,
            channels,
            shown,
        } = self;
        piece.clear();
        detokenizer.push(tokenizer, token, piece);
        match channels {
            None => shown.text(piece),
            Some(channels) if tokenizer.is_special(token) => {
                let text = tokenizer.token_text(token).unwrap_or_default();
                channels.push_control(token, text, &mut |piece| shown.piece(piece));
            }
            Some(channels) => channels.push(piece, &mut |piece| shown.piece(piece)),
        }
        match (shown.stop.is_stopped(), shown.is_closed) {
            (true, _) => Some(FinishReason::StopString),
            (false, true) => Some(FinishReason::Cancelled),
            (false, false) => None,
        }
    }

    /// Shows what was held back, which may complete a stop text.
    pub(super) fn finish(self, mut finish: FinishReason, usage: Usage) -> Answer {
        let Output {
            mut detokenizer,
            mut piece,
            channels,
            mut shown,
        } = self;
        if finish != FinishReason::StopString && !shown.is_closed {
            piece.clear();
            detokenizer.finish(&mut piece);
            match channels {
                None => shown.text(&piece),
                Some(mut channels) => {
                    channels.push(&piece, &mut |piece| shown.piece(piece));
                    let is_whole = finish == FinishReason::EndOfTurn;
                    channels.finish(is_whole, &mut |piece| shown.piece(piece));
                }
            }
            if shown.stop.is_stopped() {
                finish = FinishReason::StopString;
            } else {
                shown.stop.finish(&mut shown.ready);
                shown.show();
            }
        }
        if finish == FinishReason::EndOfTurn && !shown.tool_calls.is_empty() {
            finish = FinishReason::ToolCalls;
        }
        Answer {
            text: shown.text,
            thinking: (!shown.thinking.is_empty()).then_some(shown.thinking),
            tool_calls: shown.tool_calls,
            finish,
            usage,
        }
    }
}

impl Shown<'_> {
    fn piece(&mut self, piece: Piece<'_>) {
        if self.is_closed || self.stop.is_stopped() {
            return;
        }
        match piece {
            Piece::Text(text) => self.text(text),
            Piece::Thinking(text) => {
                self.thinking.push_str(text);
                self.is_closed = self.listener.on_thinking(text).is_break();
            }
            Piece::Call(call) => {
                self.is_closed = self.listener.on_tool_call(&call).is_break();
                self.tool_calls.push(call);
            }
        }
    }

    fn text(&mut self, text: &str) {
        self.stop.push(text, &mut self.ready);
        self.show();
    }

    fn show(&mut self) {
        if !self.ready.is_empty() && !self.is_closed {
            self.text.push_str(&self.ready);
            self.is_closed = self.listener.on_text(&self.ready).is_break();
        }
        self.ready.clear();
    }
}
