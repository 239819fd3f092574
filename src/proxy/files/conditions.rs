//! Conditions and ranges of requests for a file (RFC 9110 §13, §14).

use std::time::{Duration, SystemTime};

use crate::wire::head::{Fields, list_items};

/// The most parts of a file in one answer. More ask for work, not for a file.
const MOST_PARTS: usize = 32;

/// The facts about a file before it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Validators {
    /// A strong one, with its quotes.
    pub(crate) etag: String,
    /// The time when it was changed last, in whole seconds.
    pub(crate) modified: SystemTime,
}

impl Validators {
    /// The validators of a file with this length in this coding, changed then. A time that has not
    /// come yet is now (RFC 9110 §8.8.2.1), and no two codings have the same tag (§8.8.3.3).
    #[must_use]
    pub(crate) fn new(
        (length, coding): (u64, Option<&str>),
        modified: SystemTime,
        now: SystemTime,
    ) -> Self {
        let since = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (dash, coding) = coding.map_or(("", ""), |coding| ("-", coding));
        let etag = format!("\"{:x}-{length:x}{dash}{coding}\"", since.as_nanos());
        let whole = SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs());
        Self { etag, modified: whole.min(now) }
    }
}

/// The answer that a client gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileShare {
    /// All of it.
    Whole,
    /// A 304: it has it.
    NotModified,
    /// A 412: it has another one, and wanted this.
    Failed,
    /// From the first byte to the second, both included: one part or several.
    Parts(Vec<(u64, u64)>),
    /// A 416: no part of it is there.
    Unsatisfiable,
}

/// Decides by conditions and range, in the order of RFC 9110 §13.2.2.
#[must_use]
pub(crate) fn choose_share(
    request: &Fields,
    file: &Validators,
    length: u64,
    head_request: bool,
) -> FileShare {
    let mut matches = request.named(b"if-match").flat_map(list_items).peekable();
    if matches.peek().is_some() {
        if !matches.any(|tag| tag == b"*" || tag == file.etag.as_bytes()) {
            return FileShare::Failed;
        }
    } else if parse_date(request, b"if-unmodified-since").is_some_and(|since| file.modified > since)
    {
        return FileShare::Failed;
    }
    let mut none = request.named(b"if-none-match").flat_map(list_items).peekable();
    if none.peek().is_some() {
        let weak = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag) == file.etag.as_bytes();
        if none.any(|tag| tag == b"*" || weak(tag)) {
            return FileShare::NotModified;
        }
    } else if parse_date(request, b"if-modified-since").is_some_and(|since| file.modified <= since)
    {
        return FileShare::NotModified;
    }
    // RFC 9110 §14.2: a range is of GET. An empty file has no part that could be meant.
    if head_request || length == 0 || !range_applies(request, file) {
        return FileShare::Whole;
    }
    read_ranges(request, length)
}

/// A date; several of them, or something else, is none (RFC 9110 §13.1.3).
fn parse_date(request: &Fields, name: &[u8]) -> Option<SystemTime> {
    let mut values = request.named(name);
    match (values.next(), values.next()) {
        (Some(value), None) => httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok(),
        _ => None,
    }
}

/// Returns whether `If-Range` lets the range count: only for exactly this file (RFC 9110 §13.1.5).
fn range_applies(request: &Fields, file: &Validators) -> bool {
    let mut values = request.named(b"if-range");
    match (values.next(), values.next()) {
        (None, _) => true,
        (Some(tag), None) if tag.contains(&b'"') => tag == file.etag.as_bytes(),
        (Some(_), None) => parse_date(request, b"if-range") == Some(file.modified),
        (Some(_), Some(_)) => false,
    }
}

/// The parts that are asked for. What is malformed, of another unit, too much, or more than the
/// file itself is all of it (RFC 9110 §14.2, §17.15).
fn read_ranges(request: &Fields, length: u64) -> FileShare {
    let mut fields = request.named(b"range");
    let (Some(field), None) = (fields.next(), fields.next()) else { return FileShare::Whole };
    let Some((unit, set)) = field.split_at_checked(6) else { return FileShare::Whole };
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return FileShare::Whole;
    }
    let mut parts = Vec::new();
    let mut any = false;
    for item in set.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        if item.is_empty() {
            continue;
        }
        let Some(range) = read_range(item, length) else { return FileShare::Whole };
        any = true;
        if let Some(range) = range {
            if parts.len() == MOST_PARTS {
                return FileShare::Whole;
            }
            parts.push(range);
        }
    }
    let total = parts.iter().fold(0_u64, |sum, (first, last)| sum.saturating_add(last - first + 1));
    match parts.len() {
        0 if any => FileShare::Unsatisfiable,
        0 => FileShare::Whole,
        1 => FileShare::Parts(parts),
        _ if total > length => FileShare::Whole,
        _ => FileShare::Parts(parts),
    }
}

/// One range; `None` within for one that lies beyond the end, `None` for what is no range.
#[expect(clippy::option_option, reason = "malformed and beyond the end are two things")]
fn read_range(item: &[u8], length: u64) -> Option<Option<(u64, u64)>> {
    let dash = item.iter().position(|byte| *byte == b'-')?;
    let (first, last) = (item.get(..dash)?.trim_ascii(), item.get(dash + 1..)?.trim_ascii());
    if first.is_empty() {
        let suffix = parse_number(last)?;
        return Some((suffix > 0).then(|| (length.saturating_sub(suffix), length - 1)));
    }
    let first = parse_number(first)?;
    let last = if last.is_empty() { u64::MAX } else { parse_number(last)? };
    if last < first {
        return None;
    }
    Some((first < length).then(|| (first, last.min(length - 1))))
}

/// A number; one that is too large for any file is as large as one can be.
fn parse_number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let text = std::str::from_utf8(digits).ok()?;
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
