//! What counts as a failure: ranges of statuses, and reasons to try again.

use std::fmt;

use serde_json::{Value as Json, json};

use crate::read::{WordReader, WrongValue, not_one_of, serialize_as_text};

serialize_as_text!(StatusRange, RetryOn);

/// A range of status codes: `"200-299"` or `"204"`, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StatusRange {
    /// First code.
    pub first: u16,
    /// Last code.
    pub last: u16,
}

/// When a request is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetryOn {
    /// The connection could not be made.
    Connect,
    /// The connection broke before the head of the response.
    Reset,
    /// The head of the response did not come in time.
    Timeout,
    /// The response was not HTTP.
    Invalid,
    /// The response has this status, 500 to 599.
    Status(u16),
    /// A gRPC call ends with this status before its first message. Whoever names one allows calls
    /// to be repeated.
    Grpc(u8),
}

impl RetryOn {
    /// What gRPC calls its statuses that a repetition can help with.
    const GRPC: [(&'static str, u8); 5] = [
        ("cancelled", 1),
        ("deadline-exceeded", 4),
        ("resource-exhausted", 8),
        ("internal", 13),
        ("unavailable", 14),
    ];
}

impl WordReader for StatusRange {
    const WHAT: &'static str = "a range of status codes";
    const EXAMPLE: &'static str = "200-299";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        let code = |text: &str| {
            text.parse().ok().filter(|code| text.len() == 3 && (100..=599).contains(code))
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (code(first), code(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(WrongValue::new(format!("\"{text}\" is not a range of status codes"))
                .help("write \"200-299\" or \"204\"")),
        }
    }

    fn from_number(number: i64) -> Option<String> {
        Some(number.to_string())
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": "^[1-5][0-9]{2}(-[1-5][0-9]{2})?$" })
    }
}

impl WordReader for RetryOn {
    const WHAT: &'static str = "a reason to retry";
    const EXAMPLE: &'static str = "connect";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        match text {
            "connect" => Ok(Self::Connect),
            "reset" => Ok(Self::Reset),
            "timeout" => Ok(Self::Timeout),
            "invalid" => Ok(Self::Invalid),
            _ => match text.parse() {
                Ok(status @ 500..=599) if text.len() == 3 => Ok(Self::Status(status)),
                _ => {
                    let grpc = Self::GRPC.iter().find(|(name, _)| *name == text);
                    let words =
                        ["connect", "reset", "timeout", "invalid", "500", "502", "503", "504"];
                    let words = words.into_iter().chain(Self::GRPC.map(|(name, _)| name));
                    grpc.map(|(_, status)| Self::Grpc(*status))
                        .ok_or_else(|| not_one_of(text, Self::WHAT, &words.collect::<Vec<_>>()))
                }
            },
        }
    }

    fn from_number(number: i64) -> Option<String> {
        Some(number.to_string())
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": "^(connect|reset|timeout|invalid|5[0-9]{2}|cancelled|deadline-exceeded|resource-exhausted|internal|unavailable)$" })
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl fmt::Display for RetryOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connect"),
            Self::Reset => f.write_str("reset"),
            Self::Timeout => f.write_str("timeout"),
            Self::Invalid => f.write_str("invalid"),
            Self::Status(status) => status.fmt(f),
            Self::Grpc(status) => {
                let named = Self::GRPC.iter().find(|(_, of)| of == status);
                f.write_str(named.map_or("unavailable", |(name, _)| name))
            }
        }
    }
}
