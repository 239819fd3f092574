//! Parts of messages: names and values of fields, methods; and secrets, which are never shown.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::{Value as Json, json};

use crate::read::{WordReader, WrongValue, serialize_as_text};
use crate::shown::mask;

serialize_as_text!(HeaderName, HeaderText, Method);

/// A header name, lowercase (RFC 9110 §5.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HeaderName(pub(super) http::HeaderName);

/// A header value without line breaks or other control characters (RFC 9110 §5.5).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HeaderText(http::HeaderValue);

/// A request method (RFC 9110 §9).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Method(http::Method);

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl HeaderName {
    /// The name.
    #[must_use]
    pub fn get(&self) -> &http::HeaderName {
        &self.0
    }
}

impl PartialOrd for HeaderName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for HeaderName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.as_str().cmp(other.0.as_str())
    }
}

impl HeaderText {
    /// The value.
    #[must_use]
    pub fn get(&self) -> &http::HeaderValue {
        &self.0
    }
}

impl Method {
    /// `GET`.
    pub const GET: Self = Self(http::Method::GET);

    /// The method.
    #[must_use]
    pub fn get(&self) -> &http::Method {
        &self.0
    }
}

impl Secret {
    /// The secret itself; not for logs.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// RFC 9110 §5.6.2.
const TOKEN: &str = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";

impl WordReader for HeaderName {
    const WHAT: &'static str = "a header name";
    const EXAMPLE: &'static str = "x-env";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        text.parse().map(Self).map_err(|_| {
            WrongValue::new(format!("{text:?} is not a header name"))
                .help("letters, digits and !#$%&'*+-.^_`|~ are allowed")
        })
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": TOKEN })
    }
}

impl WordReader for HeaderText {
    const WHAT: &'static str = "a header value";
    const EXAMPLE: &'static str = "prod";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        let legal = |c: char| c == '\t' || !c.is_control();
        if !text.chars().all(legal) {
            return Err(WrongValue::new(
                "a header value cannot contain line breaks or control characters",
            )
            .help("send several values as several headers"));
        }
        http::HeaderValue::from_str(text)
            .or_else(|_| http::HeaderValue::from_bytes(text.as_bytes()))
            .map(Self)
            .map_err(|_| WrongValue::new(format!("{text:?} is not a header value")))
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": "^[^\\u0000-\\u0008\\u000a-\\u001f\\u007f]*$" })
    }
}

impl WordReader for Method {
    const WHAT: &'static str = "a method";
    const EXAMPLE: &'static str = "GET";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        // Methods are case-sensitive (RFC 9110 §9.1), so "get" would never match.
        if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
            return Err(WrongValue::new(format!("{text:?} is not a method")).help(format!(
                "methods are case-sensitive: write {:?}",
                text.to_ascii_uppercase()
            )));
        }
        text.parse().map(Self).map_err(|_| WrongValue::new(format!("{text:?} is not a method")))
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": "^[!#$%&'*+.^_`|~0-9A-Z-]+$" })
    }
}

impl WordReader for Secret {
    const WHAT: &'static str = "a secret";
    const EXAMPLE: &'static str = "${TOKEN}";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        if text.is_empty() {
            return Err(WrongValue::new("a secret cannot be empty"));
        }
        Ok(Self(text.to_owned()))
    }

    fn schema_keywords() -> Json {
        json!({ "minLength": 1 })
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for HeaderText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.0.as_bytes()))
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("********")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&mask(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_cannot_be_split() {
        assert!(HeaderName::parse_word("x y").is_err());
        assert!(HeaderName::parse_word("x:").is_err());
        assert!(HeaderText::parse_word("a\r\nb: c").is_err());
        assert!(HeaderText::parse_word("a\0").is_err());
        assert!(HeaderText::parse_word("a\tb").is_ok());
    }

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::parse_word("hunter2").unwrap();
        assert_eq!(format!("{secret} {secret:?}"), "******** ********");
        assert!(!serde_json::to_string(&secret).unwrap().contains("hunter2"));
    }
}
