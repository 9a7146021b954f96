//! What the processes say to each other beside the numbers: short frames of JSON, so that a stranger's bytes on the
//! port are recognised by their first nine and never believed about a length.

use serde::{Deserialize, Serialize};
use std::io::{ErrorKind, Read, Write};

/// The first bytes of every frame.
const MAGIC: [u8; 6] = *b"halfpi";

/// Of this protocol: frames here and headers in [`chain`](super::chain). Every change counts it up.
pub(crate) const VERSION: u8 = 1;

/// Magic, version, and the payload's length as a little-endian u16.
const HEADER: usize = 9;

/// The longest payload: a reason of [`MAX_TEXT`] bytes, every one of them escaped.
const MAX_PAYLOAD: usize = 8 << 10;

/// The longest text that is passed on.
const MAX_TEXT: usize = 1000;

/// Everything that is said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Message {
    /// To rank 0: may I join?
    Hello(Hello),
    /// From rank 0: everybody is there.
    Welcome {
        /// Made up for this meeting, so that links of another one are not taken for ours.
        session: u64,
        /// Where the rank below listens.
        below: String,
    },
    /// From rank 0: you may not join.
    Refused(String),
    /// To the rank below: here is the rank above.
    Link { session: u64, rank: usize },
    /// I live, and this far have I come.
    Beat(Progress),
    /// The job is over because of a rank, perhaps the sender.
    Failed { rank: usize, reason: String },
    /// A rank needs nobody any more.
    Goodbye { rank: usize },
}

/// Who wants to join.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) job: String,
    pub(crate) size: usize,
    pub(crate) rank: usize,
    /// SHA-256 of the configuration, in hexadecimal.
    pub(crate) config: String,
    /// Where the sender listens for the rank above.
    pub(crate) port: u16,
}

/// How far a rank has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Collective operations begun.
    pub(crate) begun: u64,
    /// Collective operations ended.
    pub(crate) ended: u64,
    /// Chunks that have passed through.
    pub(crate) chunks: u64,
}

/// Why no message came.
#[derive(Debug)]
pub(crate) enum WireError {
    /// The other side closed the connection.
    Closed,
    /// The connection broke.
    Broken(std::io::Error),
    /// These are not our frames.
    Foreign,
    /// Our frames, of another version.
    Version(u8),
}

impl Message {
    /// The frame on the wire.
    pub(crate) fn encode(&self) -> Vec<u8> {
        // Strings, numbers and no maps: serde_json cannot fail on them.
        let payload = serde_json::to_vec(self).unwrap_or_default();
        debug_assert!(payload.len() <= MAX_PAYLOAD);
        let mut frame = Vec::with_capacity(HEADER + payload.len());
        frame.extend(MAGIC);
        frame.push(VERSION);
        frame.extend((payload.len() as u16).to_le_bytes());
        frame.extend(payload);
        frame
    }

    /// Sends the frame. On a non-blocking connection whose other side does not read, this fails instead of waiting.
    pub(crate) fn send(&self, mut to: impl Write) -> std::io::Result<()> {
        to.write_all(&self.encode())
    }
}

/// `text`, cut to what fits in a frame.
pub(crate) fn shorten(text: &str) -> String {
    let end = (0..=MAX_TEXT.min(text.len()))
        .rev()
        .find(|&end| text.is_char_boundary(end))
        .unwrap_or(0);
    text[..end].to_string()
}

/// Collects one connection's frames. It never reads beyond a frame, and holds no more than the longest.
pub(crate) struct FrameReader {
    bytes: Vec<u8>,
}

impl FrameReader {
    pub(crate) fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(HEADER),
        }
    }

    /// The next message; `None` if it has not all come yet (or within the connection's read timeout).
    pub(crate) fn poll(&mut self, mut from: impl Read) -> Result<Option<Message>, WireError> {
        loop {
            let needed = self.needed()?;
            if self.bytes.len() == needed && needed > HEADER {
                let message = serde_json::from_slice(&self.bytes[HEADER..]).map_err(|_| WireError::Foreign)?;
                self.bytes.clear();
                return Ok(Some(message));
            }
            let have = self.bytes.len();
            self.bytes.resize(needed, 0);
            let read = from.read(&mut self.bytes[have..]);
            self.bytes.truncate(have + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => return Err(WireError::Closed),
                Ok(_) => {}
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Ok(None),
                    ErrorKind::Interrupted => {}
                    _ => return Err(WireError::Broken(error)),
                },
            }
        }
    }

    /// How long the frame is as far as it is known.
    fn needed(&self) -> Result<usize, WireError> {
        let magic = self.bytes.len().min(MAGIC.len());
        if self.bytes[..magic] != MAGIC[..magic] {
            return Err(WireError::Foreign);
        }
        match *self.bytes.as_slice() {
            [_, _, _, _, _, _, version, ..] if version != VERSION => Err(WireError::Version(version)),
            [_, _, _, _, _, _, _, low, high, ..] => match usize::from(u16::from_le_bytes([low, high])) {
                payload @ 1..=MAX_PAYLOAD => Ok(HEADER + payload),
                _ => Err(WireError::Foreign),
            },
            _ => Ok(HEADER),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time, and between them nothing.
    struct Trickle<'a>(&'a [u8], bool);

    impl Read for Trickle<'_> {
        fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.0.read(&mut to[..1])
        }
    }

    #[test]
    fn frames_come_back_however_they_are_cut() {
        let messages = [
            Message::Failed {
                rank: 3,
                reason: shorten(&"\u{1}é".repeat(2000)),
            },
            Message::Beat(Progress {
                begun: 5,
                ended: 4,
                chunks: u64::MAX,
            }),
            Message::Welcome {
                session: u64::MAX,
                below: "[::1]:80".into(),
            },
            Message::Goodbye { rank: 1 },
        ];
        let bytes: Vec<u8> = messages.iter().flat_map(Message::encode).collect();
        let (mut reader, mut from, mut back) = (FrameReader::new(), Trickle(&bytes, false), Vec::new());
        loop {
            match reader.poll(&mut from) {
                Ok(message) => back.extend(message),
                Err(WireError::Closed) => break,
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(back, messages);
    }

    #[test]
    fn foreign_bytes_are_refused_before_they_are_believed() {
        let poll = |bytes: &[u8]| FrameReader::new().poll(bytes);
        assert!(matches!(poll(b"GET / HTTP/1.1\r\n\r\n"), Err(WireError::Foreign)));
        assert!(matches!(poll(b"halfpi\x02"), Err(WireError::Version(2))));
        assert!(
            matches!(poll(b"halfpi\x01\xff\xff"), Err(WireError::Foreign)),
            "a length that no frame has"
        );
        assert!(matches!(poll(b"halfpi\x01\x00\x00"), Err(WireError::Foreign)));
        assert!(matches!(poll(b"halfpi\x01\x02\x00{}"), Err(WireError::Foreign)));
        assert!(matches!(poll(b"halfp"), Err(WireError::Closed)));
    }
}
