//! Parts of a request that something is taken from: what is hashed, counted by, logged, or holds a
//! token.

use std::fmt;

use serde_json::{Value as Json, json};

use super::fields::HeaderName;
use crate::read::{WordReader, WrongValue, not_one_of, serialize_as_text};

serialize_as_text!(HashKey, LimitKey, ClientIp, LogField, TokenPlace);

/// What a consistent hash, an affinity or a shard is computed from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HashKey {
    /// Path and query.
    Uri,
    /// The path alone.
    Path,
    /// The address of the client.
    ClientIp,
    /// A request header.
    Header(http::HeaderName),
    /// A cookie.
    Cookie(String),
    /// A query parameter.
    Query(String),
    /// A capture of the route's path.
    Capture(String),
}

/// What a limit counts by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LimitKey {
    /// The address of the client; IPv6 per /64.
    ClientIp,
    /// All requests of a route together.
    Route,
    /// A request header.
    Header(http::HeaderName),
    /// A cookie.
    Cookie(String),
    /// A claim of the verified token.
    Jwt(String),
}

/// The field by which trusted proxies name clients.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ClientIp {
    /// `X-Forwarded-For`.
    ForwardedFor,
    /// `Forwarded`.
    Forwarded,
    /// Another one, with one address.
    Header(http::HeaderName),
}

/// What a line of the access log says besides.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogField {
    /// A field of the request, by its name in lower case.
    Header(String),
    /// A claim of the verified token.
    Jwt(String),
}

/// Where a client's token is looked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TokenPlace {
    /// `Authorization: Bearer`.
    Header,
    /// A cookie.
    Cookie(String),
    /// A query parameter, by its decoded name.
    Query(String),
}

/// Splits `"header:x-id"`; the name behind the colon is never empty.
fn kind_and_name(text: &str) -> (&str, Option<&str>) {
    match text.split_once(':') {
        Some((kind, name)) if !name.is_empty() => (kind, Some(name)),
        _ => (text, None),
    }
}

fn header(name: &str) -> Result<http::HeaderName, WrongValue> {
    HeaderName::parse_word(name).map(|name| name.0)
}

impl WordReader for HashKey {
    const WHAT: &'static str = "a hash key";
    const EXAMPLE: &'static str = "header:x-user-id";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        match kind_and_name(text) {
            ("uri", None) => Ok(Self::Uri),
            ("path", None) => Ok(Self::Path),
            ("client_ip", None) => Ok(Self::ClientIp),
            ("header", Some(name)) => header(name).map(Self::Header),
            ("cookie", Some(name)) => Ok(Self::Cookie(name.to_owned())),
            ("query", Some(name)) => Ok(Self::Query(name.to_owned())),
            ("capture", Some(name)) => Ok(Self::Capture(name.to_owned())),
            _ => Err(not_one_of(
                text,
                Self::WHAT,
                &[
                    "uri",
                    "path",
                    "client_ip",
                    "header:NAME",
                    "cookie:NAME",
                    "query:NAME",
                    "capture:NAME",
                ],
            )),
        }
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": "^(uri|path|client_ip|(header|cookie|query|capture):.+)$" })
    }
}

impl WordReader for LimitKey {
    const WHAT: &'static str = "a limit key";
    const EXAMPLE: &'static str = "client_ip";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        match kind_and_name(text) {
            ("client_ip", None) => Ok(Self::ClientIp),
            ("route", None) => Ok(Self::Route),
            ("header", Some(name)) => header(name).map(Self::Header),
            ("cookie", Some(name)) => Ok(Self::Cookie(name.to_owned())),
            ("jwt", Some(name)) => Ok(Self::Jwt(name.to_owned())),
            _ => Err(not_one_of(
                text,
                Self::WHAT,
                &["client_ip", "route", "header:NAME", "cookie:NAME", "jwt:CLAIM"],
            )),
        }
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": "^(client_ip|route|(header|cookie|jwt):.+)$" })
    }
}

impl WordReader for ClientIp {
    const WHAT: &'static str = "a field that names clients";
    const EXAMPLE: &'static str = "header:cf-connecting-ip";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        match kind_and_name(text) {
            ("x-forwarded-for", None) => Ok(Self::ForwardedFor),
            ("forwarded", None) => Ok(Self::Forwarded),
            ("header", Some(name)) => match header(name)? {
                name if matches!(name.as_str(), "x-forwarded-for" | "forwarded") => {
                    Err(WrongValue::new(format!("`{name}` is a chain, not one address"))
                        .help(format!("write \"{name}\"")))
                }
                name => Ok(Self::Header(name)),
            },
            (name, None) if header(name).is_ok() && name.contains('-') => {
                Err(WrongValue::new(format!("\"{text}\" is not {}", Self::WHAT))
                    .help(format!("write \"header:{}\"", name.to_ascii_lowercase())))
            }
            _ => {
                Err(not_one_of(text, Self::WHAT, &["x-forwarded-for", "forwarded", "header:NAME"]))
            }
        }
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": "^(x-forwarded-for|forwarded|header:[!#$%&'*+.^_`|~0-9A-Za-z-]+)$" })
    }
}

impl WordReader for LogField {
    const WHAT: &'static str = "a field of the access log";
    const EXAMPLE: &'static str = "header:user-agent";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        const SECRETS: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "set-cookie"];
        match kind_and_name(text) {
            ("header", Some(name)) => {
                let name = header(name)?.as_str().to_owned();
                if SECRETS.contains(&name.as_str()) {
                    return Err(WrongValue::new(format!("`{name}` is not written down"))
                        .help("it holds what clients prove who they are with; name a claim instead: \"jwt:sub\""));
                }
                Ok(Self::Header(name))
            }
            ("jwt", Some(claim)) => Ok(Self::Jwt(claim.to_owned())),
            _ => Err(not_one_of(text, Self::WHAT, &["header:NAME", "jwt:CLAIM"])),
        }
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": "^(header|jwt):.+$" })
    }
}

impl WordReader for TokenPlace {
    const WHAT: &'static str = "a place of a token";
    const EXAMPLE: &'static str = "cookie:session";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        match kind_and_name(text) {
            ("header", None) => Ok(Self::Header),
            ("header", Some(_)) => Err(WrongValue::new(format!(
                "\"{text}\" is not a place of a token"
            ))
            .help("\"header\" is `Authorization: Bearer`, and no other header is looked at")),
            // A cookie's name is a token, like a header's (RFC 6265 §4.1.1).
            ("cookie", Some(name)) if header(name).is_ok() => Ok(Self::Cookie(name.to_owned())),
            ("cookie", Some(name)) => {
                Err(WrongValue::new(format!("{name:?} is no name of a cookie")))
            }
            ("query", Some(name)) => Ok(Self::Query(name.to_owned())),
            _ => Err(not_one_of(text, Self::WHAT, &["header", "cookie:NAME", "query:NAME"])),
        }
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": "^(header|(cookie|query):.+)$" })
    }
}

impl fmt::Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri => f.write_str("uri"),
            Self::Path => f.write_str("path"),
            Self::ClientIp => f.write_str("client_ip"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Capture(name) => write!(f, "capture:{name}"),
        }
    }
}

impl fmt::Display for LimitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientIp => f.write_str("client_ip"),
            Self::Route => f.write_str("route"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Jwt(claim) => write!(f, "jwt:{claim}"),
        }
    }
}

impl fmt::Display for ClientIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForwardedFor => f.write_str("x-forwarded-for"),
            Self::Forwarded => f.write_str("forwarded"),
            Self::Header(name) => write!(f, "header:{name}"),
        }
    }
}

impl fmt::Display for LogField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Jwt(claim) => write!(f, "jwt:{claim}"),
        }
    }
}

impl fmt::Display for TokenPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("header"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
        }
    }
}
