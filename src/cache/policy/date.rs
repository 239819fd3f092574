//! HTTP dates, as servers write them.

use std::time::SystemTime;

use super::{Millis, to_millis};

/// Reads an HTTP date in any of its three forms (RFC 9110 §5.6.7), in milliseconds since 1970.
///
/// Names of days and months are taken in any case, because servers write them so.
#[must_use]
pub fn parse_date(text: &[u8]) -> Option<Millis> {
    let text = std::str::from_utf8(text).ok()?;
    let plain = text.is_ascii() && !text.contains("  ") || is_asctime(text);
    let at = parse_any_day(&usual_case(text.trim())).filter(|_| plain)?;
    let since = at.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(to_millis(since))
}

/// Reads a date whose day of the week may be wrong: it says nothing that the rest does not, and
/// servers do get it wrong.
fn parse_any_day(text: &str) -> Option<SystemTime> {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    if let Ok(at) = httpdate::parse_http_date(text) {
        return Some(at);
    }
    let (day, rest) = text.split_at_checked(3)?;
    let mut days = DAYS.iter().filter(|_| DAYS.contains(&day));
    days.find_map(|day| httpdate::parse_http_date(&format!("{day}{rest}")).ok())
}

/// The form of C's `asctime` pads the day with a second blank.
fn is_asctime(text: &str) -> bool {
    text.is_ascii() && !text.contains(',') && !text.contains("   ")
}

/// `mON, 01 jAN 2026 00:00:00 gmt` as it should have been written.
fn usual_case(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, word) in text.split(' ').enumerate() {
        if at > 0 {
            out.push(' ');
        }
        if word.eq_ignore_ascii_case("gmt") {
            out.push_str("GMT");
        } else {
            let mut start = true;
            for c in word.chars() {
                out.push(if start { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() });
                start = !c.is_ascii_alphabetic();
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;
