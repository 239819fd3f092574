//! What governor knows of each key, in a table that does not grow, and the time it counts by.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock;
use governor::nanos::Nanos;
use governor::state::StateStore;

use crate::clock::Instant;
use crate::policy::table::{HashedKey, KeyTable, VALUE_BITS};

thread_local! {
    /// The time that the store has just written: governor tells how many more may pass, but not
    /// when all is paid for.
    pub(super) static WRITTEN: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    /// The time of the request that is being counted: it is known already, and governor would read
    /// the clock twice.
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Time since the limit was made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticks {
    pub(super) epoch: Instant,
}

impl Ticks {
    /// From here on it is `now`, which is returned as the time since the limit was made.
    pub(super) fn set_now(self, now: Instant) -> Duration {
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
pub(super) struct LocalStore {
    pub(super) table: Arc<KeyTable>,
    /// Nanoseconds, as [`super::Pace::interval_and_unit`] chose them. The shortest one goes round
    /// in 18 minutes; sweeping keeps what is older from looking like the future.
    pub(super) unit: u64,
    pub(super) ticks: Ticks,
}

pub(super) const VALUE: u64 = (1 << VALUE_BITS) - 1;
pub(super) const HALF: u64 = 1 << (VALUE_BITS - 1);

pub(super) fn to_nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns how far a value lies after `now`; zero when it lies before it.
fn distance_ahead(value: u64, now: u64) -> u64 {
    let ahead = value.wrapping_sub(now) & VALUE;
    if ahead < HALF { ahead } else { 0 }
}

/// Returns whether everything is paid for, which is as if the key had never been seen.
pub(super) fn is_paid(value: u64, now: u64) -> bool {
    distance_ahead(value, now) == 0
}

impl LocalStore {
    /// Now, in units.
    pub(super) fn now_in_units(&self) -> u64 {
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

#[cfg(test)]
mod tests {
    use super::*;

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
