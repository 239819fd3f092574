//! Lines of the access log as messages of syslog (RFC 5424) in datagrams of UDP (RFC 5426).
//!
//! Nothing here waits: what the system does not take at once is lost, and counted. The server's
//! name is looked up when the first line is sent and from time to time after that, by the writing
//! thread.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::path::Path;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::clock::{self, Instant};
use crate::files;

/// The most bytes of a message: what servers take by default (rsyslog's `maxMessageSize`), and far
/// below the most of a datagram.
const LONGEST: usize = 8 * 1024;
/// The end of a line that was longer. It keeps a cut one from being taken for a whole one.
const CUT: &[u8] = "…[cut]".as_bytes();
/// The time for which an address is used before the name is looked up again,
const KNOWN: Duration = Duration::from_secs(60);
/// and how long a name that is not known, or a server that cannot be reached, is left alone.
const REST: Duration = Duration::from_secs(5);
/// Facility `local0` and severity `info` (RFC 5424 §6.2.1).
const PRIORITY: u8 = 16 * 8 + 6;
/// RFC 3339 as RFC 5424 §6.2.3 has it.
const TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// A syslog server.
pub(super) struct Syslog {
    server: String,
    /// The part of a line after the time: host, program, process, kind of message, no data.
    sender: String,
    socket: Option<(UdpSocket, Instant)>,
    resting: Option<Instant>,
}

/// Lines that were not sent, and why the last one was not.
pub(super) struct Lost {
    pub(super) lines: u64,
    pub(super) error: Option<io::Error>,
}

impl Syslog {
    /// Messages for the server at `HOST:PORT`.
    pub(super) fn new(server: &str) -> Self {
        let host = files::read_text(Path::new("/proc/sys/kernel/hostname"), 256).ok();
        let host: String =
            host.unwrap_or_default().trim().chars().filter(char::is_ascii_graphic).collect();
        let host = if host.is_empty() { "-" } else { &host };
        let sender = format!("{host} tidegate {} access -", std::process::id());
        Self { server: server.to_owned(), sender, socket: None, resting: None }
    }

    /// Sends each line as a message of its own.
    pub(super) fn send_lines(&mut self, lines: &[u8]) -> Lost {
        let mut lost = Lost { lines: 0, error: None };
        let now = OffsetDateTime::from(clock::wall()).format(TIME).unwrap_or_else(|_| "-".into());
        let start = format!("<{PRIORITY}>1 {now} {} ", self.sender);
        let mut message = Vec::with_capacity(LONGEST);
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            write_message(&mut message, &start, line);
            let sent = self.send_one(&message);
            lost.lines += sent.as_ref().map_or(1, |unreached| *unreached);
            if let Err(error) = sent {
                lost.error = Some(error);
            }
        }
        lost
    }

    /// Sends a message. The number of earlier ones that are now known not to have arrived.
    fn send_one(&mut self, message: &[u8]) -> io::Result<u64> {
        let Some(socket) = self.open_socket()? else { return Err(ErrorKind::NotConnected.into()) };
        match socket.send(message) {
            Ok(_) => Ok(0),
            // What came back is about a message before this one, which was not sent for it.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                socket.send(message).map(|_| 1)
            }
            Err(error) => {
                if error.kind() != ErrorKind::WouldBlock {
                    self.begin_rest();
                }
                Err(error)
            }
        }
    }

    fn open_socket(&mut self) -> io::Result<Option<&UdpSocket>> {
        let now = clock::now();
        if self.socket.as_ref().is_some_and(|(_, until)| *until <= now) {
            self.socket = None;
        }
        if self.socket.is_none() {
            if self.resting.is_some_and(|until| until > now) {
                return Ok(None);
            }
            match connect_to(&self.server) {
                Ok(socket) => self.socket = Some((socket, now + KNOWN)),
                Err(error) => {
                    self.begin_rest();
                    return Err(error);
                }
            }
        }
        Ok(self.socket.as_ref().map(|(socket, _)| socket))
    }

    fn begin_rest(&mut self) {
        self.socket = None;
        self.resting = Some(clock::now() + REST);
    }
}

fn connect_to(server: &str) -> io::Result<UdpSocket> {
    let mut all = server.to_socket_addrs()?;
    let address = all.next().ok_or(ErrorKind::NotFound)?;
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Writes a whole message, or one that says that it is cut.
fn write_message(message: &mut Vec<u8>, start: &str, line: &[u8]) {
    message.clear();
    message.extend_from_slice(start.as_bytes());
    let room = LONGEST - message.len().min(LONGEST);
    if line.len() <= room {
        message.extend_from_slice(line);
        return;
    }
    let mut end = room.saturating_sub(CUT.len());
    // Not in the middle of a character.
    while end > 0 && line.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
        end -= 1;
    }
    message.extend_from_slice(line.get(..end).unwrap_or_default());
    message.extend_from_slice(CUT);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_message_and_a_long_one_says_that_it_is_cut() {
        let mut message = Vec::new();
        write_message(&mut message, "<134>1 - - - - - - ", b"a \\x0A b");
        assert_eq!(message, b"<134>1 - - - - - - a \\x0A b");
        for length in [8173, 8174, 20_000] {
            write_message(&mut message, "<134>1 - - - - - - ", &vec![b'x'; length]);
            assert_eq!(message.len(), (19 + length).min(LONGEST));
            assert_eq!(message.ends_with(CUT), length > 8173, "{length}");
        }
        write_message(&mut message, "", "é".repeat(LONGEST).as_bytes());
        assert!(message.len() <= LONGEST && std::str::from_utf8(&message).is_ok());
    }

    #[test]
    fn what_cannot_be_sent_is_counted() {
        let mut syslog = Syslog::new("no-such-host.invalid:514");
        let Lost { lines, error } = syslog.send_lines(b"a\nb\n");
        assert!(lines == 2 && error.is_some());
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        drop(server);
        let mut syslog = Syslog::new(&address.to_string());
        // Nobody is there, which is known once the first has come back.
        let lost: u64 = (0..50).map(|_| syslog.send_lines(b"a\nb\n").lines).sum();
        assert!((90..=100).contains(&lost), "{lost}");
    }
}
