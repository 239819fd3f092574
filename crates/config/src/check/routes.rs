//! Routes: the form of their paths, one at a time, and what gets in the way of what, all together.

use std::collections::{BTreeMap, BTreeSet};

use super::ReadExtent;
use crate::finding::Finding;
use crate::matching;
use crate::schema::Config;
use crate::schema::route::{PathEncoding, RouteConfig};
use crate::source::{Place, Spanned};
use machine::pace;
use route::conflicts::Conflict;
use route::{self, RouteSpec};

/// The most routes, one with several paths counted as so many. Each takes some KiB when it is
/// compiled, twice while a reload is under way.
const MOST_ROUTES: usize = 50_000;

pub(super) fn check(config: &Config, read: ReadExtent, findings: &mut Vec<Finding>) {
    let before = findings.len();
    let mut paths = 0;
    let beyond = |route: &&RouteConfig| {
        paths += route.path.len().max(1);
        paths > MOST_ROUTES
    };
    if let Some(first) = config.route.iter().find(beyond) {
        let message = format!("more than {MOST_ROUTES} routes and paths of routes");
        findings.push(Finding::error("too_large", first.place, message));
        return;
    }
    for route in &config.route {
        pace::step();
        if let (Some(path), Some(regex)) = (route.path.first(), &route.path_regex) {
            let message = "a route has `path` or `path_regex`, not both";
            let finding = Finding::error("bad_path", regex.place, message);
            findings.push(finding.related(path.place, "the other one"));
        }
        let mut known: BTreeMap<&str, Place> = BTreeMap::new();
        for path in &route.path.0 {
            if let Err((message, help)) = pattern(&path.value, route.path_encoding) {
                findings.push(point(path, message).help(help));
            }
            let first = *known.entry(&path.value).or_insert(path.place);
            if first != path.place {
                let message = format!("`{}` stands twice in this array", path.value);
                findings.push(point(path, message).related(first, "first written here"));
            }
        }
    }
    // A route that lost a key to a mistake may seem to tie with another one.
    if read == ReadExtent::Whole && findings.len() == before {
        conflicts(config, findings);
    }
}

/// Two routes that tie are an error, because nothing but the order of the file could decide between
/// them. One that can never match is a warning.
fn conflicts(config: &Config, findings: &mut Vec<Finding>) {
    // A route with several paths has a match for each; its own do not get in each other's way.
    let mut specs: Vec<RouteSpec> = Vec::new();
    let mut written: Vec<(&RouteConfig, Option<&Spanned<String>>)> = Vec::new();
    let named = config.route.iter().zip(matching::names(&config.route));
    for (route, name) in named {
        match matching::specs(route, &name, config) {
            Ok(all) => specs.extend(all),
            Err(finding) => return findings.push(*finding),
        }
        written.extend(route.path.iter().map(|path| (route, Some(path))));
        written.extend(route.path.is_empty().then_some((route, None)));
    }
    let place = |id: usize| written.get(id).map_or(Place::NOWHERE, |(route, _)| place_of(route));
    let name = |id: usize| specs.get(id).map_or("", |spec| &*spec.name);
    let same = |a: usize, b: usize| match (written.get(a), written.get(b)) {
        (Some((a, _)), Some((b, _))) => std::ptr::eq(*a, *b),
        _ => false,
    };
    let mut told: BTreeSet<(usize, usize)> = BTreeSet::new();
    let owner = |id: usize| (0..id).rev().take_while(|before| same(*before, id)).count();
    for conflict in route::conflicts::find_conflicts(&specs) {
        let one_of_several = |id: usize| {
            written.get(id).and_then(|(route, path)| path.filter(|_| route.path.len() > 1))
        };
        findings.push(match conflict {
            Conflict::Tie { route, with } if same(route, with) => continue,
            // Two arrays may have several paths in common, and one is enough to say so.
            Conflict::Tie { route, with }
                if !told.insert((route - owner(route), with - owner(with))) =>
            {
                continue;
            }
            Conflict::Shadowed { route, by } if let Some(path) = one_of_several(route) => {
                Finding::warning(
                    "shadowed",
                    path.place,
                    format!("the path `{path}` of the route `{}` can never match", name(route)),
                )
                .label("its requests all go elsewhere")
                .related(place(by), format!("to `{}`", name(by)))
                .help("prefixes come before patterns with captures and regular expressions")
            }
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

/// Returns where a route is recognised best: its name, its path, or the whole table.
fn place_of(route: &RouteConfig) -> Place {
    let path = route.path.first().map(|path| path.place);
    let regex = route.path_regex.as_ref().map(|regex| regex.place);
    route.name.as_ref().map(|name| name.place).or(path).or(regex).unwrap_or(route.place)
}

fn point(path: &Spanned<String>, message: String) -> Finding {
    Finding::error("bad_path", path.place, message)
}

/// The form of a pattern: `/`, then segments that are text, `{name}`, or a last `*`.
fn pattern(path: &str, encoding: PathEncoding) -> Result<(), (String, String)> {
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
            let help = match encoding {
                PathEncoding::Strict => "requests are matched after dot segments are resolved",
                PathEncoding::Raw => "requests with dot segments are refused",
            };
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

#[cfg(test)]
mod tests;
