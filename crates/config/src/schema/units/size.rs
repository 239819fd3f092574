//! Numbers of bytes.

use std::fmt;

use serde_json::{Value as Json, json};

use super::number_and_unit;
use crate::read::{WordReader, WrongValue, serialize_as_text};

serialize_as_text!(Bytes);

/// A number of bytes: `"512B"`, `"64KiB"`, `"1MiB"`, `"2GiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(u64);

impl Bytes {
    /// `n` bytes.
    #[must_use]
    pub const fn new(n: u64) -> Self {
        Self(n)
    }

    /// `n` KiB.
    #[must_use]
    pub const fn kib(n: u32) -> Self {
        Self((n as u64) << 10)
    }

    /// `n` MiB.
    #[must_use]
    pub const fn mib(n: u32) -> Self {
        Self((n as u64) << 20)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

const BYTE_UNITS: [(&str, u32); 4] = [("B", 0), ("KiB", 10), ("MiB", 20), ("GiB", 30)];

impl WordReader for Bytes {
    const WHAT: &'static str = "a size";
    const EXAMPLE: &'static str = "64KiB";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        let units = "a size is a whole number and one of B, KiB, MiB, GiB, such as \"64KiB\"";
        let (number, unit) = number_and_unit(text, "a size").map_err(|w| w.or(units))?;
        let Some((_, shift)) = BYTE_UNITS.iter().find(|(name, _)| *name == unit) else {
            let wrong = WrongValue::new(format!("\"{text}\" is not a size"));
            return Err(match unit.to_ascii_lowercase().as_str() {
                "" => WrongValue::new("a size needs a unit")
                    .help(format!("write \"{}\"", spell_bytes(number))),
                "k" | "kb" | "kib" => {
                    wrong.help(format!("write \"{number}KiB\" (1024 bytes each)"))
                }
                "m" | "mb" | "mib" => {
                    wrong.help(format!("write \"{number}MiB\" (1024² bytes each)"))
                }
                "g" | "gb" | "gib" => {
                    wrong.help(format!("write \"{number}GiB\" (1024³ bytes each)"))
                }
                "b" => wrong.help(format!("write \"{number}B\"")),
                _ => wrong.help(units),
            });
        };
        match number.checked_mul(1 << shift) {
            Some(bytes) if i64::try_from(bytes).is_ok() => Ok(Self(bytes)),
            _ => Err(WrongValue::new(format!("\"{text}\" is too large"))),
        }
    }

    fn from_number(number: i64) -> Option<String> {
        Some(spell_bytes(u64::try_from(number).unwrap_or(0)))
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": "^[0-9]+(B|KiB|MiB|GiB)$" })
    }
}

/// The shortest exact spelling.
fn spell_bytes(bytes: u64) -> String {
    let (unit, shift) = BYTE_UNITS
        .iter()
        .rev()
        .find(|(_, shift)| bytes != 0 && bytes.trailing_zeros() >= *shift)
        .unwrap_or(&BYTE_UNITS[0]);
    format!("{}{unit}", bytes >> shift)
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&spell_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_do_not_overflow() {
        assert!(Bytes::parse_word("18446744073709551615GiB").is_err());
        assert_eq!(Bytes::parse_word("2GiB").unwrap().get(), 2_147_483_648);
    }
}
