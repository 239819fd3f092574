//! A log line for requests the proxy answered itself, naming the key that would change it.
//!
//! A client can cause any number of them, so each worker writes a few per second and counts the rest.

use std::cell::Cell;
use std::time::Duration;

use crate::clock::{self, Instant};
use crate::exchange::Refusal;
use crate::worker::Worker;

/// Lines per second and worker.
const LINES: u32 = 10;

/// How many lines a worker has written in the current second.
#[derive(Debug, Default)]
pub struct Quota {
    since: Cell<Option<Instant>>,
    written: Cell<u32>,
    dropped: Cell<u64>,
}

impl Quota {
    /// Whether one more line may be written; if so, how many were left out before it.
    pub fn take(&self, now: Instant) -> Option<u64> {
        let fresh = self
            .since
            .get()
            .is_none_or(|since| now.saturating_duration_since(since) >= Duration::from_secs(1));
        if fresh {
            self.since.set(Some(now));
            self.written.set(0);
        }
        if self.written.get() >= LINES {
            self.dropped.set(self.dropped.get() + 1);
            return None;
        }
        self.written.set(self.written.get() + 1);
        Some(self.dropped.replace(0))
    }
}

/// Writes the line, if the quota allows.
pub fn log(worker: &Worker, refusal: Refusal, request_id: &str, route: Option<&str>) {
    let Some(left_out) = worker.refusals.take(clock::now()) else { return };
    let row = refusal.row();
    let key = row.key.unwrap_or("-");
    let route = route.unwrap_or("-");
    let (status, code) = (row.status, row.code);
    if status >= 500 {
        tracing::warn!(status, code, %refusal, route, request_id, key, left_out, "request refused");
    } else {
        tracing::info!(status, code, %refusal, route, request_id, key, left_out, "request refused");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_counted_instead_of_written() {
        let quota = Quota::default();
        let written = (0..100).filter(|_| quota.take(clock::now()).is_some()).count();
        assert_eq!(written, 10);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(quota.take(clock::now()), Some(90));
        assert_eq!(quota.take(clock::now()), Some(0));
    }
}
