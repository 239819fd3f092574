//! Actions of routes and what happens to requests on the way.

mod templates;

use std::collections::BTreeMap;

use machine::pace;
use route::authority::is_host;

use self::templates::{check_replacement, check_rest, check_template};
use crate::check::upstream::absolute;
use crate::finding::Finding;
use crate::matching;
use crate::schema::Config;
use crate::schema::forms::PolicyUse;
use crate::schema::pages::Errors;
use crate::schema::route::{
    ActionConfig, FilesConfig, HeaderRules, PathRegex, RedirectConfig, RespondConfig, Rewrite,
    RouteConfig, SplitConfig,
};
use crate::schema::words::HeaderName;
use crate::source::{Place, Spanned};

/// Fields that frame a message or belong to one connection (RFC 9110 §7.6.1, RFC 9112 §6). They are
/// the proxy's to write; a rule about them could split or smuggle messages.
const FRAMING: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The names that `{…}` may have in a redirect besides captures of the path.
pub(super) const REDIRECT_NAMES: [&str; 3] = ["host", "path", "query"];
/// The longest location that is written in a configuration: what all are asked to support (RFC 9110
/// §4.1).
const LONGEST_LOCATION: usize = 8000;

pub(super) fn check(config: &Config, findings: &mut Vec<Finding>) {
    let mut names: BTreeMap<&str, Place> = BTreeMap::new();
    config.headers.values().for_each(|rules| check_rules(rules, findings));
    for route in &config.route {
        pace::step();
        if let Some(name) = &route.name {
            unique("route", name, &mut names, findings);
        }
        check_action(route, findings);
        if let Some(rewrite) = &route.rewrite {
            check_rewrite(rewrite, route, findings);
        }
        if let Some(errors) = &route.errors {
            check_errors(errors, findings);
        }
        let rules = route.request_headers.iter().chain(route.response_headers.iter());
        for rules in rules {
            if let PolicyUse::Inline(rules) = rules {
                check_rules(rules, findings);
            }
        }
        if let Some(abort) = route.policies.fault.as_ref().and_then(|fault| fault.abort) {
            check_status(abort, 200, findings);
        }
    }
}

/// Reports a name that was given before.
pub(super) fn unique<'a>(
    what: &str,
    name: &'a Spanned<String>,
    names: &mut BTreeMap<&'a str, Place>,
    findings: &mut Vec<Finding>,
) {
    if name.value.is_empty() {
        findings.push(Finding::error("bad_value", name.place, "a name cannot be empty"));
    }
    let first = *names.entry(&name.value).or_insert(name.place);
    if first != name.place {
        let message = format!("{what} `{name}` is defined twice");
        let finding = Finding::error("duplicate_name", name.place, message);
        findings.push(finding.related(first, "first defined here"));
    }
}

fn check_action(route: &RouteConfig, findings: &mut Vec<Finding>) {
    match &route.action {
        ActionConfig::Upstream(split) => return check_split(split, findings),
        ActionConfig::Respond(respond) => check_respond(respond, findings),
        ActionConfig::Redirect(redirect) => check_redirect(redirect, route, findings),
        ActionConfig::Files(files) => check_files(files, findings),
    }
    let useless = [
        ("rewrite", route.rewrite.is_some() && !matches!(route.action, ActionConfig::Files(_))),
        ("request_headers", !route.request_headers.is_empty()),
        ("timeout", route.timeout.is_some()),
        ("retry", route.retry.is_some()),
        ("mirror", route.mirror.is_some()),
        ("subset", !route.subset.is_empty()),
    ];
    let useless = useless.into_iter().filter_map(|(key, written)| written.then_some(key));
    for key in useless.chain(route.policies.keys_about_servers()) {
        let message = format!("`{key}` has no effect on a route without `upstream`");
        findings.push(Finding::warning("no_effect", route.place, message));
    }
}

fn check_split(split: &SplitConfig, findings: &mut Vec<Finding>) {
    if split.targets.is_empty() {
        let message = "a split needs at least one upstream";
        findings.push(Finding::error("bad_value", split.place, message));
    } else if split.targets.iter().all(|target| target.weight == 0) {
        let message = "all weights are zero, so no request could go anywhere";
        findings.push(Finding::error("bad_value", split.place, message));
    }
}

fn check_status(status: Spanned<u16>, least: u16, findings: &mut Vec<Finding>) {
    if !(least..=599).contains(&status.value) {
        let message = format!("{status} is not a status an answer can have");
        let finding = Finding::error("bad_value", status.place, message);
        findings.push(finding.help(format!("it goes from {least} to 599")));
    }
}

fn check_respond(respond: &RespondConfig, findings: &mut Vec<Finding>) {
    check_status(respond.status, 200, findings);
    // RFC 9110 §15.3.5, §15.3.6, §15.4.5: these never have content.
    if matches!(respond.status.value, 204 | 205 | 304) && !respond.body.value.is_empty() {
        let message = format!("an answer with status {} has no body", respond.status);
        findings.push(Finding::error("bad_value", respond.body.place, message));
    }
    respond.headers.keys().for_each(|name| check_framing(name, findings));
}

/// Reports a field that frames a message or belongs to one connection.
pub(super) fn check_framing(name: &Spanned<HeaderName>, findings: &mut Vec<Finding>) {
    let text = name.value.get().as_str();
    if FRAMING.contains(&text) {
        let message = format!("`{text}` is written by the proxy and cannot be changed");
        findings.push(Finding::error("framing_header", name.place, message));
    }
}

fn check_rules(rules: &HeaderRules, findings: &mut Vec<Finding>) {
    let names = rules.set.keys().chain(rules.add.keys()).chain(&rules.remove);
    for name in names {
        check_framing(name, findings);
        if name.value.get() == http::header::HOST {
            let finding =
                Finding::error("framing_header", name.place, "`host` is not an ordinary header");
            findings.push(finding.help("write rewrite = { host = \"…\" }"));
        }
    }
}

fn check_redirect(redirect: &RedirectConfig, route: &RouteConfig, findings: &mut Vec<Finding>) {
    if !matches!(redirect.status.value, 301 | 302 | 303 | 307 | 308) {
        let message = format!("{} is not the status of a redirect", redirect.status);
        let finding = Finding::error("bad_value", redirect.status.place, message);
        findings.push(finding.help("write 301, 302, 303, 307 or 308"));
    }
    let to = &redirect.to;
    let absolute = ["http://", "https://", "/"].iter().any(|start| to.value.starts_with(start));
    if !absolute {
        let message = "a redirect goes to http://…, https://… or /…";
        findings.push(Finding::error("bad_value", to.place, message));
    }
    if to.value.len() > LONGEST_LOCATION {
        let message = format!("a location of {} bytes is longer than clients take", to.value.len());
        let finding = Finding::error("bad_value", to.place, message);
        findings.push(finding.help(format!("write at most {LONGEST_LOCATION}")));
    }
    let text = matching::location(route, redirect).into_owned();
    check_template(&Spanned { value: text, ..*to }, route, &REDIRECT_NAMES, findings);
    check_rest(to, route, findings);
}

fn check_rewrite(rewrite: &Rewrite, route: &RouteConfig, findings: &mut Vec<Finding>) {
    let parts = [("strip_prefix", &rewrite.strip_prefix), ("prefix", &rewrite.prefix)];
    for (key, part) in parts {
        let Some(part) = part else { continue };
        absolute(key, part, findings);
        check_template(part, route, &[], findings);
    }
    if let Some(PathRegex { r#match, to }) = &rewrite.path_regex {
        check_replacement(&r#match.value, to, findings);
    }
    let places = parts.map(|(key, part)| (key, part.as_ref().map(|part| part.place)));
    let regex = ("path_regex", rewrite.path_regex.as_ref().map(|regex| regex.r#match.place));
    for (key, place) in places.into_iter().chain([regex]) {
        if let (Some(path), Some(place)) = (&rewrite.path, place) {
            let message = format!("`path` replaces the whole path, so `{key}` has nothing to do");
            let finding = Finding::error("bad_value", place, message);
            findings.push(finding.related(path.place, "the whole path"));
        }
    }
    if let Some(path) = &rewrite.path {
        absolute("path", path, findings);
        check_template(path, route, &[], findings);
        check_rest(path, route, findings);
    }
    let rest = rewrite.path.as_ref().is_some_and(|path| path.value.ends_with("/*"));
    let nothing = rewrite.strip_prefix.is_none() && rewrite.prefix.is_none() && !rest;
    if rewrite.answers && nothing && rewrite.host.is_none() {
        let message = "`answers` has nothing to turn back without strip_prefix, prefix, host or a \
                       path that ends with `/*`";
        findings.push(Finding::warning("no_effect", rewrite.place, message));
    }
    if let Some(host) = &rewrite.host
        && host.value.get().is_empty()
    {
        findings.push(Finding::error("bad_value", host.place, "a host cannot be empty"));
    } else if let Some(host) = &rewrite.host
        && !is_host(host.value.get().as_bytes())
    {
        let message = format!("`{}` is no host with an optional port", host.value);
        findings.push(Finding::error("bad_value", host.place, message));
    }
}

fn check_files(files: &FilesConfig, findings: &mut Vec<Finding>) {
    for index in files.index.iter() {
        if index.value.is_empty() || index.value.contains('/') || index.value.starts_with('.') {
            let message = format!("`{index}` is not the name of a file in a folder");
            findings.push(Finding::error("bad_value", index.place, message));
        }
    }
    if let Some(fallback) = &files.fallback {
        absolute("fallback", fallback, findings);
        let hidden = fallback.value.split('/').any(|segment| segment.starts_with('.'));
        if hidden || fallback.value.ends_with('/') {
            let message = format!("`{fallback}` is not the path of a file below the folder");
            findings.push(Finding::error("bad_value", fallback.place, message));
        }
    }
}

/// Of two pages for one status the one with the narrower range counts, so two ranges of one width
/// must not meet.
fn check_errors(errors: &Errors, findings: &mut Vec<Finding>) {
    for (n, (range, _)) in errors.pages.iter().enumerate() {
        let (own, place) = (range.value, range.place);
        let tie = errors.pages.iter().take(n).find(|(other, _)| {
            let other = other.value;
            let same = other.last - other.first == own.last - own.first;
            same && other.first <= own.last && own.first <= other.last
        });
        if let Some((other, _)) = tie {
            let message = "two pages for one status, and neither range is the narrower one";
            let finding = Finding::error("several_pages", place, message);
            findings.push(finding.related(other.place, "the other one"));
        }
    }
}
