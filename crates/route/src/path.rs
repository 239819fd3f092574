//! Path patterns: `/exact`, `/prefix/*`, `/a/{id}/b`, regular expressions.

use regex::Regex;
use thiserror::Error;

use super::captures::{self, Captures};
use super::normal;

/// The most segments of a pattern. Lookups look no deeper into a request's path than the deepest
/// one.
pub const MAX_SEGMENTS: usize = 64;

/// A pattern for paths in normal form.
#[derive(Debug, Clone)]
pub enum PathPattern {
    /// Everything: no `path`, or `/*`.
    Any,
    /// Exactly this path.
    Exact(Box<[u8]>),
    /// A path and everything below it, by segment: `/api/*` matches `/api`, `/api/` and `/api/x`,
    /// not `/apix`. Stored without the final `/*`.
    Prefix(Box<[u8]>),
    /// Segments, some of them captured.
    Segments(PathSegments),
    /// A regular expression that finds a match anywhere in the path.
    Regex(Regex),
}

/// A pattern with captures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathSegments {
    /// The segments; `None` captures one non-empty segment.
    pub(super) parts: Box<[Option<Box<[u8]>>]>,
    /// True if anything may follow (`/*`).
    pub(super) open: bool,
    /// Bytes of literal segments: longer is more specific.
    pub(super) literal: usize,
}

/// Specificity among patterns with captures, most important first: literal length, then segments,
/// then that nothing may follow. Without the last two, `/a/{x}/*` would hide `/a/{x}` and
/// `/a/{x}/{y}`.
pub(super) type PatternRank = (usize, usize, bool);

/// A reason why text is not a path pattern.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PathError {
    /// The text does not start with `/`.
    #[error("a path starts with `/`")]
    Relative,
    /// A `*` that is not the whole last segment.
    #[error("`*` is only allowed as the whole last segment")]
    Star,
    /// A brace that does not enclose a whole segment.
    #[error("a capture is a whole segment: `{{name}}`")]
    Capture,
    /// Text that no path in normal form contains.
    #[error(
        "requests are matched in normal form, without empty or dot segments and encoded slashes"
    )]
    NeverMatches,
    /// More segments or captures than can be looked up.
    #[error("at most {MAX_SEGMENTS} segments and {max} captures", max = captures::MAX)]
    TooMany,
}

impl PathPattern {
    /// Reads a pattern and brings it into the normal form that request paths are matched in:
    /// `/café` matches what clients send as `/caf%C3%A9`.
    ///
    /// # Errors
    /// [`PathError`].
    pub fn parse_pattern(text: &str) -> Result<Self, PathError> {
        Self::parse_by(text, literal_segment)
    }

    fn parse_by(
        text: &str,
        literal: impl Fn(&str, bool) -> Result<Box<[u8]>, PathError>,
    ) -> Result<Self, PathError> {
        let rest = text.strip_prefix('/').ok_or(PathError::Relative)?;
        let mut names: Vec<&str> = rest.split('/').collect();
        let open = names.last() == Some(&"*");
        if open {
            names.pop();
        }
        let mut parts: Vec<Option<Box<[u8]>>> = Vec::new();
        let mut captured = 0;
        for (at, name) in names.iter().enumerate() {
            if name.contains('*') {
                return Err(PathError::Star);
            }
            let inner = name.strip_prefix('{').and_then(|n| n.strip_suffix('}'));
            match inner {
                Some(inner) if !inner.is_empty() && !inner.contains(['{', '}']) => {
                    captured += 1;
                    parts.push(None);
                }
                None if !name.contains(['{', '}']) => {
                    let last = !open && at + 1 == names.len();
                    parts.push(Some(literal(name, last)?));
                }
                _ => return Err(PathError::Capture),
            }
        }
        if parts.len() > MAX_SEGMENTS || captured > captures::MAX {
            return Err(PathError::TooMany);
        }
        if captured == 0 {
            let path: Vec<u8> =
                parts.iter().flatten().flat_map(|part| [b"/", &**part].concat()).collect();
            return Ok(match (open, path.is_empty()) {
                (true, true) => Self::Any,
                (true, false) => Self::Prefix(path.into()),
                (false, _) => Self::Exact(path.into()),
            });
        }
        let literal = parts.iter().flatten().map(|part| part.len() + 1).sum();
        Ok(Self::Segments(PathSegments { parts: parts.into_boxed_slice(), open, literal }))
    }

    /// Reads a pattern for paths as clients send them: every byte but those that no target can
    /// contain stands for itself, empty segments and escapes too.
    ///
    /// # Errors
    /// [`PathError`].
    pub fn parse_raw(text: &str) -> Result<Self, PathError> {
        Self::parse_by(text, |segment, _| match normal::raw_literal(segment.as_bytes()) {
            Ok(literal) => Ok(literal.into()),
            Err(_) => Err(PathError::NeverMatches),
        })
    }

    /// Tells how specific the pattern is, whatever the rest of its route.
    pub(super) fn pattern_rank(&self) -> (u8, PatternRank) {
        let none = (0, 0, false);
        match self {
            Self::Exact(_) => (4, none),
            Self::Prefix(prefix) => (3, (prefix.len(), 0, false)),
            Self::Segments(segments) => (2, segments.segment_rank()),
            Self::Regex(_) => (1, none),
            Self::Any => (0, none),
        }
    }

    /// Returns what the pattern captures of a path that it matches.
    #[must_use]
    pub fn capture_path(&self, path: &[u8]) -> Captures {
        let mut captures = Captures::default();
        if let Self::Segments(segments) = self {
            let mut start = 1;
            for part in &segments.parts {
                let tail = path.get(start..).unwrap_or_default();
                let end = start + memchr::memchr(b'/', tail).unwrap_or(tail.len());
                if part.is_none() {
                    captures.push_range(start, end);
                }
                start = end + 1;
            }
        }
        captures
    }

    /// Returns what the groups of an expression capture of a path that it matches.
    #[must_use]
    pub(super) fn groups(&self, path: &[u8]) -> Captures {
        let mut captures = Captures::default();
        // A path is ASCII in whatever form it is matched.
        let text = std::str::from_utf8(path).unwrap_or_default();
        if let Self::Regex(regex) = self
            && let Some(found) = regex.captures(text)
        {
            for group in found.iter().skip(1) {
                let range = group.map_or(0..0, |group| group.range());
                captures.push_range(range.start, range.end);
            }
        }
        captures
    }

    /// Returns whether a path matches. The table does not ask this; it is the definition that it is
    /// tested against.
    #[must_use]
    pub fn matches_path(&self, path: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => **exact == *path,
            Self::Prefix(prefix) => path
                .strip_prefix(&**prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/")),
            Self::Segments(segments) => segments.matches_path(path),
            Self::Regex(regex) => std::str::from_utf8(path).is_ok_and(|p| regex.is_match(p)),
        }
    }
}

/// A literal segment in normal form. Only the last one may be empty: `/a/`.
fn literal_segment(text: &str, last: bool) -> Result<Box<[u8]>, PathError> {
    if text.is_empty() && !last {
        return Err(PathError::NeverMatches);
    }
    match normal::normalize_segment(text.as_bytes()) {
        Ok(literal) => Ok(literal.into()),
        Err(_) => Err(PathError::NeverMatches),
    }
}

impl PathSegments {
    pub(super) fn segment_rank(&self) -> PatternRank {
        (self.literal, self.parts.len(), !self.open)
    }

    /// Returns whether some path matches both.
    pub(super) fn overlaps_with(&self, other: &Self) -> bool {
        let both = self.parts.iter().zip(&other.parts);
        let agree = both.into_iter().all(|pair| match pair {
            (Some(a), Some(b)) => a == b,
            // A capture takes no empty segment.
            (Some(text), None) | (None, Some(text)) => !text.is_empty(),
            (None, None) => true,
        });
        let (a, b) = (self.parts.len(), other.parts.len());
        agree && (a == b || self.open && a < b || other.open && b < a)
    }

    fn matches_path(&self, path: &[u8]) -> bool {
        let Some(rest) = path.strip_prefix(b"/") else { return false };
        let mut given = rest.split(|b| *b == b'/');
        for part in &self.parts {
            match (part, given.next()) {
                (Some(literal), Some(segment)) if **literal == *segment => {}
                (None, Some(segment)) if !segment.is_empty() => {}
                _ => return false,
            }
        }
        self.open || given.next().is_none()
    }
}

#[cfg(test)]
mod tests;
