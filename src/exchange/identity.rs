//! Who sent a request, decided once, before anything asks: routes, keys, authentication servers, redirects, fields for
//! servers, mirrors, logs and traces all ask this and never the fields of the request.
//!
//! What a trusted proxy says about its client is believed if it makes sense; everybody else's word has been removed
//! from the head before (`proxy::door`). No address is no address: a client behind a Unix socket has none unless a
//! trusted field names it.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use crate::tls::Certificate;
use crate::wire::Known;
use crate::wire::head::{Fields, list_items};

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
    /// The identity of a request with these fields, of which `named_by` names the client. `trusts` says which addresses
    /// are trusted proxies, `is_host` what is a host with an optional port.
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

/// The chain of addresses that a trusted proxy names, read from the right.
struct Chain {
    /// The rightmost address that is not itself trusted (MDN "Selecting an IP address"; nginx
    /// `real_ip_recursive on`); `None` when no address is in it.
    client: Option<IpAddr>,
    /// The client's place from the right, from 0 on, and how many elements there are.
    at: usize,
    all: usize,
}

impl Chain {
    const NOBODY: Self = Self { client: None, at: 0, all: 0 };

    /// Reads `X-Forwarded-For`.
    fn read_chain(fields: &Fields, trusts: impl Fn(IpAddr) -> bool) -> Self {
        if !fields.has(Known::XForwardedFor) {
            return Self::NOBODY;
        }
        // What was added last stands last.
        let lines = fields.values(Known::XForwardedFor).rev();
        let items = lines.flat_map(|line| line.rsplit(|b| *b == b',')).map(<[u8]>::trim_ascii);
        Self::from_items(items.filter(|item| !item.is_empty()).map(parse_address), trusts)
    }

    /// Reads `Forwarded`.
    fn read_forwarded(fields: &Fields, trusts: impl Fn(IpAddr) -> bool) -> Self {
        if !fields.has(Known::Forwarded) {
            return Self::NOBODY;
        }
        let lines = fields.values(Known::Forwarded).rev();
        let items = lines.flat_map(elements_from_the_right).map(<[u8]>::trim_ascii);
        Self::from_items(items.filter(|item| !item.is_empty()).map(forwarded_for), trusts)
    }

    /// Reads a field that names the client alone; several of them, or a list, name nobody.
    fn read_one(fields: &Fields, name: &[u8]) -> Self {
        let mut all = fields.named(name);
        let client = match (all.next(), all.next()) {
            (Some(one), None) => parse_address(one.trim_ascii()),
            _ => None,
        };
        Self { client, ..Self::NOBODY }
    }

    /// The chain of these addresses, the nearest one first; `None` is an element that names nobody.
    fn from_items(
        items: impl Iterator<Item = Option<IpAddr>>,
        trusts: impl Fn(IpAddr) -> bool,
    ) -> Self {
        let mut chain = Self::NOBODY;
        let mut open = true;
        for item in items {
            if open && let Some(address) = item {
                (chain.client, chain.at) = (Some(address), chain.all);
                open = trusts(address);
            } else {
                open = false;
            }
            chain.all += 1;
        }
        chain
    }

    /// Returns what a field says of the client: its only element, or the one at the client's place where each proxy has
    /// added one, or else what the nearest proxy says.
    fn told_by<'f>(&self, fields: &'f Fields, known: Known) -> Option<&'f [u8]> {
        let items = || fields.values(known).flat_map(list_items);
        let count = if fields.has(known) { items().count() } else { return None };
        let from_the_right = if count == self.all { self.at } else { 0 };
        items().nth(count.checked_sub(from_the_right + 1)?)
    }
}

/// The elements of a `Forwarded` field, the last one first. Read from the right, so that a quote that a client has left
/// open cannot swallow what a proxy has added behind it.
fn elements_from_the_right(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let mut quoted = false;
        for (at, byte) in line.iter().enumerate().rev() {
            match byte {
                b'"' if !is_escaped(line, at) => quoted = !quoted,
                b',' if !quoted => {
                    let (before, element) = line.split_at(at);
                    rest = Some(before);
                    return element.get(1..);
                }
                _ => {}
            }
        }
        rest = None;
        Some(line)
    })
}

/// Returns whether an odd number of backslashes stands before this place.
fn is_escaped(text: &[u8], at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// The address in the `for` of an element of `Forwarded` (RFC 7239 §4, §6); `None` for names, `unknown` and what is
/// malformed.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut quoted = false;
    let parameters = element.split(|byte| {
        quoted ^= *byte == b'"';
        *byte == b';' && !quoted
    });
    let mut named = parameters.filter_map(|parameter| {
        let at = memchr::memchr(b'=', parameter)?;
        let (name, value) = parameter.split_at_checked(at)?;
        name.trim_ascii().eq_ignore_ascii_case(b"for").then(|| value.get(1..))?
    });
    let value = named.next().filter(|_| named.next().is_none())?.trim_ascii();
    let inner = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    parse_address(inner.unwrap_or(value))
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

/// An address with or without port or brackets, in canonical form: an IPv4 address is one however it is written.
fn parse_address(item: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(item).ok()?;
    let bare = || text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|socket| socket.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    bare().or_else(with_port).or_else(in_brackets).map(|ip: IpAddr| ip.to_canonical())
}

/// Returns what counts as one client: an IPv4 address, or the /64 of an IPv6 address, which is what one household gets.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(all: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        all.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
        fields
    }

    /// Client, scheme, host and port for these fields from `peer`; 10.0.0.0/8 is trusted.
    fn told(peer: &str, all: &[(&str, &str)]) -> [String; 4] {
        told_by(&ClientField::ForwardedFor, peer, all)
    }

    fn told_by(named_by: &ClientField, peer: &str, all: &[(&str, &str)]) -> [String; 4] {
        let trusts = |ip: IpAddr| matches!(ip, IpAddr::V4(v4) if v4.octets()[0] == 10);
        let ip: Option<IpAddr> = peer.parse().ok();
        let end = OtherEnd {
            ip,
            text: ip.map(|_| peer),
            trusted: ip.is_none_or(trusts),
            scheme: "http",
            certificate: None,
        };
        let fields = fields(all);
        let identity = Identity::new(end, &fields, named_by, trusts, |host| !host.contains(&b' '));
        let text = |of: Option<&[u8]>| String::from_utf8(of.unwrap_or(b"-").to_vec()).unwrap();
        let client = identity.client_text().unwrap_or("-").to_owned();
        assert_eq!(identity.client.map(|ip| ip.to_string()).unwrap_or("-".into()), client);
        [client, identity.scheme.to_owned(), text(identity.host), text(identity.port)]
    }

    #[test]
    fn i6_the_real_client_is_the_rightmost_that_is_not_trusted() {
        let client = |peer: &str, chain: &str| told(peer, &[("X-Forwarded-For", chain)])[0].clone();
        assert_eq!(client("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2"), "1.2.3.4");
        assert_eq!(client("9.9.9.9", "1.2.3.4"), "9.9.9.9");
        assert_eq!(client("10.0.0.1", "10.0.0.3"), "10.0.0.3");
        assert_eq!(client("10.0.0.1", "evil, 1.2.3.4:80"), "1.2.3.4");
        assert_eq!(client("10.0.0.1", "1.2.3.4, unknown"), "10.0.0.1");
        assert_eq!(client("10.0.0.1", "1.2.3.4, unknown, 10.0.0.2"), "10.0.0.2");
        assert_eq!(client("10.0.0.1", "1.2.3.4, , 10.0.0.2,"), "1.2.3.4");
        assert_eq!(client("10.0.0.1", ""), "10.0.0.1");
        assert_eq!(client("10.0.0.1", "::ffff:198.51.100.1"), "198.51.100.1");
        assert_eq!(client("10.0.0.1", "7.7.7.7, [::ffff:10.0.0.9]:80"), "7.7.7.7");
        assert_eq!(client("10.0.0.1", "[2001:db8::1]"), "2001:db8::1");
        // A Unix socket of a trusted proxy.
        assert_eq!(client("unix", "1.2.3.4"), "1.2.3.4");
        assert_eq!(client("unix", ""), "-");
        let lines = [("X-Forwarded-For", "6.6.6.6, 1.2.3.4"), ("X-Forwarded-For", "10.0.0.2")];
        assert_eq!(told("10.0.0.1", &lines)[0], "1.2.3.4");
    }

    #[test]
    fn forwarded_names_the_client_from_the_right() {
        let client = |peer: &str, chain: &str| {
            let fields = [("X-Forwarded-For", "6.6.6.6"), ("Forwarded", chain)];
            told_by(&ClientField::Forwarded, peer, &fields)[0].clone()
        };
        assert_eq!(
            client("10.0.0.1", "for=6.6.6.6, for=1.2.3.4;proto=https, FOR=10.0.0.2"),
            "1.2.3.4"
        );
        assert_eq!(client("9.9.9.9", "for=1.2.3.4"), "9.9.9.9");
        assert_eq!(
            client("10.0.0.1", "by=10.0.0.9;For=\"[2001:db8::1]:4711\";host=a"),
            "2001:db8::1"
        );
        assert_eq!(client("10.0.0.1", "for=\"1.2.3.4:80\""), "1.2.3.4");
        assert_eq!(client("10.0.0.1", "for=\"::ffff:198.51.100.1\""), "198.51.100.1");
        // What a client has begun cannot swallow what proxies add.
        assert_eq!(client("10.0.0.1", "for=\"6.6.6.6, for=1.2.3.4"), "1.2.3.4");
        assert_eq!(client("10.0.0.1", "for=\"x\\\", for=\"1.2.3.4:80\""), "1.2.3.4");
        assert_eq!(client("10.0.0.1", "for=6.6.6.6;x=\", for=10.0.0.2, for=1.2.3.4"), "1.2.3.4");
        for nobody in [
            "for=unknown",
            "for=_hidden",
            "for=1.2.3.4;for=5.6.7.8",
            "1.2.3.4",
            "for=",
            "by=1.2.3.4",
            "",
            "for=1.2.3.4, for=_x",
            "for=\"1.2.3.4",
            "for=1.2.3.4\"",
            "x=\"a;for=1.2.3.4\"",
            "for=\"1.2.\\3.4\"",
        ] {
            assert_eq!(client("10.0.0.1", nobody), "10.0.0.1", "{nobody}");
        }
        assert_eq!(client("10.0.0.1", "for=1.2.3.4, for=unknown, for=10.0.0.2"), "10.0.0.2");
    }

    #[test]
    fn a_field_of_its_own_names_the_client_alone() {
        let named = ClientField::Named(b"cf-connecting-ip"[..].into());
        let client = |peer: &str, lines: &[(&str, &str)]| told_by(&named, peer, lines)[0].clone();
        let one = |value: &'static str| {
            client("10.0.0.1", &[("X-Forwarded-For", "6.6.6.6"), ("CF-Connecting-IP", value)])
        };
        assert_eq!(
            [one("1.2.3.4"), one(" 10.0.0.7 "), one("2001:db8::1")],
            ["1.2.3.4", "10.0.0.7", "2001:db8::1"]
        );
        for nobody in [
            "",
            "unknown",
            "1.2.3.4, 5.6.7.8",
            "1.2.3.4 5",
            "1.2.3",
            "01.2.3.4",
            "[2001:db8::1",
            "::1%eth0",
        ] {
            assert_eq!(one(nobody), "10.0.0.1", "{nobody}");
        }
        let twice = [("CF-Connecting-IP", "1.2.3.4"), ("cf-connecting-ip", "1.2.3.4")];
        assert_eq!(client("10.0.0.1", &twice), "10.0.0.1");
        assert_eq!(client("9.9.9.9", &[("CF-Connecting-IP", "1.2.3.4")]), "9.9.9.9");
        assert_eq!(client("unix", &[("CF-Connecting-IP", "1.2.3.4")]), "1.2.3.4");
        let proto = [("CF-Connecting-IP", "1.2.3.4"), ("X-Forwarded-Proto", "http, https")];
        assert_eq!(told_by(&named, "10.0.0.1", &proto)[..2], ["1.2.3.4", "https"]);
    }

    #[test]
    fn i16_scheme_host_and_port_are_those_of_the_client() {
        let all = [
            ("X-Forwarded-Proto", "HTTPS"),
            ("X-Forwarded-Host", "a.test"),
            ("X-Forwarded-Port", "8443"),
        ];
        assert_eq!(told("10.0.0.1", &all), ["10.0.0.1", "https", "a.test", "8443"]);
        assert_eq!(told("9.9.9.9", &all), ["9.9.9.9", "http", "-", "-"]);
        let nonsense = [
            ("X-Forwarded-Proto", "gopher"),
            ("X-Forwarded-Host", "a test"),
            ("X-Forwarded-Port", "0"),
        ];
        assert_eq!(told("10.0.0.1", &nonsense), ["10.0.0.1", "http", "-", "-"]);
        let each = [("X-Forwarded-For", "1.2.3.4, 10.0.0.2"), ("X-Forwarded-Proto", "https, http")];
        assert_eq!(told("10.0.0.1", &each)[..2], ["1.2.3.4", "https"]);
        let forged = [("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-Proto", "http, https")];
        assert_eq!(told("10.0.0.1", &forged)[..2], ["1.2.3.4", "https"]);
        let rest = [("X-Forwarded-For", "6.6.6.6, 1.2.3.4"), ("X-Forwarded-Proto", "http, https")];
        assert_eq!(told("10.0.0.1", &rest)[..2], ["1.2.3.4", "https"]);
    }

    #[test]
    fn a_household_is_one_client() {
        let of = |ip: &str| client_network(ip.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
