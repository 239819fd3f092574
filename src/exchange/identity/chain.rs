//! The proxies that a request came through, as `X-Forwarded-For` and `Forwarded` tell them.

use std::net::{IpAddr, SocketAddr};

use crate::wire::Known;
use crate::wire::head::{Fields, list_items};

/// The chain of addresses that a trusted proxy names, read from the right.
pub(super) struct Chain {
    /// The rightmost address that is not itself trusted (MDN "Selecting an IP address"; nginx
    /// `real_ip_recursive on`); `None` when no address is in it.
    pub(super) client: Option<IpAddr>,
    /// The client's place from the right, from 0 on, and how many elements there are.
    pub(super) at: usize,
    pub(super) all: usize,
}

impl Chain {
    const NOBODY: Self = Self { client: None, at: 0, all: 0 };

    /// Reads `X-Forwarded-For`.
    pub(super) fn read_chain(fields: &Fields, trusts: impl Fn(IpAddr) -> bool) -> Self {
        if !fields.has(Known::XForwardedFor) {
            return Self::NOBODY;
        }
        // What was added last stands last.
        let lines = fields.values(Known::XForwardedFor).rev();
        let items = lines.flat_map(|line| line.rsplit(|b| *b == b',')).map(<[u8]>::trim_ascii);
        Self::from_items(items.filter(|item| !item.is_empty()).map(parse_address), trusts)
    }

    /// Reads `Forwarded`.
    pub(super) fn read_forwarded(fields: &Fields, trusts: impl Fn(IpAddr) -> bool) -> Self {
        if !fields.has(Known::Forwarded) {
            return Self::NOBODY;
        }
        let lines = fields.values(Known::Forwarded).rev();
        let items = lines.flat_map(elements_from_the_right).map(<[u8]>::trim_ascii);
        Self::from_items(items.filter(|item| !item.is_empty()).map(forwarded_for), trusts)
    }

    /// Reads a field that names the client alone; several of them, or a list, name nobody.
    pub(super) fn read_one(fields: &Fields, name: &[u8]) -> Self {
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

    /// Returns what a field says of the client: its only element, or the one at the client's place
    /// where each proxy has added one, or else what the nearest proxy says.
    pub(super) fn told_by<'f>(&self, fields: &'f Fields, known: Known) -> Option<&'f [u8]> {
        let items = || fields.values(known).flat_map(list_items);
        let count = if fields.has(known) { items().count() } else { return None };
        let from_the_right = if count == self.all { self.at } else { 0 };
        items().nth(count.checked_sub(from_the_right + 1)?)
    }
}

/// The elements of a `Forwarded` field, the last one first. Read from the right, so that a quote
/// that a client has left open cannot swallow what a proxy has added behind it.
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

/// The address in the `for` of an element of `Forwarded` (RFC 7239 §4, §6); `None` for names,
/// `unknown` and what is malformed.
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

/// An address with or without port or brackets, in canonical form: an IPv4 address is one however
/// it is written.
fn parse_address(item: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(item).ok()?;
    let bare = || text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|socket| socket.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    bare().or_else(with_port).or_else(in_brackets).map(|ip: IpAddr| ip.to_canonical())
}
