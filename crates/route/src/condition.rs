//! Conditions on headers, query parameters, cookies and what TLS told.

use regex::Regex;

use super::RouteQuery;
use http_codec::Known;
use http_codec::pairs::decode;
pub use http_codec::pairs::{cookies, decoded_equals, parameters};

/// The condition on a value.
#[derive(Debug, Clone)]
pub enum ValueMatch {
    /// One of the values is exactly this.
    Equals(Box<[u8]>),
    /// Any value.
    Present,
    /// No value.
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

/// The place where a value is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConditionSubject {
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
    /// The place where the value is looked for.
    pub subject: ConditionSubject,
    /// The condition on the value.
    pub value: ValueMatch,
}

impl Condition {
    /// Returns whether it holds for a request.
    #[must_use]
    pub fn holds_for(&self, ask: &impl RouteQuery) -> bool {
        match &self.subject {
            ConditionSubject::Header(name) => {
                self.any_value(ask.fields().named(name).map(|value| (value, false)))
            }
            ConditionSubject::Query(name) => {
                let pairs = parameters(ask.query().unwrap_or_default());
                self.any_value(
                    pairs.filter(|(n, _)| decoded_equals(n, name)).map(|(_, v)| (v, true)),
                )
            }
            ConditionSubject::Tls => {
                self.any_value(ask.tls().then_some((&b""[..], false)).into_iter())
            }
            ConditionSubject::CertificateSubject => self
                .any_value(ask.certificate_subject().into_iter().map(|subject| (subject, false))),
            ConditionSubject::CertificateName => {
                self.any_value(ask.certificate_names().map(|name| (name, false)))
            }
            ConditionSubject::Cookie(name) => {
                let pairs = ask.fields().values(Known::Cookie).flat_map(cookies);
                self.any_value(pairs.filter(|(n, _)| **n == **name).map(|(_, v)| (v, false)))
            }
        }
    }

    /// Returns whether the values, each encoded or not, meet the condition.
    fn any_value<'v>(&self, mut values: impl Iterator<Item = (&'v [u8], bool)>) -> bool {
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
