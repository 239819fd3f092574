//! Scalars with units: `"5s"`, `"64KiB"`, `"100/min"`, `"30%"`.
//!
//! Each is one whole number and one unit, so that there is nothing to parse in one's head; only
//! percentages may have a fraction. A bare number is refused with the spelling that was meant.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::{Value as Json, json};

use crate::read::{Shape, WordReader, WrongValue, schema_of};
use crate::tree::{TreeNode, Value};

/// The longest duration a file may ask for. Timers beyond it are mistakes, and sums of two stay
/// far from overflow.
pub const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// A length of time, zero included: `"250ms"`, `"5s"`, `"10m"`, `"1h"`, `"2d"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Period(Duration);

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

/// A number of bytes: `"512B"`, `"64KiB"`, `"1MiB"`, `"2GiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(u64);

/// Events per time: `"10/s"`, `"100/min"`, `"1000/h"`, or in a window of any length: `"20/10s"`, `"5/500ms"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    count: u32,
    period: Duration,
}

/// Windows that are named by their unit alone.
const WINDOWS: [(&str, Duration); 4] = [
    ("s", Duration::from_secs(1)),
    ("min", Duration::from_secs(60)),
    ("h", Duration::from_secs(3600)),
    ("d", Duration::from_secs(86_400)),
];

/// A share from `"0%"` to `"100%"`, exact to a ten-thousandth of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent {
    parts_per_million: u32,
}

/// A load relative to the average, from `"100%"` to `"1000%"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoadBound {
    percent: u32,
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

impl Rate {
    /// `count` events in each `period`; at least one, and at least a millisecond.
    #[must_use]
    pub fn new(count: u32, period: Duration) -> Self {
        Self { count: count.max(1), period: period.max(Duration::from_millis(1)) }
    }

    /// Events in each [`Rate::period`]; at least 1.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.count
    }

    /// The period the count is for.
    #[must_use]
    pub const fn period(self) -> Duration {
        self.period
    }

    /// The longest time that a whole burst may take to come back.
    pub const LONGEST_RECOVERY: Duration = Duration::from_hours(100 * 365 * 24);

    /// Time until a burst that was used up is whole again at this rate.
    #[must_use]
    pub fn recovers_in(self, burst: u32) -> Duration {
        (self.period() / self.count.max(1)).saturating_mul(burst)
    }
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

impl WordReader for Rate {
    const WHAT: &'static str = "a rate";
    const EXAMPLE: &'static str = "10/s";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        let units = "a rate is a whole number per s, min, h or d, or per duration, such as \"10/s\", \"100/min\" or \"20/10s\"";
        let (number, unit) = number_and_unit(text, "a rate").map_err(|w| w.or(units))?;
        let wrong = || WrongValue::new(format!("\"{text}\" is not a rate"));
        let Some(window) = unit.strip_prefix('/') else {
            return Err(match unit {
                "" => WrongValue::new("a rate needs a unit").help(format!("write \"{number}/s\"")),
                _ => wrong().help(units),
            });
        };
        let known = WINDOWS.iter().find(|(name, _)| *name == window);
        let period = match known {
            Some((_, period)) => *period,
            None if window == "m" => return Err(wrong().help(format!("write \"{number}/min\""))),
            None if !window.starts_with(|c: char| c.is_ascii_digit()) => {
                return Err(wrong().help(units));
            }
            None => Timeout::parse_word(window)
                .map_err(|w| wrong().help(w.help.unwrap_or(w.message)))?
                .get(),
        };
        match u32::try_from(number) {
            Ok(0) => Err(WrongValue::new("a rate of zero would refuse everything")
                .help("to refuse requests, answer them: respond = { status = 403 }")),
            // Times are counted in nanoseconds.
            Ok(count) if u128::from(count) > period.as_nanos() => {
                Err(WrongValue::new(format!("\"{text}\" is too fast"))
                    .help("the fastest rate is one in each nanosecond, \"1000000/1ms\""))
            }
            Ok(count) => Ok(Self { count, period }),
            Err(_) => Err(WrongValue::new(format!("\"{text}\" is too large"))
                .help("the largest rate is \"4294967295/min\"")),
        }
    }

    fn from_number(number: i64) -> Option<String> {
        Some(format!("{}/s", number.max(1)))
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": "^0*[1-9][0-9]*/(s|min|h|d|0*[1-9][0-9]*(ms|s|m|h|d))$" })
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

/// Splits `"10s"` into 10 and `"s"`. No sign, no fraction, no space.
fn number_and_unit<'a>(text: &'a str, what: &str) -> Result<(u64, &'a str), WrongValue> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() || unit.starts_with('.') {
        return Err(WrongValue::new(format!("\"{text}\" is not {what}")));
    }
    let number = number.parse().map_err(|_| WrongValue::new(format!("\"{text}\" is too large")))?;
    Ok((number, unit))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl WrongValue {
    /// This error, with `help` if it has none.
    fn or(self, help: &str) -> Self {
        Self { help: self.help.or_else(|| Some(help.to_owned())), ..self }
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

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&spell_bytes(self.0))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = WINDOWS.iter().find(|(_, period)| *period == self.period);
        match known {
            Some((unit, _)) => write!(f, "{}/{unit}", self.count),
            None => write!(f, "{}/{}", self.count, Period(self.period)),
        }
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

macro_rules! serialize_as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}

serialize_as_text!(Period, Timeout, Bytes, Rate, Percent, LoadBound);

impl<T: fmt::Display> Serialize for OrOff<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn help<T: WordReader + fmt::Debug>(text: &str) -> String {
        T::parse_word(text).unwrap_err().help.unwrap_or_default()
    }

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
    fn a_missing_unit_is_shown() {
        assert_eq!(help::<Period>("10"), "write \"10s\"");
        assert_eq!(help::<Bytes>("65536"), "write \"64KiB\"");
        assert_eq!(help::<Rate>("10"), "write \"10/s\"");
        assert_eq!(help::<Percent>("10"), "write \"10%\"");
    }

    #[test]
    fn a_familiar_wrong_unit_is_corrected() {
        assert_eq!(help::<Period>("5min"), "write \"5m\"");
        assert_eq!(help::<Bytes>("5MB"), "write \"5MiB\" (1024² bytes each)");
        assert_eq!(help::<Rate>("5/m"), "write \"5/min\"");
    }

    #[test]
    fn a_rate_is_for_a_window_of_any_length() {
        for (text, count, period, shown) in [
            ("20/10s", 20, Duration::from_secs(10), "20/10s"),
            ("5/500ms", 5, Duration::from_millis(500), "5/500ms"),
            ("3/2d", 3, Duration::from_secs(172_800), "3/48h"),
            ("7/1m", 7, Duration::from_secs(60), "7/min"),
            ("7/1000ms", 7, Duration::from_secs(1), "7/s"),
            ("1/d", 1, Duration::from_secs(86_400), "1/d"),
            ("1000000/1ms", 1_000_000, Duration::from_millis(1), "1000000/1ms"),
        ] {
            let rate = Rate::parse_word(text).unwrap();
            assert_eq!((rate.count(), rate.period(), &*rate.to_string()), (count, period, shown));
        }
        for text in [
            "5/0s",
            "5/",
            "5/ms",
            "5/1",
            "5/-1s",
            "5/1.5s",
            "5/ 1s",
            "5 /1s",
            "5/1s ",
            "0/10s",
            "-1/s",
            "5/1min",
            "5/s1",
            "5/1s1s",
            "5//s",
            "5/٣s",
            "5/367d",
            "1000001/1ms",
            "4294967296/s",
            "5/99999999999999999999s",
        ] {
            assert!(Rate::parse_word(text).is_err(), "{text}");
        }
        assert_eq!(help::<Rate>("5/1min"), "write \"1m\"");
    }

    #[test]
    fn a_timeout_is_never_zero() {
        assert!(Timeout::parse_word("0s").is_err());
        assert!(Period::parse_word("0s").is_ok());
    }

    #[test]
    fn a_percentage_is_exact_and_at_most_everything() {
        assert_eq!(Percent::parse_word("0.5%").unwrap().parts_per_million(), 5_000);
        assert_eq!(Percent::parse_word("100%").unwrap(), Percent::new(100));
        assert!(Percent::parse_word("100.0001%").is_err());
        assert!(Percent::parse_word("1.%").is_err());
    }

    #[test]
    fn sizes_do_not_overflow() {
        assert!(Bytes::parse_word("18446744073709551615GiB").is_err());
        assert_eq!(Bytes::parse_word("2GiB").unwrap().get(), 2_147_483_648);
    }

    proptest! {
        #[test]
        fn units_survive_printing_and_parsing(
            number in 0u32.., parts in 0u32..=1_000_000, window in 1u64..=31_622_400_000,
        ) {
            let window = Duration::from_millis(window);
            let period = Period::milliseconds(u64::from(number));
            prop_assert_eq!(Period::parse_word(&period.to_string()).unwrap(), period);
            let bytes = Bytes::new(u64::from(number));
            prop_assert_eq!(Bytes::parse_word(&bytes.to_string()).unwrap(), bytes);
            let percent = Percent { parts_per_million: parts };
            prop_assert_eq!(Percent::parse_word(&percent.to_string()).unwrap(), percent);
            for (_, period) in WINDOWS.into_iter().chain([("", window)]) {
                let count = number.clamp(1, u32::try_from(period.as_nanos()).unwrap_or(u32::MAX));
                let rate = Rate { count, period };
                prop_assert_eq!(Rate::parse_word(&rate.to_string()).unwrap(), rate);
            }
        }

        #[test]
        fn no_text_is_too_strange_for_a_unit(text in "\\PC{0,12}") {
            let _ = Period::parse_word(&text);
            let _ = Bytes::parse_word(&text);
            let _ = Rate::parse_word(&text);
            let _ = Percent::parse_word(&text);
            let _ = LoadBound::parse_word(&text);
        }
    }
}
