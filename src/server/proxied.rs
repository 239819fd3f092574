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

use crate::net::Stream;
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
        timeout(within, read_header(stream)).await.unwrap_or(Err(ProxyHeaderFault))
    } else {
        // Who says nothing in time is let go as everywhere else, and has sent no header.
        timeout(within, look_at_stranger(stream))
            .await
            .map_err(|_| ProxyHeaderFault)?
            .map(|()| None)
    };
    said.inspect_err(|ProxyHeaderFault| {
        listener.counts.proxy_headers_refused.fetch_add(1, Relaxed);
        let key = "listen.trusted_proxies";
        tracing::debug!(listen = %listener.name, %ip, key, "PROXY header missing, wrong or not trusted");
    })
}

/// The header is not one, too long, or from somebody who may not send one.
#[derive(Debug)]
pub(super) struct ProxyHeaderFault;

impl From<io::Error> for ProxyHeaderFault {
    fn from(_: io::Error) -> Self {
        Self
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
            return Err(ProxyHeaderFault);
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
    let (parsed, used) =
        ProxyHeader::parse(header, ParseConfig::default()).map_err(|_| ProxyHeaderFault)?;
    if used != header.len() {
        return Err(ProxyHeaderFault);
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
        return Err(ProxyHeaderFault);
    }
    let mut ahead = [0; V1];
    loop {
        let room =
            ahead.get_mut(line.len()..).filter(|room| !room.is_empty()).ok_or(ProxyHeaderFault)?;
        let seen = stream.peek(room).await?;
        if seen == 0 {
            return Err(ProxyHeaderFault);
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
    if begins { Err(ProxyHeaderFault) } else { Ok(()) }
}
