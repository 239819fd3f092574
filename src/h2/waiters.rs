//! Requests that wait for a stream to a server, first come first served.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

/// The waiting requests of one worker that can share connections to one server.
#[derive(Debug, Default)]
pub struct Waiters {
    count: Cell<u32>,
    freed: Notify,
}

impl Waiters {
    /// Returns whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count.get() == 0
    }

    /// Lets the one that has waited longest look again.
    pub fn wake_one(&self) {
        if !self.is_empty() {
            self.freed.notify_one();
        }
    }

    /// Waits until `look`, asked at every wake-up, finds something.
    ///
    /// Cancel safety: a wake-up that the dropped future did not use goes to the next one.
    pub async fn wait_for<T>(self: Rc<Self>, mut look: impl FnMut() -> Option<T>) -> T {
        let _counted = WaiterCount::new(&self);
        loop {
            self.freed.notified().await;
            if let Some(found) = look() {
                return found;
            }
        }
    }
}

/// Somebody waits, until this is dropped.
struct WaiterCount<'a>(&'a Waiters);

impl<'a> WaiterCount<'a> {
    fn new(waiters: &'a Waiters) -> Self {
        waiters.count.set(waiters.count.get() + 1);
        Self(waiters)
    }
}

impl Drop for WaiterCount<'_> {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get() - 1);
    }
}
