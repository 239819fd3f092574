//! `rewrite` of a route: what a server sees instead of what was matched, and what of its answers is
//! turned back.

use std::collections::BTreeSet;

use regex::Regex;

use crate::config::schema::route as schema;
use crate::config::{Config, Finding, Spanned, matching};
use crate::route::template::{Template, TemplateError, capture_names};

/// `rewrite`.
#[derive(Debug, Default)]
pub struct RouteRewrite {
    /// Taken off the start of the path.
    pub strip_prefix: Option<PathStart>,
    /// Put at the start of the path; without a slash at its end.
    pub prefix: Option<Template>,
    /// The whole path.
    pub path: Option<Template>,
    /// The expression whose match in the path is replaced by a text, after `strip_prefix` and
    /// before `prefix`.
    pub regex: Option<(Regex, Box<str>)>,
    /// The beginnings of the route's paths that end with `/*`, long ones first: what follows is the
    /// rest that `path` may name.
    pub rests: Box<[PathStart]>,
    /// The `Host` field.
    pub host: Option<Box<[u8]>>,
    /// Answers are turned back.
    pub answers: Option<Box<AnswerRules>>,
}

/// The rules by which answers are turned back.
#[derive(Debug)]
pub struct AnswerRules {
    /// Addresses of the route's servers, as URLs name them, in lower case: a server may call itself
    /// by its own.
    pub servers: BTreeSet<Box<[u8]>>,
}

impl RouteRewrite {
    /// Returns whether the path changes.
    #[must_use]
    pub fn changes_path(&self) -> bool {
        let Self { strip_prefix, prefix, path, regex, rests: _, host: _, answers: _ } = self;
        strip_prefix.is_some() || prefix.is_some() || path.is_some() || regex.is_some()
    }
}

/// The beginning of a path: segments, of which some may be any.
#[derive(Debug, PartialEq, Eq)]
pub struct PathStart(Box<[RewritePart]>);

#[derive(Debug, PartialEq, Eq)]
enum RewritePart {
    Text(Box<[u8]>),
    Segment,
}

impl PathStart {
    /// A beginning as written, with `{name}` for any segment; a slash at its end makes no
    /// difference.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut literal = String::new();
        for segment in text.trim_end_matches('/').split('/').skip(1) {
            literal.push('/');
            if segment.starts_with('{') && segment.ends_with('}') {
                parts.push(RewritePart::Text(std::mem::take(&mut literal).into_bytes().into()));
                parts.push(RewritePart::Segment);
            } else {
                literal.push_str(segment);
            }
        }
        if !literal.is_empty() {
            parts.push(RewritePart::Text(literal.into_bytes().into()));
        }
        Self(parts.into())
    }

    /// Divides a path that begins like this, at the end of a segment; what follows is empty or
    /// begins with a slash.
    #[must_use]
    pub fn divide_path<'p>(&self, path: &'p [u8]) -> Option<(&'p [u8], &'p [u8])> {
        let mut rest = path;
        for part in &self.0 {
            rest = match part {
                RewritePart::Text(text) => rest.strip_prefix(&**text)?,
                RewritePart::Segment => {
                    let end = memchr::memchr(b'/', rest).unwrap_or(rest.len());
                    rest.get(end..).filter(|_| end > 0)?
                }
            };
        }
        let whole = rest.is_empty() || rest.starts_with(b"/");
        whole.then(|| path.split_at(path.len() - rest.len()))
    }
}

/// Compiles `rewrite`.
///
/// # Errors
/// A template that names what there is not.
pub(super) fn compile_rewrite(
    route: &schema::RouteConfig,
    captures: &[&str],
    config: &Config,
) -> Result<RouteRewrite, Box<Finding>> {
    let Some(written) = &route.rewrite else { return Ok(RouteRewrite::default()) };
    let schema::Rewrite { place: _, strip_prefix, prefix, path, path_regex, host, answers } =
        written;
    let path =
        path.as_ref().map(|path| compile_template(path, &path.value, captures)).transpose()?;
    let prefix = prefix.as_ref();
    let prefix =
        prefix.map(|p| compile_template(p, p.value.trim_end_matches('/'), captures)).transpose()?;
    Ok(RouteRewrite {
        strip_prefix: strip_prefix.as_ref().map(|start| PathStart::new(&start.value)),
        prefix,
        rests: written.path.as_ref().map_or_else(Box::default, |path| rests_of(&path.value, route)),
        path,
        regex: path_regex.as_ref().map(|schema::PathRegex { r#match, to }| {
            (r#match.value.regex().clone(), to.value.as_str().into())
        }),
        host: host.as_ref().map(|h| h.value.get().as_bytes().into()),
        answers: answers.then(|| Box::new(AnswerRules { servers: server_places(route, config) })),
    })
}

/// Compiles text that may have captures and the rest of the path at its end.
pub(super) fn compile_template(
    place: &Spanned<String>,
    text: &str,
    captures: &[&str],
) -> Result<Template, Box<Finding>> {
    Template::of_path(text, captures).map_err(|error: TemplateError| {
        Box::new(Finding::error("bad_value", place.place, error.to_string()))
    })
}

/// The beginnings of a route's paths that go on with anything, where a template says where the rest
/// of a path goes.
pub(super) fn rests_of(template: &str, route: &schema::RouteConfig) -> Box<[PathStart]> {
    if !template.ends_with("/*") {
        return Box::default();
    }
    let starts = route.path.iter().filter_map(|path| path.value.strip_suffix("/*"));
    let mut starts: Vec<&str> = starts.collect();
    starts.sort_by_key(|start| {
        (std::cmp::Reverse(start.split('/').count()), capture_names(start).count())
    });
    starts.into_iter().map(PathStart::new).collect()
}

/// Returns where the servers of a route are, those of fallbacks included.
fn server_places(route: &schema::RouteConfig, config: &Config) -> BTreeSet<Box<[u8]>> {
    let mut seen = BTreeSet::new();
    let mut addresses = BTreeSet::new();
    let mut left: Vec<&str> = matching::upstreams(route).collect();
    while let Some(name) = left.pop() {
        let Some(upstream) = config.upstream.get(name).filter(|_| seen.insert(name)) else {
            continue;
        };
        let listed = upstream.servers.listed().iter();
        let shown = listed.map(|server| server.address.to_string().to_ascii_lowercase());
        addresses.extend(shown.map(|address| address.into_bytes().into()));
        left.extend(upstream.fallback.iter().map(|name| name.value.as_str()));
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_divided_where_a_segment_ends() {
        let divided = |start: &str, path: &str| {
            let start = PathStart::new(start);
            let (before, after) = start.divide_path(path.as_bytes())?;
            let text = |part: &[u8]| String::from_utf8(part.to_vec()).unwrap();
            Some((text(before), text(after)))
        };
        let parts = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(divided("/api", "/api/x"), parts("/api", "/x"));
        assert_eq!(divided("/api/", "/api"), parts("/api", ""));
        assert_eq!(divided("/api", "/apix"), None);
        assert_eq!(divided("/", "/x"), parts("", "/x"));
        assert_eq!(divided("/t/{id}", "/t/7/x"), parts("/t/7", "/x"));
        assert_eq!(divided("/t/{id}/y", "/t/7/y/z"), parts("/t/7/y", "/z"));
        assert_eq!(divided("/t/{id}", "/t//x"), None);
        assert_eq!(divided("/t/{id}", "/t"), None);
        assert_eq!(divided("/{a}/{b}", "/1/2"), parts("/1/2", ""));
    }
}
