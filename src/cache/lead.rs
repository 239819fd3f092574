//! The lead of a fetch: its place among those under way, and what it says of those who ask for the
//! same: whether they wait for it, and for each other.
//!
//! Whoever has it fetches for all who wait. The place is given back when it is dropped, so that the
//! task of a fetch that panics, or that its worker drops, keeps nobody waiting.

use std::sync::Arc;

use super::flight::{Flight, Landing};
use super::key::StoreKey;
use super::policy::Millis;
use super::store::CacheStore;

/// The lead of a fetch, from its beginning to its end.
#[derive(Debug)]
pub struct FlightLead {
    store: Arc<CacheStore>,
    flight: Arc<Flight>,
    /// The place among the fetches under way, beside the key.
    place: u64,
    /// What its response said of others.
    word: UnsharedWord,
}

/// What a response says of those who ask for the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UnsharedWord {
    /// They may have it, or it says nothing of them.
    None,
    /// They cannot use it: the key's mark was left by it.
    Marked,
    /// The same, and the key was marked before.
    Renewed,
}

impl FlightLead {
    /// Begins a fetch for a client, as [`CacheStore::lead_flight`] does.
    ///
    /// # Errors
    /// The fetch that is under way already.
    pub fn begin_fetch(
        store: &Arc<CacheStore>,
        key: &Arc<StoreKey>,
        place: u64,
        now: Millis,
    ) -> Result<Self, Arc<Flight>> {
        let flight = Arc::new(Flight::new(key.clone(), store.time_request(now)));
        store.lead_flight(key, place, &flight, now)?;
        Ok(Self { store: store.clone(), flight, place, word: UnsharedWord::None })
    }

    /// Begins a fetch that no client waits for, as [`CacheStore::lead_behind`] does.
    ///
    /// # Errors
    /// The fetch that is under way already.
    pub fn begin_behind(
        store: &Arc<CacheStore>,
        key: &Arc<StoreKey>,
        place: u64,
        now: Millis,
    ) -> Result<Self, Arc<Flight>> {
        let flight = Arc::new(Flight::new(key.clone(), store.time_request(now)));
        store.lead_behind(key, place, &flight)?;
        Ok(Self { store: store.clone(), flight, place, word: UnsharedWord::None })
    }

    /// Returns what others wait for.
    #[must_use]
    pub fn flight(&self) -> &Arc<Flight> {
        &self.flight
    }

    /// Makes room for the next fetch: whoever comes now does not wait for this one.
    pub(super) fn give_place_back(&self) {
        self.store.land_flight(self.flight.key(), self.place, &self.flight);
    }

    /// Notes that others cannot use the response: those who ask for the same are not to wait for
    /// each other for a while.
    pub(super) fn mark_unshared(&mut self, at: Millis) {
        let has_left = self.store.mark_unshared(self.flight.key(), self.place, &self.flight, at);
        self.word = if has_left { UnsharedWord::Marked } else { UnsharedWord::Renewed };
    }

    /// Notes that others can use the response.
    pub(super) fn end_mark(&self) {
        self.store.end_mark(self.flight.key(), self.place, &self.flight);
    }

    /// Notes that a response was whole which others cannot use.
    pub(super) fn prove_mark(&self) {
        if self.word != UnsharedWord::None
            && let Some(mark) = self.flight.mark()
        {
            mark.prove_mark();
        }
    }

    /// Notes that the response was cut: it marks nothing, unless others have proven the mark.
    pub(super) fn take_back_mark(&self) {
        if self.word == UnsharedWord::Marked {
            self.store.take_back_mark(self.flight.key(), self.place, &self.flight);
        }
    }
}

impl Drop for FlightLead {
    /// Ends what its task has left open. Those who still wait ask for themselves: a defect costs
    /// the one request that met it.
    fn drop(&mut self) {
        self.flight.land_flight(Landing::NotShared);
        self.give_place_back();
        self.take_back_mark();
    }
}
