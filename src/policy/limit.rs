//! Rate limits: the generic cell rate algorithm (ITU-T I.371), per key.
//!
//! The arithmetic is governor's; what it knows of each key is in a [`KeyTable`] that does not grow.
//! A limit of rate and `burst` lets `burst` requests beyond the steady one pass at once, as nginx's
//! `limit_req` does.

mod report;
mod store;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use governor::middleware::StateInformationMiddleware;
use governor::{Quota, RateLimiter};
use ipnet::IpNet;

pub use self::report::{LimitReport, policy_field, quoted_label};
use self::store::{HALF, LocalStore, Ticks, VALUE, WRITTEN, is_paid, to_nanos};
use super::shared::Redis;
use super::table::{HashedKey, KeyTable};
use crate::clock::{self, Instant};

/// Keys that a limit knows at a time.
pub const KEYS: usize = 200_000;

/// One `limit`.
#[derive(Debug)]
pub struct Limit {
    /// The name of the shared one, or one made from the route's.
    pub name: Box<str>,
    /// True if it is of one route alone, so its name has nothing to do with those of shared ones.
    pub own: bool,
    /// Requests are counted before anybody asks who sends them.
    pub before_auth: bool,
    /// The same in quotes, as fields carry it.
    pub label: Box<[u8]>,
    /// The parts of a request that are counted by.
    pub key: Box<[KeyPart]>,
    /// The requests beyond the steady rate that pass without waiting; `None` is all of the burst.
    pub delay: Option<u32>,
    /// Networks whose clients are not counted.
    pub except: Box<[IpNet]>,
    /// The state of its keys.
    pub state: Arc<LimitState>,
    /// The Redis in which all instances count together.
    pub redis: Option<Arc<Redis>>,
}

impl Limit {
    /// Returns whether requests of this client are not counted. Who has no address is.
    #[must_use]
    pub fn exempts_client(&self, client: Option<IpAddr>) -> bool {
        !self.except.is_empty()
            && client.is_some_and(|ip| self.except.iter().any(|network| network.contains(&ip)))
    }
}

/// A part of what requests are counted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPart {
    /// The client's address; IPv6 per /64.
    ClientIp,
    /// The route.
    Route,
    /// The first header field of this name.
    Header(Box<[u8]>),
    /// A cookie.
    Cookie(Box<[u8]>),
    /// A claim of the verified token.
    Claim(Box<str>),
}

/// Rate and burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Requests in each period; at least one.
    pub count: u32,
    /// The period.
    pub period: Duration,
    /// Beyond the steady one.
    pub burst: u32,
}

/// The longest time that a whole burst may take to come back: governor counts it in nanoseconds, 64
/// bits wide.
pub const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);

impl Pace {
    /// Time between two requests of the steady rate, and the nanoseconds in which times are kept: a
    /// thousandth of that, or as many more as it takes for a whole burst to stay well below the
    /// half of what a value can tell.
    fn interval_and_unit(self) -> (Duration, u64) {
        let interval = to_nanos(self.period / self.count.max(1)).max(1);
        // A burst that is longer has been refused by the check.
        let longest = to_nanos(LONGEST) / (u64::from(self.burst) + 2);
        let interval = interval.min(longest.max(1));
        let span = interval.saturating_mul(u64::from(self.burst) + 2);
        let shares = (interval / 100).clamp(1, 1000);
        let unit = (interval / shares).min(10_000).max(span.div_ceil(HALF / 2));
        // A multiple of the unit, so that rounding adds nothing up.
        let interval = (interval / unit + u64::from(interval % unit > unit / 2)) * unit;
        (Duration::from_nanos(interval), unit)
    }
}

/// The state of the keys of a limit. It survives reloads that leave the pace alone.
pub struct LimitState {
    /// Rate and burst.
    pub pace: Pace,
    limiter: RateLimiter<HashedKey, LocalStore, Ticks, StateInformationMiddleware>,
    store: LocalStore,
    /// Between two requests of the steady rate.
    interval: Duration,
    /// Requests refused.
    pub refused: AtomicU64,
    /// Requests that had to wait.
    pub delayed: AtomicU64,
    /// Requests of clients that are not counted.
    pub exempt: AtomicU64,
}

impl std::fmt::Debug for LimitState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("pace", &self.pace).finish_non_exhaustive()
    }
}

/// A request may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitPass {
    /// The number that may still pass at once.
    pub remaining: u32,
    /// Until then it has to wait.
    pub wait: Duration,
    /// Until the limit is as if nothing had been sent.
    pub reset: Duration,
}

/// A request may not pass before so much time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitWait(pub Duration);

impl LimitState {
    /// A limit that nobody has used yet.
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        Self::with_keys(pace, KEYS)
    }

    /// The same for another number of keys.
    #[must_use]
    pub fn with_keys(pace: Pace, keys: usize) -> Self {
        let at_once = NonZeroU32::MIN.saturating_add(pace.burst);
        let (interval, unit) = pace.interval_and_unit();
        let quota = Quota::with_period(interval).unwrap_or(Quota::per_second(NonZeroU32::MIN));
        let ticks = Ticks { epoch: clock::now() };
        let store = LocalStore { table: Arc::new(KeyTable::new(keys)), unit, ticks };
        // The limiter counts from the time at which it is made.
        ticks.set_now(ticks.epoch);
        let limiter = RateLimiter::new(quota.allow_burst(at_once), store.clone(), ticks);
        Self {
            pace,
            limiter,
            store,
            interval,
            refused: AtomicU64::new(0),
            delayed: AtomicU64::new(0),
            exempt: AtomicU64::new(0),
        }
    }

    /// The hash of a key made of parts.
    #[must_use]
    pub fn hash<'a>(&self, parts: impl Iterator<Item = &'a [u8]>) -> HashedKey {
        self.table().hash(parts)
    }

    /// Counts a request that came at `now`.
    ///
    /// # Errors
    /// [`LimitWait`] when it may not pass.
    pub fn check_request(
        &self,
        key: HashedKey,
        delay: Option<u32>,
        now: Instant,
    ) -> Result<LimitPass, LimitWait> {
        let now = self.store.ticks.set_now(now);
        match self.limiter.check_key(&key) {
            Ok(snapshot) => {
                // When everything that was let in is paid for.
                let reset = WRITTEN.get().saturating_sub(now);
                let beyond = reset.saturating_sub(self.interval);
                let free = delay.map(|delay| self.interval.saturating_mul(delay));
                let wait = free.map_or(Duration::ZERO, |free| beyond.saturating_sub(free));
                if !wait.is_zero() {
                    self.delayed.fetch_add(1, Relaxed);
                }
                Ok(LimitPass { remaining: snapshot.remaining_burst_capacity(), wait, reset })
            }
            Err(until) => {
                self.refused.fetch_add(1, Relaxed);
                Err(LimitWait(until.wait_time_from(now)))
            }
        }
    }

    /// Takes back what [`LimitState::check_request`] counted, because another limit refused the
    /// request.
    pub fn give_back(&self, key: HashedKey, now: Instant) {
        let LocalStore { table, unit, ticks } = &self.store;
        ticks.set_now(now);
        let interval = to_nanos(self.interval) / unit;
        let now = self.store.now_in_units();
        let back = |value: Option<u64>| {
            let value = value.ok_or(())?;
            Ok(((), value.wrapping_sub(interval) & VALUE))
        };
        // A key that is idle already has nothing to be taken back.
        let _idle: Result<(), ()> = table.update_key(key, |value| is_paid(value, now), back);
    }

    /// Forgets idle keys. Returns how many are left.
    pub fn forget_idle(&self) -> usize {
        self.store.ticks.set_now(clock::now());
        let now = self.store.now_in_units();
        self.store.table.empty_idle(|value| is_paid(value, now)).left
    }

    /// Returns the table of its keys.
    #[must_use]
    pub fn table(&self) -> &KeyTable {
        &self.store.table
    }
}
