//! Maintenance: a route is closed, but not to those who look after it.

use std::net::IpAddr;

use ipnet::IpNet;

/// `maintenance` of a route.
#[derive(Debug)]
pub struct Maintenance {
    /// Networks of clients that are served as always.
    pub except: Box<[IpNet]>,
    /// `Retry-After` for everybody else, in seconds.
    pub retry_after: Box<str>,
}

impl Maintenance {
    /// Returns whether a client is served all the same; one without an address is not.
    #[must_use]
    pub fn excepts_client(&self, client: Option<IpAddr>) -> bool {
        client.is_some_and(|client| self.except.iter().any(|network| network.contains(&client)))
    }
}
