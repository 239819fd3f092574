//! Shares of a whole, and bounds in terms of an average.

use std::fmt;

use serde_json::{Value as Json, json};

use super::is_number;
use crate::read::{WordReader, WrongValue, serialize_as_text};

serialize_as_text!(Percent, LoadBound);

/// A share from `"0%"` to `"100%"`, exact to a ten-thousandth of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent {
    pub(super) parts_per_million: u32,
}

/// A load relative to the average, from `"100%"` to `"1000%"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoadBound {
    percent: u32,
}

impl Percent {
    /// `percent` percent, at most 100.
    #[must_use]
    pub const fn new(percent: u32) -> Self {
        let percent = if percent > 100 { 100 } else { percent };
        Self { parts_per_million: percent * 10_000 }
    }

    /// The share in millionths, 0 to 1 000 000.
    #[must_use]
    pub const fn parts_per_million(self) -> u32 {
        self.parts_per_million
    }

    /// The share as a number from 0 to 1.
    #[must_use]
    pub fn fraction(self) -> f64 {
        f64::from(self.parts_per_million) / 1_000_000.0
    }
}

impl LoadBound {
    /// `percent` percent, at least 100 and at most 1000.
    #[must_use]
    pub const fn new(percent: u32) -> Self {
        let percent = if percent < 100 { 100 } else { percent };
        Self { percent: if percent > 1000 { 1000 } else { percent } }
    }

    /// The bound in percent of the average load, 100 to 1000.
    #[must_use]
    pub const fn percent(self) -> u32 {
        self.percent
    }
}

impl WordReader for Percent {
    const WHAT: &'static str = "a percentage";
    const EXAMPLE: &'static str = "30%";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        let wrong = || WrongValue::new(format!("\"{text}\" is not a percentage"));
        let Some(number) = text.strip_suffix('%') else {
            return Err(match text.parse::<u32>() {
                Ok(number) => WrongValue::new("a percentage needs its sign")
                    .help(format!("write \"{}%\"", number.min(100))),
                Err(_) => wrong(),
            });
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        if !is_number(whole) || !is_number(fraction) {
            return Err(wrong());
        }
        if fraction.len() > 4 {
            return Err(wrong().help("at most four digits may follow the point"));
        }
        let whole: u32 = whole.parse().unwrap_or(u32::MAX);
        let fraction: u32 = format!("{fraction:0<4}").parse().map_err(|_| wrong())?;
        match whole.checked_mul(10_000).and_then(|whole| whole.checked_add(fraction)) {
            Some(parts_per_million @ 0..=1_000_000) => Ok(Self { parts_per_million }),
            _ => Err(WrongValue::new(format!("\"{text}\" is more than everything"))
                .help("it goes from \"0%\" to \"100%\"")),
        }
    }

    fn from_number(number: i64) -> Option<String> {
        Some(format!("{}%", number.clamp(0, 100)))
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": "^(0*[0-9]{1,2}(\\.[0-9]{1,4})?|0*100(\\.0{1,4})?)%$" })
    }
}

impl WordReader for LoadBound {
    const WHAT: &'static str = "a percentage";
    const EXAMPLE: &'static str = "150%";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        match text.strip_suffix('%').filter(|number| is_number(number)).map(str::parse) {
            Some(Ok(percent @ 100..=1000)) => Ok(Self { percent }),
            Some(_) => Err(WrongValue::new(format!("\"{text}\" is out of range"))
                .help("it goes from \"100%\" to \"1000%\" of the average load")),
            None => Err(WrongValue::new(format!("\"{text}\" is not a whole percentage"))),
        }
    }

    fn from_number(number: i64) -> Option<String> {
        Some(format!("{}%", number.clamp(100, 1000)))
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": "^0*([1-9][0-9]{2}|1000)%$" })
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.parts_per_million / 10_000, self.parts_per_million % 10_000);
        if fraction == 0 {
            return write!(f, "{whole}%");
        }
        let digits = format!("{fraction:04}");
        write!(f, "{whole}.{}%", digits.trim_end_matches('0'))
    }
}

impl fmt::Display for LoadBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_exact_and_at_most_everything() {
        assert_eq!(Percent::parse_word("0.5%").unwrap().parts_per_million(), 5_000);
        assert_eq!(Percent::parse_word("100%").unwrap(), Percent::new(100));
        assert!(Percent::parse_word("100.0001%").is_err());
        assert!(Percent::parse_word("1.%").is_err());
    }
}
