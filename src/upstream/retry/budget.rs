//! How many retries there may be: a share of requests, and a few per second.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::{self, Instant};

/// Limits retries to a share of the requests, so that they cannot multiply the load on servers
/// that are failing because of it. A window of ten seconds plus a small constant rate, unless the
/// share is zero: then there are none at all.
#[derive(Debug)]
pub struct Budget {
    /// Retries per 1 000 requests.
    per_mille: u64,
    requests: AtomicU64,
    window: AtomicU64,
    at_start: AtomicU64,
    spent: AtomicU64,
}

/// Length of the window in milliseconds.
const WINDOW: u64 = 10_000;
/// Retries per window beside the share: 3 per second.
const FLOOR: u64 = 30;

impl Budget {
    /// A budget of `percent` of the requests.
    #[must_use]
    pub fn new(percent: f64) -> Self {
        Self {
            per_mille: (percent * 10.0).ceil().clamp(0.0, 1000.0) as u64,
            requests: AtomicU64::new(0),
            window: AtomicU64::new(0),
            at_start: AtomicU64::new(0),
            spent: AtomicU64::new(0),
        }
    }

    /// Counts a request.
    #[inline]
    pub fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one retry out of the budget, if there is one. What is refused costs nothing.
    #[must_use]
    pub fn take_retry(&self, now: Instant) -> bool {
        if self.per_mille == 0 {
            return false;
        }
        let window = clock::millis(now) / WINDOW;
        let current = self.window.load(Ordering::Relaxed);
        let requests = self.requests.load(Ordering::Relaxed);
        if current != window
            && self
                .window
                .compare_exchange(current, window, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            self.at_start.store(requests, Ordering::Relaxed);
            self.spent.store(0, Ordering::Relaxed);
        }
        let seen = requests.saturating_sub(self.at_start.load(Ordering::Relaxed));
        let allowed = seen * self.per_mille / 1000 + FLOOR;
        let spend = |spent: u64| (spent < allowed).then_some(spent + 1);
        self.spent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_budget_is_a_share_plus_a_floor_per_window() {
        let _epoch = clock::millis(clock::now());
        tokio::time::advance(Duration::from_millis(WINDOW)).await;
        let budget = Budget::new(20.0);
        assert!(budget.take_retry(clock::now()));
        for _ in 0..100 {
            budget.count_request();
        }
        let granted = (0..1000).filter(|_| budget.take_retry(clock::now())).count();
        assert_eq!(granted, 20 + 30 - 1);
        // Those that were refused were not spent: twenty more requests allow four more retries.
        for _ in 0..20 {
            budget.count_request();
        }
        let granted = (0..1000).filter(|_| budget.take_retry(clock::now())).count();
        assert_eq!(granted, 4);
        tokio::time::advance(Duration::from_millis(WINDOW)).await;
        let granted = (0..1000).filter(|_| budget.take_retry(clock::now())).count();
        assert_eq!(granted, 30);
    }

    #[test]
    fn a_budget_of_nothing_allows_nothing_and_a_small_one_something() {
        let none = Budget::new(0.0);
        none.count_request();
        assert!(!none.take_retry(clock::now()));
        assert!(Budget::new(0.01).take_retry(clock::now()));
    }
}
