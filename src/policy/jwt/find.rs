//! Where a request has its token.

use std::borrow::Cow;

use super::{Jwt, TokenFault};
use crate::wire::Known;
use crate::wire::head::Fields;
use crate::wire::pairs::{cookies, decode_value, decoded_equals, parameters};

/// A place in which a token may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// `Authorization: Bearer` (RFC 6750 §2.1).
    Header,
    /// The cookie of this name.
    Cookie(Box<[u8]>),
    /// The query parameter of this name (RFC 6750 §2.3).
    Query(Box<[u8]>),
}

impl Jwt {
    /// Finds the token of a request in the first place that has one.
    ///
    /// # Errors
    /// [`TokenFault::Missing`], or [`TokenFault::Several`] where one place has more than one:
    /// servers could take another than the one that was verified.
    pub fn find_token<'r>(
        &self,
        fields: &'r Fields,
        query: Option<&'r [u8]>,
    ) -> Result<Cow<'r, [u8]>, TokenFault> {
        for place in &self.terms.from {
            let found = match place {
                TokenSource::Header => {
                    let fields = fields.values(Known::Authorization);
                    only_one(fields)?.and_then(bearer).map(Cow::Borrowed)
                }
                TokenSource::Cookie(name) => {
                    let all = fields.values(Known::Cookie).flat_map(cookies);
                    let all = all.filter(|(n, _)| **n == **name).map(|(_, value)| value);
                    only_one(all)?.map(strip_quotes).map(Cow::Borrowed)
                }
                TokenSource::Query(name) => {
                    let all = parameters(query.unwrap_or_default());
                    let all = all.filter(|(n, _)| decoded_equals(n, name)).map(|(_, value)| value);
                    only_one(all)?.map(decode_value)
                }
            };
            if let Some(token) = found.filter(|token| !token.is_empty()) {
                return Ok(token);
            }
        }
        Err(TokenFault::Missing)
    }
}

/// The only one of these, if there is any.
fn only_one<'r>(mut all: impl Iterator<Item = &'r [u8]>) -> Result<Option<&'r [u8]>, TokenFault> {
    match (all.next(), all.next()) {
        (one, None) => Ok(one),
        (_, Some(_)) => Err(TokenFault::Several),
    }
}

/// A cookie's value without the quotes that may stand around it (RFC 6265 §4.1.1).
fn strip_quotes(value: &[u8]) -> &[u8] {
    let inner = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    inner.unwrap_or(value)
}

/// The token of an `Authorization` field.
#[must_use]
pub fn bearer(field: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = field.split_at_checked(7)?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_found() {
        assert_eq!(bearer(b"Bearer a.b.c"), Some(&b"a.b.c"[..]));
        assert_eq!(bearer(b"bearer  x "), Some(&b"x"[..]));
        for none in [&b"Basic x"[..], b"Bearer", b"Bearer ", b"", b"Bearerx"] {
            assert_eq!(bearer(none), None);
        }
    }
}
