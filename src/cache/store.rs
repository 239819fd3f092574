//! One cache's responses in memory: found without a lock, bounded in bytes and number.
//!
//! Workers find and add; a thread of its own ([`super::housekeeping`]) decides what leaves and
//! carries out purges, so that neither holds up a request.

mod flights;
mod purges;
mod room;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;

use arc_swap::ArcSwap;
use papaya::HashMap;
use seize::Collector;

use self::flights::{FlightEntry, FlightPlace};
use super::housekeeping::HousekeepingCommand;
use super::key::{self, KeyRef, StoreKey};
use super::memory::StoreMemory;
use super::moment::MomentClock;
use super::object::Object;
use super::policy::Millis;
use super::purge::{PurgeCounts, RecordedPurge};
use super::search::SearchRule;
use super::share::TableShare;
use super::tier::TierCounts;
use super::webhook::WebhookEvents;
use crate::wire::head::Fields;

/// The most variants of one key; the oldest goes when there would be more.
const MOST_VARIANTS: usize = 64;
/// The most rules about queries that requests are looked up by; what is stored under an older one
/// is fetched anew.
const MOST_SEARCH_RULES: usize = 8;

/// What is known for one key: an immutable value that is replaced as a whole.
#[derive(Debug)]
struct StoreSlot {
    key: Arc<StoreKey>,
    /// The request fields that the newest response was selected by.
    names: Arc<[Box<[u8]>]>,
    variants: Vec<(u64, TableShare<Object>)>,
}

impl StoreSlot {
    /// Lets go of its responses: it has been removed or replaced.
    fn let_go(&self) {
        self.variants.iter().for_each(|(_, share)| share.give_up());
    }

    /// The responses but for those of one variant; without any where the slot has been replaced.
    fn others(&self, variant: u64) -> impl Iterator<Item = (u64, TableShare<Object>)> {
        let others = self.variants.iter().filter(move |(known, _)| *known != variant);
        others.filter_map(|(known, share)| Some((*known, TableShare::new(share.clone_share()?))))
    }
}

/// What a cache counts; it survives reloads.
#[derive(Debug, Default)]
pub struct StoreCounts {
    /// Entries evicted to make room.
    pub evicted: AtomicU64,
    /// Entries removed by purges.
    pub purged: AtomicU64,
    /// Purges by who ordered them.
    pub purges: PurgeCounts,
    /// Responses that were not stored for want of room.
    pub no_room: AtomicU64,
    /// What became of reading from and writing to the tier behind memory.
    pub tier: TierCounts,
}

/// The memory tier of one `[cache.NAME]`.
#[derive(Debug)]
pub struct CacheStore {
    /// The cache's name.
    pub name: Arc<str>,
    table: HashMap<u128, StoreSlot>,
    flights: HashMap<FlightPlace, FlightEntry>,
    /// Bytes that marks of keys take among them.
    mark_bytes: Arc<AtomicU64>,
    /// The moment at which what is stored for a key was made invalid, for the last minutes.
    invalidated: HashMap<u128, Millis>,
    /// The same for all keys, when there were too many.
    all_invalidated_at: AtomicU64,
    /// Orders requests and what makes their responses invalid.
    moments: MomentClock,
    /// The bytes taken.
    used: Arc<StoreMemory>,
    entries: AtomicUsize,
    memory: AtomicU64,
    most_entries: AtomicUsize,
    /// Purges of the last minutes, newest last: what was asked for before one is not stored.
    recent_purges: ArcSwap<Vec<Arc<RecordedPurge>>>,
    /// Those of them that are being carried out: what they concern is not found any more.
    held_against: ArcSwap<Vec<Arc<RecordedPurge>>>,
    /// How many are being carried out.
    purging: AtomicUsize,
    /// Names of what is no longer valid found no place in the queue to housekeeping.
    names_lost: AtomicBool,
    /// What lately stored responses say of queries that they answer too, newest first.
    search_rules: ArcSwap<Vec<Arc<SearchRule>>>,
    housekeeping: SyncSender<HousekeepingCommand>,
    /// Housekeeping has been told that it is wanted.
    called: AtomicBool,
    /// What it counts.
    pub counts: StoreCounts,
    /// Events of its webhook that were carried out.
    pub events: WebhookEvents,
}

/// What is stored for a request.
#[derive(Debug)]
pub struct CacheFound {
    /// The hash of its selecting fields' values.
    pub variant: u64,
    /// The response that they select.
    pub object: Option<Arc<Object>>,
}

impl CacheStore {
    /// An empty store.
    #[must_use]
    pub fn new(
        name: Arc<str>,
        bounds: (u64, usize),
        housekeeping: SyncSender<HousekeepingCommand>,
    ) -> Self {
        Self {
            name,
            // What is removed lets go of its response at once; the rest of it, a key and a few
            // words, as soon as no other thread reads. It is not left for a batch of what the same
            // thread removes: a thread that only adds lets go of tables that have filled up, each
            // of them large, and would keep one for each place of its batch.
            table: HashMap::builder().collector(Collector::new().batch_size(1)).build(),
            // Whoever adds here removes as well, and to free each alone would take a system call
            // that interrupts all other threads.
            flights: HashMap::new(),
            mark_bytes: Arc::default(),
            invalidated: HashMap::new(),
            all_invalidated_at: AtomicU64::new(0),
            moments: MomentClock::default(),
            used: Arc::default(),
            entries: AtomicUsize::new(0),
            memory: AtomicU64::new(bounds.0),
            most_entries: AtomicUsize::new(bounds.1),
            recent_purges: ArcSwap::default(),
            held_against: ArcSwap::default(),
            purging: AtomicUsize::new(0),
            names_lost: AtomicBool::new(false),
            search_rules: ArcSwap::default(),
            housekeeping,
            called: AtomicBool::new(false),
            counts: StoreCounts::default(),
            events: WebhookEvents::default(),
        }
    }

    /// Returns where housekeeping is told things, for stores that are made later.
    #[must_use]
    pub(crate) fn housekeeping(&self) -> SyncSender<HousekeepingCommand> {
        self.housekeeping.clone()
    }

    /// Finds what is stored for a request.
    #[must_use]
    pub fn find_stored(&self, key: KeyRef<'_>, fields: &Fields) -> CacheFound {
        let table = self.table.pin();
        loop {
            let slot = table.get(&key.hash()).filter(|slot| key.is_key(&slot.key));
            let Some(slot) = slot else { return CacheFound { variant: 0, object: None } };
            let variant =
                if slot.names.is_empty() { 0 } else { key::variant_hash(&slot.names, fields) };
            let share = slot.variants.iter().find(|(known, _)| *known == variant);
            let Some((_, share)) = share else { return CacheFound { variant, object: None } };
            // A slot that has been replaced meanwhile is not found again.
            if let Some(object) = share.clone_share() {
                let object = Some(object).filter(|object| self.outlives_purges(object));
                return CacheFound { variant, object };
            }
        }
    }

    /// Reads the response with a number; `None` once it has left.
    pub(super) fn read_numbered<T>(
        &self,
        hash: u128,
        number: u64,
        read: impl FnOnce(&Arc<Object>) -> T,
    ) -> Option<T> {
        let table = self.table.pin();
        loop {
            let mut is_current = true;
            for (_, share) in &table.get(&hash)?.variants {
                match &*share.read_share() {
                    Some(object) if object.number == number => return Some(read(object)),
                    Some(_) => {}
                    None => is_current = false,
                }
            }
            if is_current {
                return None;
            }
        }
    }

    /// Finds a response that says of itself that it answers this query too, and the key that it is
    /// stored under, which is written into a buffer.
    #[must_use]
    pub fn find_equivalent<'b>(
        &self,
        key: KeyRef<'_>,
        fields: &Fields,
        buffer: &'b mut Vec<u8>,
    ) -> Option<(KeyRef<'b>, CacheFound)> {
        let rules = self.search_rules.load();
        for rule in rules.iter() {
            let Some(canonical) = key.to_canonical(rule, buffer) else { continue };
            let found = self.find_stored(canonical, fields);
            // What made the URL invalid may not have known of the rule: only so many are known.
            let agrees = |object: &Arc<Object>| {
                object.search.as_ref() == Some(rule)
                    && self.invalidated_at(key.hash()) < object.asked_at
            };
            if found.object.as_ref().is_some_and(agrees) {
                // The borrow of the buffer that was returned begins here.
                return Some((key.to_canonical(rule, buffer)?, found));
            }
        }
        None
    }

    /// Has requests looked up by a response's rule about queries from now on. `false` when what it
    /// answers beside its own query may have been made invalid since it was asked for.
    fn learn_rule(&self, object: &Object) -> bool {
        let Some(rule) = &object.search else { return true };
        if self.search_rules.load().contains(rule) {
            return true;
        }
        self.search_rules.rcu(|known| {
            let new = std::iter::once(rule).filter(|rule| !known.contains(rule));
            new.chain(known.iter()).take(MOST_SEARCH_RULES).cloned().collect::<Vec<_>>()
        });
        let invalidated = self.invalidated.pin();
        !invalidated.values().any(|at| *at >= object.asked_at)
    }

    /// Returns whether anything is stored for a key.
    #[must_use]
    pub fn has_key(&self, key: KeyRef<'_>) -> bool {
        self.table.pin().get(&key.hash()).is_some_and(|slot| key.is_key(&slot.key))
    }

    /// Adds a whole response in the place of the one before it. `false` when a purge that came
    /// after its request was sent, or a lack of room, keeps it out.
    pub fn insert_object(self: &Arc<Self>, object: Arc<Object>) -> bool {
        // What was purged while it was fetched is not found for a moment either.
        if !self.learn_rule(&object) || self.is_purged_since(&object) {
            return false;
        }
        let hash = object.key.hash();
        let names: Arc<[Box<[u8]>]> = key::vary_names(&object.head.fields).into();
        let slot_of = |known: Option<&StoreSlot>| {
            let known = known.filter(|slot| slot.names == names && slot.key == object.key);
            let most = known.map_or(0, |slot| slot.variants.len()) + 1;
            let mut variants = Vec::with_capacity(most);
            variants.extend(known.into_iter().flat_map(|slot| slot.others(object.variant)));
            if variants.len() >= MOST_VARIANTS {
                variants.remove(0);
            }
            variants.push((object.variant, TableShare::new(object.clone())));
            StoreSlot { key: object.key.clone(), names: names.clone(), variants }
        };
        let table = self.table.pin();
        // Nearly always it is new. `compute` alone would not do: it never helps to move entries out
        // of a table that has filled up (papaya 0.2.5), so that none of these would ever be freed,
        // and all of them be searched.
        if table.try_insert(hash, slot_of(None)).is_ok() {
            self.count_change(0, 1);
            return self.admit_inserted(object);
        }
        let outcome = table.compute(hash, |known| {
            papaya::Operation::<_, ()>::Insert(slot_of(known.map(|(_, slot)| slot)))
        });
        match outcome {
            papaya::Compute::Updated { old: (_, old), new: (_, new) } => {
                self.count_change(old.variants.len(), new.variants.len());
                old.let_go();
            }
            papaya::Compute::Inserted(..) => self.count_change(0, 1),
            papaya::Compute::Removed(..) | papaya::Compute::Aborted(()) => {}
        }
        self.admit_inserted(object)
    }

    /// Tells housekeeping of a response that is in the table now, unless a purge was recorded
    /// before that. Returns whether it stays.
    fn admit_inserted(self: &Arc<Self>, object: Arc<Object>) -> bool {
        // Only now: a purge that is recorded later finds it in the table.
        if self.is_purged_since(&object) {
            self.remove_object(&object);
            return false;
        }
        let told = self
            .housekeeping
            .try_send(HousekeepingCommand::Stored(self.clone(), Arc::downgrade(&object)));
        if told.is_err() {
            self.counts.no_room.fetch_add(1, Ordering::Relaxed);
            self.remove_object(&object);
            return false;
        }
        true
    }

    pub(super) fn count_change(&self, before: usize, after: usize) {
        if after >= before {
            self.entries.fetch_add(after - before, Ordering::AcqRel);
        } else {
            self.entries.fetch_sub(before - after, Ordering::AcqRel);
        }
    }

    /// Removes one response, if it is still the one that is stored.
    pub fn remove_object(&self, object: &Arc<Object>) -> bool {
        let table = self.table.pin();
        let is_alone = |slot: &StoreSlot| match slot.variants.as_slice() {
            [(_, share)] => {
                share.read_share().as_ref().is_some_and(|known| Arc::ptr_eq(known, object))
            }
            _ => false,
        };
        // Nearly always it is the only one of its key; as for `compute`, see where one is added.
        match table.remove_if(&object.key.hash(), |_, slot| is_alone(slot)) {
            Ok(Some((_, slot))) => {
                slot.let_go();
                self.entries.fetch_sub(1, Ordering::AcqRel);
                return true;
            }
            Ok(None) => return false,
            Err(_) => {}
        }
        loop {
            let is_current = Cell::new(true);
            let is_it = |share: &TableShare<Object>| match &*share.read_share() {
                Some(known) => Arc::ptr_eq(known, object),
                None => {
                    is_current.set(false);
                    false
                }
            };
            let outcome = table.compute(object.key.hash(), |known| match known {
                Some((_, slot)) if slot.variants.iter().any(|(_, known)| is_it(known)) => {
                    let left: Vec<_> = slot.others(object.variant).collect();
                    if left.is_empty() {
                        return papaya::Operation::Remove;
                    }
                    let (key, names) = (slot.key.clone(), slot.names.clone());
                    papaya::Operation::Insert(StoreSlot { key, names, variants: left })
                }
                Some(_) | None => papaya::Operation::Abort(()),
            });
            let (papaya::Compute::Updated { old: (_, slot), .. }
            | papaya::Compute::Removed(_, slot)) = outcome
            else {
                // A slot that has been replaced meanwhile is not found again.
                if is_current.get() {
                    return false;
                }
                continue;
            };
            slot.let_go();
            self.entries.fetch_sub(1, Ordering::AcqRel);
            return true;
        }
    }

    /// Removes whatever is stored for a key, all variants.
    pub fn remove_key(&self, key: &StoreKey) -> usize {
        let table = self.table.pin();
        let Some(slot) = table.remove(&key.hash()) else { return 0 };
        slot.let_go();
        self.entries.fetch_sub(slot.variants.len(), Ordering::AcqRel);
        slot.variants.len()
    }

    /// The responses used most, most used first, at most `n`.
    #[must_use]
    pub fn most_used(&self, n: usize) -> Vec<Arc<Object>> {
        let table = self.table.pin();
        let shares = table.values().flat_map(|slot| &slot.variants);
        let mut all: Vec<_> = shares.filter_map(|(_, share)| share.clone_share()).collect();
        let by_hits = |object: &Arc<Object>| std::cmp::Reverse(object.hits());
        if n > 0 && all.len() > n {
            all.select_nth_unstable_by_key(n - 1, by_hits);
            all.truncate(n);
        }
        all.sort_by_key(by_hits);
        all.truncate(n);
        all
    }
}

#[cfg(test)]
mod tests;
