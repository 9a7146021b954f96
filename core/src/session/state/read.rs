//! Reading a saved conversation, of which nothing is believed.

use super::super::Session;
use super::{Header, MAGIC, StateError, Summed, VERSION};
use crate::Result;
use crate::engine::EngineError;
use crate::template::Message;
use memmap2::MmapMut;
use std::io::{self, Read};

/// What a file holds, checked and complete.
pub(super) struct State {
    pub tokens: Vec<u32>,
    pub messages: Vec<Message>,
    pub window: usize,
    /// A cache of this session's layout.
    pub kv: MmapMut,
}

impl Session {
    /// Memory is taken for what has been read, and once for a cache of this session, which costs nothing until it is
    /// written to.
    pub(super) fn read_state(&self, from: &mut dyn Read) -> Result<State> {
        let mut file = Summed::new(from);
        let header = read_header(&mut file)?;
        self.check(&header)?;

        let mut tokens = Vec::new();
        for _ in 0..header.tokens {
            let id = file.read_u32("the tokens")?;
            let vocab_size = self.engine.config().vocab_size;
            if id as usize >= vocab_size {
                return Err(StateError::Token { id, vocab_size }.into());
            }
            tokens.push(id);
        }
        let bytes = self.slot.kv_bytes();
        let mut kv = MmapMut::map_anon(bytes).map_err(|source| EngineError::Memory { bytes, source })?;
        for part in self.slot.used(tokens.len()) {
            file.read_exact(&mut kv[part], "keys and values")?;
        }
        let sum = file.sum();
        if file.read_u32("the checksum")? != sum {
            return Err(StateError::Checksum.into());
        }
        if file.inner.read(&mut [0]).map_err(StateError::Read)? > 0 {
            return Err(StateError::TooLong.into());
        }
        Ok(State {
            tokens,
            messages: header.messages,
            window: header.window,
            kv,
        })
    }

    /// That it is of this model, and fits in this session.
    fn check(&self, saved: &Header) -> Result<()> {
        let here = self.header(0)?;
        if saved.model != here.model {
            return Err(StateError::OtherModel.into());
        }
        if saved.element != here.element {
            let (saved, here) = (format!("{:?}", saved.element), format!("{:?}", here.element));
            return Err(StateError::Element { saved, here }.into());
        }
        for (what, saved, here) in [
            ("layers", saved.layers, here.layers),
            ("heads", saved.heads, here.heads),
            ("channels of a head", saved.head_dim, here.head_dim),
        ] {
            if saved != here {
                return Err(StateError::Shape { what, saved, here }.into());
            }
        }
        let (tokens, context_length) = (saved.tokens, self.context_length);
        if tokens > context_length {
            return Err(StateError::Context { tokens, context_length }.into());
        }
        Ok(())
    }
}

fn read_header(file: &mut Summed<&mut dyn Read>) -> Result<Header, StateError> {
    let mut magic = [0; MAGIC.len()];
    match file.read_exact(&mut magic, "the first bytes") {
        Ok(()) if magic == *MAGIC => {}
        Ok(()) | Err(StateError::Truncated { .. }) => return Err(StateError::NotAState),
        Err(error) => return Err(error),
    }
    let version = file.read_u32("the version")?;
    if version != VERSION {
        return Err(StateError::Version { version });
    }
    let length = file.read_u32("the length of the header")?;
    let sum = file.read_u32("the checksum of the header")?;
    // Grows with what is there, whatever the length claims.
    let mut header = Vec::new();
    let read = io::Read::take(&mut *file.inner, length.into()).read_to_end(&mut header);
    if read.map_err(StateError::Read)? < length as usize {
        return Err(StateError::Truncated { place: "the header" });
    }
    file.hasher.update(&header);
    if crc32fast::hash(&header) != sum {
        return Err(StateError::Checksum);
    }
    serde_json::from_slice(&header).map_err(|error| StateError::Header {
        detail: error.to_string(),
    })
}
