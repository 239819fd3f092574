//! What name servers are asked for the servers of upstreams.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::schema::defaults;
use crate::config::schema::discovery::Family;

/// One thing that is asked again and again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Question {
    /// The name.
    pub name: Arc<str>,
    /// True for SRV records and the addresses of their targets, false for the addresses of the
    /// name.
    pub services: bool,
    /// The addresses that are asked for.
    pub family: Family,
}

/// Questions, each with the shortest and the longest pause between two look-ups.
pub type Questions = BTreeMap<Question, (Duration, Duration)>;

/// A place that a name leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Lower ones are used first; 0 where there are only addresses.
    pub priority: u16,
    /// The address; its port is 0 where there are only addresses.
    pub address: SocketAddr,
    /// The share relative to the others as the record has it, which may be 0.
    pub weight: u16,
    /// The name whose address it is.
    pub host: Arc<str>,
}

impl Question {
    /// The question for the addresses of a host that is written as a server.
    #[must_use]
    pub fn for_host(name: &str) -> Self {
        Self { name: name.into(), services: false, family: Family::Any }
    }

    /// The same with the pauses of names that are written as servers.
    #[must_use]
    pub fn with_usual_pauses(self) -> (Self, (Duration, Duration)) {
        (self, (defaults::MIN_TTL.get(), defaults::MAX_TTL.get()))
    }
}
