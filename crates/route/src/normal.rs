//! The one normal form of a path, for requests and for the patterns they are matched against.
//!
//! Escapes that change nothing are decoded and the others upper-case, characters that must be
//! encoded are, repeated slashes are merged, dot segments are resolved. Requests are matched *and*
//! forwarded in this form, so nothing can get past a route by another spelling; a pattern is
//! brought into the same form, or it would never match. What servers read in different ways has no
//! normal form.

mod escapes;

use std::borrow::Cow;

use thiserror::Error;

pub use self::escapes::is_target_byte;
use self::escapes::{
    decode_hex, escape_is_normal, escapes_are_normal, hex_digit, must_be_encoded, normalize_escapes,
};

/// A reason why a path has no normal form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PathFault {
    /// RFC 3986 §2: a byte that a URI cannot contain.
    #[error("the path contains an invalid character")]
    Character,
    /// RFC 3986 §2.1: `%` without two hex digits, or `%00`.
    #[error("the path contains an invalid percent-encoding")]
    Escape,
    /// An encoded slash or backslash, a backslash, or parameters on a dot segment: servers
    /// disagree about what they mean.
    #[error("the path is ambiguous")]
    Ambiguous,
    /// A dot segment that leads above the root.
    #[error("the path leads above the root")]
    AboveRoot,
}

/// Brings a path that starts with `/` into normal form. Borrowed exactly when it already is in it,
/// which one pass over the bytes finds out.
///
/// # Errors
/// [`PathFault`].
pub fn normalize_path(path: &[u8]) -> Result<Cow<'_, [u8]>, PathFault> {
    if is_normal(path)? {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = normalize_escapes(path)?;
    let mut out: Vec<u8> = Vec::with_capacity(decoded.len());
    let mut segments = decoded.split(|b| *b == b'/').peekable();
    // What stands before the first slash is nothing.
    segments.next();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"." | b"" => {
                if last {
                    out.push(b'/');
                }
            }
            b".." => {
                let parent = out.iter().rposition(|b| *b == b'/').ok_or(PathFault::AboveRoot)?;
                out.truncate(parent);
                if last {
                    out.push(b'/');
                }
            }
            // Some servers cut parameters off before they resolve dots, others after.
            [b'.', b';', ..] | [b'.', b'.', b';', ..] => return Err(PathFault::Ambiguous),
            other => {
                out.push(b'/');
                out.extend_from_slice(other);
            }
        }
    }
    if out.is_empty() {
        out.push(b'/');
    }
    Ok(Cow::Owned(out))
}

/// Brings one segment of a pattern into the form it has in a normal path. Unlike in a request, what
/// must be encoded may be written as it is.
///
/// # Errors
/// [`PathFault`]; [`PathFault::Ambiguous`] also for a dot segment, which no normal path contains.
pub(super) fn normalize_segment(segment: &[u8]) -> Result<Vec<u8>, PathFault> {
    if segment.contains(&b'\\') {
        return Err(PathFault::Ambiguous);
    }
    let escaped = normalize_escapes(segment)?;
    match &*escaped {
        b"." | b".." | [b'.', b';', ..] | [b'.', b'.', b';', ..] => Err(PathFault::Ambiguous),
        _ => Ok(escaped),
    }
}

/// Brings one segment of a pattern into the form it has in a path as clients send it: what cannot
/// stand in one is encoded, everything else is left alone.
///
/// # Errors
/// [`PathFault::Ambiguous`] for a dot segment, which no such path may contain.
pub(super) fn raw_literal(segment: &[u8]) -> Result<Vec<u8>, PathFault> {
    let mut out = Vec::with_capacity(segment.len());
    for byte in segment {
        if is_target_byte(*byte) {
            out.push(*byte);
        } else {
            out.extend_from_slice(&[b'%', hex_digit(byte >> 4), hex_digit(byte & 15)]);
        }
    }
    if has_dot_segments(&out) { Err(PathFault::Ambiguous) } else { Ok(out) }
}

/// Returns whether a segment of a path is a dot segment, or would be taken for one, by any reading
/// of escapes, slashes, backslashes and parameters (RFC 3986 §5.2.4 and what servers make of it).
#[must_use]
pub fn has_dot_segments(path: &[u8]) -> bool {
    if !path.contains(&b'.') && memchr::memchr(b'%', path).is_none() {
        return false;
    }
    // How many dots the segment begins with, until something else comes.
    let mut dots = Some(0_u8);
    let mut rest = path;
    let is_dots = |dots: Option<u8>| matches!(dots, Some(1 | 2));
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let escaped = (*first == b'%').then(|| decode_hex(after.get(..2))).flatten();
        if escaped.is_some() {
            rest = after.get(2..).unwrap_or_default();
        }
        match escaped.unwrap_or(*first) {
            b'/' | b'\\' if is_dots(dots) => return true,
            b'/' | b'\\' => dots = Some(0),
            b';' | 0 if is_dots(dots) => return true,
            b'.' => dots = dots.map(|dots| dots.saturating_add(1)),
            _ => dots = None,
        }
    }
    is_dots(dots)
}

/// A path without a normal form as servers read it that take encoded slashes and backslashes for
/// slashes, in normal form; `None` if there is nothing of the kind in it, or that has no normal
/// form either.
#[must_use]
pub fn with_slashes(path: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(path.len());
    let (mut rest, mut found) = (path, false);
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'%').then(|| decode_hex(after.get(..2))).flatten();
        let is_slash = matches!(escaped.unwrap_or(*first), b'/' | b'\\');
        found |= is_slash && *first != b'/';
        out.push(if is_slash { b'/' } else { *first });
        rest =
            if is_slash && escaped.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    if found { Some(normalize_path(&out).ok()?.into_owned()) } else { None }
}

/// Looks at a path once. An error for what no normal form can repair.
fn is_normal(path: &[u8]) -> Result<bool, PathFault> {
    let mut normal = true;
    let mut encoded = true;
    let mut previous = 0;
    for (at, byte) in path.iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {}
            b'/' => normal &= previous != b'/',
            b'.' => normal &= previous != b'/',
            b'%' => normal &= escape_is_normal(path.get(at + 1..at + 3))?,
            b'\\' => return Err(PathFault::Ambiguous),
            byte if !is_target_byte(*byte) => return Err(PathFault::Character),
            byte if must_be_encoded(*byte) => encoded = false,
            _ => {}
        }
        previous = *byte;
    }
    if normal || !encoded {
        return Ok(encoded);
    }
    // A segment may begin with a dot and be an ordinary name, like `.well-known`.
    let only_names = path
        .split(|b| *b == b'/')
        .skip(1)
        .enumerate()
        .all(|(at, segment)| is_name(segment, at, path));
    Ok(only_names && escapes_are_normal(path)?)
}

/// Returns whether a segment is neither empty (but at the end), nor a dot segment, nor taken for
/// one.
fn is_name(segment: &[u8], at: usize, path: &[u8]) -> bool {
    match segment {
        b"" => path.iter().filter(|b| **b == b'/').count() == at + 1,
        b"." | b".." => false,
        _ => !segment.starts_with(b".;") && !segment.starts_with(b"..;"),
    }
}

#[cfg(test)]
mod tests;
