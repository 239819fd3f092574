//! What a route matches.

use ipnet::IpNet;

use super::Ask;
use super::condition::Condition;
use super::path::PathPattern;

/// A host, or all hosts below one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// This host, lower case.
    Exact(Box<str>),
    /// One or more labels before this: `*.example.com` without the `*.`.
    Below(Box<str>),
}

/// The match of one route.
#[derive(Debug, Clone)]
pub struct RouteSpec {
    /// For telling routes apart where nothing else does.
    pub name: Box<str>,
    /// Listeners; empty is all.
    pub listeners: Box<[u16]>,
    /// Hosts; empty is all.
    pub hosts: Box<[HostPattern]>,
    /// Paths.
    pub path: PathPattern,
    /// Methods; empty is all. `GET` does not imply `HEAD`.
    pub methods: Box<[Box<[u8]>]>,
    /// Conditions on headers, query and cookies; all must hold.
    pub conditions: Box<[Condition]>,
    /// Networks of clients; empty is all.
    pub clients: Box<[IpNet]>,
}

impl RouteSpec {
    /// A route for everything.
    #[must_use]
    pub fn everything(name: &str) -> Self {
        Self {
            name: name.into(),
            listeners: [].into(),
            hosts: [].into(),
            path: PathPattern::Any,
            methods: [].into(),
            conditions: [].into(),
            clients: [].into(),
        }
    }

    /// Whether the method is one of the route's.
    #[must_use]
    pub fn admits_method(&self, method: &[u8]) -> bool {
        self.methods.is_empty() || self.methods.iter().any(|m| **m == *method)
    }

    /// Whether everything but host, path and method matches.
    #[must_use]
    pub fn conditions_hold(&self, ask: &impl Ask) -> bool {
        (self.listeners.is_empty() || self.listeners.contains(&ask.listener()))
            && (self.clients.is_empty() || self.admits_client(ask))
            && self.conditions.iter().all(|condition| condition.holds(ask))
    }

    fn admits_client(&self, ask: &impl Ask) -> bool {
        let Some(client) = ask.client().map(|client| client.to_canonical()) else { return false };
        self.clients.iter().any(|network| network.contains(&client))
    }

    /// How specific the route is among those with the same host and path. Higher goes first.
    pub(super) fn rank(&self) -> Rank {
        Rank {
            methods: !self.methods.is_empty(),
            conditions: self.conditions.len(),
            clients: !self.clients.is_empty(),
            listeners: !self.listeners.is_empty(),
        }
    }
}

/// Specificity beyond host and path, most important first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    methods: bool,
    conditions: usize,
    clients: bool,
    listeners: bool,
}
