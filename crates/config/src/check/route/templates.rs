//! Texts with places to fill in: what they may name.

use std::collections::BTreeSet;

use crate::finding::Finding;
use crate::matching;
use crate::schema::route::RouteConfig;
use crate::schema::words::PatternConfig;
use crate::source::Spanned;
use crate::suggest::did_you_mean;

/// Checks that a rest of the path goes only where the route's paths have one.
pub(super) fn check_rest(
    template: &Spanned<String>,
    route: &RouteConfig,
    findings: &mut Vec<Finding>,
) {
    let goes_on = |path: &Spanned<String>| path.value.ends_with("/*");
    if goes_on(template) && (route.path.is_empty() || !route.path.iter().all(goes_on)) {
        let message = "`*` is the rest of a path, and this route's path does not end with `/*`";
        findings.push(Finding::error("bad_template", template.place, message));
    }
}

/// The text that takes the place of a match must be a part of a path, and name groups that there
/// are.
pub(super) fn check_replacement(
    pattern: &PatternConfig,
    to: &Spanned<String>,
    findings: &mut Vec<Finding>,
) {
    let mut bad = |message: String, help: Option<String>| {
        findings.push(Finding::error("bad_template", to.place, message).maybe_help(help));
    };
    if to.value.chars().any(|c| c.is_control() || " ?#\\".contains(c) || !c.is_ascii()) {
        bad("`to` contains a character that no path may have".into(), None);
    }
    if to.value.split('/').any(|segment| matches!(segment, "." | "..")) {
        bad("`to` contains a dot segment".into(), None);
    }
    let regex = pattern.regex();
    let mut rest = to.value.as_str();
    while let Some((_, after)) = rest.split_once('$') {
        if let Some(after) = after.strip_prefix('$') {
            rest = after;
            continue;
        }
        let braced = after.strip_prefix('{').and_then(|inside| inside.split_once('}'));
        let end =
            after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
        let (name, next) = braced.unwrap_or_else(|| after.split_at(end));
        let known = match name.parse::<usize>() {
            Ok(n) => n < regex.captures_len(),
            Err(_) => regex.capture_names().flatten().any(|known| known == name),
        };
        if !known {
            let digits = name.find(|c: char| !c.is_ascii_digit()).unwrap_or(name.len());
            let (number, letters) = name.split_at(digits);
            let help = if name.is_empty() {
                Some("a dollar sign is written `$$`".to_owned())
            } else if braced.is_none() && !number.is_empty() && !letters.is_empty() {
                Some(format!("write `$${{{number}}}{letters}`"))
            } else {
                did_you_mean(name, regex.capture_names().flatten())
            };
            bad(format!("`${name}` is no group of the expression"), help);
        }
        rest = next;
    }
}

/// Every `{name}` must be known, and braces must come in pairs.
pub(super) fn check_template(
    template: &Spanned<String>,
    route: &RouteConfig,
    known: &[&str],
    findings: &mut Vec<Finding>,
) {
    let captures = matching::captures(route);
    let names: BTreeSet<&str> = captures.into_iter().chain(known.iter().copied()).collect();
    let mut bad = |message: String, help: Option<String>| {
        findings.push(Finding::error("bad_template", template.place, message).maybe_help(help));
    };
    if template.value.chars().any(|c| c.is_control() || c == ' ') {
        bad("a location cannot contain spaces or control characters".into(), None);
    }
    let mut rest = template.value.as_str();
    while let Some(at) = rest.find(['{', '}']) {
        let after = rest.get(at + 1..).unwrap_or_default();
        let Some((name, next)) = after.split_once('}').filter(|_| rest.get(at..=at) == Some("{"))
        else {
            return bad("braces come in pairs, such as `{path}`".into(), None);
        };
        if !names.contains(name) {
            let help = did_you_mean(name, names.iter().copied()).or_else(|| {
                let all: Vec<_> = names.iter().map(|name| format!("{{{name}}}")).collect();
                (!all.is_empty()).then(|| format!("it can be {}", all.join(", ")))
            });
            bad(format!("`{{{name}}}` is not known here"), help);
        }
        rest = next;
    }
}
