//! How many connections to a server are open, over all workers, and how a limit on that is kept.
//!
//! Connections belong to workers, so at the limit the idle one that is in the way may lie with
//! another worker. The one that needs it then says so; the others hear it and let go of an idle
//! connection each. That costs nothing as long as the limit is not reached.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// The connections to all servers, and the most there may be: descriptors are shared with clients
/// and the rest of the process.
static ALL: AtomicU32 = AtomicU32::new(0);
static MOST: AtomicU32 = AtomicU32::new(u32::MAX);
/// The pause between two looks of somebody who waits for others to close any: those of other
/// servers do not tell.
const LOOK: Duration = Duration::from_millis(10);

/// Sets how many connections all servers may have open together.
pub fn limit_all(most: u32) {
    MOST.store(most, Ordering::Relaxed);
}

/// Connections to all servers that are open now, and how many may be.
#[must_use]
pub fn open_and_allowed() -> (u32, u32) {
    (ALL.load(Ordering::Relaxed), MOST.load(Ordering::Relaxed))
}

/// The open connections of a server.
#[derive(Debug, Default)]
pub struct OpenConnections {
    count: AtomicU32,
    wanted: AtomicU32,
    /// The server is no longer one of its upstream's.
    retired: AtomicBool,
    closed: Notify,
}

impl OpenConnections {
    /// Returns how many are open.
    #[must_use]
    pub fn open_count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    /// Returns whether somebody waits for one to be closed.
    #[inline]
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) > 0
    }

    /// Has idle connections closed: nobody will ask the server any more.
    pub fn close_idle(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// Returns whether the server has left.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }
}

/// One open connection, until it is dropped.
#[derive(Debug)]
pub struct Opened(Arc<OpenConnections>);

impl Opened {
    /// Counts one more connection, if there may be that many.
    #[must_use]
    pub fn new(open: &Arc<OpenConnections>, limit: u32) -> Option<Self> {
        let take = |count: &AtomicU32, limit| {
            let one_more = |n: u32| (n < limit).then_some(n + 1);
            count.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more).is_ok()
        };
        if !take(&open.count, limit) {
            return None;
        }
        if !take(&ALL, MOST.load(Ordering::Relaxed)) {
            open.count.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Self(open.clone()))
    }

    /// Returns whether somebody waits for it to be closed.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.0.is_wanted()
    }

    /// Returns whether its server has left.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.0.is_retired()
    }

    /// Waits until there may be one more. `ask` makes others let go of idle ones.
    ///
    /// Cancel safety: dropping the future gives up the claim.
    pub async fn wait_for_place(open: &Arc<OpenConnections>, limit: u32, ask: impl Fn()) -> Self {
        let _claim = PlaceClaim::new(open);
        loop {
            let closed = open.closed.notified();
            if let Some(opened) = Self::new(open, limit) {
                return opened;
            }
            ask();
            // A connection to another server may have gone at once, which tells nobody here.
            if let Some(opened) = Self::new(open, limit) {
                return opened;
            }
            if open.open_count() >= limit {
                closed.await;
            } else {
                let _woken = tokio::time::timeout(LOOK, closed).await;
            }
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        ALL.fetch_sub(1, Ordering::AcqRel);
        self.0.count.fetch_sub(1, Ordering::AcqRel);
        if self.0.is_wanted() {
            self.0.closed.notify_one();
        }
    }
}

/// Somebody waits, until this is dropped.
struct PlaceClaim<'a>(&'a OpenConnections);

impl<'a> PlaceClaim<'a> {
    fn new(open: &'a OpenConnections) -> Self {
        open.wanted.fetch_add(1, Ordering::AcqRel);
        Self(open)
    }
}

impl Drop for PlaceClaim<'_> {
    fn drop(&mut self) {
        self.0.wanted.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test]
    async fn at_the_limit_one_has_to_go_first() {
        let open = Arc::new(OpenConnections::default());
        let idle = RefCell::new(Opened::new(&open, 1));
        assert!(Opened::new(&open, 1).is_none());
        let opened = Opened::wait_for_place(&open, 1, || drop(idle.borrow_mut().take())).await;
        assert_eq!(open.open_count(), 1);
        assert!(!open.is_wanted());
        drop(opened);
        assert_eq!(open.open_count(), 0);
    }
}
