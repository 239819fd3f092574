//! Room for connections to the admin endpoint: whoever waits for a client makes room for whoever
//! comes.
//!
//! A probe must be answered whatever other connections do there: rest, send a head or a body byte
//! by byte, or leave an answer unread. So a new connection always gets a place, that of the one
//! which has waited longest if need be; a call that is being worked on keeps its own for as long as
//! others can go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use tokio::sync::Notify;

use crate::clock;

/// Connections at a time, as long as one of them waits for its client,
const MOST: usize = 64;
/// and whatever they do. The descriptors are set apart (`server::limits`).
const MOST_AT_WORK: usize = 96;

/// The place of a connection.
#[derive(Debug, Default)]
pub(super) struct AdminSeat {
    /// The proxy has something to do for it.
    at_work: AtomicBool,
    /// Since when it waits or works, in milliseconds of [`clock::millis`].
    since: AtomicU64,
    given_away: Notify,
}

impl AdminSeat {
    /// Returns once the place is somebody else's.
    pub(super) async fn given_away(&self) {
        self.given_away.notified().await;
    }

    /// The whole request has been read: until the answer is there, the proxy is at work.
    pub(super) fn begin_work(&self) -> AtWork<'_> {
        self.set_at_work(true);
        AtWork(self)
    }

    fn set_at_work(&self, at_work: bool) {
        self.at_work.store(at_work, Relaxed);
        self.since.store(clock::millis(clock::now()), Relaxed);
    }
}

/// While this is held, the place is kept if possible.
#[derive(Debug)]
pub(super) struct AtWork<'a>(&'a AdminSeat);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.set_at_work(false);
    }
}

/// All places.
#[derive(Debug, Default)]
pub(super) struct AdminSeats(Vec<Arc<AdminSeat>>);

impl AdminSeats {
    /// A place for a new connection.
    pub(super) fn take_seat(&mut self) -> Arc<AdminSeat> {
        // Connections that have ended hold theirs no more.
        self.0.retain(|seat| Arc::strong_count(seat) > 1);
        if self.0.len() >= MOST {
            let waits = |seat: &&Arc<AdminSeat>| !seat.at_work.load(Relaxed);
            let longest = |seat: &&Arc<AdminSeat>| seat.since.load(Relaxed);
            let idle = self.0.iter().filter(waits).min_by_key(longest).cloned();
            let any = || self.0.iter().min_by_key(longest).cloned();
            let full = self.0.len() >= MOST_AT_WORK;
            if let Some(seat) = idle.or_else(|| full.then(any).flatten()) {
                seat.given_away.notify_one();
                self.0.retain(|other| !Arc::ptr_eq(other, &seat));
            }
        }
        let seat = Arc::new(AdminSeat::default());
        seat.set_at_work(false);
        self.0.push(seat.clone());
        seat
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_works_keeps_the_place_while_others_wait() {
        let mut seats = AdminSeats::default();
        let all: Vec<_> = (0..MOST).map(|_| seats.take_seat()).collect();
        let working: Vec<_> = all.iter().take(MOST - 1).map(|seat| seat.begin_work()).collect();
        let _new = seats.take_seat();
        assert_eq!(seats.0.len(), MOST);
        assert!(!seats.0.iter().any(|seat| Arc::ptr_eq(seat, &all[MOST - 1])));
        drop(working);
    }

    #[test]
    fn there_is_an_end_to_those_who_work() {
        let mut seats = AdminSeats::default();
        let all: Vec<_> = (0..2 * MOST_AT_WORK)
            .map(|_| {
                let seat = seats.take_seat();
                std::mem::forget(seat.begin_work());
                seat
            })
            .collect();
        assert_eq!((all.len(), seats.0.len()), (2 * MOST_AT_WORK, MOST_AT_WORK));
    }
}
