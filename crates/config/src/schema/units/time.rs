//! Lengths of time.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::{Value as Json, json};

use super::number_and_unit;
use crate::read::{Shape, WordReader, WrongValue, schema_of, serialize_as_text};
use crate::tree::{TreeNode, Value};

serialize_as_text!(Period, Timeout);

/// The longest duration a file may ask for. Timers beyond it are mistakes, and sums of two stay
/// far from overflow.
pub const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// A length of time, zero included: `"250ms"`, `"5s"`, `"10m"`, `"1h"`, `"2d"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Period(pub(super) Duration);

/// A length of time that is at least a millisecond, for limits on waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timeout(Duration);

/// A value, or `"off"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OrOff<T> {
    /// No limit.
    Off,
    /// The limit.
    At(T),
}

impl Period {
    /// `seconds` seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// `milliseconds` milliseconds.
    #[must_use]
    pub const fn milliseconds(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }

    /// The duration.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl Timeout {
    /// `seconds` seconds; at least one.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(if seconds == 0 { 1 } else { seconds }))
    }

    /// `milliseconds` milliseconds; at least one.
    #[must_use]
    pub const fn milliseconds(milliseconds: u64) -> Self {
        Self(Duration::from_millis(if milliseconds == 0 { 1 } else { milliseconds }))
    }

    /// The duration.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl<T: Copy> OrOff<T> {
    /// The limit; `None` when there is none.
    #[must_use]
    pub fn get(self) -> Option<T> {
        match self {
            Self::Off => None,
            Self::At(limit) => Some(limit),
        }
    }
}

const DURATION_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl WordReader for Period {
    const WHAT: &'static str = "a duration";
    const EXAMPLE: &'static str = "10s";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        let units = "a duration is a whole number and one of ms, s, m, h, d, such as \"10s\"";
        let (number, unit) = number_and_unit(text, "a duration").map_err(|w| w.or(units))?;
        let Some((_, scale)) = DURATION_UNITS.iter().find(|(name, _)| *name == unit) else {
            let wrong = WrongValue::new(format!("\"{text}\" is not a duration"));
            return Err(match unit {
                "" => {
                    WrongValue::new("a duration needs a unit").help(format!("write \"{number}s\""))
                }
                "min" | "mins" | "minutes" => wrong.help(format!("write \"{number}m\"")),
                "sec" | "secs" | "seconds" | "S" => wrong.help(format!("write \"{number}s\"")),
                _ => wrong.help(units),
            });
        };
        match number.checked_mul(*scale).map(Duration::from_millis) {
            Some(duration) if duration <= LONGEST => Ok(Self(duration)),
            _ => Err(WrongValue::new(format!("\"{text}\" is longer than a year"))
                .help("the longest duration is \"366d\"")),
        }
    }

    fn from_number(number: i64) -> Option<String> {
        Some(format!("{}s", number.max(0)))
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": "^[0-9]+(ms|s|m|h|d)$" })
    }
}

impl WordReader for Timeout {
    const WHAT: &'static str = "a duration";
    const EXAMPLE: &'static str = "10s";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        match Period::parse_word(text)?.get() {
            Duration::ZERO => Err(WrongValue::new("this duration must be longer than zero")
                .help("leave the key out to keep its default")),
            duration => Ok(Self(duration)),
        }
    }

    fn from_number(number: i64) -> Option<String> {
        Period::from_number(number.max(1))
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": "^0*[1-9][0-9]*(ms|s|m|h|d)$" })
    }
}

impl<T: WordReader> Shape for OrOff<T> {
    fn read_node(node: &TreeNode, reader: &mut crate::read::Reader) -> Option<Self> {
        match &node.value {
            Value::String(text) if text == "off" => Some(Self::Off),
            Value::Boolean(false) => {
                reader.bad(node, "`false` is not a duration".into(), Some("write \"off\"".into()))
            }
            _ => T::read_node(node, reader).map(Self::At),
        }
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let off = schema_of(json!({ "const": "off" }));
        crate::read::any_of([off, T::json_schema(generator)])
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        // Days are left out: "24h" reads better than "1d" next to "1h".
        let (unit, scale) = DURATION_UNITS
            .iter()
            .take(4)
            .rev()
            .find(|(_, scale)| milliseconds != 0 && milliseconds % scale == 0)
            .unwrap_or(&("s", 1_000));
        write!(f, "{}{unit}", milliseconds / scale)
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Period(self.0).fmt(f)
    }
}

impl<T: fmt::Display> fmt::Display for OrOff<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(limit) => limit.fmt(f),
        }
    }
}

impl<T: fmt::Display> Serialize for OrOff<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_one_number_and_one_unit() {
        assert_eq!(Period::parse_word("250ms").unwrap().get(), Duration::from_millis(250));
        assert_eq!(Period::parse_word("10m").unwrap().get(), Duration::from_secs(600));
        assert_eq!(Period::parse_word("2d").unwrap().get(), Duration::from_secs(172_800));
        for text in ["", "s", "1.5s", "-1s", "1h30m", " 1s", "1 s", "٣s", "99999999999999999999s"]
        {
            assert!(Period::parse_word(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_timeout_is_never_zero() {
        assert!(Timeout::parse_word("0s").is_err());
        assert!(Period::parse_word("0s").is_ok());
    }
}
