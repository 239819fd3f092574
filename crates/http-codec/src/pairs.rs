//! Pairs of names and values in queries and cookies, without copying them.

use std::borrow::Cow;

/// The pairs of a query. A name without `=` has an empty value.
pub fn parameters(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    query.split(|b| *b == b'&').filter(|pair| !pair.is_empty()).map(|pair| split_at(pair, b'='))
}

/// The pairs of a `Cookie` field (RFC 6265 §4.2.1).
pub fn cookies(value: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    value.split(|b| *b == b';').map(|pair| split_at(pair.trim_ascii(), b'='))
}

fn split_at(pair: &[u8], separator: u8) -> (&[u8], &[u8]) {
    match memchr::memchr(separator, pair) {
        Some(at) => (pair.get(..at).unwrap_or_default(), pair.get(at + 1..).unwrap_or_default()),
        None => (pair, &[]),
    }
}

/// Returns whether encoded text stands for `text`, without decoding it into memory.
#[must_use]
pub fn decoded_equals(encoded: &[u8], text: &[u8]) -> bool {
    decode(encoded).eq(text.iter().copied())
}

/// An encoded value as it is meant.
#[must_use]
pub fn decode_value(encoded: &[u8]) -> Cow<'_, [u8]> {
    if encoded.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Owned(decode(encoded).collect());
    }
    Cow::Borrowed(encoded)
}

/// Decodes `%XX` and `+` as forms are encoded. An invalid escape stands for itself.
pub fn decode(encoded: &[u8]) -> impl Iterator<Item = u8> + '_ {
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

/// The name of the parameter that RFC 6750 §2.3 gives to tokens.
const ACCESS_TOKEN: &[u8] = b"access_token";

/// Returns whether a value looks like a signed token (RFC 7519), wherever it is: base64url of an
/// object in JSON, and a dot.
fn is_token(value: &[u8]) -> bool {
    let dot = |value: &[u8]| {
        value.contains(&b'.') || value.windows(3).any(|it| it.eq_ignore_ascii_case(b"%2e"))
    };
    value.len() > 16 && decode(value).take(3).eq(*b"eyJ") && dot(value)
}

/// A request target or URL with `***` in place of the values of these query parameters, for those
/// who write it down; and of what is a token by its name or by its looks.
#[must_use]
pub fn mask_target<'t>(target: &'t [u8], names: &[Box<[u8]>]) -> Cow<'t, [u8]> {
    let secret = |name: &[u8], value: &[u8]| {
        decoded_equals(name, ACCESS_TOKEN)
            || names.iter().any(|secret| decoded_equals(name, secret))
            || is_token(value)
    };
    let query = memchr::memchr(b'?', target);
    let Some((path, query)) = query.and_then(|at| target.split_at_checked(at + 1)) else {
        return Cow::Borrowed(target);
    };
    if !parameters(query).any(|(name, value)| secret(name, value)) {
        return Cow::Borrowed(target);
    }
    let mut out = path.to_vec();
    for (at, pair) in query.split(|byte| *byte == b'&').enumerate() {
        if at > 0 {
            out.push(b'&');
        }
        match split_at(pair, b'=') {
            (name, value) if !value.is_empty() && secret(name, value) => {
                out.extend_from_slice(name);
                out.extend_from_slice(b"=***");
            }
            _ => out.extend_from_slice(pair),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests;
