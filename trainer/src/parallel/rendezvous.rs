//! How the ranks find each other. Rank 0 listens; the others say who they are and where they listen; when all are
//! there, each is told where the rank below it is and links up with it.

use super::door::{Door, Guest};
use super::error::ParallelError;
use super::wire::{FrameReader, Hello, Message, VERSION, WireError, shorten};
use super::world::{Master, World};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// How often one looks whether something has happened.
const POLL: Duration = Duration::from_millis(5);

/// How long one try to connect may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How long rank 0 stays to tell late ranks why there is no job.
const LINGER: Duration = Duration::from_secs(5);

/// How long the links may take once everybody has been heard. Shorter than [`Options::silence_timeout`], which counts
/// already on the ranks that are done.
const LINK: Duration = Duration::from_secs(20);

/// What a world is held to.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration's checksum, as it is shown to rank 0.
    config: String,
    /// How long to wait until all ranks have come. Default 10 minutes.
    pub join_timeout: Duration,
    /// How long ranks may wait for one that does not come to the same operation. More than the longest time between
    /// two operations, or the writing of a checkpoint. Default 10 minutes.
    pub stall_timeout: Duration,
    /// How long nothing may be heard from a rank, which speaks every second even while it computes. Default 30 s.
    pub silence_timeout: Duration,
}

impl Options {
    /// The defaults. `config` is whatever must be the same on all ranks (settings, seeds, data): a rank with another one
    /// is refused.
    pub fn new(config: &[u8]) -> Self {
        Self {
            config: Sha256::digest(config)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            join_timeout: Duration::from_secs(600),
            stall_timeout: Duration::from_secs(600),
            silence_timeout: Duration::from_secs(30),
        }
    }
}

/// The connection over which news of a rank comes, beside the numbers.
pub(crate) struct Line {
    pub(crate) rank: usize,
    pub(crate) stream: TcpStream,
    pub(crate) reader: FrameReader,
}

/// Everybody has met.
pub(crate) struct Meeting {
    /// At rank 0 a line to every other rank; elsewhere one to rank 0.
    pub(crate) lines: Vec<Line>,
    /// To the rank below, blocking.
    pub(crate) below: Option<TcpStream>,
    /// To the rank above, blocking.
    pub(crate) above: Option<TcpStream>,
}

/// Meets the other ranks of `world`, which has more than one.
pub(crate) fn meet(world: &World, master: &Master, options: &Options) -> Result<Meeting, ParallelError> {
    if world.rank == 0 {
        host(world, master, options)
    } else {
        join(world, master, options)
    }
}

/// Rank 0's part.
fn host(world: &World, master: &Master, options: &Options) -> Result<Meeting, ParallelError> {
    let start = Instant::now();
    let address = address(master);
    let mut door = Door::open(&master.host, master.port).map_err(|source| ParallelError::Listen { address, source })?;
    let mut guests: BTreeMap<usize, (Line, SocketAddr)> = BTreeMap::new();
    while guests.len() + 1 < world.size {
        if start.elapsed() > options.join_timeout {
            let missing = (1..world.size).filter(|rank| !guests.contains_key(rank)).collect();
            let error = ParallelError::missing(missing, world.size, options.join_timeout);
            return Err(give_up(guests.into_values().map(|(line, _)| line), 0, error));
        }
        let Some(Guest {
            stream,
            reader,
            from,
            said,
            ..
        }) = door.poll()
        else {
            // One that went away again may have been started anew, so its place is free.
            guests.retain(|_, (line, _)| line.news().is_ok());
            std::thread::sleep(POLL);
            continue;
        };
        let Message::Hello(hello) = said else { continue };
        let rank = hello.rank;
        match judge(&hello, world, options) {
            Verdict::Join if !guests.contains_key(&rank) => {
                let listens = SocketAddr::new(from.ip().to_canonical(), hello.port);
                guests.insert(rank, (Line { rank, stream, reader }, listens));
            }
            Verdict::Join => {
                let reason = format!("rank {rank} is here already, from {}", guests[&rank].1.ip());
                let _ = Message::Refused(reason).send(&stream);
            }
            Verdict::Stranger(reason) => {
                let _ = Message::Refused(shorten(&reason)).send(&stream);
            }
            Verdict::Misfit(reason) => {
                let _ = Message::Refused(reason.clone()).send(&stream);
                let late = world.size - 2 - guests.keys().filter(|guest| **guest != rank).count();
                let error = ParallelError::Mismatch { rank, reason };
                let error = give_up(guests.into_values().map(|(line, _)| line), rank, error);
                turn_away(&mut door, late, &error);
                return Err(error);
            }
        }
    }

    let session = RandomState::new().hash_one(start);
    // Rank 1 finds rank 0 where it found it before.
    let mut below = SocketAddr::from(([0, 0, 0, 0], master.port));
    let mut lines = Vec::with_capacity(guests.len());
    for (line, listens) in guests.into_values() {
        // One that is gone by now is found out below.
        let _ = Message::Welcome {
            session,
            below: below.to_string(),
        }
        .send(&line.stream);
        below = listens;
        lines.push(line);
    }
    match link_above(&mut door, 0, session, &mut lines) {
        Ok(above) => Ok(Meeting {
            lines,
            below: None,
            above: Some(above),
        }),
        Err(error) => Err(give_up(lines.into_iter(), 1, error)),
    }
}

/// Every other rank's part.
fn join(world: &World, master: &Master, options: &Options) -> Result<Meeting, ParallelError> {
    let system = |action| move |source| ParallelError::System { action, source };
    let mut door = Door::open(&master.host, 0).map_err(system("listen for the rank above"))?;
    let stream = find(0, &address(master), options.join_timeout, &mut [])?;
    let found = stream.peer_addr().map_err(system("see where rank 0 is"))?;
    let hello = Hello {
        job: shorten(&world.job),
        size: world.size,
        rank: world.rank,
        config: options.config.clone(),
        port: door.port().map_err(system("see where this process listens"))?,
    };
    stream
        .set_nonblocking(true)
        .map_err(system("make a connection non-blocking"))?;
    let mut line = Line {
        rank: 0,
        stream,
        reader: FrameReader::new(),
    };
    let _ = Message::Hello(hello).send(&line.stream);

    // Rank 0 gives up first, unless it hangs.
    let start = Instant::now();
    let (session, below) = loop {
        match line.news()? {
            Some(Message::Welcome { session, below }) => break (session, below),
            Some(Message::Refused(reason)) => {
                return Err(ParallelError::Refused {
                    address: found.to_string(),
                    rank: world.rank,
                    reason,
                });
            }
            Some(_) => {}
            None if start.elapsed() > options.join_timeout + LINK => {
                let reason = format!(
                    "it did not say within {} s that all are there",
                    start.elapsed().as_secs()
                );
                return Err(ParallelError::RankFailed { rank: 0, reason });
            }
            None => std::thread::sleep(POLL),
        }
    };
    let lines = std::slice::from_mut(&mut line);
    let linked = link_below(world.rank, &below, found, session, lines).and_then(|below| {
        let last = world.rank + 1 == world.size;
        let above = if last {
            None
        } else {
            Some(link_above(&mut door, world.rank, session, lines)?)
        };
        Ok((below, above))
    });
    match linked {
        Ok((below, above)) => Ok(Meeting {
            lines: vec![line],
            below: Some(below),
            above,
        }),
        Err(error) => Err(give_up(std::iter::once(line), world.rank, error)),
    }
}

/// Refuses the ranks that have not come yet, so that they do not look for rank 0 until their patience ends.
fn turn_away(door: &mut Door, mut late: usize, error: &ParallelError) {
    let start = Instant::now();
    while late > 0 && start.elapsed() < LINGER {
        match door.poll() {
            Some(Guest {
                stream,
                said: Message::Hello(_),
                ..
            }) => {
                let _ = Message::Refused(shorten(&error.to_string())).send(&stream);
                late -= 1;
            }
            Some(_) => {}
            None => std::thread::sleep(POLL),
        }
    }
}

/// Whether somebody may join.
enum Verdict {
    Join,
    /// Of another job: that is its mistake, not this job's.
    Stranger(String),
    /// Of this job, which therefore cannot work.
    Misfit(String),
}

fn judge(hello: &Hello, world: &World, options: &Options) -> Verdict {
    let (job, size) = (shorten(&world.job), world.size);
    if hello.job != job {
        Verdict::Stranger(format!("it belongs to job {:?}, rank 0 to job {job:?}", hello.job))
    } else if hello.size != size {
        Verdict::Misfit(format!(
            "it believes in a world of {}, rank 0 in one of {size}",
            hello.size
        ))
    } else if hello.rank == 0 || hello.rank >= size {
        Verdict::Stranger(format!(
            "a world of {size} has no place for another rank {}",
            hello.rank
        ))
    } else if hello.config != options.config {
        let short = |config: &str| config.chars().take(12).collect::<String>();
        let (theirs, ours) = (short(&hello.config), short(&options.config));
        Verdict::Misfit(format!(
            "its configuration (checksum {theirs}…) is not that of rank 0 ({ours}…)"
        ))
    } else {
        Verdict::Join
    }
}

impl Line {
    /// What has come, if anything has.
    fn news(&mut self) -> Result<Option<Message>, ParallelError> {
        let reason = match self.reader.poll(&self.stream) {
            Ok(Some(Message::Failed { rank, reason })) => return Err(ParallelError::RankFailed { rank, reason }),
            Ok(Some(Message::Goodbye { .. })) => "it ended while the ranks were meeting".to_string(),
            Ok(message) => return Ok(message),
            Err(error) => error.to_string(),
        };
        Err(ParallelError::RankFailed {
            rank: self.rank,
            reason,
        })
    }
}

impl std::fmt::Display for WireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed => write!(f, "it ended without a word: killed, crashed, or out of memory"),
            Self::Broken(error) => write!(f, "its connection broke: {error}"),
            Self::Foreign => write!(f, "something else than this program answers there"),
            Self::Version(theirs) => write!(f, "it speaks version {theirs} of the protocol, this process {VERSION}"),
        }
    }
}

/// Tells the others of `error`, for which `rank` is to blame if it does not say so itself.
fn give_up(lines: impl Iterator<Item = Line>, rank: usize, error: ParallelError) -> ParallelError {
    let (rank, reason) = match &error {
        ParallelError::RankFailed { rank, reason } | ParallelError::Mismatch { rank, reason } => {
            (*rank, reason.clone())
        }
        ParallelError::Missing { missing, .. } => (missing.first().copied().unwrap_or(rank), error.to_string()),
        _ => (rank, error.to_string()),
    };
    let failed = Message::Failed {
        rank,
        reason: shorten(&reason),
    };
    for line in lines {
        let _ = failed.send(&line.stream);
    }
    error
}

/// Connects to the rank below and says so.
fn link_below(
    rank: usize,
    below: &str,
    master: SocketAddr,
    session: u64,
    lines: &mut [Line],
) -> Result<TcpStream, ParallelError> {
    let lost = |source| ParallelError::Unreachable {
        rank: rank - 1,
        address: below.to_string(),
        seconds: LINK.as_secs(),
        source,
    };
    let mut address: SocketAddr = below.parse().map_err(|_| lost(ErrorKind::InvalidData.into()))?;
    // What rank 0 sees as its own machine is here the machine of rank 0.
    if address.ip().is_loopback() || address.ip().is_unspecified() {
        address.set_ip(master.ip());
    }
    let stream = find(rank - 1, &address.to_string(), LINK, lines)?;
    Message::Link { session, rank }.send(&stream).map_err(lost)?;
    Ok(stream)
}

/// Waits for the rank above, while news may come that somebody has failed.
fn link_above(door: &mut Door, rank: usize, session: u64, lines: &mut [Line]) -> Result<TcpStream, ParallelError> {
    let (start, above) = (Instant::now(), rank + 1);
    while start.elapsed() < LINK {
        match door.poll() {
            Some(guest) if guest.said == (Message::Link { session, rank: above }) => {
                let blocking = guest.stream.set_nonblocking(false);
                let action = "make a connection blocking";
                return blocking
                    .map(|()| guest.stream)
                    .map_err(|source| ParallelError::System { action, source });
            }
            Some(_) => {}
            None => {
                heed(lines)?;
                std::thread::sleep(POLL);
            }
        }
    }
    let reason = format!("it did not connect to rank {rank} within {} s", LINK.as_secs());
    Err(ParallelError::RankFailed { rank: above, reason })
}

/// Connects to a rank that may not be there yet, while news may come that somebody has failed. Its name is looked up at
/// every try: it may not have one yet either.
fn find(rank: usize, address: &str, patience: Duration, lines: &mut [Line]) -> Result<TcpStream, ParallelError> {
    let start = Instant::now();
    loop {
        let source = match connect(address) {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        if start.elapsed() > patience {
            let (address, seconds) = (address.to_string(), patience.as_secs());
            return Err(ParallelError::Unreachable {
                rank,
                address,
                seconds,
                source,
            });
        }
        heed(lines)?;
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// An error if news has come that somebody has failed.
fn heed(lines: &mut [Line]) -> Result<(), ParallelError> {
    lines.iter_mut().try_for_each(|line| line.news().map(drop))
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut failed = io::Error::from(ErrorKind::NotFound);
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            // A connection within one machine to a port where nobody listens can meet itself.
            Ok(stream) if stream.local_addr()? == stream.peer_addr()? => failed = ErrorKind::ConnectionRefused.into(),
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// As it is looked up and shown: `host:port`, IPv6 in brackets.
fn address(master: &Master) -> String {
    let Master { host, port } = master;
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
