//! How many client connections may be open: of each listener, and of all of them, which share the
//! descriptors.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use tokio::sync::Notify;

/// Of all listeners.
static ALL: Places = Places::new();
/// Wakes those who wait for a place.
static FREED: Notify = Notify::const_new();
/// Connections that wait for a place or are told that there is none.
static WAITING: AtomicU32 = AtomicU32::new(0);

/// Connections that may wait for a place, over all listeners; descriptors are kept back for them.
/// Those beyond stay in the listening sockets' queues.
pub const MOST_WAITING: u32 = 48;
/// And on one listener, so that one that is full leaves room for others.
const MOST_WAITING_ON_ONE: u32 = 32;

#[derive(Debug)]
struct Places {
    open: AtomicU32,
    most: AtomicU32,
    /// The number of idle connections that are asked for of workers that have any.
    wanted: AtomicU32,
}

impl Places {
    const fn new() -> Self {
        Self { open: AtomicU32::new(0), most: AtomicU32::new(u32::MAX), wanted: AtomicU32::new(0) }
    }

    fn want_place(&self, most: u32) {
        let one_more = |wanted: u32| (wanted < most).then_some(wanted + 1);
        let _enough = self.wanted.fetch_update(Relaxed, Relaxed, one_more);
    }

    /// Makes room as often as somebody wants it and `make` can.
    fn make_wanted_room(&self, make: impl Fn() -> bool) {
        while self.wanted.load(Relaxed) > 0 && make() {
            let _heeded =
                self.wanted.fetch_update(Relaxed, Relaxed, |wanted| wanted.checked_sub(1));
        }
    }

    fn take_place(&self) -> bool {
        let most = self.most.load(Relaxed);
        self.open.fetch_update(Relaxed, Relaxed, |open| (open < most).then_some(open + 1)).is_ok()
    }

    /// Returns whether fewer than a sixteenth of the places are left.
    fn is_crowded(&self) -> bool {
        let most = self.most.load(Relaxed);
        self.open.load(Relaxed) > most - most.div_ceil(16)
    }
}

/// The connections of a listener.
#[derive(Debug)]
pub struct Room {
    places: Places,
    waiting: AtomicU32,
    /// Idle connections that were closed because somebody else needed their place.
    pub reclaimed: AtomicU64,
}

impl Default for Room {
    fn default() -> Self {
        Self { places: Places::new(), waiting: AtomicU32::new(0), reclaimed: AtomicU64::new(0) }
    }
}

/// The set of places that has run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoomFull {
    /// The listener's.
    Listener,
    /// The process's.
    Process,
}

/// Sets how many connections all listeners may have open together.
pub fn limit_all(most: u32) {
    ALL.most.store(most, Relaxed);
}

/// Connections of all listeners that are open now, and how many may be.
#[must_use]
pub fn open_and_allowed() -> (u32, u32) {
    (ALL.open.load(Relaxed), ALL.most.load(Relaxed))
}

/// Asks those workers for an idle connection that have any, of whichever listener; no more than
/// `most` are asked for at a time.
pub fn want_any(most: u32) {
    ALL.want_place(most);
}

/// Makes room as often as somebody wants it and `make` can.
pub fn heed_any(make: impl Fn() -> bool) {
    ALL.make_wanted_room(make);
}

/// Waits until a place may have become free.
pub async fn wait_for_freed() {
    FREED.notified().await;
}

impl Room {
    /// Connections that are open now.
    #[must_use]
    pub fn open_count(&self) -> u32 {
        self.places.open.load(Relaxed)
    }

    /// Sets how many may be.
    pub fn set_limit(&self, most: u32) {
        self.places.most.store(most, Relaxed);
    }

    /// Takes a place.
    ///
    /// # Errors
    /// Whose places have run out.
    pub fn take_place(self: &Arc<Self>) -> Result<RoomPlace, RoomFull> {
        if !self.places.take_place() {
            return Err(RoomFull::Listener);
        }
        if !ALL.take_place() {
            self.places.open.fetch_sub(1, Relaxed);
            return Err(RoomFull::Process);
        }
        Ok(RoomPlace(self.clone()))
    }

    /// Takes a place among those that wait for one; `None` when they are too many already.
    #[must_use]
    pub fn wait_for_place(self: &Arc<Self>) -> Option<WaitingConnection> {
        let take = |places: &AtomicU32, most| {
            places.fetch_update(Relaxed, Relaxed, |n| (n < most).then_some(n + 1)).is_ok()
        };
        if !take(&self.waiting, MOST_WAITING_ON_ONE) {
            return None;
        }
        if !take(&WAITING, MOST_WAITING) {
            self.waiting.fetch_sub(1, Relaxed);
            return None;
        }
        Some(WaitingConnection(self.clone()))
    }

    /// As [`want_any`], of this listener.
    pub fn want_place(&self, most: u32) {
        self.places.want_place(most);
    }

    /// As [`heed_any`], for this listener.
    pub fn make_wanted_room(&self, make: impl Fn() -> bool) {
        self.places.make_wanted_room(make);
    }

    /// Returns whether so few places are left that connections should not be kept beyond their
    /// answers.
    #[inline]
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.places.is_crowded() || ALL.is_crowded()
    }
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct RoomPlace(Arc<Room>);

impl Drop for RoomPlace {
    fn drop(&mut self) {
        self.0.places.open.fetch_sub(1, Relaxed);
        ALL.open.fetch_sub(1, Relaxed);
        if WAITING.load(Relaxed) > 0 {
            FREED.notify_waiters();
        }
    }
}

/// A place among those that wait, until it is dropped.
#[derive(Debug)]
pub struct WaitingConnection(Arc<Room>);

impl Drop for WaitingConnection {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
        WAITING.fetch_sub(1, Relaxed);
        FREED.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back_and_the_last_ones_are_scarce() {
        let room = Arc::new(Room::default());
        room.set_limit(32);
        let mut inside: Vec<_> = (0..30).map(|_| room.take_place().unwrap()).collect();
        assert!(!room.is_crowded());
        inside.extend((0..2).map(|_| room.take_place().unwrap()));
        assert!(room.is_crowded());
        assert_eq!(room.take_place().err(), Some(RoomFull::Listener));
        assert_eq!(room.open_count(), 32);
        inside.truncate(30);
        assert!(!room.is_crowded() && room.take_place().is_ok());
        drop(inside);
        assert_eq!(room.open_count(), 0);
    }

    #[test]
    fn few_may_wait() {
        let room = Arc::new(Room::default());
        let waiting: Vec<_> = std::iter::from_fn(|| room.wait_for_place()).take(1000).collect();
        assert_eq!(waiting.len(), 32);
        drop(waiting);
        assert!(room.wait_for_place().is_some());
    }
}
