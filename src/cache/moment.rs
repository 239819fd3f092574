//! The order in which requests are made and responses made invalid.
//!
//! A response is not used if its request was made before something that made it invalid. The time
//! of day cannot tell that: several of them may have the same millisecond, and a clock may be set
//! back in between. So the times of day that are compared are made to run: never back, and on after
//! each invalidation.

use std::sync::atomic::{AtomicU64, Ordering};

use super::policy::Millis;

/// Tells the moments of one cache's requests and invalidations.
#[derive(Debug, Default)]
pub(super) struct MomentClock {
    /// The moment that a request would have by what has been told so far.
    latest: AtomicU64,
}

impl MomentClock {
    /// Returns the moment of a request that is about to be made, at the time of day `now`: later
    /// than all invalidations before it.
    pub(super) fn time_request(&self, now: Millis) -> Millis {
        // Requests of the same millisecond share a moment, and only the first writes.
        let latest = self.latest.load(Ordering::Acquire);
        if latest >= now {
            return latest;
        }
        self.latest.fetch_max(now, Ordering::AcqRel).max(now)
    }

    /// Returns the moment of an invalidation, at the time of day `now`: no earlier than all
    /// requests before it, and earlier than all after it.
    pub(super) fn time_invalidation(&self, now: Millis) -> Millis {
        self.latest.fetch_max(now, Ordering::AcqRel);
        self.latest.fetch_add(1, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_before_and_after_an_invalidation_are_told_apart_whatever_the_time_of_day() {
        for now in [1000, 999, 500, 1001, 5000] {
            let clock = MomentClock::default();
            let before = clock.time_request(1000);
            let invalid = clock.time_invalidation(now);
            let after = clock.time_request(now);
            let again = clock.time_invalidation(now);
            assert!(before <= invalid && invalid < after && after <= again, "{now}");
            assert!(again < clock.time_request(now) && invalid >= now && before == 1000, "{now}");
        }
    }

    #[test]
    fn threads_agree_on_the_order() {
        const ROUNDS: u64 = 20_000;
        let clock = MomentClock::default();
        let done = AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for now in 0..ROUNDS {
                    let invalid = clock.time_invalidation(now / 100);
                    done.store(invalid, Ordering::Release);
                }
            });
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut last = 0;
                    while last + 1 < ROUNDS {
                        last = done.load(Ordering::Acquire);
                        assert!(clock.time_request(0) > last || last == 0);
                    }
                });
            }
        });
    }
}
