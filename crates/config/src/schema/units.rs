//! Scalars with units: `"5s"`, `"64KiB"`, `"100/min"`, `"30%"`.
//!
//! Each is one whole number and one unit, so that there is nothing to parse in one's head; only
//! percentages may have a fraction. A bare number is refused with the spelling that was meant.

mod rate;
mod share;
mod size;
mod time;

use crate::read::WrongValue;

pub use self::rate::Rate;
pub use self::share::{LoadBound, Percent};
pub use self::size::Bytes;
pub use self::time::{LONGEST, OrOff, Period, Timeout};

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

#[cfg(test)]
mod tests;
