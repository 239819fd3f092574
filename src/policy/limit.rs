//! Rate limits: the generic cell rate algorithm (ITU-T I.371), per key.
//!
//! The arithmetic is governor's; what it knows of each key is in a [`KeyTable`] that does not grow. A limit of
//! rate and `burst` lets `burst` requests beyond the steady one pass at once, as nginx's `limit_req` does.

use std::cell::Cell;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};
use ipnet::IpNet;

use super::MadeValue;
use super::shared::Redis;
use super::table::{HashedKey, KeyTable, VALUE_BITS};
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

/// The longest time that a whole burst may take to come back: governor counts it in nanoseconds, 64 bits wide.
pub const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);

impl Pace {
    /// Time between two requests of the steady rate, and the nanoseconds in which times are kept: a thousandth of that,
    /// or as many more as it takes for a whole burst to stay well below the half of what a value can tell.
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

    /// Takes back what [`LimitState::check_request`] counted, because another limit refused the request.
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

thread_local! {
    /// The time that the store has just written: governor tells how many more may pass, but not when all is paid for.
    static WRITTEN: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    /// The time of the request that is being counted: it is known already, and governor would read the clock twice.
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Time since the limit was made.
#[derive(Debug, Clone, Copy)]
struct Ticks {
    epoch: Instant,
}

impl Ticks {
    /// From here on it is `now`, which is returned as the time since the limit was made.
    fn set_now(self, now: Instant) -> Duration {
        let since = now.saturating_duration_since(self.epoch);
        NOW.set(since);
        since
    }
}

impl Clock for Ticks {
    type Instant = Duration;

    fn now(&self) -> Duration {
        NOW.get()
    }
}

/// The moment at which each key has paid for what was let in, in units from the epoch, modulo 2^40.
#[derive(Debug, Clone)]
struct LocalStore {
    table: Arc<KeyTable>,
    /// Nanoseconds, as [`Pace::interval_and_unit`] chose them. The shortest one goes round in 18 minutes; sweeping keeps what is
    /// older from looking like the future.
    unit: u64,
    ticks: Ticks,
}

const VALUE: u64 = (1 << VALUE_BITS) - 1;
const HALF: u64 = 1 << (VALUE_BITS - 1);

fn to_nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns how far a value lies after `now`; zero when it lies before it.
fn distance_ahead(value: u64, now: u64) -> u64 {
    let ahead = value.wrapping_sub(now) & VALUE;
    if ahead < HALF { ahead } else { 0 }
}

/// Returns whether everything is paid for, which is as if the key had never been seen.
fn is_paid(value: u64, now: u64) -> bool {
    distance_ahead(value, now) == 0
}

impl LocalStore {
    /// Now, in units.
    fn now_in_units(&self) -> u64 {
        to_nanos(self.ticks.now()) / self.unit
    }
}

impl StateStore for LocalStore {
    type Key = HashedKey;

    fn measure_and_replace<T, F, E>(&self, key: &HashedKey, change: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let now = self.now_in_units();
        self.table.update_key(
            *key,
            |value| is_paid(value, now),
            |value| {
                let known =
                    value.map(|value| Nanos::from((now + distance_ahead(value, now)) * self.unit));
                let (told, new) = change(known)?;
                WRITTEN.set(new.into());
                let rounded = (u64::from(new) + self.unit / 2) / self.unit;
                Ok((told, rounded & VALUE))
            },
        )
    }
}

/// The state of a route's limits for `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10).
#[derive(Debug, Default)]
pub struct LimitReport(pub MadeValue);

impl LimitReport {
    /// Adds a limit: how many more may pass, and in how many seconds it is as new.
    pub fn add_limit(&mut self, limit: &Limit, remaining: u32, reset: Duration) {
        let out = &mut self.0;
        if !out.is_empty() {
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(&limit.label);
        // Whole seconds that have begun; what is left of a millisecond is rounding.
        let seconds = reset.as_secs() + u64::from(reset.subsec_millis() > 0);
        let mut text = [0; 48];
        let mut room = text.as_mut_slice();
        let mut digits = itoa::Buffer::new();
        put_bytes(&mut room, b";r=");
        put_bytes(&mut room, digits.format(remaining).as_bytes());
        put_bytes(&mut room, b";t=");
        put_bytes(&mut room, digits.format(seconds).as_bytes());
        let left = room.len();
        out.extend_from_slice(text.get(..text.len() - left).unwrap_or_default());
    }
}

/// Puts `bytes` at the start of `room`, which is then what is left of it.
fn put_bytes(room: &mut &mut [u8], bytes: &[u8]) {
    if let Some((place, rest)) = std::mem::take(room).split_at_mut_checked(bytes.len()) {
        place.copy_from_slice(bytes);
        *room = rest;
    }
}

/// A limit's name as a string of structured fields (RFC 9651 §3.3.3).
#[must_use]
pub fn quoted_label(name: &str) -> Box<[u8]> {
    let plain = name.chars().filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\'));
    format!("\"{}\"", plain.collect::<String>()).into_bytes().into()
}

/// `RateLimit-Policy`: what all limits of a route allow.
#[must_use]
pub fn policy_field(limits: &[Limit]) -> Box<[u8]> {
    let one = |limit: &Limit| {
        let (quota, window) = quota_of(limit.state.pace);
        format!("{};q={quota};w={window}", String::from_utf8_lossy(&limit.label))
    };
    limits.iter().map(one).collect::<Vec<_>>().join(", ").into_bytes().into()
}

/// Returns what a client may always send, at once or not, in each window of so many seconds: all that passes at once, and the
/// time in which all of it comes back, rounded up.
fn quota_of(Pace { count, period, burst }: Pace) -> (u32, u128) {
    let at_once = burst.saturating_add(1);
    let back = period.as_nanos() * u128::from(at_once);
    (at_once, back.div_ceil(u128::from(count.max(1))).div_ceil(1_000_000_000).max(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEN: Pace = Pace { count: 10, period: Duration::from_secs(1), burst: 20 };

    fn key(state: &LimitState, key: &[u8]) -> HashedKey {
        state.hash([key].into_iter())
    }

    #[tokio::test(start_paused = true)]
    async fn the_burst_passes_at_once_and_then_the_steady_rate() {
        let state = LimitState::new(TEN);
        let client = key(&state, b"1");
        let at_once =
            (0..100).filter(|_| state.check_request(client, None, clock::now()).is_ok()).count();
        assert_eq!(at_once, 21);
        let Err(LimitWait(wait)) = state.check_request(client, None, clock::now()) else {
            panic!("not refused")
        };
        assert!(wait > Duration::from_millis(99) && wait <= Duration::from_millis(100), "{wait:?}");
        tokio::time::advance(Duration::from_millis(101)).await;
        assert_eq!(state.check_request(client, None, clock::now()).map(|p| p.remaining), Ok(0));
        assert!(state.check_request(client, None, clock::now()).is_err());
        assert!(
            state.check_request(key(&state, b"2"), None, clock::now()).is_ok(),
            "another client"
        );
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(
            (0..100).filter(|_| state.check_request(client, None, clock::now()).is_ok()).count(),
            21
        );
    }

    #[tokio::test(start_paused = true)]
    async fn w7_a_burst_of_months_is_a_limit() {
        for (count, hours, burst) in [(1, 1, 1600), (1, 1, 800_000), (7, 1, 4_000_000)] {
            let period = Duration::from_hours(hours);
            let state = LimitState::new(Pace { count, period, burst });
            let client = key(&state, b"1");
            let tries = u64::from(burst) + 2000;
            let passed =
                (0..tries).filter(|_| state.check_request(client, None, clock::now()).is_ok());
            assert_eq!(passed.count() as u64, u64::from(burst) + 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_delay_the_burst_waits_for_its_turn() {
        let state = LimitState::new(Pace { burst: 5, ..TEN });
        let client = key(&state, b"1");
        let waits: Vec<u128> = (0..6)
            .map(|_| state.check_request(client, Some(2), clock::now()).unwrap().wait.as_millis())
            .collect();
        assert_eq!(waits, [0, 0, 0, 100, 200, 300]);
        assert!(state.check_request(client, Some(2), clock::now()).is_err());
    }

    #[test]
    fn p13_the_policy_is_what_a_client_can_count_on() {
        let of = |count, seconds, burst| {
            quota_of(Pace { count, period: Duration::from_secs(seconds), burst })
        };
        assert_eq!(of(10, 1, 20), (21, 3));
        assert_eq!(of(10, 1, 0), (1, 1));
        assert_eq!(of(100, 60, 99), (100, 60));
        assert_eq!(of(1, 3600, 0), (1, 3600));
        let of = |count, millis, burst| {
            quota_of(Pace { count, period: Duration::from_millis(millis), burst })
        };
        assert_eq!(of(20, 10_000, 0), (1, 1));
        assert_eq!(of(20, 10_000, 19), (20, 10));
        assert_eq!(of(5, 500, 4), (5, 1));
        assert_eq!(of(3, 172_800_000, 2), (3, 172_800));
    }

    #[tokio::test(start_paused = true)]
    async fn idle_keys_are_swept_and_others_are_not() {
        let state = LimitState::with_keys(TEN, 1000);
        for n in 0_u32..7 {
            assert!(state.check_request(key(&state, &n.to_le_bytes()), None, clock::now()).is_ok());
        }
        assert_eq!((state.forget_idle(), state.table().len()), (7, 7));
        tokio::time::advance(Duration::from_millis(60)).await;
        for n in 0_u32..2 {
            assert!(state.check_request(key(&state, &n.to_le_bytes()), None, clock::now()).is_ok());
        }
        // Those that sent one have paid for it after a tenth of a second, those that sent two have not.
        tokio::time::advance(Duration::from_millis(60)).await;
        state.forget_idle();
        assert_eq!((state.forget_idle(), state.table().len()), (2, 2));
        tokio::time::advance(Duration::from_millis(100)).await;
        state.forget_idle();
        assert_eq!((state.forget_idle(), state.table().len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_back_can_be_used_again() {
        let state = LimitState::new(Pace { burst: 0, ..TEN });
        let client = key(&state, b"1");
        for _ in 0..5 {
            assert!(state.check_request(client, None, clock::now()).is_ok());
            assert!(state.check_request(client, None, clock::now()).is_err());
            state.give_back(client, clock::now());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn idle_keys_are_forgotten_and_time_may_go_round() {
        let state = LimitState::new(Pace { count: 1_000_000, ..TEN });
        let client = key(&state, b"1");
        for _ in 0..10 {
            // 2^40 units of 100 ns are 30.5 hours.
            assert!(state.check_request(client, None, clock::now()).is_ok());
            tokio::time::advance(Duration::from_hours(10)).await;
            assert_eq!(state.forget_idle(), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_attack_with_many_keys_takes_no_more_memory() {
        let state = LimitState::with_keys(TEN, 1000);
        for n in 0_u32..50_000 {
            assert!(state.check_request(key(&state, &n.to_le_bytes()), None, clock::now()).is_ok());
        }
        assert_eq!(state.table().capacity(), 1000);
        assert!(state.table().len() <= 1000);
    }

    proptest! {
        /// Every pace that the check lets in is one: no more than burst and one at once, and then one in each interval.
        #[test]
        fn w7_every_rate_and_burst_holds(
            count in 1_u32..=u32::MAX, shift in 0_u32..32, period in prop::sample::select(vec![1_u64, 500, 1_000, 10_000, 60_000, 3_600_000, 172_800_000]),
            burst in 0_u32..=u32::MAX, narrow in 0_u32..32, later in 0_u64..100_000_000,
        ) {
            let period = Duration::from_millis(period);
            let pace = Pace { count: (count >> shift).max(1), period, burst: burst >> narrow };
            prop_assume!(u128::from(pace.count) <= period.as_nanos());
            let recovers_in = (period / pace.count).saturating_mul(pace.burst);
            prop_assume!(recovers_in <= LONGEST);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async move {
                let state = LimitState::with_keys(pace, 100);
                let client = key(&state, b"1");
                // On a tick of the limit's own clock, so that nothing has to be rounded.
                let base = state.store.ticks.epoch + Duration::from_nanos(state.store.unit * later);
                // The last of the burst: as if all before it had passed at once.
                let unused = 20.min(pace.burst);
                let used = pace.burst - unused;
                let first = state.check_request(client, None, base).unwrap();
                assert_eq!(first.remaining, pace.burst);
                let paid = to_nanos(state.interval) / state.store.unit * u64::from(used);
                state.table().update_key(client, |_| false, |value| Ok::<_, ()>(((), (value.unwrap() + paid) & VALUE))).unwrap();
                let at_once = (0..100).filter(|_| state.check_request(client, None, base).is_ok()).count();
                assert_eq!(at_once as u32, unused, "{pace:?}");
                for step in 1..10 {
                    let now = base + state.interval * step;
                    assert!(state.check_request(client, None, now).is_ok(), "{pace:?} at {step}");
                    assert!(state.check_request(client, None, now).is_err(), "{pace:?} at {step}");
                }
                let exact = period.as_secs_f64() / f64::from(pace.count);
                let off = (state.interval.as_secs_f64() - exact).abs();
                assert!(off <= exact * 0.02 + 1e-9, "{pace:?}: {:?}", state.interval);
            });
        }

        /// The definition, with exact numbers: nginx's `ngx_http_limit_req_lookup`, without its milliseconds.
        #[test]
        fn it_decides_as_a_leaky_bucket(
            burst in 0_u32..10, count in 1_u32..50, gaps in proptest::collection::vec(0_u64..300_000, 1..60),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async move {
                let state = LimitState::new(Pace { count, period: Duration::from_secs(1), burst });
                let client = key(&state, b"1");
                let (mut excess, mut last): (f64, Option<Instant>) = (0.0, None);
                for gap in gaps {
                    tokio::time::advance(Duration::from_micros(gap)).await;
                    let now = clock::now();
                    let passed: f64 = last.map_or(0.0, |last| (now - last).as_secs_f64());
                    let grown = f64::max(0.0, excess - passed * f64::from(count) + 1.0);
                    let next: f64 = last.map_or(0.0, |_| grown);
                    // Within a thousandth of the line either answer is right.
                    let margin = next - f64::from(burst);
                    let allowed = state.check_request(client, None, clock::now()).is_ok();
                    if margin.abs() > 0.01 {
                        assert_eq!(allowed, margin < 0.0, "excess {next} of {burst}");
                    }
                    if allowed {
                        excess = next;
                        last = Some(now);
                    }
                }
            });
        }
    }

    #[test]
    fn times_are_kept_in_units_that_fit_the_pace() {
        let measured = |count, period: u64, burst| {
            let (interval, unit) =
                Pace { count, period: Duration::from_nanos(period), burst }.interval_and_unit();
            (to_nanos(interval), unit)
        };
        const SECOND: u64 = 1_000_000_000;
        const HOUR: u64 = 3600 * SECOND;
        assert_eq!(measured(1, SECOND, 0), (1_000_000_000, 10_000));
        assert_eq!(measured(3, SECOND, 0), (333_330_000, 10_000));
        assert_eq!(measured(7, SECOND, 0), (142_860_000, 10_000));
        assert_eq!(measured(1, 2_000_005_000, 0), (2_000_000_000, 10_000));
        assert_eq!(measured(50, SECOND, 9), (20_000_000, 10_000));
        assert_eq!(measured(1_000_000, SECOND, 20), (1000, 100));
        assert_eq!(measured(10_000_000, SECOND, 0), (100, 100));
        assert_eq!(measured(1_000_000_000, SECOND, 0), (1, 1));
        assert_eq!(measured(1, HOUR, 1600), (3_600_000_001_534, 20_981));
        assert_eq!(measured(1, HOUR, 800_000), (3_599_994_791_976, 10_477_406));
        assert_eq!(measured(7, HOUR, 4_000_000), (514_282_413_274, 7_483_846));
        assert_eq!(measured(1, 48 * HOUR, u32::MAX), (734_254_720, 11_472_730));
    }

    fn limit(pace: Pace, except: &[&str]) -> Limit {
        let except = except.iter().map(|network| network.parse().unwrap());
        Limit {
            name: "a".into(),
            own: false,
            before_auth: false,
            label: quoted_label("a\"\u{e4} \\b\n"),
            key: [KeyPart::ClientIp].into(),
            delay: None,
            except: except.collect(),
            state: Arc::new(LimitState::with_keys(pace, 100)),
            redis: None,
        }
    }

    #[test]
    fn clients_of_some_networks_are_not_counted() {
        let some = limit(TEN, &["10.0.0.0/8", "fd00::/8"]);
        let exempts = |limit: &Limit, ip: &str| limit.exempts_client(ip.parse().ok());
        assert!(exempts(&some, "10.1.2.3") && exempts(&some, "fd12::1"));
        assert!(
            !exempts(&some, "11.0.0.1") && !exempts(&some, "::1") && !some.exempts_client(None)
        );
        assert!(!exempts(&limit(TEN, &[]), "10.1.2.3"));
    }

    #[test]
    fn fields_tell_what_is_left_and_what_is_allowed() {
        let one = limit(TEN, &[]);
        let mut report = LimitReport::default();
        report.add_limit(&one, 20, Duration::ZERO);
        assert_eq!(&report.0[..], b"\"a b\";r=20;t=0");
        report.add_limit(&one, 4_294_967_295, Duration::from_micros(1999));
        report.add_limit(&one, 0, Duration::from_micros(1_000_999));
        let expected = b"\"a b\";r=20;t=0, \"a b\";r=4294967295;t=1, \"a b\";r=0;t=1";
        assert_eq!(&report.0[..], expected);
        let hour = Pace { count: 100, period: Duration::from_hours(1), burst: 9 };
        assert_eq!(
            &policy_field(&[one, limit(hour, &[])])[..],
            b"\"a b\";q=21;w=3, \"a b\";q=10;w=360"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_refused_and_delayed_is_counted_and_the_time_until_all_is_paid_for_told() {
        let state = LimitState::new(Pace { burst: 2, ..TEN });
        let client = key(&state, b"1");
        let mut passes = Vec::new();
        for _ in 0..4 {
            passes.push(
                state.check_request(client, Some(0), clock::now()).map_err(|LimitWait(wait)| wait),
            );
        }
        let pass = |remaining, wait, reset| {
            let (wait, reset) = (Duration::from_millis(wait), Duration::from_millis(reset));
            Ok(LimitPass { remaining, wait, reset })
        };
        let expected = [
            pass(2, 0, 100),
            pass(1, 100, 200),
            pass(0, 200, 300),
            Err(Duration::from_millis(100)),
        ];
        assert_eq!(passes, expected);
        let counted = [&state.refused, &state.delayed, &state.exempt].map(|n| n.load(Relaxed));
        assert_eq!(counted, [1, 2, 0]);
        assert!(
            format!("{state:?}")
                .starts_with("State { pace: Pace { count: 10, period: 1s, burst: 2 }")
        );
        // What is given back is one request, and not more.
        state.give_back(client, clock::now());
        assert_eq!(
            state.check_request(client, None, clock::now()).map(|pass| pass.remaining),
            Ok(0)
        );
        assert!(state.check_request(client, None, clock::now()).is_err());
        let stranger = key(&state, b"2");
        state.give_back(stranger, clock::now());
        assert_eq!(
            state.check_request(stranger, None, clock::now()).map(|pass| pass.remaining),
            Ok(2)
        );
    }

    #[test]
    fn what_lies_before_now_is_idle_even_where_time_has_gone_round() {
        const ROUND: u64 = 1 << 40;
        for (value, now, expected) in [
            (5, 5, 0),
            (6, 5, 1),
            (5, 6, 0),
            (3, ROUND - 2, 5),
            (ROUND - 2, 3, 0),
            ((1 << 39) - 1, 0, (1 << 39) - 1),
            (1 << 39, 0, 0),
        ] {
            assert_eq!(distance_ahead(value, now), expected, "{value}, {now}");
            assert_eq!(is_paid(value, now), expected == 0, "{value}, {now}");
        }
    }
}
