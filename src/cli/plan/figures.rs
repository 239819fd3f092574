//! The figures of a plan: how they are written on the command line and printed again. All of them
//! are whole numbers of a small unit, so that no rounding can add an instance or take one away.

/// Millionths of one.
pub(super) const MILLION: u128 = 1_000_000;
/// Nanoseconds of a second.
pub(super) const SECOND: u128 = 1_000_000_000;
/// The most requests per second that are planned for, in millionths.
const MOST_RATE: u128 = 1_000_000_000 * MILLION;
/// The longest time of a request, in nanoseconds: an hour.
const MOST_TIME: u128 = 3600 * SECOND;
const TIMES: [(&str, u128); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3600 * SECOND),
];

/// Reads requests per second, in millionths: `5000`, `5000/s`, `2.5/s`, `300000/min`.
pub(super) fn parse_rate(text: &str) -> Result<u128, String> {
    let wrong =
        || format!("`{text}` is no rate: write requests per time, such as 5000/s or 90000/min");
    let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
    let seconds = match unit.trim() {
        "s" => 1,
        "min" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    let millionths = parse_decimal(number.trim(), MILLION).ok_or_else(wrong)? / seconds;
    match millionths {
        0 => Err(format!("`{text}` is no rate to plan for: it must be more than nothing")),
        MOST_RATE.. => Err(format!("`{text}` is more than 1000000000/s")),
        millionths => Ok(millionths),
    }
}

/// Reads a time in nanoseconds: `26us`, `20ms`, `1.5s`.
pub(super) fn parse_time(text: &str) -> Result<u128, String> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let wrong =
        || format!("`{text}` is no time: write a number and ns, us, ms, s, m or h, such as 20ms");
    if unit.is_empty() && parse_decimal(number, 1).is_some() {
        return Err(format!("`{text}` has no unit: write {text}ms or {text}s"));
    }
    let (_, scale) = TIMES.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(wrong)?;
    match parse_decimal(number, *scale).ok_or_else(wrong)? {
        0 => Err(format!("`{text}` is no time that a request can take")),
        nanos if nanos > MOST_TIME => Err(format!("`{text}` is more than an hour")),
        nanos => Ok(nanos),
    }
}

/// Reads a part of the whole in millionths: `0.7` or `70%`, more than nothing and at most all.
pub(super) fn parse_share(text: &str) -> Result<u128, String> {
    let read = match text.strip_suffix('%') {
        Some(number) => parse_decimal(number.trim(), MILLION / 100),
        None => parse_decimal(text, MILLION),
    };
    let read = read.filter(|millionths| (1..=MILLION).contains(millionths));
    read.ok_or_else(|| {
        format!("`{text}` is no share: write more than 0% and at most 100%, such as 70% or 0.7")
    })
}

/// Reads how many times the peak is planned for, in millionths: from 1 to 100.
pub(super) fn parse_times(text: &str) -> Result<u128, String> {
    let read = parse_decimal(text.strip_suffix('x').unwrap_or(text), MILLION);
    let read = read.filter(|millionths| (MILLION..=100 * MILLION).contains(millionths));
    read.ok_or_else(|| format!("`{text}` is no head-room: write a number from 1 to 100, such as 2"))
}

/// Reads a number of things within bounds.
pub(super) fn parse_count(text: &str, least: u64, most: u64) -> Result<u64, String> {
    let read = text.parse().ok().filter(|number| (least..=most).contains(number));
    read.ok_or_else(|| format!("`{text}` is no number from {least} to {most}"))
}

/// A decimal number as so many parts of one; digits that are finer than a part are cut off.
fn parse_decimal(text: &str, scale: u128) -> Option<u128> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 18 || part.len() > 9 || !digits(whole) || !digits(part) {
        return None;
    }
    if text.contains('.') && part.is_empty() {
        return None;
    }
    let fine = 10_u128.pow(u32::try_from(part.len()).ok()?);
    let part: u128 = if part.is_empty() { 0 } else { part.parse().ok()? };
    Some(whole.parse::<u128>().ok()? * scale + part * scale / fine)
}

/// A number of parts of one in decimal, with three places at most.
pub(super) fn show_number(parts: u128, scale: u128) -> String {
    let thousandths = parts * 1000 / scale;
    let (whole, rest) = (thousandths / 1000, thousandths % 1000);
    if rest == 0 {
        return whole.to_string();
    }
    format!("{whole}.{rest:03}").trim_end_matches('0').to_owned()
}

/// A time in the largest unit that leaves something before the point.
pub(super) fn show_time(nanos: u128) -> String {
    let units = [("h", 3600 * SECOND), ("s", SECOND), ("ms", 1_000_000), ("us", 1_000)];
    match units.into_iter().find(|(_, scale)| nanos >= *scale) {
        Some((unit, scale)) => format!("{}{unit}", show_number(nanos, scale)),
        None => format!("{nanos}ns"),
    }
}

/// A size in the largest unit that leaves something before the point.
pub(super) fn show_size(bytes: u128) -> String {
    let units = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|(_, scale)| bytes >= *scale) {
        Some((unit, scale)) => {
            let tenths = bytes * 10 / scale;
            let tenth =
                if tenths.is_multiple_of(10) { String::new() } else { format!(".{}", tenths % 10) };
            format!("{}{tenth} {unit}", tenths / 10)
        }
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests;
