//! Hosts as they are matched: one form for each, whichever way it was spelled.

use std::borrow::Cow;
use std::net::Ipv6Addr;

/// RFC 1035 §2.3.4. Longer names do not exist, and looking one up label by label is not free.
const MAX_HOST: usize = 255;

/// The part that a byte can have in an authority.
#[derive(Clone, Copy)]
enum AuthorityKind {
    Small,
    Capital,
    Dot,
    Colon,
    Bad,
}

static KINDS: [AuthorityKind; 256] = {
    let mut kinds = [AuthorityKind::Bad; 256];
    let mut byte = 0_usize;
    while byte < 256 {
        kinds[byte] = match byte.to_le_bytes()[0] {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => AuthorityKind::Small,
            b'A'..=b'Z' => AuthorityKind::Capital,
            b'.' => AuthorityKind::Dot,
            b':' => AuthorityKind::Colon,
            _ => AuthorityKind::Bad,
        };
        byte += 1;
    }
    kinds
};

/// The host of an authority (a host with an optional port) in the form that is matched: lower case,
/// without port and trailing dot, addresses in one spelling. `None` where it is none.
#[must_use]
pub fn canonical_host(authority: &[u8]) -> Option<Cow<'_, str>> {
    if let Some(rest) = authority.strip_prefix(b"[") {
        return literal_host(rest);
    }
    // Every request comes by here: one pass, and no search.
    let (mut len, mut label, mut upper) = (0, false, false);
    for byte in authority {
        match KINDS.get(usize::from(*byte)).copied().unwrap_or(AuthorityKind::Bad) {
            AuthorityKind::Small => label = true,
            AuthorityKind::Capital => (label, upper) = (true, true),
            AuthorityKind::Dot if label => label = false,
            AuthorityKind::Colon => {
                check_port(authority.get(len + 1..)?)?;
                break;
            }
            AuthorityKind::Dot | AuthorityKind::Bad => return None,
        }
        len += 1;
    }
    let host = authority.get(..len)?;
    let host = host.strip_suffix(b".").unwrap_or(host);
    if host.is_empty() || host.len() > MAX_HOST {
        return None;
    }
    let host = std::str::from_utf8(host).ok()?;
    Some(if upper { Cow::Owned(host.to_ascii_lowercase()) } else { Cow::Borrowed(host) })
}

/// The same of an address of IPv6, without the bracket that it begins with.
fn literal_host(rest: &[u8]) -> Option<Cow<'_, str>> {
    let (literal, after) = std::str::from_utf8(rest).ok()?.split_once(']')?;
    let address: Ipv6Addr = literal.parse().ok()?;
    match after.strip_prefix(':') {
        None if after.is_empty() => {}
        None => return None,
        Some(port) => check_port(port.as_bytes())?,
    }
    // An address has many spellings (RFC 5952 §2); routes are written with this one.
    Some(Cow::Owned(format!("[{address}]")))
}

/// Returns whether this is a host with an optional port.
#[must_use]
pub fn is_host(value: &[u8]) -> bool {
    canonical_host(value).is_some()
}

/// RFC 3986 §3.2.3: digits, possibly none.
fn check_port(port: &[u8]) -> Option<()> {
    let mut number = 0;
    for byte in port {
        number = number * 10 + char::from(*byte).to_digit(10)?;
        if number > u32::from(u16::MAX) {
            return None;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests;
