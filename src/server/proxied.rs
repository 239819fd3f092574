//! The PROXY protocol, versions 1 and 2 (HAProxy, `proxy-protocol.txt`): a trusted proxy in front
//! tells who the client of a connection is, before anything else.
//!
//! Only trusted proxies are listened to, and they have to say it. From anybody else such a header
//! is an attempt to be somebody else.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering::Relaxed;

use proxy_header::{ParseConfig, ProxyHeader, Tlv};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::clock;
use crate::net::Stream;
use crate::quota::LineQuota;
use crate::snapshot::Listener;

/// The first bytes of a header of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest header of version 1, and the longest one of version 2 without its first 16 bytes.
const V1: usize = 107;
const V2: usize = 4096;

/// The content of a header.
#[derive(Debug)]
pub(super) struct ToldByProxy {
    /// The client.
    pub client: SocketAddr,
    /// The address that it connected to.
    pub server: SocketAddr,
    /// Extensions.
    pub tlvs: Vec<Tlv<'static>>,
}

/// Reads whose connection this is, if a trusted proxy speaks for somebody. An error when it has to
/// be closed, which has been counted.
///
/// Cancel safety: the connection is of no use afterwards.
pub(super) async fn read_client(
    stream: &mut Stream,
    ip: IpAddr,
    listener: &Listener,
) -> Result<Option<ToldByProxy>, ProxyHeaderFault> {
    let Stream::Tcp(stream) = stream else { return Ok(None) };
    let within = listener.times.headers.unwrap_or(listener.handshake);
    let said = if listener.trusts(ip) {
        timeout(within, read_header(stream)).await.unwrap_or(Err(ProxyHeaderFault::TooLate))
    } else {
        // Who says nothing in time is let go as everywhere else, and has sent no header.
        timeout(within, look_at_stranger(stream))
            .await
            .map_err(|_| ProxyHeaderFault::Ended)?
            .map(|()| None)
    };
    said.inspect_err(|fault| refuse_connection(*fault, ip, listener))
}

/// A reason why a connection cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProxyHeaderFault {
    /// The connection ended before there was a header, as those of some health checks do; or a
    /// stranger said nothing.
    Ended,
    /// A trusted proxy sent no whole header in time.
    TooLate,
    /// A trusted proxy began with something else.
    Missing,
    /// The header is not one.
    Malformed,
    /// The header is longer than one may be.
    TooLong,
    /// Somebody sent one who is not trusted.
    Untrusted,
}

impl ProxyHeaderFault {
    /// The cause for operators; `None` where nothing is wrong.
    fn cause(self) -> Option<&'static str> {
        match self {
            Self::Ended => None,
            Self::TooLate => Some("a trusted proxy sent no PROXY header in time"),
            Self::Missing => Some("a trusted proxy sent no PROXY header"),
            Self::Malformed => Some("malformed PROXY header"),
            Self::TooLong => Some("the PROXY header is too long"),
            Self::Untrusted => Some("a PROXY header of somebody who is not trusted"),
        }
    }
}

impl From<io::Error> for ProxyHeaderFault {
    fn from(_: io::Error) -> Self {
        Self::Ended
    }
}

/// Counts a connection that cannot be used, and says so in the log.
fn refuse_connection(fault: ProxyHeaderFault, client: IpAddr, listener: &Listener) {
    static LINES: LineQuota = LineQuota::ten_a_second();
    listener.counts.proxy_headers_refused.fetch_add(1, Relaxed);
    let Some(cause) = fault.cause() else { return };
    if let Some(left_out) = LINES.take(clock::now()) {
        let key = match fault {
            ProxyHeaderFault::Untrusted => "listen.trusted_proxies",
            ProxyHeaderFault::TooLate => "listen.timeout.headers",
            _ => "listen.proxy_protocol",
        };
        tracing::warn!(listen = %listener.name, %client, cause, key, left_out, "connection refused");
    }
}

/// Reads a header and not a byte more. `None` is a connection of the proxy's own (`LOCAL`,
/// `UNKNOWN`).
async fn read_header(stream: &mut TcpStream) -> Result<Option<ToldByProxy>, ProxyHeaderFault> {
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await?;
    if header == SIGNATURE {
        let mut rest = [0; 4];
        stream.read_exact(&mut rest).await?;
        header.extend_from_slice(&rest);
        let [_, _, high, low] = rest;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > V2 {
            return Err(ProxyHeaderFault::TooLong);
        }
        let begin = header.len();
        header.resize(begin + length, 0);
        stream.read_exact(header.get_mut(begin..).unwrap_or_default()).await?;
    } else {
        read_line(stream, &mut header).await?;
    }
    parse_header(&header)
}

/// Reads what a header says, which is nothing but a header.
pub(super) fn parse_header(header: &[u8]) -> Result<Option<ToldByProxy>, ProxyHeaderFault> {
    let (parsed, used) = ProxyHeader::parse(header, ParseConfig::default())
        .map_err(|_| ProxyHeaderFault::Malformed)?;
    if used != header.len() {
        return Err(ProxyHeaderFault::Malformed);
    }
    Ok(parsed.proxied_address().map(|address| ToldByProxy {
        client: address.source,
        server: address.destination,
        // What cannot be read is not passed on.
        tlvs: parsed.tlvs().filter_map(|tlv| tlv.ok().map(Tlv::into_owned)).collect(),
    }))
}

/// Reads the rest of a line of version 1.
async fn read_line(stream: &mut TcpStream, line: &mut Vec<u8>) -> Result<(), ProxyHeaderFault> {
    if !line.starts_with(b"PROXY ") {
        return Err(ProxyHeaderFault::Missing);
    }
    let mut ahead = [0; V1];
    loop {
        let room = ahead.get_mut(line.len()..).filter(|room| !room.is_empty());
        let room = room.ok_or(ProxyHeaderFault::TooLong)?;
        let seen = stream.peek(room).await?;
        if seen == 0 {
            return Err(ProxyHeaderFault::Ended);
        }
        let end = room.iter().take(seen).position(|byte| *byte == b'\n');
        let part = room.get_mut(..end.map_or(seen, |end| end + 1)).unwrap_or_default();
        stream.read_exact(part).await?;
        line.extend_from_slice(part);
        if end.is_some() {
            return Ok(());
        }
    }
}

/// Refuses those who begin with a header although nobody trusts them.
async fn look_at_stranger(stream: &TcpStream) -> Result<(), ProxyHeaderFault> {
    let mut first = [0; SIGNATURE.len()];
    let seen = stream.peek(&mut first).await?;
    let first = first.get(..seen).unwrap_or_default();
    let begins = first.starts_with(b"PROXY ") || seen >= 5 && SIGNATURE.starts_with(first);
    if begins { Err(ProxyHeaderFault::Untrusted) } else { Ok(()) }
}
