//! Which routes a request just misses: those that would have taken it, but for one thing.
//!
//! For who wonders about a request, not for requests: it looks at every route.

use super::condition::{Condition, ConditionSubject, ValueMatch};
use super::{HostPattern, RouteQuery, RouteSpec, RouteTable};

/// As many are told.
const MOST: usize = 5;

impl<T> RouteTable<T> {
    /// Routes that fit a request in all but one thing, each with that thing in words; those that
    /// differ least from it first.
    pub fn near_misses(&self, ask: &impl RouteQuery) -> Vec<(&T, String)> {
        let misses = self.entries.iter().filter_map(|entry| {
            let mut why = list_misses(&entry.spec, ask);
            let (weight, why) = why.pop().filter(|_| why.is_empty())?;
            Some((weight, &entry.payload, why))
        });
        let mut misses: Vec<_> = misses.collect();
        misses.sort_by_key(|(weight, ..)| *weight);
        misses.into_iter().take(MOST).map(|(_, payload, why)| (payload, why)).collect()
    }
}

/// All that keeps a request from a route, with how far away that is. A path that does not match is
/// no near miss.
fn list_misses(spec: &RouteSpec, ask: &impl RouteQuery) -> Vec<(u8, String)> {
    let mut why = Vec::new();
    if !spec.path.matches_path(ask.path()) {
        // Two of them, so that it is never the only thing.
        return vec![(u8::MAX, String::new()), (u8::MAX, String::new())];
    }
    if !spec.admits_method(ask.method()) {
        let methods =
            spec.methods.iter().map(|method| lossy_text(method)).collect::<Vec<_>>().join(", ");
        why.push((0, format!("its method is {methods}")));
    }
    for condition in spec.conditions.iter().filter(|condition| !condition.holds_for(ask)) {
        why.push((1, wanted_text(condition)));
    }
    let networks = RouteSpec { listeners: [].into(), conditions: [].into(), ..spec.clone() };
    if !networks.conditions_hold(ask) {
        let clients = spec.clients.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        why.push((2, format!("its clients are {clients}")));
    }
    if !(spec.listeners.is_empty() || spec.listeners.contains(&ask.listener())) {
        why.push((3, "it belongs to another listener".to_owned()));
    }
    if !(spec.hosts.is_empty() || spec.hosts.iter().any(|host| admits_host(host, ask.host()))) {
        let name = |host: &HostPattern| match host {
            HostPattern::Exact(name) => name.to_string(),
            HostPattern::Below(name) => format!("*.{name}"),
        };
        let hosts = spec.hosts.iter().map(name).collect::<Vec<_>>().join(", ");
        why.push((4, format!("its host is {hosts}")));
    }
    why
}

fn admits_host(pattern: &HostPattern, host: &str) -> bool {
    match pattern {
        HostPattern::Exact(name) => **name == *host,
        HostPattern::Below(name) => {
            host.strip_suffix(&**name).is_some_and(|rest| rest.ends_with('.') && rest.len() > 1)
        }
    }
}

/// Returns what a condition asks for. Not which value: that may be a secret, and the configuration
/// shows it to whoever may know.
fn wanted_text(condition: &Condition) -> String {
    let subject = match &condition.subject {
        ConditionSubject::Header(name) => format!("header {}", lossy_text(name)),
        ConditionSubject::Query(name) => format!("query parameter {}", lossy_text(name)),
        ConditionSubject::Cookie(name) => format!("cookie {}", lossy_text(name)),
        ConditionSubject::Tls => "TLS".to_owned(),
        ConditionSubject::CertificateSubject => "the subject of a client certificate".to_owned(),
        ConditionSubject::CertificateName => "the names of a client certificate".to_owned(),
    };
    match &condition.value {
        ValueMatch::Present => format!("it asks for {subject}"),
        ValueMatch::Absent => format!("it asks for no {subject}"),
        ValueMatch::Equals(_) | ValueMatch::Regex(_) => {
            format!("it asks for another value of {subject}")
        }
    }
}

fn lossy_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
