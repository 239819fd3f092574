//! The one clock and the one source of randomness.
//!
//! Every deadline, window and decay reads [`now`], so a test can run with tokio's paused time.
//! Every random choice draws from [`Random`], so a test can fix the seed.

use std::cell::RefCell;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

pub use tokio::time::Instant;

/// The current moment of the monotonic clock. Follows tokio's paused time in tests.
#[inline]
pub fn now() -> Instant {
    Instant::now()
}

/// The date and time of day, for what people and other programs read. It jumps when somebody sets
/// it: no deadline goes by it.
#[must_use]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// Seconds since 1970, for what outlives the process: cookies, tokens.
#[must_use]
pub fn unix_seconds() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed();
    since.map_or(0, |since| since.as_secs())
}

/// Hands over the current date as HTTP writes it (RFC 9110 §5.6.7). It is written once per second
/// and thread.
pub fn with_http_date<R>(then: impl FnOnce(&[u8]) -> R) -> R {
    thread_local! {
        static WRITTEN: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
    }
    WRITTEN.with_borrow_mut(|(second, text)| {
        let now = unix_seconds();
        if *second != now {
            *second = now;
            *text = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(now));
        }
        then(text.as_bytes())
    })
}

/// Milliseconds since 1970, for what is compared with dates that servers tell.
#[must_use]
pub fn unix_millis() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A deadline `after` from `from`; `None` when the duration is "off" or cannot be represented.
#[inline]
pub fn deadline(from: Instant, after: Option<Duration>) -> Option<Instant> {
    from.checked_add(after?)
}

/// A small, fast, seedable generator. Not for secrets.
#[derive(Debug, Clone)]
pub struct Random(fastrand::Rng);

impl Random {
    /// A generator whose sequence is fixed by `seed`.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// A generator seeded from the operating system.
    #[must_use]
    pub fn from_entropy() -> Self {
        Self(fastrand::Rng::new())
    }

    /// The next 64 random bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// A uniform number below `bound`; 0 when `bound` is 0.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.0.u64(..bound) }
    }

    /// A uniform number in `0.0..1.0`.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        self.0.f64()
    }
}

/// Milliseconds since the first call in this process, for moments that are kept in atomics.
#[must_use]
pub fn millis(at: Instant) -> u64 {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    let epoch = *EPOCH.get_or_init(now);
    u64::try_from(at.saturating_duration_since(epoch).as_millis()).unwrap_or(u64::MAX)
}
