//! `rewrite`: the path a server sees instead of the one that was matched.

use std::borrow::Cow;

use regex::Regex;

use crate::exchange::Refusal;
use crate::route::normal::{has_dot_segments, normalize_path};
use crate::route::template::TemplateValues;
use crate::snapshot::rewrite::RouteRewrite;

/// Appends the rewritten path to `out`. `raw` is a path that is sent as it came.
///
/// # Errors
/// An expression has made something of the path that leads elsewhere than it says, or more than
/// `most` bytes of it, which is refused.
pub fn rewrite_path<'a>(
    out: &mut Vec<u8>,
    rewrite: &RouteRewrite,
    values: &TemplateValues<'a>,
    raw: bool,
    most: usize,
    capture: impl Fn(usize) -> &'a [u8],
) -> Result<(), Refusal> {
    if let Some(template) = &rewrite.path {
        let rest = rewrite.rests.iter().find_map(|start| start.divide_path(values.path));
        let (_, rest) = rest.unwrap_or_default();
        template.write_filled(out, &TemplateValues { rest, ..*values }, capture);
        return bound_length(out, most);
    }
    let mut rest = Cow::Borrowed(strip_prefix(rewrite, values.path).1);
    if let Some((regex, to)) = &rewrite.regex {
        let whole: &[u8] = if rest.is_empty() { b"/" } else { &rest };
        // A path is ASCII in whatever form it is matched.
        let text = std::str::from_utf8(whole).unwrap_or_default();
        if let Some(replaced) = replace_matches(regex, text, to, most)? {
            rest = Cow::Owned(check_path(replaced.into_bytes(), raw)?);
        }
    }
    if let Some(prefix) = &rewrite.prefix {
        prefix.write_filled(out, values, capture);
    }
    if out.is_empty() && rest.is_empty() {
        out.push(b'/');
    }
    out.extend_from_slice(&rest);
    bound_length(out, most)
}

/// The bytes that whatever is made of a target may have, at least: the text of a template is no
/// client's fault.
const ALWAYS_FITS: usize = 16 << 10;

/// The longest thing that may be made of a target, in bytes, where a head may have so many.
#[must_use]
pub fn most_bytes(head: usize) -> usize {
    head.max(ALWAYS_FITS)
}

/// Refuses what is made of a target when it is longer than `most` bytes: a template may name what a
/// client sent any number of times.
pub fn bound_length(made: &[u8], most: usize) -> Result<(), Refusal> {
    if made.len() > most { Err(Refusal::MadeTooLong) } else { Ok(()) }
}

/// Replaces every match of an expression; `None` where there is none.
fn replace_matches(
    regex: &Regex,
    text: &str,
    to: &str,
    most: usize,
) -> Result<Option<String>, Refusal> {
    let mut made = String::new();
    let mut after = None;
    for found in regex.captures_iter(text) {
        let whole = found.get_match();
        made.push_str(text.get(after.unwrap_or(0)..whole.start()).unwrap_or_default());
        found.expand(to, &mut made);
        bound_length(made.as_bytes(), most)?;
        after = Some(whole.end());
    }
    let Some(after) = after else { return Ok(None) };
    made.push_str(text.get(after..).unwrap_or_default());
    Ok(Some(made))
}

/// Returns what `strip_prefix` takes off a path, and what it leaves.
pub(super) fn strip_prefix<'p>(rewrite: &RouteRewrite, path: &'p [u8]) -> (&'p [u8], &'p [u8]) {
    let divided = rewrite.strip_prefix.as_ref().and_then(|start| start.divide_path(path));
    divided.unwrap_or((b"", path))
}

/// Returns what an expression made, as a path that is acceptable: pieces of one that were harmless
/// apart may lead above it together.
fn check_path(mut path: Vec<u8>, raw: bool) -> Result<Vec<u8>, Refusal> {
    const REASON: Refusal = Refusal::BadRequest("the path cannot be rewritten safely");
    if !path.starts_with(b"/") {
        path.insert(0, b'/');
    }
    if has_dot_segments(&path) {
        return Err(REASON);
    }
    if raw {
        return Ok(path);
    }
    match normalize_path(&path) {
        Ok(normal) => Ok(normal.into_owned()),
        Err(_) => Err(REASON),
    }
}

#[cfg(test)]
mod tests;
