//! One socket type over TCP, TLS and Unix sockets, and one way to say how a connection ended.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustls::{ClientConnection, StreamOwned};

#[derive(Debug)]
pub enum Socket {
    Tcp(TcpStream),
    /// A client's, after the handshake.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    Unix(UnixStream),
}

/// What the other side did with the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// An orderly end: FIN.
    Closed,
    /// An abort: RST.
    Reset,
    /// Neither, until the deadline.
    StillOpen,
}

/// The result of one bounded read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    Bytes(usize),
    Closed,
    Reset,
    Nothing,
}

const RESETS: [ErrorKind; 4] = [
    ErrorKind::ConnectionReset,
    ErrorKind::BrokenPipe,
    ErrorKind::ConnectionAborted,
    ErrorKind::NotConnected,
];

impl Socket {
    pub fn tcp(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self::Tcp(stream)
    }

    pub fn try_clone(&self) -> Self {
        match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone().unwrap()),
            Self::Tls(_) => panic!("a TLS connection has one owner"),
            Self::Unix(stream) => Self::Unix(stream.try_clone().unwrap()),
        }
    }

    /// Appends what arrives within `wait` to `into`.
    pub fn read_some(&mut self, into: &mut Vec<u8>, wait: Duration) -> Fill {
        let wait = Some(wait.max(Duration::from_millis(1)));
        let mut piece = [0u8; 65536];
        let read = match self {
            Self::Tcp(stream) => {
                stream.set_read_timeout(wait).and_then(|()| stream.read(&mut piece))
            }
            Self::Tls(stream) => {
                stream.sock.set_read_timeout(wait).and_then(|()| stream.read(&mut piece))
            }
            Self::Unix(stream) => {
                stream.set_read_timeout(wait).and_then(|()| stream.read(&mut piece))
            }
        };
        match read {
            Ok(0) => Fill::Closed,
            Ok(n) => {
                into.extend_from_slice(&piece[..n]);
                Fill::Bytes(n)
            }
            Err(e) if RESETS.contains(&e.kind()) => Fill::Reset,
            Err(_) => Fill::Nothing,
        }
    }

    /// Writes what the peer takes within `wait`; `Ok(0)` when it takes nothing.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn write_some(&mut self, bytes: &[u8], wait: Duration) -> io::Result<usize> {
        let wait = Some(wait.max(Duration::from_millis(1)));
        let written = match self {
            Self::Tcp(stream) => stream.set_write_timeout(wait).and_then(|()| stream.write(bytes)),
            Self::Tls(stream) => stream
                .sock
                .set_write_timeout(wait)
                .and_then(|()| stream.write(bytes))
                .and_then(|n| stream.flush().map(|()| n)),
            Self::Unix(stream) => stream.set_write_timeout(wait).and_then(|()| stream.write(bytes)),
        };
        match written {
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(0),
            other => other,
        }
    }

    pub fn close_write(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Tls(stream) => stream.sock.shutdown(how),
            Self::Unix(stream) => stream.shutdown(how),
        }
    }

    /// Makes the close that follows an abort: RST instead of FIN.
    pub fn abort_on_drop(&self) {
        if let Self::Tcp(stream) = self {
            socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
}
