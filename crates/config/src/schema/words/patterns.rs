//! Patterns: of hosts, and regular expressions.

use std::fmt;

use serde_json::{Value as Json, json};

use super::host_name;
use crate::read::{WordReader, WrongValue, serialize_as_text};

serialize_as_text!(HostPatternConfig, PatternConfig);

/// How much a compiled regular expression may cost, in bytes.
const REGEX_SIZE: usize = 1 << 20;

/// The hosts a route is for: `"shop.example.com"` or `"*.example.com"`, lowercase, without port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPatternConfig {
    /// This host.
    Exact(String),
    /// All hosts below this one, at any depth; the text is what follows `*.`.
    Below(String),
}

/// A regular expression of bounded cost.
#[derive(Debug, Clone)]
pub struct PatternConfig(regex::Regex);

impl PatternConfig {
    /// The text of the expression.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The compiled expression.
    #[must_use]
    pub fn regex(&self) -> &regex::Regex {
        &self.0
    }
}

impl PartialEq for PatternConfig {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl WordReader for HostPatternConfig {
    const WHAT: &'static str = "a host";
    const EXAMPLE: &'static str = "shop.example.com";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        let wrong = || WrongValue::new(format!("\"{text}\" is not a host"));
        if let Some(below) = text.strip_prefix("*.") {
            return host_name(below)
                .map(Self::Below)
                .ok_or_else(|| wrong().help("a wildcard is \"*.\" and a host name"));
        }
        if text.contains('*') {
            return Err(wrong().help(
                "\"*\" may only stand for the labels on the left: \"*.example.com\"; leave `host` out \
                 to match every host",
            ));
        }
        let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        if let Some(ip) = bracketed.and_then(|ip| ip.parse::<std::net::Ipv6Addr>().ok()) {
            return Ok(Self::Exact(format!("[{ip}]")));
        }
        if let Some((host, _)) = text.rsplit_once(':') {
            return Err(wrong().help(format!("a host has no port: write \"{host}\"")));
        }
        if !text.is_ascii() {
            return Err(wrong().help("write an international name in its xn-- form"));
        }
        host_name(text).map(Self::Exact).ok_or_else(wrong)
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": "^((\\*\\.)?[0-9A-Za-z._-]+|\\[[0-9a-fA-F:.]+\\])$" })
    }
}

impl WordReader for PatternConfig {
    const WHAT: &'static str = "a regular expression";
    const EXAMPLE: &'static str = "^/v[0-9]+/";
    const COSTLY: bool = true;

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        match regex::RegexBuilder::new(text).size_limit(REGEX_SIZE).build() {
            Ok(regex) => Ok(Self(regex)),
            Err(regex::Error::CompiledTooBig(_)) => {
                Err(WrongValue::new("this regular expression is too large")
                    .help("its compiled form may take 1 MiB; shorten its repetitions"))
            }
            Err(error) => {
                let text = error.to_string();
                // The last line says what is wrong, those before it draw a picture.
                let last = text.lines().last().unwrap_or(&text);
                let reason = last.trim_start_matches("error: ");
                Err(WrongValue::new(format!("invalid regular expression: {reason}"))
                    .help("a single-quoted TOML string needs no doubled backslashes"))
            }
        }
    }

    fn schema_keywords() -> Json {
        json!({ "format": "regex" })
    }
}

impl fmt::Display for HostPatternConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Below(host) => write!(f, "*.{host}"),
        }
    }
}

impl fmt::Display for PatternConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_only_on_the_left() {
        let below = HostPatternConfig::Below("example.com".into());
        assert_eq!(HostPatternConfig::parse_word("*.Example.com").unwrap(), below);
        for text in ["*", "a.*.com", "*a.com", "*.*.com", "a.com:80", "", "bücher.de", "a/b"] {
            assert!(HostPatternConfig::parse_word(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_regular_expression_has_a_bounded_size() {
        assert!(PatternConfig::parse_word("(").is_err());
        let wrong = PatternConfig::parse_word("(a{1000}){1000}").unwrap_err();
        assert_eq!(wrong.message, "this regular expression is too large");
    }
}
