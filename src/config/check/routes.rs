//! Routes: the form of their paths, one at a time, and what gets in the way of what, all together.

use std::collections::BTreeSet;

use super::Read;
use crate::config::finding::Finding;
use crate::config::schema::Config;
use crate::config::schema::route::Route;
use crate::config::source::{Place, Spanned};
use crate::reload::pace;
use crate::route::conflicts::Conflict;
use crate::route::{self, RouteSpec};
use crate::snapshot::matching;

/// The most routes. Each takes some KiB when it is compiled, twice while a reload is under way.
const MOST_ROUTES: usize = 50_000;

pub(super) fn check(config: &Config, read: Read, findings: &mut Vec<Finding>) {
    let before = findings.len();
    if let Some(first) = config.route.get(MOST_ROUTES) {
        let message = format!("more than {MOST_ROUTES} routes");
        findings.push(Finding::error("too_large", first.place, message));
        return;
    }
    for route in &config.route {
        pace::step();
        if let (Some(path), Some(regex)) = (&route.path, &route.path_regex) {
            let message = "a route has `path` or `path_regex`, not both";
            let finding = Finding::error("bad_path", regex.place, message);
            findings.push(finding.related(path.place, "the other one"));
        }
        if let Some(path) = &route.path
            && let Err((message, help)) = pattern(&path.value)
        {
            findings.push(point(path, message).help(help));
        }
    }
    // A route that lost a key to a mistake may seem to tie with another one.
    if read == Read::Whole && findings.len() == before {
        conflicts(config, findings);
    }
}

/// Two routes that tie are an error, because nothing but the order of the file could decide between
/// them. One that can never match is a warning.
fn conflicts(config: &Config, findings: &mut Vec<Finding>) {
    let named = config.route.iter().zip(matching::names(&config.route));
    let specs = named.map(|(route, name)| matching::spec(route, &name, config)).collect();
    let specs: Vec<RouteSpec> = match specs {
        Ok(specs) => specs,
        Err(finding) => return findings.push(*finding),
    };
    let place = |id: usize| config.route.get(id).map_or(Place::NOWHERE, place_of);
    let name = |id: usize| specs.get(id).map_or("", |spec| &*spec.name);
    for conflict in route::conflicts::conflicts(&specs) {
        findings.push(match conflict {
            Conflict::Tie { route, with } => Finding::error(
                "tie",
                place(route),
                format!(
                    "the routes `{}` and `{}` tie: some requests match both",
                    name(with),
                    name(route)
                ),
            )
            .label("neither of the two is more specific")
            .related(place(with), "the other one")
            .help("add a condition, a host or a method to one of them"),
            Conflict::Shadowed { route, by } => Finding::warning(
                "shadowed",
                place(route),
                format!("the route `{}` can never match", name(route)),
            )
            .label("its requests all go elsewhere")
            .related(place(by), format!("to `{}`", name(by)))
            .help("prefixes come before patterns with captures and regular expressions"),
        });
    }
}

/// Where a route is recognised best: its name, its path, or the whole table.
fn place_of(route: &Route) -> Place {
    let path = route.path.as_ref().map(|path| path.place);
    let regex = route.path_regex.as_ref().map(|regex| regex.place);
    route.name.as_ref().map(|name| name.place).or(path).or(regex).unwrap_or(route.place)
}

fn point(path: &Spanned<String>, message: String) -> Finding {
    Finding::error("bad_path", path.place, message)
}

/// The form of a pattern: `/`, then segments that are text, `{name}`, or a last `*`.
fn pattern(path: &str) -> Result<(), (String, String)> {
    let wrong = |message: &str, help: &str| Err((message.to_owned(), help.to_owned()));
    let Some(segments) = path.strip_prefix('/') else {
        let help = format!("write \"/{path}\"");
        return wrong("a path starts with `/`", &help);
    };
    if path.contains(['?', '#']) {
        return wrong("a path has no query or fragment", "use `query` for conditions on the query");
    }
    if path.chars().any(|c| c.is_control() || c == ' ') {
        return wrong("a path has no spaces or control characters", "write them percent-encoded");
    }
    let mut names = BTreeSet::new();
    let mut segments = segments.split('/').peekable();
    while let Some(segment) = segments.next() {
        if segment == "*" {
            if segments.peek().is_some() {
                return wrong("`*` is only allowed at the end", "use {name} for one segment");
            }
        } else if segment.contains('*') {
            let help = "`*` is a whole segment: \"/prefix/*\"";
            return wrong("`*` is only allowed as a whole segment", help);
        } else if segment == "." || segment == ".." {
            let help = "requests are matched after dot segments are resolved";
            return wrong("a path with dot segments never matches", help);
        } else if let Some(name) = capture(segment) {
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            if name.is_empty() || !name.bytes().all(legal) {
                return wrong("the name of a capture is letters, digits and `_`", "write {id}");
            }
            if !names.insert(name) {
                let message = format!("`{{{name}}}` occurs twice in this path");
                return wrong(&message, "give each capture its own name");
            }
        } else if segment.contains(['{', '}']) {
            let help = "write \"/a/{id}/b\"; parts of segments need `path_regex`";
            return wrong("a capture is a whole segment", help);
        }
    }
    Ok(())
}

fn capture(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

/// The names of a pattern's captures.
pub(super) fn captures(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(capture)
}

#[cfg(test)]
mod tests {
    use super::pattern;

    #[test]
    fn whole_segments_are_text_or_captures_or_a_last_star() {
        for path in ["/", "/a", "/a/", "/a/*", "/*", "/a/{id}/b", "/{a}/{b}/*", "/a//b"] {
            assert!(pattern(path).is_ok(), "{path}");
        }
        for path in [
            "", "a", "*", "/a*", "/*/a", "/{}", "/{a}/{a}", "/a{b}", "/{a", "/a}", "/a?b", "/a b",
            "/../a", "/{a-b}", "/\n",
        ] {
            assert!(pattern(path).is_err(), "{path}");
        }
    }
}
