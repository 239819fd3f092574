//! Whose a connection is, as servers are told that read a PROXY header (HAProxy,
//! `proxy-protocol.txt`).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use proxy_header::{ProxiedAddress, ProxyHeader, Tlv};

/// The form of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announce {
    /// A line of text.
    V1,
    /// Binary, with extensions.
    V2,
}

/// A checksum over the header it came with (`PP2_TYPE_CRC32C`), which is another one from here on.
const CRC32C: u8 = 0x03;

/// The two ends of a client's connection.
#[derive(Debug)]
pub struct Ends {
    /// Unique in the process. A connection to a server that was told of them is of use to no other
    /// client.
    pub id: u64,
    v1: Box<[u8]>,
    v2: Box<[u8]>,
}

impl Ends {
    /// A connection from `client` to `server`. Extensions that came with it are passed on in
    /// version 2.
    #[must_use]
    pub fn new<'t>(
        client: SocketAddr,
        server: SocketAddr,
        extensions: impl Iterator<Item = Tlv<'t>>,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let canonical = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
        let address = || ProxiedAddress::stream(canonical(client), canonical(server));
        let kept = extensions.filter(|tlv| tlv.kind() != CRC32C);
        let (mut v1, mut v2) = (Vec::new(), Vec::new());
        let written = ProxyHeader::with_address(address())
            .encode_v1(&mut v1)
            .and_then(|()| ProxyHeader::with_tlvs(Some(address()), kept).encode_v2(&mut v2));
        if written.is_err() {
            // Ends of different families: nothing can be said of them.
            v1 = Self::anonymous_header(Announce::V1).to_vec();
            v2 = Self::anonymous_header(Announce::V2).to_vec();
        }
        Self { id: NEXT.fetch_add(1, Relaxed), v1: v1.into(), v2: v2.into() }
    }

    /// The header that tells of them.
    #[must_use]
    pub fn header_for(&self, form: Announce) -> &[u8] {
        match form {
            Announce::V1 => &self.v1,
            Announce::V2 => &self.v2,
        }
    }

    /// The header of a connection that is nobody's but the proxy's own: of a check or a copy.
    #[must_use]
    pub fn anonymous_header(form: Announce) -> &'static [u8] {
        match form {
            Announce::V1 => b"PROXY UNKNOWN\r\n",
            Announce::V2 => b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
        }
    }
}

/// The terms that a connection was made with. It carries only requests that would have made it with
/// the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MadeWith {
    /// The id of its TLS settings; 0 without TLS.
    pub tls: u64,
    /// The id of the client's connection that the server was told of; 0 where it was told of none.
    pub ends: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn both_versions_tell_of_both_ends() {
        let crc = Tlv::decode(3, &[1, 2, 3, 4]).unwrap();
        let other = Tlv::decode(0xe4, b"x").unwrap();
        let ends =
            Ends::new(at("192.0.2.1:5"), at("[::ffff:192.0.2.2]:80"), [crc, other].into_iter());
        assert_eq!(ends.header_for(Announce::V1), b"PROXY TCP4 192.0.2.1 192.0.2.2 5 80\r\n");
        let binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10\xc0\0\x02\x01\xc0\0\x02\x02\0\x05\0\x50\xe4\0\x01x";
        assert_eq!(ends.header_for(Announce::V2), binary);
        let six = Ends::new(at("[2001:db8::1]:5"), at("[2001:db8::2]:80"), [].into_iter());
        assert_eq!(six.header_for(Announce::V1), b"PROXY TCP6 2001:db8::1 2001:db8::2 5 80\r\n");
        let mixed = Ends::new(at("192.0.2.1:5"), at("[2001:db8::2]:80"), [].into_iter());
        assert_eq!(mixed.header_for(Announce::V1), Ends::anonymous_header(Announce::V1));
        assert_ne!(six.id, ends.id);
    }
}
