//! Captures of paths and groups of expressions, by name.

use std::fmt::Write as _;

use regex::Regex;

use crate::captures;

/// Text in which groups of an expression are written as in what replaces its match, `$1`, `$name`,
/// `${name}` and `$$`, with `{1}` and `{name}` in their place. A group that has a name is known by
/// that.
#[must_use]
pub fn named_groups(text: &str, regex: &Regex) -> String {
    let mut written = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        written.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            written.push('$');
            rest = after;
            continue;
        }
        let braced = after.strip_prefix('{').and_then(|inside| inside.split_once('}'));
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (name, next) = braced.unwrap_or_else(|| {
            after.split_at_checked(end.unwrap_or(after.len())).unwrap_or_default()
        });
        let of_number = name.parse::<usize>().ok().and_then(|n| regex.capture_names().nth(n));
        let name = of_number.flatten().unwrap_or(name);
        let _ok = write!(written, "{{{name}}}");
        rest = next;
    }
    written.push_str(rest);
    written
}

/// The groups of an expression that can be filled in, in order: by their names, or their numbers.
pub fn group_names(regex: &Regex) -> impl Iterator<Item = &str> {
    const NUMBERS: [&str; captures::MAX] =
        ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"];
    regex.capture_names().skip(1).zip(NUMBERS).map(|(name, number)| name.unwrap_or(number))
}

/// The names of the captures of a path, in order.
pub fn capture_names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}
