//! Text with places to fill in: `https://{host}{path}`, `/orders/{id}`.

mod field_place;
mod groups;
mod pieces;

use thiserror::Error;

pub use self::field_place::{FieldPlace, PLACES, field_place};
pub use self::groups::{capture_names, group_names, named_groups};
pub use self::pieces::{TemplatePiece, split_pieces};

/// A thing that can stand in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TemplatePlace {
    Host,
    Path,
    Query,
    /// The rest of the path behind the part of the route's path before its `*`.
    Rest,
    /// The n-th capture of the route's path.
    Capture(usize),
}

#[derive(Debug, PartialEq, Eq)]
enum TemplatePart {
    Text(Box<[u8]>),
    Place(TemplatePlace),
}

/// A compiled template.
#[derive(Debug)]
pub struct Template {
    parts: Box<[TemplatePart]>,
    /// The query is in it, or must not be added.
    has_query: bool,
    /// The host is in it.
    has_host: bool,
    /// The number of the capture's part where the host of a URL may end in front of a capture.
    open_host: Option<usize>,
}

/// Finds the capture that follows at once upon the host of a URL, such as in `https://a.test{1}` or
/// `https://{host}{1}`: what was captured belongs to the path there, and must not make another host
/// of it. Whoever writes a dot or a hyphen in front of it means a part of the host.
fn find_open_host(parts: &[TemplatePart]) -> Option<usize> {
    let is_capture =
        |part: &TemplatePart| matches!(part, TemplatePart::Place(TemplatePlace::Capture(_)));
    let at = parts.iter().position(is_capture)?;
    let mut text = String::new();
    for part in parts.get(..at)? {
        match part {
            TemplatePart::Text(part) => text.push_str(std::str::from_utf8(part).ok()?),
            TemplatePart::Place(TemplatePlace::Host) => text.push('h'),
            TemplatePart::Place(_) => return None,
        }
    }
    let (_, host) = text.split_once("://")?;
    let ends = !host.contains(['/', '?', '#'])
        && host.ends_with(|last: char| last.is_alphanumeric() || last == ']');
    let follows = match parts.get(at + 1) {
        Some(TemplatePart::Text(text)) => text.starts_with(b"/") || text.starts_with(b"?"),
        Some(TemplatePart::Place(_)) | None => true,
    };
    (ends && follows).then_some(at)
}

/// A reason why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// A brace without its partner.
    #[error("unbalanced brace")]
    Brace,
    /// A name that is neither host, path, query nor a capture of the route's path.
    #[error("`{{{0}}}` is neither host, path, query nor a capture of the route's path")]
    Unknown(String),
}

/// The values that a template is filled with.
#[derive(Debug, Clone, Copy)]
pub struct TemplateValues<'a> {
    /// Canonical host, without port.
    pub host: &'a [u8],
    /// The path in normal form.
    pub path: &'a [u8],
    /// Without `?`.
    pub query: Option<&'a [u8]>,
    /// The part that the `*` of the route's path stands for, with the slash before it.
    pub rest: &'a [u8],
}

impl Template {
    /// Compiles a template for a route whose path has these captures, in order.
    ///
    /// # Errors
    /// [`TemplateError`].
    pub fn new(text: &str, captures: &[&str]) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(open);
            let inside = brace.strip_prefix('{').ok_or(TemplateError::Brace)?;
            let (name, after) = inside.split_once('}').ok_or(TemplateError::Brace)?;
            if !before.is_empty() {
                parts.push(TemplatePart::Text(before.as_bytes().into()));
            }
            let capture = captures.iter().position(|c| *c == name);
            parts.push(TemplatePart::Place(match (capture, name) {
                (Some(n), _) => TemplatePlace::Capture(n),
                (None, "host") => TemplatePlace::Host,
                (None, "path") => TemplatePlace::Path,
                (None, "query") => TemplatePlace::Query,
                (None, other) => return Err(TemplateError::Unknown(other.to_owned())),
            }));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(TemplatePart::Text(rest.as_bytes().into()));
        }
        let has_query = parts.iter().any(|part| match part {
            TemplatePart::Place(place) => *place == TemplatePlace::Query,
            TemplatePart::Text(text) => text.contains(&b'?'),
        });
        let has_host = parts.contains(&TemplatePart::Place(TemplatePlace::Host));
        let open_host = find_open_host(&parts);
        Ok(Self { parts: parts.into_boxed_slice(), has_query, has_host, open_host })
    }

    /// Compiles a template of a path, which may end with `/*`: the rest of the path goes there.
    ///
    /// # Errors
    /// [`TemplateError`].
    pub fn of_path(text: &str, captures: &[&str]) -> Result<Self, TemplateError> {
        let Some(before) = text.strip_suffix("/*") else { return Self::new(text, captures) };
        let mut template = Self::new(before, captures)?;
        let mut parts = template.parts.into_vec();
        parts.push(TemplatePart::Place(TemplatePlace::Rest));
        template.parts = parts.into();
        Ok(template)
    }

    /// Returns whether it is written as a path of the same host: with one slash in front, not with
    /// two.
    #[must_use]
    pub fn is_path(&self) -> bool {
        match self.parts.first() {
            Some(TemplatePart::Text(text)) => text.starts_with(b"/") && !text.starts_with(b"//"),
            Some(TemplatePart::Place(place)) => *place == TemplatePlace::Rest,
            None => false,
        }
    }

    /// Returns whether the rest of the path is filled in.
    #[must_use]
    pub fn has_rest(&self) -> bool {
        self.parts.contains(&TemplatePart::Place(TemplatePlace::Rest))
    }

    /// Returns whether the template says itself what becomes of the query. If not, it is kept.
    #[must_use]
    pub fn has_query(&self) -> bool {
        self.has_query
    }

    /// Returns whether the host is filled in, so that there has to be one.
    #[must_use]
    pub fn has_host(&self) -> bool {
        self.has_host
    }

    /// Appends the filled-in text.
    pub fn write_filled<'a>(
        &self,
        out: &mut Vec<u8>,
        values: &TemplateValues<'a>,
        capture: impl Fn(usize) -> &'a [u8],
    ) {
        let start = out.len();
        let mut open = self.open_host;
        for (n, part) in self.parts.iter().enumerate() {
            let value = match part {
                TemplatePart::Text(text) => text,
                TemplatePart::Place(TemplatePlace::Host) => values.host,
                TemplatePart::Place(TemplatePlace::Path) => values.path,
                TemplatePart::Place(TemplatePlace::Query) => values.query.unwrap_or_default(),
                TemplatePart::Place(TemplatePlace::Rest) => values.rest,
                TemplatePart::Place(TemplatePlace::Capture(n)) => capture(*n),
            };
            if open.is_some_and(|at| n >= at)
                && let Some(first) = value.first()
            {
                if !matches!(first, b'/' | b'?' | b'#') {
                    out.push(b'/');
                }
                open = None;
            }
            out.extend_from_slice(value);
        }
        if out.len() == start && self.has_rest() {
            out.push(b'/');
        }
    }
}

#[cfg(test)]
mod tests;
