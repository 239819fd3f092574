//! One fetch on behalf of everybody who wants the same response meanwhile.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use super::key::StoreKey;
use super::object::Object;
use super::policy::Millis;
use crate::exchange::Refusal;

/// The result of a fetch, for those who only waited for it.
#[derive(Debug, Clone)]
pub enum Landing {
    /// A response that may be shared, perhaps still on its way.
    Shared(Arc<Object>),
    /// A response out of the tier behind memory.
    Restored(Arc<Object>),
    /// A response for the one who asked alone: others ask for themselves, and for a while at once.
    NotShared,
    /// What was stored before, because servers fail; with the status that one answered with.
    Stale(Arc<Object>, Option<u16>),
    /// No server answered.
    Refused(Refusal),
}

/// A fetch under way.
#[derive(Debug)]
pub struct Flight {
    key: Arc<StoreKey>,
    landing: ArcSwapOption<Landing>,
    landed: Arc<Notify>,
    began: Millis,
}

/// The time for which a response that is for nobody else keeps others from waiting, in
/// milliseconds.
const WORD_COUNTS: Millis = 10_000;

impl Flight {
    /// A fetch that is about to begin.
    #[must_use]
    pub fn new(key: Arc<StoreKey>, now: Millis) -> Self {
        Self { key, landing: ArcSwapOption::empty(), landed: Arc::default(), began: now }
    }

    /// Returns when it began.
    #[must_use]
    pub fn began(&self) -> Millis {
        self.began
    }

    /// Returns whether it has left word that counts no longer.
    #[must_use]
    pub fn is_over(&self, now: Millis) -> bool {
        matches!(self.landing.load().as_deref(), Some(Landing::NotShared))
            && now > self.began + WORD_COUNTS
    }

    /// Returns what it fetches.
    #[must_use]
    pub fn key(&self) -> &Arc<StoreKey> {
        &self.key
    }

    /// Tells everybody what it came to. Only the first word counts; only the fetch's own task gives
    /// it.
    pub fn land_flight(&self, landing: Landing) {
        if self.landing.load().is_none() {
            self.landing.store(Some(Arc::new(landing)));
        }
        self.landed.notify_waiters();
    }

    /// Lets go of the response, so that what nobody can want any more is freed; whoever comes now
    /// asks for itself.
    pub fn forget_response(&self) {
        self.landing.store(Some(Arc::new(Landing::NotShared)));
    }

    /// Waits for the head of the response, or for the certainty that there is none to share.
    pub async fn wait_landed(&self) -> Landing {
        loop {
            let mut landed = std::pin::pin!(self.landed.notified());
            landed.as_mut().enable();
            if let Some(landing) = self.landing.load().as_deref() {
                return landing.clone();
            }
            landed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_hears_the_first_word_and_only_that() {
        let key = Arc::new(StoreKey::new("c", b"http", b"a", b"/", None, &[]));
        let flight = Arc::new(Flight::new(key, 0));
        let waiting = tokio::spawn({
            let flight = flight.clone();
            async move { flight.wait_landed().await }
        });
        tokio::task::yield_now().await;
        flight.land_flight(Landing::NotShared);
        flight.land_flight(Landing::Refused(Refusal::Internal));
        assert!(matches!(waiting.await, Ok(Landing::NotShared)));
        assert!(matches!(flight.wait_landed().await, Landing::NotShared));
    }
}
