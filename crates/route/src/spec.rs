//! What a route matches.

use ipnet::IpNet;

use super::RouteQuery;
use super::captures::Captures;
use super::condition::Condition;
use super::path::{PathPattern, PatternRank};

/// A host, or all hosts below one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// One host, in lower case.
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
    /// For each capture of the route its place among those of the path; empty where they are the
    /// same.
    pub order: Box<[u8]>,
    /// The captures are the groups of the path's expression.
    pub groups: bool,
    /// Paths are matched as clients send them, not in normal form.
    pub raw: bool,
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
    pub fn match_everything(name: &str) -> Self {
        Self {
            name: name.into(),
            listeners: [].into(),
            hosts: [].into(),
            path: PathPattern::Any,
            order: [].into(),
            groups: false,
            raw: false,
            methods: [].into(),
            conditions: [].into(),
            clients: [].into(),
        }
    }

    /// Returns what the path captures of a request's that matches, in the route's order.
    #[must_use]
    pub fn capture_path(&self, path: &[u8]) -> Captures {
        if self.groups {
            return self.path.groups(path);
        }
        let captures = self.path.capture_path(path);
        if self.order.is_empty() { captures } else { captures.in_order(&self.order) }
    }

    /// Returns whether the method is one of the route's.
    #[must_use]
    pub fn admits_method(&self, method: &[u8]) -> bool {
        self.methods.is_empty() || self.methods.iter().any(|m| **m == *method)
    }

    /// Returns whether everything but host, path and method matches.
    #[must_use]
    pub fn conditions_hold(&self, ask: &impl RouteQuery) -> bool {
        (self.listeners.is_empty() || self.listeners.contains(&ask.listener()))
            && (self.clients.is_empty() || self.admits_client(ask))
            && self.conditions.iter().all(|condition| condition.holds_for(ask))
    }

    fn admits_client(&self, ask: &impl RouteQuery) -> bool {
        let Some(client) = ask.client().map(|client| client.to_canonical()) else { return false };
        self.clients.iter().any(|network| network.contains(&client))
    }

    /// Tells how specifically the route matches a request with this host that it does match. Higher
    /// goes first.
    pub(super) fn specificity(&self, host: &str) -> Specificity {
        let of = |pattern: &HostPattern| match pattern {
            HostPattern::Exact(name) => (**name == *host).then_some((2, 0)),
            HostPattern::Below(name) => {
                host.strip_suffix(&**name)?.strip_suffix('.').map(|_| (1, name.len()))
            }
        };
        let host = self.hosts.iter().filter_map(of).max().unwrap_or((0, 0));
        (host, self.path.pattern_rank(), self.route_rank())
    }

    /// Tells how specific the route is among those with the same host and path. Higher goes first.
    pub(super) fn route_rank(&self) -> Rank {
        Rank {
            methods: !self.methods.is_empty(),
            conditions: self.conditions.len(),
            clients: !self.clients.is_empty(),
            listeners: !self.listeners.is_empty(),
        }
    }
}

/// The specificity of a route for a request's host, by its path, and beyond.
pub(super) type Specificity = ((u8, usize), (u8, PatternRank), Rank);

/// Specificity beyond host and path, most important first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    methods: bool,
    conditions: usize,
    clients: bool,
    listeners: bool,
}
