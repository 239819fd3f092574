//! What a route matches, from its keys.

use crate::config::schema::route as schema;
use crate::config::schema::words::HostPattern as WrittenHost;
use crate::config::{Config, Finding};
use crate::route::condition::{Condition, Subject, ValueMatch};
use crate::route::{HostPattern, PathPattern, RouteSpec};

/// Compiles the match of a route.
///
/// # Errors
/// A path that is no pattern.
pub fn spec(written: &schema::Route, config: &Config) -> Result<RouteSpec, Box<Finding>> {
    let path = match (&written.path, &written.path_regex) {
        (Some(path), _) => PathPattern::parse(&path.value)
            .map_err(|error| Box::new(Finding::error("bad_path", path.place, error.to_string())))?,
        (None, Some(regex)) => PathPattern::Regex(regex.value.regex().clone()),
        (None, None) => PathPattern::Any,
    };
    let listeners = config.listen.iter().enumerate().filter(|(_, listener)| {
        written.listen.iter().any(|name| listener.name.as_ref() == Some(name))
    });
    Ok(RouteSpec {
        name: name(written).into(),
        listeners: listeners.filter_map(|(at, _)| u16::try_from(at).ok()).collect(),
        hosts: written.host.iter().map(|host| self::host(&host.value)).collect(),
        path,
        methods: written.method.iter().map(|m| m.value.get().as_str().as_bytes().into()).collect(),
        conditions: conditions(written),
        clients: written.client.iter().map(|network| network.value.0).collect(),
    })
}

/// A route's name, or what it matches on.
#[must_use]
pub fn name(written: &schema::Route) -> String {
    if let Some(name) = &written.name {
        return name.value.clone();
    }
    let methods: Vec<&str> = written.method.iter().map(|m| m.value.get().as_str()).collect();
    let host = written.host.first().map(|h| h.value.to_string()).unwrap_or_default();
    let path = match (&written.path, &written.path_regex) {
        (Some(path), _) => path.value.clone(),
        (None, Some(regex)) => regex.value.as_str().to_owned(),
        (None, None) => "/*".to_owned(),
    };
    let method = if methods.is_empty() { String::new() } else { methods.join(",") + " " };
    format!("{method}{host}{path}")
}

fn host(written: &WrittenHost) -> HostPattern {
    match written {
        WrittenHost::Exact(name) => HostPattern::Exact(name.as_str().into()),
        WrittenHost::Below(name) => HostPattern::Below(name.as_str().into()),
    }
}

fn conditions(written: &schema::Route) -> Box<[Condition]> {
    let headers = written.headers.iter().map(|(name, condition)| Condition {
        subject: Subject::Header(name.value.get().as_str().as_bytes().into()),
        value: value(condition),
    });
    let query = written.query.iter().map(|(name, condition)| Condition {
        subject: Subject::Query(name.value.as_bytes().into()),
        value: value(condition),
    });
    let cookies = written.cookies.iter().map(|(name, condition)| Condition {
        subject: Subject::Cookie(name.value.as_bytes().into()),
        value: value(condition),
    });
    let tls = written.tls.iter().map(|tls| Condition {
        subject: Subject::Tls,
        value: if *tls { ValueMatch::Present } else { ValueMatch::Absent },
    });
    let certificate = written.client_cert.iter().flat_map(|schema::ClientCert { san, subject }| {
        let of = |subject, written: &Option<schema::Condition>| {
            written.as_ref().map(|written| Condition { subject, value: value(written) })
        };
        [of(Subject::CertificateName, san), of(Subject::CertificateSubject, subject)]
    });
    let certificate = certificate.flatten();
    headers.chain(query).chain(cookies).chain(tls).chain(certificate).collect()
}

fn value(written: &schema::Condition) -> ValueMatch {
    match written {
        schema::Condition::Equals(text) => ValueMatch::Equals(text.as_bytes().into()),
        schema::Condition::Present => ValueMatch::Present,
        schema::Condition::Absent => ValueMatch::Absent,
        schema::Condition::Regex(regex) => ValueMatch::Regex(regex.value.regex().clone()),
    }
}
