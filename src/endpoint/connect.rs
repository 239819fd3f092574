//! Opens connections to a server.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Poll, ready};
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::AsyncWriteExt as _;

use super::Endpoint;
use crate::clock::{self, Instant};
use crate::h1::H1Origin;
use crate::h2::link::LinkTerms;
use crate::h2::{Link, Waiters};
use crate::net::{MadeWith, Opened, Stream, Timer};
use crate::tls::client::{AlpnOffer, TlsTarget};
use crate::wire::response::HeadLimits;

/// A reason why no connection came about. Nothing of a request was sent, so any request may go
/// elsewhere.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Every address of the server refused, or the one that did not is not who it should be.
    #[error("{0}")]
    Refused(io::Error),
    /// The proxy itself has no descriptor, port or memory left for one.
    #[error("{0}")]
    NoSocket(io::Error),
    /// As many connections are open as may be, and none has become free before the deadline.
    #[error("no connection became free: {}", if *of_server {
        "the server has as many as it may"
    } else {
        "all servers together have as many as the process may open"
    })]
    NoPlace {
        /// The limit is that of the server, and not that of the process.
        of_server: bool,
    },
    /// The deadline passed first.
    #[error("connecting took too long")]
    Timeout {
        /// The server had taken the connection, but did not finish the handshake.
        taken: bool,
    },
}

impl ConnectError {
    fn from_io(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(
                Errno::MFILE
                | Errno::NFILE
                | Errno::ADDRNOTAVAIL
                | Errno::ADDRINUSE
                | Errno::NOBUFS
                | Errno::NOMEM,
            ) => Self::NoSocket(error),
            _ => Self::Refused(error),
        }
    }
}

/// The way in which a connection is made.
#[derive(Debug, Clone, Copy)]
pub struct ConnectWay<'a> {
    /// The security of the connection.
    pub secured: Option<&'a TlsTarget>,
    /// The protocols that are offered.
    pub offer: AlpnOffer,
    /// The bytes before anything else, which tell whose the connection is.
    pub header: Option<&'a [u8]>,
    /// The id of those ends; 0 where nothing is said of any.
    pub ends: u64,
    /// The limits of the heads of responses.
    pub head: HeadLimits,
    /// The time for which the connection is kept without requests, where requests share it.
    pub kept_for: Duration,
    /// The streams that the server is taken to allow until it says so itself.
    pub streams: usize,
}

impl ConnectWay<'_> {
    /// Returns what connections that are made like this have in common.
    #[must_use]
    pub fn made_with(&self) -> MadeWith {
        MadeWith { tls: self.secured.map_or(0, |secured| secured.outgoing.id), ends: self.ends }
    }
}

/// A fresh connection.
#[derive(Debug)]
pub enum Connected {
    /// HTTP/1: for one request at a time.
    Own(Box<H1Origin>),
    /// HTTP/2: for many.
    Shared(Rc<Link>),
}

/// Connects to the first address of a server that accepts, shakes hands if that is asked for, or
/// fails at `deadline`. It is counted as `opened`; those that wait for a stream of it are
/// `waiters`. Whether the server takes connections is noted in its standing; a deadline that passed
/// is the caller's to judge.
///
/// Cancel safety: dropping the future abandons the attempt.
///
/// # Errors
/// [`ConnectError`].
pub async fn connect_endpoint(
    endpoint: &Endpoint,
    way: ConnectWay<'_>,
    (opened, waiters): (Opened, Rc<Waiters>),
    timer: &mut Timer,
    deadline: Option<Instant>,
) -> Result<Connected, ConnectError> {
    let ConnectWay { secured, offer, header, streams, head, kept_for, .. } = way;
    let taken = Cell::new(false);
    let mut attempt = pin!(async {
        endpoint.connects.fetch_add(1, Ordering::Relaxed);
        let mut stream = first_that_accepts(endpoint).await?;
        taken.set(true);
        endpoint.standing.mark_reached(clock::now());
        if let Some(header) = header {
            stream.write_all(header).await?;
        }
        let (stream, h2) = match (stream, secured) {
            (Stream::Tcp(stream), Some(TlsTarget { outgoing, name })) => {
                let secure = outgoing.secure_connection(stream, name.clone(), offer).await?;
                let stream = Stream::from_tls(secure.into());
                let h2 = stream.speaks_h2();
                (stream, h2)
            }
            // Without ALPN it is known beforehand (RFC 9113 §3.3).
            (stream, _) => (stream, offer == AlpnOffer::Http2),
        };
        let made_with = way.made_with();
        if h2 {
            return Ok(Connected::Shared(Link::new(
                stream,
                opened,
                (made_with, waiters),
                LinkTerms { streams, head, kept_for },
            )));
        }
        let mut origin = H1Origin::new(stream, opened, clock::now());
        origin.made_with = made_with;
        Ok(Connected::Own(Box::new(origin)))
    });
    poll_fn(|cx| {
        if let Poll::Ready(result) = attempt.as_mut().poll(cx) {
            return Poll::Ready(result.map_err(|error| {
                let error = ConnectError::from_io(error);
                if !taken.get() && matches!(error, ConnectError::Refused(_)) {
                    endpoint.standing.mark_unreachable(clock::now());
                }
                error
            }));
        }
        ready!(timer.poll_at(cx, deadline));
        Poll::Ready(Err(ConnectError::Timeout { taken: taken.get() }))
    })
    .await
}

async fn first_that_accepts(endpoint: &Endpoint) -> io::Result<Stream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in &endpoint.addresses {
        match Stream::connect_to(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
