//! What a route matches, from its keys.

use std::borrow::Cow;
use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::schema::forms::PolicyUse;
use crate::schema::route as schema;
use crate::schema::words::HostPatternConfig as WrittenHost;
use crate::{Config, Finding, Spanned};
use route::condition::{Condition, ConditionSubject, ValueMatch};
use route::template::{capture_names, group_names, named_groups};
use route::{HostPattern, PathPattern, RouteSpec};

/// Compiles the matches of a route: one for each of its paths, and one for a route without any.
///
/// # Errors
/// A path that is no pattern.
pub fn specs(
    written: &schema::RouteConfig,
    name: &str,
    config: &Config,
) -> Result<Vec<RouteSpec>, Box<Finding>> {
    let mut spec = spec(written, name, config);
    if let Some(regex) = written.path_regex.as_ref().filter(|_| written.path.is_empty()) {
        let regex = regex.value.regex();
        spec.path = PathPattern::Regex(regex.clone());
        spec.groups = regex.captures_len() > 1;
    }
    if written.path.is_empty() {
        return Ok(vec![spec]);
    }
    let names = captures(written);
    let one = |path: &Spanned<String>| {
        let pattern = match written.path_encoding {
            schema::PathEncoding::Strict => PathPattern::parse_pattern(&path.value),
            schema::PathEncoding::Raw => PathPattern::parse_raw(&path.value),
        };
        let pattern = pattern
            .map_err(|error| Box::new(Finding::error("bad_path", path.place, error.to_string())))?;
        Ok(RouteSpec { path: pattern, order: order(&names, &path.value), ..spec.clone() })
    };
    written.path.iter().map(one).collect()
}

/// The captures of a route that `{name}` can stand for: those that each of its paths has, or the
/// groups of its expression.
#[must_use]
pub fn captures(written: &schema::RouteConfig) -> Vec<&str> {
    let mut paths = written.path.iter().map(|path| path.value.as_str());
    let Some(first) = paths.next() else {
        let regex = written.path_regex.as_ref().map(|regex| regex.value.regex());
        return regex.into_iter().flat_map(group_names).collect();
    };
    let rest: Vec<Vec<&str>> = paths.map(|path| capture_names(path).collect()).collect();
    capture_names(first).filter(|name| rest.iter().all(|path| path.contains(name))).collect()
}

/// The location of a redirect with groups of the route's expression, `$1`, as other captures are
/// written, `{1}`.
#[must_use]
pub fn location<'c>(
    written: &'c schema::RouteConfig,
    redirect: &'c schema::RedirectConfig,
) -> Cow<'c, str> {
    match &written.path_regex {
        Some(regex) if written.path.is_empty() => {
            named_groups(&redirect.to.value, regex.value.regex()).into()
        }
        _ => redirect.to.value.as_str().into(),
    }
}

/// The upstreams that a route forwards to, without their fallbacks.
pub fn upstreams(written: &schema::RouteConfig) -> impl Iterator<Item = &str> {
    let split = match &written.action {
        schema::ActionConfig::Upstream(split) => Some(split),
        schema::ActionConfig::Respond(_)
        | schema::ActionConfig::Redirect(_)
        | schema::ActionConfig::Files(_) => None,
    };
    let targets = split.into_iter().flat_map(|split| split.targets.iter());
    targets.map(|target| target.upstream.value.as_str())
}

/// The changes of headers that a route names or writes, in order.
pub fn header_rules<'c>(
    written: &'c [PolicyUse<schema::HeaderRules>],
    config: &'c Config,
) -> impl Iterator<Item = &'c schema::HeaderRules> {
    written.iter().filter_map(|rules| match rules {
        PolicyUse::Inline(rules) => Some(rules),
        // One that is not there has been reported.
        PolicyUse::Named(name) => config.headers.get(name.value.as_str()),
        PolicyUse::Off => None,
    })
}

/// For each of these captures its place among those of a path; empty where that is the same.
fn order(names: &[&str], path: &str) -> Box<[u8]> {
    let own: Vec<&str> = capture_names(path).collect();
    if own.starts_with(names) {
        return [].into();
    }
    let place = |name: &&str| own.iter().position(|own| own == name);
    let places = names.iter().map(|name| place(name).and_then(|at| u8::try_from(at).ok()));
    places.map(|at| at.unwrap_or(u8::MAX)).collect()
}

/// All of a match but its path.
fn spec(written: &schema::RouteConfig, name: &str, config: &Config) -> RouteSpec {
    let listeners = config.listen.iter().enumerate().filter(|(_, listener)| {
        written.listen.iter().any(|name| listener.name.as_ref() == Some(name))
    });
    RouteSpec {
        name: name.into(),
        listeners: listeners.filter_map(|(at, _)| u16::try_from(at).ok()).collect(),
        hosts: written.host.iter().map(|host| self::host(&host.value)).collect(),
        path: PathPattern::Any,
        order: [].into(),
        groups: false,
        raw: written.path_encoding == schema::PathEncoding::Raw,
        methods: written.method.iter().map(|m| m.value.get().as_str().as_bytes().into()).collect(),
        conditions: conditions(written),
        clients: written.client.iter().map(|network| network.value.0).collect(),
    }
}

/// The names of all routes, in their order: as written, or all that the route matches on. What a
/// route has counted is kept under its name, so no two of them are equal.
#[must_use]
pub fn names(routes: &[schema::RouteConfig]) -> Vec<String> {
    let mut taken: HashMap<String, usize> =
        routes.iter().filter_map(|route| Some((route.name.as_ref()?.value.clone(), 1))).collect();
    let mut unique = |name: String| {
        let before = *taken.entry(name.clone()).and_modify(|n| *n += 1).or_insert(1);
        if before == 1 { name } else { format!("{name} ({before})") }
    };
    let name = |route: &schema::RouteConfig| match &route.name {
        Some(name) => name.value.clone(),
        None => unique(derived(route)),
    };
    routes.iter().map(name).collect()
}

/// All that a route matches on, in one line that does not depend on other routes.
fn derived(written: &schema::RouteConfig) -> String {
    let methods: Vec<&str> = written.method.iter().map(|m| m.value.get().as_str()).collect();
    let hosts: Vec<String> = written.host.iter().map(|host| host.value.to_string()).collect();
    let paths: Vec<&str> = written.path.iter().map(|path| path.value.as_str()).collect();
    let path = match &written.path_regex {
        _ if !paths.is_empty() => paths.join(","),
        Some(regex) => regex.value.as_str().to_owned(),
        None => "/*".to_owned(),
    };
    let method = if methods.is_empty() { String::new() } else { methods.join(",") + " " };
    let mut name = format!("{method}{}{path}", hosts.join(","));
    let mut add = |what: &str, of: String| {
        name.push(' ');
        name.push_str(what);
        name.push_str(&of);
    };
    let condition = |written: &schema::ConditionConfig| match written {
        // Names are in logs and metrics, and a value may be a secret between a proxy and those
        // before it.
        schema::ConditionConfig::Equals(text) => format!("={}", digest(text)),
        schema::ConditionConfig::Present => "=true".to_owned(),
        schema::ConditionConfig::Absent => "=false".to_owned(),
        schema::ConditionConfig::Regex(regex) => format!("~{}", digest(regex.value.as_str())),
    };
    let listeners: Vec<&str> = written.listen.iter().map(|name| name.value.as_str()).collect();
    if !listeners.is_empty() {
        add("listen=", format!("{:?}", listeners.join(",")));
    }
    for (name, of) in &written.headers {
        add("header:", format!("{}{}", name.value, condition(of)));
    }
    for (name, of) in &written.query {
        add("query:", format!("{:?}{}", name.value, condition(of)));
    }
    for (name, of) in &written.cookies {
        add("cookie:", format!("{:?}{}", name.value, condition(of)));
    }
    if let Some(tls) = written.tls {
        add("tls=", tls.to_string());
    }
    if let Some(schema::ClientCert { san, subject }) = &written.client_cert {
        let parts = [("client_cert.san", san), ("client_cert.subject", subject)];
        parts.iter().filter_map(|(what, of)| Some((what, of.as_ref()?))).for_each(|(what, of)| {
            add(what, condition(of));
        });
    }
    let clients: Vec<String> = written.client.iter().map(|net| net.value.to_string()).collect();
    if !clients.is_empty() {
        add("client=", clients.join(","));
    }
    name
}

/// The first 32 bits of a text's SHA-256, which tell texts apart and are the same in every process.
fn digest(text: &str) -> String {
    Sha256::digest(text).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

fn host(written: &WrittenHost) -> HostPattern {
    match written {
        WrittenHost::Exact(name) => HostPattern::Exact(name.as_str().into()),
        WrittenHost::Below(name) => HostPattern::Below(name.as_str().into()),
    }
}

fn conditions(written: &schema::RouteConfig) -> Box<[Condition]> {
    let headers = written.headers.iter().map(|(name, condition)| Condition {
        subject: ConditionSubject::Header(name.value.get().as_str().as_bytes().into()),
        value: value(condition),
    });
    let query = written.query.iter().map(|(name, condition)| Condition {
        subject: ConditionSubject::Query(name.value.as_bytes().into()),
        value: value(condition),
    });
    let cookies = written.cookies.iter().map(|(name, condition)| Condition {
        subject: ConditionSubject::Cookie(name.value.as_bytes().into()),
        value: value(condition),
    });
    let tls = written.tls.iter().map(|tls| Condition {
        subject: ConditionSubject::Tls,
        value: if *tls { ValueMatch::Present } else { ValueMatch::Absent },
    });
    let certificate = written.client_cert.iter().flat_map(|schema::ClientCert { san, subject }| {
        let of = |subject, written: &Option<schema::ConditionConfig>| {
            written.as_ref().map(|written| Condition { subject, value: value(written) })
        };
        [
            of(ConditionSubject::CertificateName, san),
            of(ConditionSubject::CertificateSubject, subject),
        ]
    });
    let certificate = certificate.flatten();
    headers.chain(query).chain(cookies).chain(tls).chain(certificate).collect()
}

fn value(written: &schema::ConditionConfig) -> ValueMatch {
    match written {
        schema::ConditionConfig::Equals(text) => ValueMatch::Equals(text.as_bytes().into()),
        schema::ConditionConfig::Present => ValueMatch::Present,
        schema::ConditionConfig::Absent => ValueMatch::Absent,
        schema::ConditionConfig::Regex(regex) => ValueMatch::Regex(regex.value.regex().clone()),
    }
}

#[cfg(test)]
mod tests;
