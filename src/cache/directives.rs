//! Reads `Cache-Control` and its relatives (RFC 9111 §5.2, RFC 9213, RFC 5861).
//!
//! A directive that cannot be understood is never taken for permission: freshness that is no
//! number counts as none left (§4.2.1), and an unknown name is ignored (§5.2.3).

use crate::wire::head::Fields;

/// The longest lifetime that is told apart from a longer one, in seconds (RFC 9111 §1.2.2).
const FOREVER: u64 = 1 << 31;

/// The words of a server about the storing and reuse of its response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponseDirectives {
    /// Seconds of `max-age`; a value that is no number is 0.
    pub max_age: Option<u64>,
    /// Seconds of `s-maxage`; a value that is no number is 0.
    pub s_maxage: Option<u64>,
    /// `no-store`.
    pub no_store: bool,
    /// `no-cache` without field names.
    pub no_cache: bool,
    /// Field names of `no-cache="…"`, in lower case.
    pub no_cache_fields: Vec<Box<[u8]>>,
    /// `private` without field names.
    pub private: bool,
    /// Field names of `private="…"`, in lower case.
    pub private_fields: Vec<Box<[u8]>>,
    /// `public`.
    pub public: bool,
    /// `must-revalidate`.
    pub must_revalidate: bool,
    /// `proxy-revalidate`.
    pub proxy_revalidate: bool,
    /// `must-understand`.
    pub must_understand: bool,
    /// Seconds of `stale-while-revalidate`.
    pub stale_while_revalidate: Option<u64>,
    /// Seconds of `stale-if-error`.
    pub stale_if_error: Option<u64>,
    /// The directives came from `CDN-Cache-Control`, which leaves `Cache-Control` and `Expires`
    /// without a say (RFC 9213 §2.2).
    pub targeted: bool,
}

impl ResponseDirectives {
    /// Reads `CDN-Cache-Control` where it is well formed, and otherwise `Cache-Control`.
    #[must_use]
    pub fn read(fields: &Fields) -> Self {
        if let Some(targeted) = Self::read_targeted(fields) {
            return targeted;
        }
        let mut read = Self::default();
        for line in fields.named(b"cache-control") {
            for (name, value) in split_directives(line) {
                read.take_directive(name, value);
            }
        }
        read
    }

    /// `CDN-Cache-Control`, a dictionary of RFC 9651. A field that does not parse, or that has a
    /// known member of the wrong type, is ignored as a whole (RFC 9213 §2.1).
    fn read_targeted(fields: &Fields) -> Option<Self> {
        let mut read = Self { targeted: true, ..Self::default() };
        let mut any = false;
        for line in fields.named(b"cdn-cache-control") {
            for member in split_outside_quotes(line, b',') {
                let (name, value) = split_dictionary_member(member)?;
                any = true;
                let is = |known: &[u8]| name == known;
                let timed = is(b"max-age")
                    || is(b"s-maxage")
                    || is(b"stale-while-revalidate")
                    || is(b"stale-if-error");
                match value {
                    MemberValue::Integer if FLAGS.contains(&name) => return None,
                    MemberValue::True if timed => return None,
                    MemberValue::Integer | MemberValue::True => {
                        read.take_directive(name, value_of(member));
                    }
                    MemberValue::Other if timed || FLAGS.contains(&name) => return None,
                    MemberValue::Other => {}
                }
            }
        }
        any.then_some(read)
    }

    fn take_directive(&mut self, name: &[u8], value: Option<&[u8]>) {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        if is(b"max-age") {
            keep_smaller(&mut self.max_age, parse_seconds(value).unwrap_or(0));
        } else if is(b"s-maxage") {
            keep_smaller(&mut self.s_maxage, parse_seconds(value).unwrap_or(0));
        } else if is(b"no-store") {
            self.no_store = true;
        } else if is(b"no-cache") {
            take_names(value, &mut self.no_cache, &mut self.no_cache_fields);
        } else if is(b"private") {
            take_names(value, &mut self.private, &mut self.private_fields);
        } else if is(b"public") {
            self.public = true;
        } else if is(b"must-revalidate") {
            self.must_revalidate = true;
        } else if is(b"proxy-revalidate") {
            self.proxy_revalidate = true;
        } else if is(b"must-understand") {
            self.must_understand = true;
        } else if is(b"stale-while-revalidate") {
            keep_smaller(&mut self.stale_while_revalidate, parse_seconds(value).unwrap_or(0));
        } else if is(b"stale-if-error") {
            keep_smaller(&mut self.stale_if_error, parse_seconds(value).unwrap_or(0));
        }
    }
}

/// The wishes of a client towards caches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// `no-cache`, or `Pragma: no-cache` where there is no `Cache-Control` (RFC 9111 §5.4).
    pub no_cache: bool,
    /// `no-store`.
    pub no_store: bool,
    /// `only-if-cached`.
    pub only_if_cached: bool,
    /// Seconds of `max-age`.
    pub max_age: Option<u64>,
    /// Seconds of `min-fresh`.
    pub min_fresh: Option<u64>,
    /// Seconds of `max-stale`; without a value any staleness is accepted.
    pub max_stale: Option<u64>,
    /// Seconds of `stale-if-error`.
    pub stale_if_error: Option<u64>,
}

impl RequestDirectives {
    /// Reads `Cache-Control`, or `Pragma` where there is none.
    #[must_use]
    pub fn read(fields: &Fields) -> Self {
        let mut read = Self::default();
        let mut any = false;
        for line in fields.named(b"cache-control") {
            any = true;
            for (name, value) in split_directives(line) {
                read.take_directive(name, value);
            }
        }
        if !any {
            let mut lines = fields.named(b"pragma");
            read.no_cache = lines.any(|line| {
                split_directives(line).any(|(name, _)| name.eq_ignore_ascii_case(b"no-cache"))
            });
        }
        read
    }

    fn take_directive(&mut self, name: &[u8], value: Option<&[u8]>) {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        if is(b"no-cache") {
            self.no_cache = true;
        } else if is(b"no-store") {
            self.no_store = true;
        } else if is(b"only-if-cached") {
            self.only_if_cached = true;
        } else if is(b"max-age") {
            keep_smaller(&mut self.max_age, parse_seconds(value).unwrap_or(0));
        } else if is(b"min-fresh") {
            self.min_fresh = parse_seconds(value).or(self.min_fresh);
        } else if is(b"max-stale") {
            self.max_stale = Some(value.map_or(u64::MAX, |_| parse_seconds(value).unwrap_or(0)));
        } else if is(b"stale-if-error") {
            self.stale_if_error = parse_seconds(value).or(self.stale_if_error);
        }
    }
}

/// Of a directive that is given twice the stricter one counts (RFC 9111 §4.2.1 leaves the choice).
fn keep_smaller(known: &mut Option<u64>, new: u64) {
    *known = Some(known.map_or(new, |known| known.min(new)));
}

fn take_names(value: Option<&[u8]>, all: &mut bool, names: &mut Vec<Box<[u8]>>) {
    match value {
        None => *all = true,
        // Names with escapes are not told apart: what is said holds for the whole response.
        Some(value) if value.contains(&b'\\') => *all = true,
        Some(value) => {
            let mut listed = crate::wire::head::list_items(value).peekable();
            // An empty list says nothing that could be obeyed in part.
            *all |= listed.peek().is_none();
            names.extend(listed.map(|name| name.to_ascii_lowercase().into_boxed_slice()));
        }
    }
}

/// Reads `delta-seconds`; `None` when it is no such number.
fn parse_seconds(value: Option<&[u8]>) -> Option<u64> {
    let value = value?;
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = std::str::from_utf8(value).ok()?.parse::<u64>();
    Some(number.map_or(FOREVER, |number| number.min(FOREVER)))
}

/// Yields the directives of one line as name and value, the quotes of a value taken off.
fn split_directives(line: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    split_outside_quotes(line, b',').map(|item| {
        let name = item.split(|byte| *byte == b'=').next().unwrap_or_default();
        (name.trim_ascii(), value_of(item))
    })
}

/// The value behind the first `=` of a directive. Quoted strings lose their quotes; escapes are not
/// undone, because no known directive needs one.
fn value_of(item: &[u8]) -> Option<&[u8]> {
    let at = item.iter().position(|byte| *byte == b'=')?;
    let value = item.get(at + 1..)?.trim_ascii();
    let unquoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    Some(unquoted.unwrap_or(value))
}

/// Splits at a separator that stands outside quoted strings; blank items are left out.
pub(crate) fn split_outside_quotes(line: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        loop {
            let now = rest?;
            let (mut quoted, mut escaped) = (false, false);
            let end = now.iter().position(|byte| {
                let is_end = !quoted && *byte == separator;
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' if quoted => escaped = true,
                    b'"' => quoted = !quoted,
                    _ => {}
                }
                is_end
            });
            let item = match end {
                Some(end) => {
                    rest = now.get(end + 1..);
                    now.get(..end).unwrap_or_default()
                }
                None => {
                    rest = None;
                    now
                }
            };
            let item = item.trim_ascii();
            if !item.is_empty() {
                return Some(item);
            }
        }
    })
}

/// Members of `CDN-Cache-Control` that are there or not.
const FLAGS: [&[u8]; 7] = [
    b"no-store",
    b"no-cache",
    b"private",
    b"public",
    b"must-revalidate",
    b"proxy-revalidate",
    b"must-understand",
];

/// The type of a dictionary's member, as far as directives need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MemberValue {
    /// A name alone.
    True,
    /// Digits.
    Integer,
    /// A string, token, list or whatever else is well formed.
    Other,
}

/// Name and type of a dictionary's member; `None` when it is malformed (RFC 9651 §4.2.2).
fn split_dictionary_member(member: &[u8]) -> Option<(&[u8], MemberValue)> {
    let end = member.iter().position(|byte| matches!(byte, b'=' | b';')).unwrap_or(member.len());
    let name = member.get(..end)?;
    let starts = name.first().is_some_and(|byte| byte.is_ascii_lowercase() || *byte == b'*');
    let goes_on = |byte: &u8| {
        byte.is_ascii_lowercase()
            || byte.is_ascii_digit()
            || matches!(byte, b'_' | b'-' | b'.' | b'*')
    };
    if !starts || !name.iter().all(goes_on) {
        return None;
    }
    let rest = member.get(end..)?;
    let Some(value) = rest.strip_prefix(b"=") else { return Some((name, MemberValue::True)) };
    let value = split_outside_quotes(value, b';').next()?;
    let first = *value.first()?;
    let kind = match first {
        b'0'..=b'9' if value.iter().all(u8::is_ascii_digit) => MemberValue::Integer,
        b'-' | b'0'..=b'9' => {
            let digits = value.iter().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'.'));
            return digits.then_some((name, MemberValue::Other));
        }
        b'"' => return value.get(1..)?.ends_with(b"\"").then_some((name, MemberValue::Other)),
        b'a'..=b'z' | b'A'..=b'Z' | b'*' | b'?' | b':' | b'(' => MemberValue::Other,
        _ => return None,
    };
    Some((name, kind))
}

#[cfg(test)]
mod tests;
