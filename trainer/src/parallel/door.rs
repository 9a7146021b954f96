//! A listening port on which strangers are told from friends without ever waiting for one of them.

use super::wire::{FrameReader, Message, VERSION, WireError};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// How long somebody who has connected may take to say who they are.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many may be thinking at a time; the system keeps the rest waiting.
const MAX_WAITING: usize = 256;

/// Where other ranks come in.
pub(crate) struct Door {
    listener: TcpListener,
    waiting: Vec<Guest<()>>,
}

/// Somebody who has connected, and what they said first.
pub(crate) struct Guest<Said> {
    pub(crate) stream: TcpStream,
    pub(crate) reader: FrameReader,
    pub(crate) from: SocketAddr,
    pub(crate) said: Said,
    since: Instant,
}

impl Door {
    /// Listens on `port` (0: any) for whoever finds this machine as `host`: on loopback if that is what it is called,
    /// else on all interfaces, because a machine's own name often means loopback to itself, and a service's name means
    /// an address that no interface has.
    pub(crate) fn open(host: &str, port: u16) -> io::Result<Self> {
        let loopback = match host.parse::<IpAddr>() {
            Ok(address) => address.is_loopback().then_some(address),
            Err(_) => (host == "localhost").then_some(Ipv4Addr::LOCALHOST.into()),
        };
        let listener = match loopback {
            Some(address) => TcpListener::bind((address, port))?,
            None => match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)) {
                // A system without IPv6.
                Err(error) if error.kind() != ErrorKind::AddrInUse => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?,
                bound => bound?,
            },
        };
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            waiting: Vec::new(),
        })
    }

    /// The port on which this listens.
    pub(crate) fn port(&self) -> io::Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }

    /// The next who has said something that we understand; `None` if nobody has by now.
    pub(crate) fn poll(&mut self) -> Option<Guest<Message>> {
        while self.waiting.len() < MAX_WAITING {
            // An error here is one of a connection that is gone again, or passes.
            let Ok((stream, from)) = self.listener.accept() else {
                break;
            };
            if stream.set_nonblocking(true).is_ok() && stream.set_nodelay(true).is_ok() {
                let since = Instant::now();
                self.waiting.push(Guest {
                    stream,
                    reader: FrameReader::new(),
                    from,
                    said: (),
                    since,
                });
            }
        }
        let mut next = 0;
        while let Some(guest) = self.waiting.get_mut(next) {
            match guest.reader.poll(&guest.stream) {
                Ok(None) if guest.since.elapsed() < PATIENCE => next += 1,
                Ok(Some(said)) => {
                    let Guest {
                        stream,
                        reader,
                        from,
                        since,
                        ..
                    } = self.waiting.swap_remove(next);
                    return Some(Guest {
                        stream,
                        reader,
                        from,
                        said,
                        since,
                    });
                }
                Err(WireError::Version(theirs)) => {
                    let reason = format!("it speaks version {theirs} of the protocol, rank 0 version {VERSION}");
                    let _ = Message::Refused(reason).send(&self.waiting.swap_remove(next).stream);
                }
                Ok(None) | Err(_) => drop(self.waiting.swap_remove(next)),
            }
        }
        None
    }
}
