//! Who sent a request, decided once, before anything asks: routes, keys, authentication servers,
//! redirects, fields for servers, mirrors, logs and traces all ask this and never the fields of the
//! request.
//!
//! What a trusted proxy says about its client is believed if it makes sense; everybody else's word
//! has been removed from the head before (`proxy::door`). No address is no address: a client behind
//! a Unix socket has none unless a trusted field names it.

mod chain;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::net::IpAddr;

use self::chain::Chain;
use crate::tls::Certificate;
use crate::wire::Known;
use crate::wire::head::Fields;

/// The other end of the connection that a request came by.
#[derive(Debug, Clone, Copy)]
pub struct OtherEnd<'a> {
    /// The address in canonical form; `None` for a Unix socket.
    pub ip: Option<IpAddr>,
    /// The same as text.
    pub text: Option<&'a str>,
    /// True for a trusted proxy.
    pub trusted: bool,
    /// `http` or `https`, as the connection is.
    pub scheme: &'static str,
    /// The certificate by which it has proved who it is.
    pub certificate: Option<&'a Certificate>,
}

/// The field by which a trusted proxy names its client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ClientField {
    /// `X-Forwarded-For`, a chain of which the rightmost address that is not itself trusted counts.
    #[default]
    ForwardedFor,
    /// `Forwarded` (RFC 7239), such a chain too.
    Forwarded,
    /// A field of this name, in lower case, with one address.
    Named(Box<[u8]>),
}

/// The sender of a request, and what it asked for before proxies rewrote it.
#[derive(Debug, Clone)]
pub struct Identity<'a> {
    /// The other end of the connection.
    pub peer: OtherEnd<'a>,
    /// The client behind trusted proxies, in canonical form; `None` where nobody knows an address.
    pub client: Option<IpAddr>,
    text: Option<Cow<'a, str>>,
    /// `http` or `https`, as the client sees it.
    pub scheme: &'static str,
    /// The host that the client asked for, as a trusted proxy tells; `None` is that of the request.
    pub host: Option<&'a [u8]>,
    /// The port that the client asked for, as a trusted proxy tells.
    pub port: Option<&'a [u8]>,
    /// Servers are told the chain of `X-Forwarded-For` that a trusted proxy has sent.
    pub continues_chain: bool,
}

impl<'a> Identity<'a> {
    /// The identity of a request with these fields, of which `named_by` names the client. `trusts`
    /// says which addresses are trusted proxies, `is_host` what is a host with an optional port.
    #[inline]
    #[must_use]
    pub fn new(
        peer: OtherEnd<'a>,
        fields: &'a Fields,
        named_by: &ClientField,
        trusts: impl Fn(IpAddr) -> bool,
        is_host: impl Fn(&[u8]) -> bool,
    ) -> Self {
        let text = peer.text.map(Cow::Borrowed);
        let direct = Self {
            peer,
            client: peer.ip,
            text,
            scheme: peer.scheme,
            host: None,
            port: None,
            continues_chain: false,
        };
        if peer.trusted { direct.told_by(fields, named_by, trusts, is_host) } else { direct }
    }

    /// The same with what a trusted proxy says.
    #[inline(never)]
    fn told_by(
        self,
        fields: &'a Fields,
        named_by: &ClientField,
        trusts: impl Fn(IpAddr) -> bool,
        is_host: impl Fn(&[u8]) -> bool,
    ) -> Self {
        let peer = self.peer;
        let chain = match named_by {
            ClientField::ForwardedFor => Chain::read_chain(fields, trusts),
            ClientField::Forwarded => Chain::read_forwarded(fields, trusts),
            ClientField::Named(name) => Chain::read_one(fields, name),
        };
        let told = |known| chain.told_by(fields, known);
        let client = chain.client.or(peer.ip);
        Self {
            client,
            text: if client == peer.ip {
                self.text
            } else {
                client.map(|ip| Cow::Owned(ip.to_string()))
            },
            scheme: told(Known::XForwardedProto).and_then(told_scheme).unwrap_or(peer.scheme),
            host: told(Known::XForwardedHost).filter(|host| is_host(host)),
            port: told(Known::XForwardedPort).filter(|port| is_port(port)),
            continues_chain: *named_by == ClientField::ForwardedFor,
            ..self
        }
    }

    /// The client's address as text; `None` where nobody knows one.
    #[must_use]
    pub fn client_text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// The client for people who read logs.
    #[must_use]
    pub fn shown_client(&self) -> &str {
        self.client_text().unwrap_or("unix")
    }

    /// Returns whether the client itself speaks TLS, to the proxy or to a trusted one before it.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.scheme == "https"
    }
}

/// `http` or `https` for the schemes that proxies name.
fn told_scheme(told: &[u8]) -> Option<&'static str> {
    let is = |name: &[u8]| told.eq_ignore_ascii_case(name);
    if is(b"https") || is(b"wss") {
        return Some("https");
    }
    (is(b"http") || is(b"ws")).then_some("http")
}

fn is_port(told: &[u8]) -> bool {
    std::str::from_utf8(told).is_ok_and(|text| text.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Returns what counts as one client: an IPv4 address, or the /64 of an IPv6 address, which is what
/// one household gets.
#[must_use]
pub fn client_network(ip: IpAddr) -> [u8; 8] {
    let mut network = [0; 8];
    match ip {
        IpAddr::V4(v4) => {
            // No global address begins like this.
            let (_, end) = network.split_at_mut(4);
            end.copy_from_slice(&v4.octets());
        }
        IpAddr::V6(v6) => {
            let octets = v6.octets();
            network.copy_from_slice(octets.get(..8).unwrap_or(&[0; 8]));
        }
    }
    network
}
