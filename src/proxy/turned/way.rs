//! How one reference or cookie is turned back.

use std::borrow::Cow;

use super::keep_on_host;
use crate::snapshot::rewrite::AnswerRules;

/// The addresses that a request came from and went to.
#[derive(Debug, Clone, Copy)]
pub(super) struct TurnedWay<'w> {
    /// Taken off the start of the path.
    pub(super) stripped: &'w [u8],
    /// Put at the start of the path; without a slash at its end.
    pub(super) prefix: &'w [u8],
    /// `http` or `https`, as the client sees it.
    pub(super) scheme: &'w str,
    /// The host that the client asked for, with its port.
    pub(super) public: &'w [u8],
    /// The host that the server was sent.
    pub(super) sent: &'w [u8],
    /// The addresses of servers.
    pub(super) answers: &'w AnswerRules,
}

impl TurnedWay<'_> {
    /// A path of the server's in the client's terms; `None` where it is the same, or none that
    /// leads here.
    fn turn_path(&self, path: &[u8]) -> Option<Vec<u8>> {
        let below = |path: &[u8], prefix: &[u8]| {
            let rest = path.strip_prefix(prefix)?;
            let whole = rest.is_empty() || matches!(rest.first(), Some(b'/' | b'?' | b'#'));
            whole.then(|| rest.to_vec())
        };
        if self.stripped == self.prefix {
            return None;
        }
        if !self.stripped.is_empty() && below(path, self.stripped).is_some() {
            return None;
        }
        let rest = below(path, self.prefix)?;
        let turned = [self.stripped, &rest].concat();
        Some(if turned.starts_with(b"/") { turned } else { [b"/", &*turned].concat() })
    }

    /// A reference (RFC 3986 §4.1), which is relative, a path, or a URL with or without its scheme.
    pub(super) fn turn_reference<'v>(&self, value: &'v [u8]) -> Cow<'v, [u8]> {
        let (scheme, rest) = match value.iter().position(|byte| *byte == b':') {
            Some(at) if is_web(value.get(..at).unwrap_or_default()) => {
                (value.get(..at), value.get(at + 1..).unwrap_or_default())
            }
            _ => (None, value),
        };
        let Some(after) = rest.strip_prefix(b"//") else {
            let mut turned = if scheme.is_none() && rest.starts_with(b"/") {
                self.turn_path(rest)
            } else {
                None
            };
            turned.iter_mut().for_each(keep_on_host);
            return turned.map_or(Cow::Borrowed(value), Cow::Owned);
        };
        let end = after.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(after.len());
        let (host, path) = after.split_at(end);
        let secure = scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"https"));
        let host = canonical_host(host, secure);
        let public = canonical_host(self.public, self.scheme == "https");
        let is_public = host == public;
        let own = is_public
            || host == canonical_host(self.sent, secure)
            || self.answers.servers.contains(&*host);
        if !own || self.public.is_empty() {
            return Cow::Borrowed(value);
        }
        let path = self.turn_path(path).map_or(Cow::Borrowed(path), Cow::Owned);
        let mut turned = Vec::new();
        match scheme {
            // Who sends a client elsewhere than it is means that: to https above all.
            Some(scheme) if is_public => turned.extend_from_slice(scheme),
            Some(_) if secure => turned.extend_from_slice(b"https"),
            Some(_) => turned.extend_from_slice(self.scheme.as_bytes()),
            None => {}
        }
        if scheme.is_some() {
            turned.push(b':');
        }
        turned.extend_from_slice(b"//");
        turned.extend_from_slice(self.public);
        turned.extend_from_slice(&path);
        Cow::Owned(turned)
    }

    /// A cookie (RFC 6265 §4.1.1): its `Path` and `Domain`.
    pub(super) fn turn_cookie<'v>(&self, value: &'v [u8]) -> Cow<'v, [u8]> {
        // Browsers refuse one of this name with another path than `/` or with a domain (RFC 6265bis
        // §4.1.3.2).
        if value
            .trim_ascii_start()
            .get(..7)
            .is_some_and(|name| name.eq_ignore_ascii_case(b"__host-"))
        {
            return Cow::Borrowed(value);
        }
        let mut out: Vec<u8> = Vec::new();
        let mut changed = false;
        for (n, part) in value.split(|byte| *byte == b';').enumerate() {
            if n > 0 {
                out.push(b';');
            }
            let at = memchr::memchr(b'=', part).filter(|_| n > 0);
            let (name, attribute) = match at.and_then(|at| part.split_at_checked(at + 1)) {
                Some((name, attribute)) => (name, attribute.trim_ascii()),
                None => (part, &b""[..]),
            };
            let turned = match name.trim_ascii() {
                name if name.eq_ignore_ascii_case(b"path=") => self.cookie_path(attribute),
                name if name.eq_ignore_ascii_case(b"domain=") => self.cookie_domain(attribute),
                _ => None,
            };
            match turned {
                Some(turned) => {
                    changed = true;
                    out.extend_from_slice(name);
                    out.extend_from_slice(&turned);
                }
                None => out.extend_from_slice(part),
            }
        }
        if changed { Cow::Owned(out) } else { Cow::Borrowed(value) }
    }

    /// The path of a cookie. For all of the server it is what was taken off, without a slash at its
    /// end: with one, it would not be sent for the path that is just that (RFC 6265 §5.1.4).
    fn cookie_path(&self, path: &[u8]) -> Option<Vec<u8>> {
        // What was taken off is the client's: a `;` in it would begin an attribute that the server
        // did not give.
        if !path.starts_with(b"/") || self.stripped.contains(&b';') {
            return None;
        }
        let mut turned = self.turn_path(path)?;
        if turned.len() > 1 && path == b"/" && turned.ends_with(b"/") {
            turned.pop();
        }
        Some(turned)
    }

    /// The domain of a cookie, where it is the host that the server was sent in the stead of the
    /// client's.
    fn cookie_domain(&self, domain: &[u8]) -> Option<Vec<u8>> {
        let bare = |host: &[u8]| without_port(host).to_ascii_lowercase();
        let domain = domain.strip_prefix(b".").unwrap_or(domain);
        let (sent, public) = (bare(self.sent), bare(self.public));
        let own = domain.eq_ignore_ascii_case(&sent) && sent != public && !public.is_empty();
        own.then_some(public)
    }
}

fn is_web(scheme: &[u8]) -> bool {
    scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https")
}

/// A host without the port that its scheme has anyway, in lower case.
fn canonical_host(host: &[u8], secure: bool) -> Vec<u8> {
    let host = host.to_ascii_lowercase();
    let usual: &[u8] = if secure { b":443" } else { b":80" };
    host.strip_suffix(usual).map(<[u8]>::to_vec).unwrap_or(host)
}

fn without_port(host: &[u8]) -> &[u8] {
    let after_literal = host.iter().rposition(|b| *b == b']').map_or(0, |at| at + 1);
    let tail = host.get(after_literal..).unwrap_or_default();
    let end = memchr::memrchr(b':', tail).map_or(host.len(), |at| after_literal + at);
    host.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests;
