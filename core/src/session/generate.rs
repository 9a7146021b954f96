//! Making an answer, token by token.

use super::channels::{Channels, Parts};
use super::output::Output;
use super::{Answer, CancelToken, FinishReason, GenerateOptions, Listener, Overflow, Session, Usage, common_prefix};
use crate::Result;
use crate::constrain::Guide;
use crate::engine::EngineError;
use crate::sampler::Sampler;
use crate::template::{Message, Role};
use crate::tokenizer::Special;
use std::time::Instant;

/// What an answer begins from.
struct Prompt {
    tokens: Vec<u32>,
    /// Leading tokens that sliding never forgets.
    keep: usize,
    /// A template wrote it, and the answer is a turn of the conversation.
    is_chat: bool,
}

/// An answer under way.
struct Turn<'a, 'l> {
    options: &'a GenerateOptions,
    /// As [`Prompt::keep`].
    keep: usize,
    sampler: Sampler,
    guide: Option<Guide>,
    output: Output<'l>,
    usage: Usage,
    /// When the caller asked.
    start: Instant,
}

impl Session {
    /// Says `text` as the user and streams the answer; both become part of the conversation. After an error, or an
    /// answer that ended before its first token, the conversation is what it was before.
    ///
    /// # Errors
    /// [`TemplateError`](crate::template::TemplateError) if the template refuses the conversation,
    /// [`EngineError::ContextOverflow`] as the session's [`Overflow`] says,
    /// [`SamplerError`](crate::sampler::SamplerError) for options out of range,
    /// [`SchemaError`](crate::constrain::SchemaError) where a constraint cannot be followed,
    /// [`EngineError::NotFinite`] if the model is broken.
    pub fn send(&mut self, text: &str, options: &GenerateOptions, listener: &mut dyn Listener) -> Result<Answer> {
        self.send_messages(vec![Message::new(Role::User, text)], options, listener)
    }

    /// As [`send`](Self::send), with messages of any role: for the results of tools, one message of [`Role::Tool`] for
    /// each of [`Answer::tool_calls`].
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_messages(
        &mut self,
        messages: Vec<Message>,
        options: &GenerateOptions,
        listener: &mut dyn Listener,
    ) -> Result<Answer> {
        let said = [&self.messages[..], &messages].concat();
        let answer = self.respond(&said, options, listener)?;
        if answer.usage.generated_tokens > 0 {
            self.messages = said;
            self.messages.push(Message {
                thinking: answer.thinking.clone(),
                tool_calls: answer.tool_calls.clone(),
                ..Message::new(Role::Assistant, answer.text.clone())
            });
        }
        Ok(answer)
    }

    /// Streams the answer to a conversation that the caller keeps. What of it is cached is not read again. The
    /// session's own conversation stays as it is.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn respond(
        &mut self,
        messages: &[Message],
        options: &GenerateOptions,
        listener: &mut dyn Listener,
    ) -> Result<Answer> {
        let start = Instant::now();
        let prompt = self.fit(messages, options.max_tokens)?;
        self.generate(&prompt, options, listener, start)
    }

    /// Continues a text, without a template; control tokens in it count as such. The session's conversation stays as
    /// it is.
    ///
    /// # Errors
    /// As [`send`](Self::send); a text that does not fit in the context is refused under every [`Overflow`].
    pub fn complete(&mut self, text: &str, options: &GenerateOptions, listener: &mut dyn Listener) -> Result<Answer> {
        let start = Instant::now();
        let tokens = self.engine.tokenizer().encode_with_bos(text, Special::Parse);
        let prompt = Prompt {
            tokens,
            keep: 0,
            is_chat: false,
        };
        self.generate(&prompt, options, listener, start)
    }

    /// The tokens of a conversation; under [`Overflow::Slide`] without the oldest turns, if there is no room.
    fn fit(&mut self, messages: &[Message], max_tokens: Option<usize>) -> Result<Prompt> {
        let context_length = self.context_length;
        let slides = self.options.overflow == Overflow::Slide;
        let room = match slides {
            true => context_length - max_tokens.unwrap_or(usize::MAX).min(context_length / 4),
            false => context_length,
        };
        let has_system = messages.first().is_some_and(|message| message.role == Role::System);
        let (system, turns) = messages.split_at(usize::from(has_system));
        let from = |first: usize| self.prompt_tokens(&[system, &turns[first..]].concat(), true);

        let mut tokens = from(0)?;
        if tokens.len() > room && slides {
            (tokens, self.window) = self.slide(turns, room, from)?;
        }
        if tokens.len() > context_length {
            let needed = tokens.len();
            return Err(EngineError::ContextOverflow { needed, context_length }.into());
        }
        let keep = match slides {
            true => self.lead(system).map_or(0, |lead| common_prefix(&lead, &tokens)),
            false => 0,
        };
        Ok(Prompt {
            tokens,
            keep,
            is_chat: true,
        })
    }

    /// The tokens of the latest turns that take half of the room, and the first of these turns; or those of the last
    /// turn alone. As long as what was chosen before still fits, it is kept: what is cached stays useful.
    fn slide(
        &self,
        turns: &[Message],
        room: usize,
        from: impl Fn(usize) -> Result<Vec<u32>>,
    ) -> Result<(Vec<u32>, usize)> {
        // A conversation may begin with any question.
        let starts: Vec<usize> = (1..turns.len()).filter(|&i| turns[i].role == Role::User).collect();
        if starts.contains(&self.window) {
            let tokens = from(self.window)?;
            if (room / 2..=room).contains(&tokens.len()) {
                return Ok((tokens, self.window));
            }
        }
        let (mut low, mut high) = (0, starts.len());
        let mut best = None;
        while low < high {
            let middle = low.midpoint(high);
            let tokens = from(starts[middle])?;
            if tokens.len() <= room / 2 {
                best = Some((tokens, starts[middle]));
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        match best {
            Some(best) => Ok(best),
            None => {
                let last = starts.last().copied().unwrap_or(0);
                Ok((from(last)?, last))
            }
        }
    }

    /// `start` is when the caller asked.
    fn generate(
        &mut self,
        prompt: &Prompt,
        options: &GenerateOptions,
        listener: &mut dyn Listener,
        start: Instant,
    ) -> Result<Answer> {
        let mut sampler = Sampler::new(options.sampler.clone(), self.engine.config().vocab_size)?;
        for &token in &prompt.tokens {
            sampler.accept(token);
        }
        let guide = match &options.constraint {
            Some(constraint) => Some(constraint.start(self.engine.vocabulary()?)?),
            None => None,
        };
        let channels = match prompt.is_chat {
            true => Channels::new(self.engine.tokenizer(), self.parts(options), &prompt.tokens),
            false => None,
        };
        let mut turn = Turn {
            options,
            keep: prompt.keep,
            usage: Usage {
                prompt_tokens: prompt.tokens.len(),
                seed: sampler.seed(),
                ..Usage::default()
            },
            sampler,
            guide,
            output: Output::new(self, channels, options, listener),
            start,
        };

        let _in_use = self.slot.begin();
        let reading_since = Instant::now();
        let reading = self.read(&prompt.tokens, options.cancel.as_ref())?;
        turn.usage.prefill = reading_since.elapsed();
        turn.usage.cached_tokens = reading.cached;
        turn.usage.prefill_tokens = reading.read;

        let finish = match reading.cancelled {
            true => FinishReason::Cancelled,
            false => self.speak(&mut turn)?,
        };
        let mut usage = turn.usage;
        if usage.generated_tokens > 0 {
            usage.decode = start.elapsed() - usage.time_to_first_token;
        }
        Ok(turn.output.finish(finish, usage))
    }

    /// What an answer of this model may consist of.
    fn parts(&self, options: &GenerateOptions) -> Parts {
        let is_guided = options.constraint.is_some();
        let dialect = self.prompt.dialect().filter(|_| !is_guided);
        Parts {
            thinking: self.engine.template().thinking_tags(),
            calls: dialect.map(|dialect| (dialect.format, dialect.names.clone())),
            is_guided,
            wants_thinking: self.options.thinking == Some(true),
        }
    }

    /// Chooses and shows tokens until something ends the answer.
    fn speak(&mut self, turn: &mut Turn<'_, '_>) -> Result<FinishReason> {
        let cancel = turn.options.cancel.as_ref();
        // A sliding context alone would never end an answer.
        let most = turn.options.max_tokens.unwrap_or(self.context_length);
        let mut last = None;
        loop {
            if turn.usage.generated_tokens == most {
                return Ok(FinishReason::MaxTokens);
            }
            if !self.engine.may_go_on(cancel) {
                return Ok(FinishReason::Cancelled);
            }
            // The token chosen last joins the cache only now: the one that ends an answer never has to.
            if let Some(token) = last
                && let Some(end) = self.append(turn.keep, token, cancel)?
            {
                return Ok(end);
            }
            // What the model thinks is its own affair.
            let thinks = turn.output.thinking_token();
            let guide = turn.guide.as_mut().filter(|_| turn.output.is_answering());
            if let Some(guide) = guide {
                let score = thinks.and_then(|id| self.logits.get(id as usize).copied());
                guide.restrict(&mut self.logits)?;
                if let (Some(id), Some(score)) = (thinks, score) {
                    self.logits[id as usize] = score;
                }
            }
            let token = turn.sampler.sample(&mut self.logits);
            turn.sampler.accept(token);
            last = Some(token);
            turn.usage.generated_tokens += 1;
            if turn.usage.generated_tokens == 1 {
                turn.usage.time_to_first_token = turn.start.elapsed();
            }
            let tokenizer = self.engine.tokenizer();
            if tokenizer.is_end_of_generation(token) {
                return Ok(FinishReason::EndOfTurn);
            }
            let is_complete = match &mut turn.guide {
                Some(guide) if turn.output.is_answering() && thinks != Some(token) => guide.accept(tokenizer, token)?,
                _ => false,
            };
            if let Some(end) = turn.output.push(tokenizer, token) {
                return Ok(end);
            }
            if is_complete {
                return Ok(FinishReason::EndOfTurn);
            }
        }
    }

    /// Appends a token to the cache, making room as the overflow policy says. `Some` ends the answer.
    fn append(
        &mut self,
        keep: usize,
        token: u32,
        cancel: Option<&CancelToken>,
    ) -> Result<Option<FinishReason>, EngineError> {
        let context_length = self.context_length;
        if self.tokens.len() < context_length {
            self.forward(&[token], true)?;
            return Ok(None);
        }
        match self.options.overflow {
            Overflow::Stop => Ok(Some(FinishReason::ContextFull)),
            Overflow::Error => {
                let needed = context_length + 1;
                Err(EngineError::ContextOverflow { needed, context_length })
            }
            Overflow::Slide => {
                // The first token stays in any case: attention leans on it (Xiao et al. 2023, arXiv:2309.17453).
                let keep = keep.max(1).min(context_length / 2);
                let forget = (context_length - keep).div_ceil(2);
                let tokens = [&self.tokens[..keep], &self.tokens[keep + forget..], &[token]].concat();
                // The rest is read anew: keys and values depend on all that came before them.
                let reading = self.read(&tokens, cancel)?;
                Ok(reading.cancelled.then_some(FinishReason::Cancelled))
            }
        }
    }
}
