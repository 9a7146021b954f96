//! Making an answer, token by token.

use super::{Answer, CancelToken, FinishReason, GenerateOptions, Overflow, Session, Usage};
use crate::Result;
use crate::engine::EngineError;
use crate::sampler::Sampler;
use crate::stop::StopMatcher;
use crate::template::{Message, Role};
use crate::tokenizer::{Detokenizer, Special};
use std::ops::ControlFlow;
use std::time::Instant;

/// Takes each piece of an answer's text; whole characters only, never empty. `Break` cancels the answer.
pub type Listener<'a> = dyn FnMut(&str) -> ControlFlow<()> + 'a;

/// Bytes of text reserved for a token, so that text does not grow while tokens are made.
const TEXT_PER_TOKEN: usize = 16;

impl Session {
    /// Says `text` as the user and streams the answer; both become part of the conversation. After an error the
    /// conversation is what it was before.
    ///
    /// # Errors
    /// [`TemplateError`](crate::template::TemplateError) if the template refuses the conversation,
    /// [`EngineError::ContextOverflow`] as the session's [`Overflow`] says,
    /// [`SamplerError`](crate::sampler::SamplerError) for options out of range.
    pub fn send(&mut self, text: &str, options: &GenerateOptions, listener: &mut Listener<'_>) -> Result<Answer> {
        self.messages.push(Message::new(Role::User, text));
        let window = self.window;
        let answer = self
            .fit_window(options)
            .and_then(|prompt| self.generate(&prompt, options, listener));
        match &answer {
            Ok(answer) => self.messages.push(Message::new(Role::Assistant, answer.text.clone())),
            Err(_) => {
                self.messages.pop();
                self.window = window;
            }
        }
        answer
    }

    /// Streams the answer to a conversation that the caller keeps. What of it is cached is not read again.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn respond(
        &mut self,
        messages: &[Message],
        options: &GenerateOptions,
        listener: &mut Listener<'_>,
    ) -> Result<Answer> {
        let before = std::mem::replace(&mut self.messages, messages.to_vec());
        let window = std::mem::take(&mut self.window);
        let answer = self
            .fit_window(options)
            .and_then(|prompt| self.generate(&prompt, options, listener));
        (self.messages, self.window) = (before, window);
        answer
    }

    /// Continues a text, without a template.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn complete(&mut self, text: &str, options: &GenerateOptions, listener: &mut Listener<'_>) -> Result<Answer> {
        let tokens = self.engine.tokenizer().encode_with_bos(text, Special::Parse);
        self.generate(&Prompt { tokens, keep: 1 }, options, listener)
    }

    /// The tokens of the conversation; under [`Overflow::Slide`] without the oldest turns, if there is no room.
    fn fit_window(&mut self, options: &GenerateOptions) -> Result<Prompt> {
        let system = usize::from(
            self.messages
                .first()
                .is_some_and(|message| message.role == Role::System),
        );
        let room = match self.options.overflow {
            Overflow::Slide => {
                let answer = options.max_tokens.unwrap_or(usize::MAX).min(self.context_length / 4);
                self.context_length - answer
            }
            Overflow::Error | Overflow::Stop => self.context_length,
        };
        loop {
            self.window = self.window.max(system);
            let visible: Vec<Message> = self.messages[..system]
                .iter()
                .chain(&self.messages[self.window..])
                .cloned()
                .collect();
            let tokens = self.prompt_tokens(&visible, true)?;
            if tokens.len() <= room {
                let keep = if system == 0 {
                    1
                } else {
                    self.system_length(&visible[..1], &tokens)
                };
                return Ok(Prompt { tokens, keep });
            }
            // The next turn of the user is where a conversation may begin.
            let later = self.messages.get(self.window + 1..).unwrap_or_default();
            let next = later.iter().position(|message| message.role == Role::User);
            match next {
                Some(next) if self.options.overflow == Overflow::Slide => self.window += 1 + next,
                _ if tokens.len() <= self.context_length => return Ok(Prompt { tokens, keep: 1 }),
                _ => {
                    let (needed, context_length) = (tokens.len(), self.context_length);
                    return Err(EngineError::ContextOverflow { needed, context_length }.into());
                }
            }
        }
    }

    /// How many of the prompt's tokens are the system message.
    fn system_length(&self, system: &[Message], tokens: &[u32]) -> usize {
        // Some templates refuse a conversation without a user; then only the first token is kept.
        let alone = self.prompt_tokens(system, false).unwrap_or_default();
        alone.iter().zip(tokens).take_while(|(a, b)| a == b).count().max(1)
    }

    fn generate(&mut self, prompt: &Prompt, options: &GenerateOptions, listener: &mut Listener<'_>) -> Result<Answer> {
        let start = Instant::now();
        let cancel = options.cancel.as_ref();
        let mut sampler = Sampler::new(options.sampler.clone(), self.engine.config().vocab_size)?;
        let mut output = Output::new(self, options);
        let mut usage = Usage {
            prompt_tokens: prompt.tokens.len(),
            seed: sampler.seed(),
            ..Usage::default()
        };
        for &token in &prompt.tokens {
            sampler.accept(token);
        }

        let cached = self.read(&prompt.tokens, cancel)?;
        usage.prefill = start.elapsed();
        let Some(cached) = cached else {
            usage.cached_tokens = usage.prompt_tokens;
            return Ok(Answer {
                text: String::new(),
                finish: FinishReason::Cancelled,
                usage,
            });
        };
        usage.cached_tokens = cached;

        let most = options.max_tokens.unwrap_or(usize::MAX);
        let mut first = None;
        let mut last = 0;
        let finish = loop {
            if usage.generated_tokens == most {
                break FinishReason::MaxTokens;
            }
            if cancel.is_some_and(CancelToken::is_cancelled) {
                break FinishReason::Cancelled;
            }
            if usage.generated_tokens > 0 {
                // The token chosen last joins the cache only now: the one that ends an answer never has to.
                if let Some(full) = self.append(prompt.keep, last, cancel)? {
                    break full;
                }
            }
            last = sampler.sample(&mut self.logits);
            sampler.accept(last);
            usage.generated_tokens += 1;
            first.get_or_insert_with(Instant::now);
            if self.engine.tokenizer().is_end_of_generation(last) {
                break FinishReason::EndOfTurn;
            }
            if let Some(end) = output.push(self, last, listener) {
                break end;
            }
        };
        let finish = output.finish(finish, listener);
        if let Some(first) = first {
            usage.time_to_first_token = first - start;
            usage.decode = first.elapsed();
        }
        Ok(Answer {
            text: output.text,
            finish,
            usage,
        })
    }

    /// Appends a token to the cache, making room as the overflow policy says. `Some` ends the answer.
    fn append(&mut self, keep: usize, token: u32, cancel: Option<&CancelToken>) -> Result<Option<FinishReason>> {
        if self.tokens.len() == self.context_length {
            match self.options.overflow {
                Overflow::Stop => return Ok(Some(FinishReason::ContextFull)),
                Overflow::Error => {
                    let (needed, context_length) = (self.tokens.len() + 1, self.context_length);
                    return Err(EngineError::ContextOverflow { needed, context_length }.into());
                }
                Overflow::Slide => {
                    let keep = keep.min(self.context_length / 2);
                    let forget = (self.tokens.len() - keep).div_ceil(2);
                    let mut tokens = self.tokens[..keep].to_vec();
                    tokens.extend_from_slice(&self.tokens[keep + forget..]);
                    tokens.push(token);
                    // The rest is read anew: keys and values depend on all that came before them.
                    let read = self.read(&tokens, cancel)?;
                    return Ok(if read.is_some() {
                        None
                    } else {
                        Some(FinishReason::Cancelled)
                    });
                }
            }
        }
        self.forward(&[token], true)?;
        Ok(None)
    }
}

/// What an answer begins from.
struct Prompt {
    tokens: Vec<u32>,
    /// Leading tokens that sliding never forgets.
    keep: usize,
}

/// From tokens to the listener: whole characters, stop texts held back.
struct Output {
    detokenizer: Detokenizer,
    stop: StopMatcher,
    /// Text of the token at hand.
    piece: String,
    /// Text that may be shown.
    ready: String,
    text: String,
}

impl Output {
    fn new(session: &Session, options: &GenerateOptions) -> Self {
        let tokens = options.max_tokens.unwrap_or(usize::MAX).min(session.context_length);
        Output {
            detokenizer: session.engine.tokenizer().decoder(),
            stop: StopMatcher::new(options.stop.clone()),
            piece: String::with_capacity(256),
            ready: String::with_capacity(1024),
            text: String::with_capacity(tokens * TEXT_PER_TOKEN),
        }
    }

    /// Shows what a token adds. `Some` ends the answer.
    fn push(&mut self, session: &Session, token: u32, listener: &mut Listener<'_>) -> Option<FinishReason> {
        self.piece.clear();
        self.detokenizer
            .push(session.engine.tokenizer(), token, &mut self.piece);
        let stopped = self.stop.push(&self.piece, &mut self.ready);
        let cancelled = self.show(listener).is_break();
        match (stopped, cancelled) {
            (true, _) => Some(FinishReason::StopString),
            (false, true) => Some(FinishReason::Cancelled),
            (false, false) => None,
        }
    }

    /// Shows what was held back. A stop text may still be found in it.
    fn finish(&mut self, finish: FinishReason, listener: &mut Listener<'_>) -> FinishReason {
        if finish == FinishReason::StopString {
            return finish;
        }
        self.piece.clear();
        self.detokenizer.finish(&mut self.piece);
        let stopped = self.stop.push(&self.piece, &mut self.ready);
        if !stopped {
            self.stop.finish(&mut self.ready);
        }
        let _ = self.show(listener);
        if stopped { FinishReason::StopString } else { finish }
    }

    fn show(&mut self, listener: &mut Listener<'_>) -> ControlFlow<()> {
        if self.ready.is_empty() {
            return ControlFlow::Continue(());
        }
        self.text.push_str(&self.ready);
        let flow = listener(&self.ready);
        self.ready.clear();
        flow
    }
}
