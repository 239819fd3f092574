//! The thread that decides what leaves a full cache and carries out purges.
//!
//! What has run out goes first, the longest ago first; then what the order of eviction names. The
//! thread holds weak handles only, so nothing that left by another way is kept alive by it.
//!
//! A purge of a million responses takes seconds. It goes in steps of about a millisecond with a pause behind each, in which
//! others get the processor and the commands that came meanwhile are obeyed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::oneshot;

use super::object::Object;
use super::order::{Evictable, EvictionOrder};
use super::policy::Millis;
use super::purge::Purge;
use super::store::{CacheStore, StoreHandle};
use crate::clock;

/// Commands that may wait; a response that finds no place among them is not stored.
const QUEUE: usize = 4096;
/// The pause between two searches for what is dead.
const ROUND: Duration = Duration::from_millis(ROUND_MS);
const ROUND_MS: Millis = 1000;

/// The pause between two steps of a purge.
const PAUSE: Duration = Duration::from_micros(500);
/// The responses that one step of a purge removes.
const STEP: usize = 256;

/// The orders to housekeeping.
#[derive(Debug)]
pub enum HousekeepingCommand {
    /// A response was added.
    Stored(Arc<CacheStore>, StoreHandle),
    /// There is little room left, or the bounds have changed.
    MakeRoom(Arc<CacheStore>),
    /// Remove what matches, and say how many that were.
    Purge(Arc<CacheStore>, Purge, oneshot::Sender<usize>),
}

/// Starts the thread. It ends when the last store that can call it is gone.
///
/// # Errors
/// Those of the operating system.
pub fn start_thread() -> io::Result<SyncSender<HousekeepingCommand>> {
    let (sender, receiver) = mpsc::sync_channel(QUEUE);
    let run = move || Housekeeping::default().run_rounds(&receiver);
    std::thread::Builder::new().name("cache".into()).spawn(run)?;
    Ok(sender)
}

/// A response in the order of eviction.
#[derive(Debug)]
struct EvictionCandidate {
    handle: StoreHandle,
    name: u64,
}

impl Evictable for EvictionCandidate {
    fn entry_name(&self) -> u64 {
        self.name
    }

    fn entry_size(&self) -> u64 {
        self.handle.upgrade().map_or(0, |object| object.size())
    }

    fn recent_uses(&self) -> u8 {
        self.handle.upgrade().map_or(0, |object| object.uses())
    }

    fn spend_use(&self) -> bool {
        self.handle.upgrade().is_some_and(|object| object.spend_use())
    }
}

/// A response and the moment from which it is of no use.
#[derive(Debug)]
struct Expiry {
    at: Millis,
    handle: StoreHandle,
}

impl PartialEq for Expiry {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Expiry {}

impl PartialOrd for Expiry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Expiry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

/// The state that the thread has of one store.
#[derive(Debug)]
struct Ward {
    store: Weak<CacheStore>,
    order: EvictionOrder<EvictionCandidate>,
    expiries: BinaryHeap<Reverse<Expiry>>,
}

/// A purge that is being carried out.
#[derive(Debug)]
struct PurgeUnderWay {
    store: Arc<CacheStore>,
    purge: Purge,
    /// The responses that it concerns and has not come to.
    left: Vec<Arc<Object>>,
    purged: usize,
    reply: oneshot::Sender<usize>,
}

#[derive(Debug, Default)]
struct Housekeeping {
    wards: Vec<Ward>,
    /// The first one goes on with every step.
    purges: VecDeque<PurgeUnderWay>,
    /// When it last looked round.
    looked: Millis,
}

impl Housekeeping {
    fn run_rounds(mut self, commands: &Receiver<HousekeepingCommand>) {
        loop {
            let wait = if self.purges.is_empty() { ROUND } else { PAUSE };
            match commands.recv_timeout(wait) {
                Ok(command) => self.obey_command(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // A step is longer than all of them take.
            commands.try_iter().take(QUEUE).for_each(|command| self.obey_command(command));
            self.purge_step();
            let now = clock::unix_millis();
            if now.abs_diff(self.looked) >= ROUND_MS {
                self.looked = now;
                self.look_round();
            }
        }
    }

    fn obey_command(&mut self, command: HousekeepingCommand) {
        match command {
            HousekeepingCommand::Stored(store, handle) => {
                let Some(object) = handle.upgrade() else { return };
                let ward = self.ward_of(&store);
                let name = (object.key.hash() as u64) ^ object.variant;
                let at = object.timing.useful_until();
                ward.order.admit_entry(EvictionCandidate { handle: handle.clone(), name });
                ward.expiries.push(Reverse(Expiry { at, handle }));
                ward.make_room(&store);
            }
            HousekeepingCommand::MakeRoom(store) => self.ward_of(&store).make_room(&store),
            HousekeepingCommand::Purge(store, purge, reply) => {
                store.record_purge(&purge, clock::unix_millis());
                let left = store.find_purged(&purge, || std::thread::sleep(PAUSE));
                self.purges.push_back(PurgeUnderWay { store, purge, left, purged: 0, reply });
            }
        }
    }

    /// Goes on with the purge that has waited longest, and tells its count at its end.
    fn purge_step(&mut self) {
        let Some(PurgeUnderWay { store, purge, left, purged, .. }) = self.purges.front_mut() else {
            return;
        };
        for object in left.drain(left.len().saturating_sub(STEP)..) {
            *purged += usize::from(store.purge_one(purge, &object));
        }
        if !left.is_empty() {
            return;
        }
        if let Some(PurgeUnderWay { store, purged, reply, .. }) = self.purges.pop_front() {
            self.ward_of(&store).compact_lists();
            // Whoever asked may have left.
            let _left = reply.send(purged);
        }
    }

    fn ward_of(&mut self, store: &Arc<CacheStore>) -> &mut Ward {
        let known = self.wards.iter().position(|ward| ward.store.as_ptr() == Arc::as_ptr(store));
        let at = known.unwrap_or_else(|| {
            let store = Arc::downgrade(store);
            let (order, expiries) = (EvictionOrder::default(), BinaryHeap::new());
            self.wards.push(Ward { store, order, expiries });
            self.wards.len() - 1
        });
        &mut self.wards[at]
    }

    fn look_round(&mut self) {
        self.wards.retain(|ward| ward.store.strong_count() > 0);
        for ward in &mut self.wards {
            let Some(store) = ward.store.upgrade() else { continue };
            store.forget_landed(clock::unix_millis());
            ward.make_room(&store);
            if ward.order.len() > 2 * store.entries() + 1024 {
                ward.compact_lists();
            }
        }
    }
}

impl Ward {
    /// Removes responses until the store is within its bounds.
    fn make_room(&mut self, store: &Arc<CacheStore>) {
        let (mut bytes, mut entries) = store.excess();
        let now = clock::unix_millis();
        while bytes > 0 || entries > 0 {
            let expired = self.take_expired(now);
            let victim =
                expired.or_else(|| self.order.evict_next().map(|candidate| candidate.handle));
            let Some(victim) = victim else { return };
            let Some(object) = victim.upgrade() else { continue };
            if store.remove_object(&object) {
                store.counts.evicted.fetch_add(1, Ordering::Relaxed);
                bytes = bytes.saturating_sub(object.size());
                entries = entries.saturating_sub(1);
            }
        }
    }

    /// The response that has been of no use for longest.
    fn take_expired(&mut self, now: Millis) -> Option<StoreHandle> {
        let due = self.expiries.peek().is_some_and(|Reverse(expiry)| expiry.at <= now);
        if !due {
            return None;
        }
        self.expiries.pop().map(|Reverse(expiry)| expiry.handle)
    }

    fn compact_lists(&mut self) {
        self.order.compact_queues();
        self.expiries.retain(|Reverse(expiry)| expiry.handle.strong_count() > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::body::CachedBody;
    use crate::cache::key::StoreKey;
    use crate::cache::object::{Object, Reservation};
    use crate::cache::policy::Timing;
    use crate::cache::purge::PurgeSource;
    use crate::wire::ResponseHead;

    fn store(memory: u64, entries: usize) -> (Arc<CacheStore>, Receiver<HousekeepingCommand>) {
        let (sender, receiver) = mpsc::sync_channel(QUEUE);
        (Arc::new(CacheStore::new("c".into(), (memory, entries), sender)), receiver)
    }

    fn add(store: &Arc<CacheStore>, path: &str, lifetime: u64, tag: &str) -> bool {
        let key = Arc::new(StoreKey::new("c", b"http", b"a", path.as_bytes(), None, &[]));
        let timing = Timing { received: clock::unix_millis(), lifetime, ..Timing::default() };
        let mut head = ResponseHead::default();
        head.set(200, b"");
        head.fields.push(b"cache-tag", tag.as_bytes());
        let body = CachedBody::whole(bytes::Bytes::from(vec![0; 1000]));
        let reservation = Reservation::new(store.used_counter());
        let object = Object::new(
            (key, 0),
            head,
            timing,
            (body, Some(1000)),
            (clock::unix_millis(), reservation),
        );
        let size = object.size();
        if !store.reserve_bytes(size) {
            return false;
        }
        object.reservation.add_bytes(size);
        store.insert_object(Arc::new(object))
    }

    fn has(store: &CacheStore, path: &str) -> bool {
        let key = StoreKey::new("c", b"http", b"a", path.as_bytes(), None, &[]);
        store.find_stored(key.borrowed(), &crate::wire::head::Fields::default()).object.is_some()
    }

    fn apply(store: &CacheStore, purge: &Purge) -> usize {
        let found = store.find_purged(purge, || {});
        found.iter().filter(|object| store.purge_one(purge, object)).count()
    }

    fn obey_all(house: &mut Housekeeping, commands: &Receiver<HousekeepingCommand>) {
        while let Ok(command) = commands.try_recv() {
            house.obey_command(command);
        }
    }

    #[test]
    fn memory_stays_within_its_bound_and_is_given_back() {
        let (store, commands) = store(64 * 1024, 1_000_000);
        let mut house = Housekeeping::default();
        for n in 0..1000 {
            add(&store, &format!("/{n}"), 60_000, "t");
            obey_all(&mut house, &commands);
            assert!(store.used() <= 64 * 1024, "{}", store.used());
        }
        assert!(store.entries() > 20 && store.counts.evicted.load(Ordering::Relaxed) > 900);
        let left = apply(&store, &Purge::everything());
        assert!(left > 20);
        assert_eq!((store.used(), store.entries()), (0, 0));
        for ward in &mut house.wards {
            ward.compact_lists();
            assert_eq!((ward.order.len(), ward.expiries.len()), (0, 0));
        }
    }

    #[test]
    fn what_has_run_out_goes_first_and_the_oldest_next() {
        let (store, commands) = store(u64::MAX / 2, 4);
        let mut house = Housekeeping::default();
        let mut put = |path: &str, lifetime| {
            assert!(add(&store, path, lifetime, "t"));
            obey_all(&mut house, &commands);
        };
        put("/old", 60_000);
        put("/expired", 0);
        for path in ["/1", "/2", "/3"] {
            put(path, 60_000);
        }
        assert!(!has(&store, "/expired") && has(&store, "/old"));
        put("/new", 60_000);
        assert!(!has(&store, "/old") && has(&store, "/new"));
        assert_eq!(store.entries(), 4);
    }

    #[test]
    fn a_purge_goes_in_steps_and_counts_what_it_removed() {
        let (store, commands) = store(1 << 30, 1_000_000);
        let mut house = Housekeeping::default();
        for n in 0..600 {
            assert!(add(&store, &format!("/{n}"), 60_000, if n < 550 { "red" } else { "blue" }));
            obey_all(&mut house, &commands);
        }
        let red = Purge { tag: Some(Box::from(&b"red"[..])), ..Purge::default() };
        let mut count = store.order_purge(red, PurgeSource::Admin).unwrap();
        let mut blue = store
            .order_purge(
                Purge { tag: Some(Box::from(&b"blue"[..])), ..Purge::default() },
                PurgeSource::Admin,
            )
            .unwrap();
        obey_all(&mut house, &commands);
        assert_eq!(store.entries(), 600, "nothing was removed so far");
        house.purge_step();
        assert_eq!(store.entries(), 600 - 256);
        let key = house.purges[0].left[0].key.clone();
        assert_eq!(store.remove_key(&key), 1, "it leaves by another way meanwhile");
        house.purge_step();
        assert!(count.try_recv().is_err(), "it is under way");
        house.purge_step();
        assert_eq!(count.try_recv(), Ok(549));
        assert_eq!((store.entries(), blue.try_recv().is_err()), (50, true));
        house.purge_step();
        assert_eq!((store.entries(), blue.try_recv()), (0, Ok(50)));
        assert_eq!(store.counts.purged.load(Ordering::Relaxed), 599);
        assert_eq!((store.counts.purges.get(PurgeSource::Admin), store.used()), (2, 0));
        house.purge_step();
        assert!(house.purges.is_empty());
    }

    #[test]
    fn a_purge_by_tag_keeps_out_what_was_asked_for_before_it() {
        let (store, _commands) = store(1 << 30, 1000);
        add(&store, "/a", 60_000, "red");
        add(&store, "/b", 60_000, "blue");
        let red = Purge { tag: Some(Box::from(&b"red"[..])), ..Purge::default() };
        store.record_purge(&red, clock::unix_millis() + 60_000);
        assert_eq!(apply(&store, &red), 1);
        assert!(!has(&store, "/a") && has(&store, "/b"));
        assert!(!add(&store, "/a", 60_000, "red"), "its request was sent before the purge");
        assert!(add(&store, "/c", 60_000, "blue"));
        assert_eq!(store.entries(), 2);
    }
}
