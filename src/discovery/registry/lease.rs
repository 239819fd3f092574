//! A registration with its lease: what it says, and until when it counts.
//!
//! What a registration says never changes; another word is another value. Its end is an atomic, so
//! that whoever gets a renewal extends it without asking the thread that keeps the leases:
//! thousands of services that renew theirs all the time wake nobody.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::clock::{self, Instant};
use crate::config::schema::words::{ServerAddress, is_of_no_machine, is_of_one_machine};
use crate::discovery::Entry;

/// The lease of a registration that asks for none.
pub const TTL: Duration = Duration::from_secs(30);
/// The shortest lease: shorter ones would end while a renewal is on its way.
pub const SHORTEST: Duration = Duration::from_secs(1);
/// The longest lease. A server that is gone is taken for one that is there for so long.
pub const LONGEST: Duration = Duration::from_secs(3600);
/// Bytes of an id or a zone.
pub const ID: usize = 128;
/// The labels of a server, and the bytes of the name and of the value of one.
pub const LABELS: usize = 32;
/// Bytes of the name of a label.
pub const LABEL: usize = 64;
/// Bytes of the value of a label.
pub const VALUE: usize = 256;

/// The end of a lease that is over. No other lease ends at the very beginning of the clock.
const OVER: u64 = 0;

/// What somebody says of a server that registers. The parts that are left out stay as they were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registration {
    /// Where it answers.
    pub address: Option<SocketAddr>,
    /// The share of the requests relative to the others.
    pub weight: Option<NonZeroU16>,
    /// What routes choose it by.
    pub labels: Option<BTreeMap<String, String>>,
    /// Where it is; an empty text takes it back.
    pub zone: Option<String>,
    /// Lower ones are used first.
    pub priority: Option<u16>,
    /// The length of its lease.
    pub ttl: Option<Duration>,
}

/// What is wrong with a registration, whatever else is registered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unfit {
    /// The id is too long, or has characters that paths and metrics would have to escape.
    #[error("an id is 1 to {ID} letters, digits and any of . _ - : @ [ ]")]
    Id,
    /// The address cannot be that of a server.
    #[error("`{0}` cannot be the address of a server")]
    Address(SocketAddr),
    /// The lease is too short or too long.
    #[error("`ttl` is from \"{}s\" to \"{}h\"", SHORTEST.as_secs(), LONGEST.as_secs() / 3600)]
    Ttl,
    /// The zone is too long, or has control characters.
    #[error("`zone` is at most {ID} bytes without control characters")]
    Zone,
    /// The labels are too many or too long, or have control characters.
    #[error(
        "`labels` are at most {LABELS}; a name is 1 to {LABEL} bytes and a value at most {VALUE}, without control characters"
    )]
    Labels,
}

/// Returns whether servers can be called so.
///
/// # Errors
/// [`Unfit::Id`].
pub fn check_id(id: &str) -> Result<(), Unfit> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:@[]".contains(&byte);
    match (1..=ID).contains(&id.len()) && id.bytes().all(plain) {
        // A path would lose them.
        true if id != "." && id != ".." => Ok(()),
        _ => Err(Unfit::Id),
    }
}

fn is_text(text: &str, most: usize) -> bool {
    text.len() <= most && !text.chars().any(char::is_control)
}

impl Registration {
    /// Returns whether it asks for a lease, or for more of one; otherwise it only changes what is
    /// there.
    #[must_use]
    pub fn renews(&self) -> bool {
        self.address.is_some() || self.ttl.is_some()
    }

    /// Looks for what is wrong with it.
    ///
    /// # Errors
    /// [`Unfit`].
    pub fn check(&self) -> Result<(), Unfit> {
        if let Some(address) = self.address.filter(|address| !is_usable(*address)) {
            return Err(Unfit::Address(address));
        }
        if self.ttl.is_some_and(|ttl| !(SHORTEST..=LONGEST).contains(&ttl)) {
            return Err(Unfit::Ttl);
        }
        if self.zone.as_ref().is_some_and(|zone| !is_text(zone, ID)) {
            return Err(Unfit::Zone);
        }
        let fits = |labels: &BTreeMap<String, String>| {
            let mut all = labels.iter();
            labels.len() <= LABELS
                && all.all(|(name, value)| {
                    !name.is_empty() && is_text(name, LABEL) && is_text(value, VALUE)
                })
        };
        if self.labels.as_ref().is_some_and(|labels| !fits(labels)) {
            return Err(Unfit::Labels);
        }
        Ok(())
    }

    /// Returns whether it says nothing but what is there.
    fn agrees(&self, known: &Known) -> bool {
        let Self { address, weight, labels, zone, priority, ttl } = self;
        address.is_none_or(|address| address == known.address)
            && weight.is_none_or(|weight| weight == known.weight)
            && labels.as_ref().is_none_or(|labels| *labels == known.labels)
            && zone.as_ref().is_none_or(|zone| *zone == known.zone)
            && priority.is_none_or(|priority| priority == known.priority)
            && ttl.is_none_or(|ttl| ttl == known.ttl())
    }
}

/// Returns whether a server can be there: neither nowhere nor everywhere.
fn is_usable(address: SocketAddr) -> bool {
    let ip = address.ip();
    address.port() != 0 && is_of_one_machine(ip) && !is_of_no_machine(ip)
}

/// Returns whether addresses of a link are meant, which lead elsewhere on each machine. The address
/// at which clouds tell machines their secrets is one of them.
fn is_of_a_link(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// Returns whether an address is in one of these networks. Where none is named, all but those of a
/// link are.
#[must_use]
pub fn is_allowed(ip: IpAddr, networks: &[IpNet]) -> bool {
    let ip = ip.to_canonical();
    match networks {
        [] => !is_of_a_link(ip),
        _ => networks.iter().any(|network| network.contains(&ip)),
    }
}

/// What is known of a registered server, as it is kept and shared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Where it answers.
    pub address: SocketAddr,
    /// The share of the requests relative to the others.
    pub weight: NonZeroU16,
    /// What routes choose it by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Where it is; empty when that was not said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub zone: String,
    /// Lower ones are used first.
    #[serde(default)]
    pub priority: u16,
    /// The length of its lease in milliseconds.
    pub ttl_ms: u64,
    /// Since when it is registered without a break, in seconds since 1970.
    pub since: u64,
}

impl Known {
    /// Returns what is known of a server that was not, once a registration was heard. `None`
    /// without an address.
    #[must_use]
    pub fn new(said: Registration, since: u64) -> Option<Self> {
        let Registration { address, weight, labels, zone, priority, ttl } = said;
        Some(Self {
            address: address?,
            weight: weight.unwrap_or(NonZeroU16::MIN),
            labels: labels.unwrap_or_default(),
            zone: zone.unwrap_or_default(),
            priority: priority.unwrap_or_default(),
            ttl_ms: milliseconds(ttl.unwrap_or(TTL)),
            since,
        })
    }

    /// Returns what is known once a registration was heard.
    #[must_use]
    pub fn after(&self, said: Registration) -> Self {
        let Registration { address, weight, labels, zone, priority, ttl } = said;
        Self {
            address: address.unwrap_or(self.address),
            weight: weight.unwrap_or(self.weight),
            labels: labels.unwrap_or_else(|| self.labels.clone()),
            zone: zone.unwrap_or_else(|| self.zone.clone()),
            priority: priority.unwrap_or(self.priority),
            ttl_ms: ttl.map_or(self.ttl_ms, milliseconds),
            since: self.since,
        }
    }

    /// Returns whether it is what could have been registered here: others may have written it.
    #[must_use]
    pub fn is_fit(&self) -> bool {
        let all = Registration {
            address: Some(self.address),
            weight: None,
            labels: Some(self.labels.clone()),
            zone: Some(self.zone.clone()),
            priority: None,
            ttl: Some(self.ttl()),
        };
        all.check().is_ok()
    }

    /// The length of its lease.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_ms)
    }

    /// The server as an entry of a list.
    #[must_use]
    pub fn entry(&self, id: &Arc<str>) -> Entry {
        Entry {
            id: id.clone(),
            weight: self.weight,
            labels: self.labels.clone(),
            zone: Some(self.zone.clone()).filter(|zone| !zone.is_empty()),
            priority: self.priority,
            ..Entry::new(ServerAddress::Ip(self.address))
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A registered server.
#[derive(Debug)]
pub struct Lease {
    /// What is known of it.
    pub known: Known,
    /// The end, in milliseconds of [`clock::millis`]; [`OVER`] once it is over.
    ends: AtomicU64,
    /// Others have not been told of the latest renewal.
    untold: AtomicBool,
}

impl Lease {
    /// A lease that begins now.
    #[must_use]
    pub fn new(known: Known, now: Instant) -> Self {
        let ends = end(now, known.ttl_ms);
        Self { known, ends: AtomicU64::new(ends), untold: AtomicBool::new(false) }
    }

    /// A lease of which so much is left.
    #[must_use]
    pub fn with_left(known: Known, left: Duration, now: Instant) -> Self {
        let ends = end(now, milliseconds(left));
        Self { known, ends: AtomicU64::new(ends), untold: AtomicBool::new(false) }
    }

    /// Renews it for a registration that says nothing else than what is there; false when it does,
    /// or when the lease is over. That is for the thread that keeps the leases, then.
    pub fn renew(&self, said: &Registration, now: Instant) -> bool {
        said.renews() && said.agrees(&self.known) && self.extend(end(now, self.known.ttl_ms))
    }

    /// Has it last until then at least; false when it is over.
    fn extend(&self, until: u64) -> bool {
        let extended = self.ends.fetch_update(Ordering::AcqRel, Ordering::Acquire, |ends| {
            (ends != OVER).then_some(ends.max(until))
        });
        if extended.is_ok() {
            self.untold.store(true, Ordering::Release);
        }
        extended.is_ok()
    }

    /// Has it last so long from now at least.
    pub fn grant(&self, left: Duration, now: Instant) {
        let until = end(now, milliseconds(left));
        // Nobody needs to be told of what came from elsewhere.
        let _over = self.ends.fetch_update(Ordering::AcqRel, Ordering::Acquire, |ends| {
            (ends != OVER).then_some(ends.max(until))
        });
    }

    /// Ends it if its time is over. A renewal comes before or after that, never in between.
    pub fn run_out(&self, now: Instant) -> bool {
        let now = clock::millis(now);
        let over = self.ends.fetch_update(Ordering::AcqRel, Ordering::Acquire, |ends| {
            (ends != OVER && ends <= now).then_some(OVER)
        });
        over.is_ok()
    }

    /// Ends it whatever its time.
    pub fn end(&self) {
        self.ends.store(OVER, Ordering::Release);
    }

    /// The end, in milliseconds of [`clock::millis`].
    #[must_use]
    pub fn ends(&self) -> u64 {
        self.ends.load(Ordering::Acquire)
    }

    /// Returns whether it has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ends() == OVER
    }

    /// Returns how much of it is left.
    #[must_use]
    pub fn left(&self, now: Instant) -> Duration {
        Duration::from_millis(self.ends().saturating_sub(clock::millis(now)))
    }

    /// Notes that others have to be told of it.
    pub fn mark(&self) {
        self.untold.store(true, Ordering::Release);
    }

    /// Returns whether others have to be told of it.
    #[must_use]
    pub fn is_untold(&self) -> bool {
        self.untold.load(Ordering::Acquire)
    }

    /// Returns whether others have to be told of it; that is taken as done.
    pub fn take_untold(&self) -> bool {
        self.untold.load(Ordering::Relaxed) && self.untold.swap(false, Ordering::AcqRel)
    }
}

/// The end of something that lasts so long from now. Never [`OVER`].
fn end(now: Instant, ms: u64) -> u64 {
    clock::millis(now).saturating_add(ms).max(OVER + 1)
}
