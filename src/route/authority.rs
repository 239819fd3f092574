//! Hosts as they are matched: one form for each, whichever way it was spelled.

use std::borrow::Cow;
use std::net::Ipv6Addr;

/// RFC 1035 §2.3.4. Longer names do not exist, and looking one up label by label is not free.
const MAX_HOST: usize = 255;

/// The host of an authority (a host with an optional port) in the form that is matched: lower case, without port and
/// trailing dot, addresses in one spelling. `None` where it is none.
#[must_use]
pub fn canonical(authority: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(authority).ok()?;
    if let Some(rest) = text.strip_prefix('[') {
        let (literal, after) = rest.split_once(']')?;
        let address: Ipv6Addr = literal.parse().ok()?;
        match after.strip_prefix(':') {
            None if after.is_empty() => {}
            None => return None,
            Some(port) => check_port(port)?,
        }
        // An address has many spellings (RFC 5952 §2); routes are written with this one.
        return Some(Cow::Owned(format!("[{address}]")));
    }
    let (host, port) = text.split_once(':').unwrap_or((text, ""));
    check_port(port)?;
    let host = host.strip_suffix('.').unwrap_or(host);
    let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    if host.is_empty()
        || host.len() > MAX_HOST
        || host.split('.').any(str::is_empty)
        || !host.bytes().all(valid)
    {
        return None;
    }
    if host.bytes().any(|b| b.is_ascii_uppercase()) {
        Some(Cow::Owned(host.to_ascii_lowercase()))
    } else {
        Some(Cow::Borrowed(host))
    }
}

/// Returns whether this is a host with an optional port.
#[must_use]
pub fn is_host(value: &[u8]) -> bool {
    canonical(value).is_some()
}

/// RFC 3986 §3.2.3: digits, possibly none.
fn check_port(port: &str) -> Option<()> {
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    if !digits || !port.is_empty() && port.parse::<u16>().is_err() {
        return None;
    }
    Some(())
}
