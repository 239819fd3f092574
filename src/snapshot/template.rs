//! Text with places to fill in: `https://{host}{path}`, `/orders/{id}`.

use thiserror::Error;

/// What can stand in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Host,
    Path,
    Query,
    /// The n-th capture of the route's path.
    Capture(usize),
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(Box<[u8]>),
    Place(Place),
}

/// A compiled template.
#[derive(Debug)]
pub struct Template {
    parts: Box<[Part]>,
    /// The query is in it, or must not be added.
    has_query: bool,
    /// The host is in it.
    has_host: bool,
}

/// Why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// A brace without its partner.
    #[error("unbalanced brace")]
    Brace,
    /// A name that is neither host, path, query nor a capture of the route's path.
    #[error("`{{{0}}}` is neither host, path, query nor a capture of the route's path")]
    Unknown(String),
}

/// What a template is filled with.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    /// Canonical host, without port.
    pub host: &'a [u8],
    /// The path in normal form.
    pub path: &'a [u8],
    /// Without `?`.
    pub query: Option<&'a [u8]>,
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
                parts.push(Part::Text(before.as_bytes().into()));
            }
            let capture = captures.iter().position(|c| *c == name);
            parts.push(Part::Place(match (capture, name) {
                (Some(n), _) => Place::Capture(n),
                (None, "host") => Place::Host,
                (None, "path") => Place::Path,
                (None, "query") => Place::Query,
                (None, other) => return Err(TemplateError::Unknown(other.to_owned())),
            }));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.as_bytes().into()));
        }
        let has_query = parts.iter().any(|part| match part {
            Part::Place(place) => *place == Place::Query,
            Part::Text(text) => text.contains(&b'?'),
        });
        let has_host = parts.contains(&Part::Place(Place::Host));
        Ok(Self { parts: parts.into_boxed_slice(), has_query, has_host })
    }

    /// Whether the template says itself what becomes of the query. If not, it is kept.
    #[must_use]
    pub fn has_query(&self) -> bool {
        self.has_query
    }

    /// Whether the host is filled in, so that there has to be one.
    #[must_use]
    pub fn has_host(&self) -> bool {
        self.has_host
    }

    /// Appends the filled-in text.
    pub fn write<'a>(
        &self,
        out: &mut Vec<u8>,
        values: &Values<'a>,
        capture: impl Fn(usize) -> &'a [u8],
    ) {
        for part in &self.parts {
            out.extend_from_slice(match part {
                Part::Text(text) => text,
                Part::Place(Place::Host) => values.host,
                Part::Place(Place::Path) => values.path,
                Part::Place(Place::Query) => values.query.unwrap_or_default(),
                Part::Place(Place::Capture(n)) => capture(*n),
            });
        }
    }
}

/// The names of the captures of a path, in order.
pub fn capture_names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str) -> String {
        let template = Template::new(text, &["id"]).unwrap();
        let values = Values { host: b"a.test", path: b"/p/7", query: Some(b"q=1") };
        let mut out = Vec::new();
        template.write(&mut out, &values, |_| b"7");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn places_are_filled_in() {
        assert_eq!(fill("https://{host}{path}"), "https://a.test/p/7");
        assert_eq!(fill("/orders/{id}?{query}"), "/orders/7?q=1");
        assert_eq!(fill(""), "");
    }

    #[test]
    fn mistakes_are_told_apart() {
        let error = |text| Template::new(text, &["id"]).unwrap_err();
        assert_eq!(error("/{id"), TemplateError::Brace);
        assert_eq!(error("/id}"), TemplateError::Brace);
        assert_eq!(error("/{ix}"), TemplateError::Unknown("ix".into()));
    }

    #[test]
    fn captures_are_found_by_segment() {
        assert_eq!(capture_names("/a/{id}/b{x}/{y}/*").collect::<Vec<_>>(), ["id", "y"]);
    }
}
