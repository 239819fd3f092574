//! Fetches under way, one for many; and the keys whose responses nobody else can use, for which
//! fetches go side by side.
//!
//! A key is marked by the head of such a response, so that a stream without an end keeps nobody
//! waiting, and not by one that is cut before anybody has seen a whole one. While it is marked,
//! everybody fetches for itself, and what comes is judged as ever: the first response that others
//! can use is stored, ends the mark, and is there for whoever comes while it streams. A fetch ends
//! or renews no mark but the one that it was begun beside: the request for it may have been sent
//! before a purge that ended that one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use papaya::{Compute, Operation};

use super::CacheStore;
use crate::cache::flight::{Flight, MarkRoom, UnsharedMark};
use crate::cache::key::StoreKey;
use crate::cache::policy::Millis;
use crate::cache::purge::Purge;
use crate::cache::share::TableShare;

/// The key's hash and the variant, or what else parts those who do not wait for each other.
pub(super) type FlightPlace = (u128, u64);

/// What is known of one place.
#[derive(Debug)]
pub(super) enum FlightEntry {
    /// A fetch that others wait for.
    UnderWay(TableShare<Flight>),
    /// Nobody waits for anybody.
    Unshared(Arc<UnsharedMark>),
}

impl FlightEntry {
    fn under_way(flight: &Arc<Flight>) -> Self {
        Self::UnderWay(TableShare::new(flight.clone()))
    }

    fn is_of_flight(&self, flight: &Arc<Flight>) -> bool {
        match self {
            Self::UnderWay(known) => {
                known.read_share().as_ref().is_some_and(|known| Arc::ptr_eq(known, flight))
            }
            Self::Unshared(_) => false,
        }
    }

    fn is_mark(&self, mark: &Arc<UnsharedMark>) -> bool {
        matches!(self, Self::Unshared(known) if Arc::ptr_eq(known, mark))
    }

    /// Returns whether it began before an invalidation of that moment.
    fn began_by(&self, at: Millis) -> bool {
        match self {
            Self::UnderWay(flight) => {
                flight.read_share().as_ref().is_none_or(|flight| flight.began() <= at)
            }
            Self::Unshared(mark) => mark.began() <= at,
        }
    }

    fn is_concerned_by(&self, purge: &Purge) -> bool {
        match self {
            Self::UnderWay(flight) => {
                let flight = flight.read_share();
                flight.as_ref().is_none_or(|flight| purge.may_match_key(flight.key()))
            }
            Self::Unshared(mark) => purge.may_match_key(mark.key()),
        }
    }

    /// Lets go of the fetch: the entry has been removed or replaced.
    fn let_go(&self) {
        if let Self::UnderWay(flight) = self {
            flight.give_up();
        }
    }
}

impl CacheStore {
    /// Begins a fetch of the caller's own, unless another one is under way that it may wait for.
    /// Others wait for it, unless lately nobody could use what came for another one.
    ///
    /// # Errors
    /// That other fetch.
    pub fn lead_flight(
        &self,
        key: &StoreKey,
        variant: u64,
        flight: &Arc<Flight>,
        now: Millis,
    ) -> Result<(), Arc<Flight>> {
        let invalid = self.invalidated_at(key.hash());
        let is_over = |known: &FlightEntry| {
            let ends = matches!(known, FlightEntry::Unshared(mark) if mark.is_over(now, false));
            ends || known.began_by(invalid)
        };
        self.take_place((key.hash(), variant), flight, is_over)
    }

    /// Begins a fetch that no client waits for, unless another one is under way. One at a time is
    /// enough of these, so it does not go beside others where the key is marked.
    ///
    /// # Errors
    /// That other fetch.
    pub fn lead_behind(
        &self,
        key: &StoreKey,
        variant: u64,
        flight: &Arc<Flight>,
    ) -> Result<(), Arc<Flight>> {
        let invalid = self.invalidated_at(key.hash());
        let is_over = |known: &FlightEntry| {
            matches!(known, FlightEntry::Unshared(_)) || known.began_by(invalid)
        };
        self.take_place((key.hash(), variant), flight, is_over)
    }

    fn take_place(
        &self,
        place: FlightPlace,
        flight: &Arc<Flight>,
        is_over: impl Fn(&FlightEntry) -> bool,
    ) -> Result<(), Arc<Flight>> {
        let flights = self.flights.pin();
        loop {
            if let Ok(Some((_, over))) = flights.remove_if(&place, |_, known| is_over(known)) {
                over.let_go();
            }
            let known = match flights.try_insert(place, FlightEntry::under_way(flight)) {
                Ok(_) => return Ok(()),
                Err(taken) => taken.current,
            };
            match known {
                FlightEntry::Unshared(mark) => {
                    flight.set_mark(mark.clone());
                    return Ok(());
                }
                FlightEntry::UnderWay(other) => {
                    // One that has left meanwhile is not found again.
                    if let Some(other) = other.clone_share() {
                        return Err(other);
                    }
                }
            }
        }
    }

    /// Ends a fetch: whoever comes now is not to wait for it.
    pub fn land_flight(&self, key: &StoreKey, variant: u64, flight: &Arc<Flight>) {
        let flights = self.flights.pin();
        let place = (key.hash(), variant);
        if let Ok(Some((_, landed))) =
            flights.remove_if(&place, |_, known| known.is_of_flight(flight))
        {
            landed.let_go();
        }
    }

    /// Marks the key of a fetch whose response nobody else can use, or has its mark count for
    /// longer. Returns whether this fetch is the one that left the mark.
    pub fn mark_unshared(
        &self,
        key: &StoreKey,
        variant: u64,
        flight: &Arc<Flight>,
        now: Millis,
    ) -> bool {
        if let Some(mark) = flight.mark() {
            mark.renew_mark(now);
            return false;
        }
        let Some(room) = MarkRoom::take_room(key, &self.mark_bytes, self.most_mark_bytes()) else {
            self.land_flight(key, variant, flight);
            return false;
        };
        let mark = Arc::new(UnsharedMark::new(flight, now, room));
        let entry = || FlightEntry::Unshared(mark.clone());
        let marked = self.replace_entry((key.hash(), variant), entry, |known| {
            // A purge may have ended it as one that others wait for.
            known.is_of_flight(flight)
        });
        if marked {
            flight.set_mark(mark);
        }
        marked
    }

    /// Ends the mark that a fetch was begun beside, because others can use its response: they wait
    /// for this fetch until it ends.
    pub fn end_mark(&self, key: &StoreKey, variant: u64, flight: &Arc<Flight>) {
        if let Some(mark) = flight.mark() {
            let entry = || FlightEntry::under_way(flight);
            self.replace_entry((key.hash(), variant), entry, |known| known.is_mark(mark));
        }
    }

    /// Takes back the mark that a fetch has left, because its response was cut, unless others have
    /// proven it meanwhile.
    pub fn take_back_mark(&self, key: &StoreKey, variant: u64, flight: &Arc<Flight>) {
        if let Some(mark) = flight.mark().filter(|mark| !mark.is_proven()) {
            let flights = self.flights.pin();
            let _taken = flights.remove_if(&(key.hash(), variant), |_, known| known.is_mark(mark));
        }
    }

    fn replace_entry(
        &self,
        place: FlightPlace,
        entry: impl Fn() -> FlightEntry,
        is_it: impl Fn(&FlightEntry) -> bool,
    ) -> bool {
        let flights = self.flights.pin();
        let outcome = flights.compute(place, |known| match known {
            Some((_, known)) if is_it(known) => Operation::Insert(entry()),
            Some(_) | None => Operation::Abort(()),
        });
        match outcome {
            Compute::Updated { old: (_, old), .. } => {
                old.let_go();
                true
            }
            Compute::Inserted(..) | Compute::Removed(..) | Compute::Aborted(()) => false,
        }
    }

    /// The most bytes that marks take.
    fn most_mark_bytes(&self) -> u64 {
        /// They never take more, whatever the memory: about 65 000 of them.
        const MOST: u64 = 26 << 20;
        /// The share of the cache's memory that they may take: one part in this many.
        const SHARE: u64 = 64;
        MOST.min(self.memory() / SHARE)
    }

    /// Parts newcomers from fetches before a purge, and has marked keys tried anew.
    pub(super) fn purge_flights(&self, purge: &Purge) {
        let flights = self.flights.pin();
        for (place, known) in &flights {
            if known.is_concerned_by(purge)
                && let Ok(Some((_, gone))) =
                    flights.remove_if(place, |_, known| known.is_concerned_by(purge))
            {
                gone.let_go();
            }
        }
    }

    /// Forgets marks that have counted for long enough, and what was made invalid long ago.
    pub(in crate::cache) fn forget_landed(&self, now: Millis) {
        /// A fetch that takes longer than this has been cut.
        const KEEP: Millis = 10 * 60 * 1000;
        let is_crowded = self.mark_bytes.load(Ordering::Acquire) > self.most_mark_bytes() / 2;
        self.flights.pin().retain(|_, known| match known {
            FlightEntry::UnderWay(_) => true,
            FlightEntry::Unshared(mark) => !mark.is_over(now, is_crowded),
        });
        self.invalidated.pin().retain(|_, at| *at + KEEP > now);
    }

    /// Fetches under way that others wait for, and marked keys.
    #[must_use]
    pub fn flights(&self) -> usize {
        self.flights.len()
    }
}

#[cfg(test)]
mod tests;
