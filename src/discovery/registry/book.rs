//! The leases of one upstream: who may register, and whose time is over.
//!
//! Plain and synchronous: the time is an argument, and whoever keeps the book publishes what is in
//! it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use thiserror::Error;

use super::lease::{Known, Lease, Registration, is_allowed};
use crate::clock::{self, Instant};
use crate::discovery::Entry;

/// The settings of the registry of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The most servers that may be registered.
    pub most: usize,
    /// The networks that they must be in; anywhere if none is named.
    pub allow: Box<[IpNet]>,
    /// Others share the registrations.
    pub shared: bool,
}

/// A reason why a registration does not count.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refused {
    /// Nobody can register in this upstream.
    #[error(
        "the servers of this upstream do not register: `servers = {{ registry = true }}` would let them"
    )]
    NoRegistry,
    /// Nothing is registered by this id, and the registration does not say where the server is.
    #[error("no server is registered by this id: `address` says where it is")]
    Unknown,
    /// The address is another server's.
    #[error("`{address}` is registered as `{id}`")]
    Taken {
        /// The address.
        address: SocketAddr,
        /// Who has it.
        id: Arc<str>,
    },
    /// There is no room for another one.
    #[error("{0} servers are registered, which is `upstream.servers.registry.max`")]
    Full(usize),
    /// The address is in none of the networks that are allowed.
    #[error(
        "`{0}` is in none of the networks of `upstream.servers.allow`; addresses of a link have to be named there"
    )]
    Foreign(SocketAddr),
    /// The address is one of the proxy's own.
    #[error("`{0}` is an address of this proxy")]
    Own(SocketAddr),
    /// Too many registrations wait already, or the process is about to end.
    #[error("too many registrations wait")]
    Busy,
}

impl Refused {
    /// The configuration key that would change it; `None` where none would.
    #[must_use]
    pub fn key(&self) -> Option<&'static str> {
        match self {
            Self::NoRegistry => Some("upstream.servers"),
            Self::Full(_) => Some("upstream.servers.registry.max"),
            Self::Foreign(_) => Some("upstream.servers.allow"),
            Self::Unknown | Self::Taken { .. } | Self::Own(_) | Self::Busy => None,
        }
    }
}

/// What came of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registered {
    /// The server was not there before.
    New,
    /// Something about it is other than before.
    Changed,
    /// The lease lasts longer.
    Renewed,
}

/// The leases of one upstream.
#[derive(Debug)]
pub struct Book {
    /// What may be registered.
    pub settings: Settings,
    leases: BTreeMap<Arc<str>, Arc<Lease>>,
    addresses: HashMap<SocketAddr, Arc<str>>,
    /// No lease ends before this, in milliseconds of [`clock::millis`].
    next: u64,
}

impl Book {
    /// One without leases.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, leases: BTreeMap::new(), addresses: HashMap::new(), next: u64::MAX }
    }

    /// All leases by id.
    #[must_use]
    pub fn leases(&self) -> &BTreeMap<Arc<str>, Arc<Lease>> {
        &self.leases
    }

    /// Takes in a registration.
    ///
    /// # Errors
    /// [`Refused`]: everything stays as it was.
    pub fn register_server(
        &mut self,
        id: &Arc<str>,
        said: Registration,
        now: Instant,
    ) -> Result<Registered, Refused> {
        // What was over while this waited is no longer there.
        let before =
            self.leases.get(id).filter(|lease| !lease.run_out(now) && !lease.is_over()).cloned();
        let Some(before) = before else {
            let known = Known::new(said, clock::unix_seconds()).ok_or(Refused::Unknown)?;
            self.admit_address(id, known.address)?;
            if self.leases.len() >= self.settings.most && !self.leases.contains_key(id) {
                return Err(Refused::Full(self.settings.most));
            }
            self.put_lease(id, Lease::new(known, now));
            return Ok(Registered::New);
        };
        if before.renew(&said, now) {
            return Ok(Registered::Renewed);
        }
        let renews = said.renews();
        let known = before.known.after(said);
        if known == before.known && !renews {
            return Ok(Registered::Renewed);
        }
        self.admit_address(id, known.address)?;
        let lease = match renews {
            true => Lease::new(known, now),
            false => Lease::with_left(known, before.left(now), now),
        };
        before.end();
        self.put_lease(id, lease);
        Ok(Registered::Changed)
    }

    /// Returns whether a server may be at an address.
    fn admit_address(&self, id: &str, address: SocketAddr) -> Result<(), Refused> {
        if !is_allowed(address.ip(), &self.settings.allow) {
            return Err(Refused::Foreign(address));
        }
        match self.addresses.get(&address).filter(|other| ***other != *id) {
            Some(other) => Err(Refused::Taken { address, id: other.clone() }),
            None => Ok(()),
        }
    }

    fn put_lease(&mut self, id: &Arc<str>, lease: Lease) {
        self.next = self.next.min(lease.ends());
        lease.mark();
        self.place_lease(id, Arc::new(lease));
    }

    fn place_lease(&mut self, id: &Arc<str>, lease: Arc<Lease>) {
        self.take_address(id);
        self.addresses.entry(lease.known.address).or_insert_with(|| id.clone());
        self.leases.insert(id.clone(), lease);
    }

    fn take_address(&mut self, id: &str) {
        let Some(before) = self.leases.get(id) else { return };
        if self.addresses.get(&before.known.address).is_some_and(|owner| **owner == *id) {
            self.addresses.remove(&before.known.address);
        }
    }

    /// Takes in what another instance knows of a server, with what is left of its lease. True if
    /// the list of servers is another one now.
    pub fn learn_server(
        &mut self,
        id: &Arc<str>,
        known: Known,
        left: Duration,
        now: Instant,
    ) -> bool {
        if let Some(lease) = self.leases.get(id).filter(|lease| lease.known == known) {
            lease.grant(left, now);
            return false;
        }
        let room = self.leases.len() < self.settings.most || self.leases.contains_key(id);
        if !room || self.admit_address(id, known.address).is_err() {
            return false;
        }
        if let Some(before) = self.leases.get(id) {
            before.end();
        }
        let lease = Lease::with_left(known, left, now);
        self.next = self.next.min(lease.ends());
        self.place_lease(id, Arc::new(lease));
        true
    }

    /// Removes a server; its lease, if it had one.
    pub fn remove_server(&mut self, id: &str) -> Option<Arc<Lease>> {
        self.take_address(id);
        let lease = self.leases.remove(id)?;
        lease.end();
        Some(lease)
    }

    /// The moment before which no lease ends, in milliseconds of [`clock::millis`].
    #[must_use]
    pub fn next_end(&self) -> u64 {
        self.next
    }

    /// Removes the servers whose leases are over. Those that were renewed meanwhile stay.
    pub fn expire_leases(&mut self, now: Instant) -> Vec<Arc<str>> {
        if clock::millis(now) < self.next {
            return Vec::new();
        }
        let mut over = Vec::new();
        self.next = u64::MAX;
        for (id, lease) in &self.leases {
            if lease.run_out(now) || lease.is_over() {
                over.push(id.clone());
            } else {
                self.next = self.next.min(lease.ends());
            }
        }
        for id in &over {
            self.remove_server(id);
        }
        over
    }

    /// Lets all leases last at least as long as they are from now: nobody could renew them
    /// elsewhere.
    pub fn extend_leases(&self, now: Instant) {
        for lease in self.leases.values() {
            lease.grant(lease.known.ttl(), now);
        }
    }

    /// Has other settings. Removes what they do not allow.
    pub fn set_settings(&mut self, settings: Settings) -> Vec<Arc<str>> {
        self.settings = settings;
        let foreign = self
            .leases
            .iter()
            .filter(|(_, lease)| !is_allowed(lease.known.address.ip(), &self.settings.allow));
        let foreign: Vec<Arc<str>> = foreign.map(|(id, _)| id.clone()).collect();
        for id in &foreign {
            self.remove_server(id);
        }
        foreign
    }

    /// All servers, in the order of their ids.
    #[must_use]
    pub fn entries(&self) -> Arc<[Entry]> {
        self.leases.iter().map(|(id, lease)| lease.known.entry(id)).collect()
    }

    /// The servers of which others have not been told.
    pub fn untold(&self) -> Vec<(Arc<str>, Arc<Lease>)> {
        let untold = self.leases.iter().filter(|(_, lease)| lease.take_untold());
        untold.map(|(id, lease)| (id.clone(), lease.clone())).collect()
    }

    /// Notes that others have to be told of all of them: they may have forgotten.
    pub fn mark_all(&self) {
        self.leases.values().for_each(|lease| lease.mark());
    }

    /// The ids.
    #[must_use]
    pub fn ids(&self) -> BTreeSet<Arc<str>> {
        self.leases.keys().cloned().collect()
    }
}
