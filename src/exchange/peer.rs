//! Who is at the other end of a connection.

use std::net::IpAddr;

use crate::net::Ends;
use crate::tls::{Certificate, TlsInfo};

/// The facts about a connection before its first request.
#[derive(Debug)]
pub struct ClientPeer {
    /// The other end's address in canonical form; `None` for a Unix socket.
    pub ip: Option<IpAddr>,
    /// The same as text, for logs; `unix` for a Unix socket.
    pub text: Box<str>,
    /// The other end is a trusted proxy.
    pub trusted: bool,
    /// The listener's place in the snapshot.
    pub listener: u16,
    /// The facts that the handshake told; `None` for a connection without TLS.
    pub tls: Option<Box<TlsInfo>>,
    /// The two ends of the connection, where servers are told; `None` also for one that was there
    /// before they were.
    pub ends: Option<Box<Ends>>,
}

impl ClientPeer {
    /// `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// The certificate by which the client has proved who it is.
    #[must_use]
    pub fn certificate(&self) -> Option<&Certificate> {
        self.tls.as_ref()?.client.as_ref()
    }
}
