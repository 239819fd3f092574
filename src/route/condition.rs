//! Conditions on headers, query parameters, cookies and what TLS told.

use regex::Regex;

use super::Ask;
use crate::wire::Known;

/// What a value must be.
#[derive(Debug, Clone)]
pub enum ValueMatch {
    /// One of the values is exactly this.
    Equals(Box<[u8]>),
    /// There is a value.
    Present,
    /// There is none.
    Absent,
    /// The expression finds a match in one of the values.
    Regex(Regex),
}

impl PartialEq for ValueMatch {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Equals(a), Self::Equals(b)) => a == b,
            (Self::Present, Self::Present) | (Self::Absent, Self::Absent) => true,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            _ => false,
        }
    }
}

/// Where a value is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A header field, by name in any case.
    Header(Box<[u8]>),
    /// A query parameter, percent-decoded.
    Query(Box<[u8]>),
    /// A cookie.
    Cookie(Box<[u8]>),
    /// TLS: it is there or not.
    Tls,
    /// The subject of the client's certificate.
    CertificateSubject,
    /// An alternative name of the client's certificate.
    CertificateName,
}

/// One condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// Where the value is looked for.
    pub subject: Subject,
    /// What it must be.
    pub value: ValueMatch,
}

impl Condition {
    /// Whether it holds for a request.
    #[must_use]
    pub fn holds(&self, ask: &impl Ask) -> bool {
        match &self.subject {
            Subject::Header(name) => self.any(ask.fields().named(name).map(|value| (value, false))),
            Subject::Query(name) => {
                let pairs = parameters(ask.query().unwrap_or_default());
                self.any(pairs.filter(|(n, _)| decoded_equals(n, name)).map(|(_, v)| (v, true)))
            }
            Subject::Tls => self.any(ask.tls().then_some((&b""[..], false)).into_iter()),
            Subject::CertificateSubject => {
                self.any(ask.certificate_subject().into_iter().map(|subject| (subject, false)))
            }
            Subject::CertificateName => self.any(ask.certificate_names().map(|name| (name, false))),
            Subject::Cookie(name) => {
                let pairs = ask.fields().values(Known::Cookie).flat_map(cookies);
                self.any(pairs.filter(|(n, _)| **n == **name).map(|(_, v)| (v, false)))
            }
        }
    }

    /// Whether the values, each encoded or not, meet the condition.
    fn any<'v>(&self, mut values: impl Iterator<Item = (&'v [u8], bool)>) -> bool {
        match &self.value {
            ValueMatch::Present => values.next().is_some(),
            ValueMatch::Absent => values.next().is_none(),
            ValueMatch::Equals(text) => {
                values.any(
                    |(value, encoded)| {
                        if encoded { decoded_equals(value, text) } else { *value == **text }
                    },
                )
            }
            ValueMatch::Regex(regex) => values.any(|(value, encoded)| {
                if encoded && value.iter().any(|b| matches!(b, b'%' | b'+')) {
                    let decoded: Vec<u8> = decode(value).collect();
                    return std::str::from_utf8(&decoded).is_ok_and(|v| regex.is_match(v));
                }
                std::str::from_utf8(value).is_ok_and(|v| regex.is_match(v))
            }),
        }
    }
}

/// The pairs of a query. A name without `=` has an empty value.
pub(crate) fn parameters(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    query.split(|b| *b == b'&').filter(|pair| !pair.is_empty()).map(|pair| split_at(pair, b'='))
}

/// The pairs of a `Cookie` field (RFC 6265 §4.2.1).
pub(crate) fn cookies(value: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    value.split(|b| *b == b';').map(|pair| split_at(pair.trim_ascii(), b'='))
}

fn split_at(pair: &[u8], separator: u8) -> (&[u8], &[u8]) {
    match memchr::memchr(separator, pair) {
        Some(at) => (pair.get(..at).unwrap_or_default(), pair.get(at + 1..).unwrap_or_default()),
        None => (pair, &[]),
    }
}

/// Whether encoded text stands for `text`, without decoding it into memory.
fn decoded_equals(encoded: &[u8], text: &[u8]) -> bool {
    decode(encoded).eq(text.iter().copied())
}

/// Decodes `%XX` and `+` as forms are encoded. An invalid escape stands for itself.
fn decode(encoded: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut rest = encoded;
    std::iter::from_fn(move || {
        let (byte, after) = rest.split_first()?;
        rest = after;
        if *byte == b'+' {
            return Some(b' ');
        }
        if *byte == b'%'
            && let Some([high, low]) = after.get(..2)
            && let (Some(high), Some(low)) =
                (char::from(*high).to_digit(16), char::from(*low).to_digit(16))
        {
            rest = after.get(2..).unwrap_or_default();
            return u8::try_from(high << 4 | low).ok();
        }
        Some(*byte)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_values_are_compared_decoded() {
        assert!(decoded_equals(b"a%20b+c", b"a b c"));
        assert!(decoded_equals(b"100%", b"100%"));
        assert!(!decoded_equals(b"a", b"ab"));
    }

    #[test]
    fn pairs_are_split_at_the_first_sign() {
        let pairs: Vec<_> = parameters(b"a=1&b&&c=2=3").collect();
        assert_eq!(pairs, [(&b"a"[..], &b"1"[..]), (b"b", b""), (b"c", b"2=3")]);
        let pairs: Vec<_> = cookies(b"a=1; b=\"2\";c").collect();
        assert_eq!(pairs, [(&b"a"[..], &b"1"[..]), (b"b", b"\"2\""), (b"c", b"")]);
    }
}
