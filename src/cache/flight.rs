//! One fetch on behalf of everybody who wants the same response meanwhile; and the mark of a key
//! whose responses nobody else can use, so that its fetches go side by side.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

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
    /// A response for the one who asked alone: others ask for themselves.
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
    /// The moment of its request, by the store's clock.
    began: Millis,
    /// The mark that it was begun beside, or that it left.
    mark: OnceLock<Arc<UnsharedMark>>,
}

impl Flight {
    /// A fetch that is about to begin, at a moment that [`CacheStore::time_request`] has told.
    ///
    /// [`CacheStore::time_request`]: super::store::CacheStore::time_request
    #[must_use]
    pub fn new(key: Arc<StoreKey>, began: Millis) -> Self {
        Self {
            key,
            landing: ArcSwapOption::empty(),
            landed: Arc::default(),
            began,
            mark: OnceLock::new(),
        }
    }

    /// Returns the moment of its request: an invalidation after that counts for what comes.
    #[must_use]
    pub fn began(&self) -> Millis {
        self.began
    }

    /// Returns what it fetches.
    #[must_use]
    pub fn key(&self) -> &Arc<StoreKey> {
        &self.key
    }

    /// Returns the mark of its key, as it was when this began or as this left it.
    #[must_use]
    pub fn mark(&self) -> Option<&Arc<UnsharedMark>> {
        self.mark.get()
    }

    /// Notes the mark of its key.
    pub(super) fn set_mark(&self, mark: Arc<UnsharedMark>) {
        let _set_once = self.mark.set(mark);
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

/// The time for which a mark counts since the last response that nobody else could use, in
/// milliseconds. Varnish has the same (`hit-for-miss`); as responses are judged all the while, and
/// the first that others can use ends the mark, it may be long.
const MARK_COUNTS: Millis = 120_000;
/// The same where so many keys are marked that there is hardly room for further ones.
const MARK_COUNTS_CROWDED: Millis = 10_000;

/// The mark of a key for which a response came that nobody else can use: those who ask for it do
/// not wait for each other.
#[derive(Debug)]
pub struct UnsharedMark {
    key: Arc<StoreKey>,
    /// The moment of the request for the response that it was left by.
    began: Millis,
    /// When the last such response came.
    renewed: AtomicU64,
    /// One of these responses was whole.
    is_proven: AtomicBool,
    /// What it takes of the memory for marks.
    _room: MarkRoom,
}

/// The memory that a mark takes, given back when it is dropped.
#[derive(Debug)]
pub(super) struct MarkRoom {
    bytes: u64,
    taken: Arc<AtomicU64>,
}

impl MarkRoom {
    /// The room for a mark of a key, if there is so much left of the `most` bytes that all of them
    /// may take.
    pub(super) fn take_room(key: &StoreKey, taken: &Arc<AtomicU64>, most: u64) -> Option<Self> {
        /// What it takes beside the text of its key.
        const OVERHEAD: u64 = 384;
        let bytes = OVERHEAD + key.len() as u64;
        let room = Self { bytes, taken: taken.clone() };
        (taken.fetch_add(bytes, Ordering::AcqRel) + bytes <= most).then_some(room)
    }
}

impl Drop for MarkRoom {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

impl UnsharedMark {
    /// A mark by a fetch whose response's head came now.
    pub(super) fn new(flight: &Flight, now: Millis, room: MarkRoom) -> Self {
        let (key, began) = (flight.key.clone(), flight.began);
        let (renewed, is_proven) = (AtomicU64::new(now), AtomicBool::new(false));
        Self { key, began, renewed, is_proven, _room: room }
    }

    /// Returns what is marked.
    pub(super) fn key(&self) -> &Arc<StoreKey> {
        &self.key
    }

    /// Returns the moment of the fetch that it was left by.
    pub(super) fn began(&self) -> Millis {
        self.began
    }

    /// Has it count for longer, because a further response came that nobody else can use.
    pub(super) fn renew_mark(&self, now: Millis) {
        /// Many fetches of one key write to it no more often than this.
        const STEP: Millis = 1000;
        if self.renewed.load(Ordering::Relaxed).abs_diff(now) >= STEP {
            self.renewed.store(now, Ordering::Relaxed);
        }
    }

    /// Notes that one of these responses was whole.
    pub fn prove_mark(&self) {
        if !self.is_proven() {
            self.is_proven.store(true, Ordering::Release);
        }
    }

    /// Returns whether one of these responses was whole.
    pub(super) fn is_proven(&self) -> bool {
        self.is_proven.load(Ordering::Acquire)
    }

    /// Returns whether it counts no longer.
    pub(super) fn is_over(&self, now: Millis, is_crowded: bool) -> bool {
        let counts = if is_crowded { MARK_COUNTS_CROWDED } else { MARK_COUNTS };
        // A clock that is set back must not make it last.
        self.renewed.load(Ordering::Relaxed).abs_diff(now) > counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight_at(now: Millis) -> Flight {
        Flight::new(Arc::new(StoreKey::new("c", b"http", b"a", b"/", None, &[])), now)
    }

    #[tokio::test]
    async fn everybody_hears_the_first_word_and_only_that() {
        let flight = Arc::new(flight_at(0));
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

    #[test]
    fn a_mark_counts_for_two_minutes_since_the_last_response_that_nobody_else_can_use() {
        let flight = flight_at(1_000_000);
        let room = MarkRoom::take_room(flight.key(), &Arc::default(), 1000).unwrap();
        let mark = UnsharedMark::new(&flight, 1_000_000, room);
        assert!(!mark.is_over(1_120_000, false) && mark.is_over(1_120_001, false));
        assert!(!mark.is_over(1_010_000, true) && mark.is_over(1_010_001, true));
        mark.renew_mark(1_060_000);
        assert!(!mark.is_over(1_180_000, false) && mark.is_over(1_180_001, false));
        assert!(mark.is_over(900_000, false), "the clock was set back");
    }
}
