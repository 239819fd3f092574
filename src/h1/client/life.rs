//! How long a connection is kept: its own age and number of requests, and the end of its listener.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Instant;
use crate::net::room::Room;

/// The life of a connection with which nothing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// After so many requests.
    pub requests: u32,
    /// The age at which it ends.
    pub age: Option<Duration>,
}

impl Default for Life {
    fn default() -> Self {
        Self { requests: u32::MAX, age: None }
    }
}

impl Life {
    /// Returns when a connection that began at `now` is too old. `place` spreads them over the last
    /// tenth of their time, so that those that came together do not all come again together.
    #[must_use]
    pub fn end_of_life(self, now: Instant, place: u8) -> Option<Instant> {
        let age = self.age?;
        now.checked_add(age.saturating_sub(age / 10 * u32::from(place) / 255))
    }
}

/// The moments at which a listener's connections are to end.
#[derive(Debug, Default)]
pub struct Closing {
    begun: Cell<Option<(Instant, Duration)>>,
    room: Arc<Room>,
}

impl Closing {
    /// Not yet, while there is room for them.
    #[must_use]
    pub fn new(room: Arc<Room>) -> Self {
        Self { begun: Cell::new(None), room }
    }

    /// Responses end their connections from now on. Idle connections are left alone for `grace` at
    /// most: a request may be on its way to one of them, and closing it would lose that request.
    /// They end in the second half of that time, not all at once.
    pub fn begin_closing(&self, now: Instant, grace: Duration) {
        self.begun.set(Some((now, grace)));
    }

    /// Returns whether they have begun to end.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun.get().is_some()
    }

    /// Returns whether connections should not be kept beyond the answers that are under way: they
    /// end anyway, or hardly a place is left.
    #[must_use]
    pub fn keeps_none(&self) -> bool {
        self.has_begun() || self.room.is_crowded()
    }

    /// Returns when a connection ends that stays idle; `None` while the listener is open.
    pub(super) fn idle_until(&self, place: u8) -> Option<Instant> {
        let (begun, grace) = self.begun.get()?;
        begun.checked_add(grace / 2 + grace / 2 * u32::from(place) / 255)
    }
}
