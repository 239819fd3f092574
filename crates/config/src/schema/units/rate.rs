//! Rates: how many in a window of time.

use std::fmt;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{Period, Timeout, number_and_unit};
use crate::read::{WordReader, WrongValue, serialize_as_text};

serialize_as_text!(Rate);

/// Events per time: `"10/s"`, `"100/min"`, `"1000/h"`, or in a window of any length: `"20/10s"`,
/// `"5/500ms"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    count: u32,
    period: Duration,
}

/// Windows that are named by their unit alone.
pub(super) const WINDOWS: [(&str, Duration); 4] = [
    ("s", Duration::from_secs(1)),
    ("min", Duration::from_secs(60)),
    ("h", Duration::from_secs(3600)),
    ("d", Duration::from_secs(86_400)),
];

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

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = WINDOWS.iter().find(|(_, period)| *period == self.period);
        match known {
            Some((unit, _)) => write!(f, "{}/{unit}", self.count),
            None => write!(f, "{}/{}", self.count, Period(self.period)),
        }
    }
}
