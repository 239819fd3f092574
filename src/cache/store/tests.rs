use std::sync::atomic::AtomicBool;
use std::sync::mpsc;

use bytes::Bytes;

use super::*;
use crate::cache::body::CachedBody;
use crate::cache::flight::{Flight, Landing};
use crate::cache::lead::FlightLead;
use crate::cache::memory::Reservation;
use crate::cache::object::ObjectParts;
use crate::cache::policy::Timing;
use crate::cache::purge::{Purge, PurgeSource};
use crate::clock;
use crate::wire::ResponseHead;

fn new_store() -> (Arc<CacheStore>, mpsc::Receiver<HousekeepingCommand>) {
    let (sender, receiver) = mpsc::sync_channel(4096);
    (Arc::new(CacheStore::new("c".into(), (1 << 30, 1 << 20), sender)), receiver)
}

fn key_of(path: &str) -> Arc<StoreKey> {
    Arc::new(StoreKey::new("c", b"http", b"a", path.as_bytes(), None, &[]))
}

/// What selects the variant with a number.
fn selecting(variant: u64) -> Fields {
    let mut fields = Fields::default();
    fields.push(b"x-variant", variant.to_string().as_bytes());
    fields
}

/// A response of 1000 bytes, which is counted.
fn new_object(store: &Arc<CacheStore>, path: &str, variant: u64) -> Arc<Object> {
    object_asked_at(store.time_request(clock::unix_millis()), store, path, variant)
}

fn object_asked_at(
    asked_at: Millis,
    store: &Arc<CacheStore>,
    path: &str,
    variant: u64,
) -> Arc<Object> {
    let mut head = ResponseHead::default();
    head.set(200, b"");
    head.fields.push(b"vary", b"x-variant");
    let names = key::vary_names(&head.fields);
    let parts = ObjectParts {
        asked: key_of(path),
        variant: key::variant_hash(&names, &selecting(variant)),
        head,
        timing: Timing { lifetime: 600_000, ..Timing::default() },
        body: CachedBody::whole(Bytes::from(vec![0; 1000])),
        length: Some(1000),
        asked_at,
    };
    let object = Object::new(parts, Reservation::new(store.memory_used().clone()));
    assert!(store.reserve_bytes(object.uncounted_size()));
    object.set_counted();
    Arc::new(object)
}

fn find(store: &CacheStore, path: &str, variant: u64) -> Option<Arc<Object>> {
    store.find_stored(key_of(path).borrowed(), &selecting(variant)).object
}

/// Does something while another thread is in the middle of reading both tables.
fn while_others_read(store: &Arc<CacheStore>, act: impl FnOnce()) {
    std::thread::scope(|scope| {
        let (begun, reads) = mpsc::sync_channel(1);
        let (end, ended) = mpsc::sync_channel::<()>(1);
        scope.spawn(move || {
            let guards = (store.table.pin(), store.flights.pin());
            begun.send(()).unwrap();
            // The other end is dropped when all is done.
            let _done = ended.recv();
            drop(guards);
        });
        reads.recv().unwrap();
        act();
        drop(end);
    });
}

/// How a response leaves, and how many are there then.
type Way = (&'static str, fn(&Arc<CacheStore>), usize);

#[test]
fn what_leaves_while_others_read_is_given_back_at_once() {
    let (store, _commands) = new_store();
    let told = || (store.entries(), store.used(), store.held());
    assert!(store.insert_object(new_object(&store, "/a", 1)));
    let one = store.used();
    let ways: [Way; 4] = [
        ("replaced", |store| assert!(store.insert_object(new_object(store, "/a", 1))), 1),
        (
            "one of two variants",
            |store| {
                let other = new_object(store, "/a", 2);
                assert!(store.insert_object(other.clone()));
                assert!(store.remove_object(&other) && !store.remove_object(&other));
            },
            1,
        ),
        (
            "all variants",
            |store| {
                assert!(store.insert_object(new_object(store, "/a", 2)));
                assert_eq!(store.remove_key(&key_of("/a")), 2);
            },
            0,
        ),
        (
            "the only one",
            |store| {
                assert!(store.insert_object(new_object(store, "/a", 1)));
                assert!(store.remove_object(&find(store, "/a", 1).unwrap()));
            },
            0,
        ),
    ];
    for (way, leave, left) in ways {
        while_others_read(&store, || {
            leave(&store);
            assert_eq!(told(), (left, left as u64 * one, 0), "{way}");
        });
    }
}

#[test]
fn whoever_reads_what_has_left_holds_it_until_the_last_of_them_has_it() {
    let (store, _commands) = new_store();
    assert!(store.insert_object(new_object(&store, "/a", 1)));
    let mut readers: Vec<_> =
        (0..2).map(|_| find(&store, "/a", 1).unwrap().body.new_reader()).collect();
    while_others_read(&store, || {
        store.remove_key(&key_of("/a"));
        assert_eq!((store.used(), store.held()), (0, 1024));
        readers.pop();
        assert_eq!((store.used(), store.held()), (0, 1024));
        readers.pop();
        assert_eq!((store.used(), store.held()), (0, 0));
    });
}

#[test]
fn a_fetch_that_has_ended_keeps_nothing_of_what_came_while_others_read() {
    let (store, _commands) = new_store();
    let begin = || {
        let flight = Arc::new(Flight::new(key_of("/a"), clock::unix_millis()));
        store.lead_flight(&key_of("/a"), 0, &flight, clock::unix_millis()).unwrap();
        flight.land_flight(Landing::Shared(new_object(&store, "/a", 1)));
        flight
    };
    while_others_read(&store, || {
        let flight = begin();
        store.land_flight(&key_of("/a"), 0, &flight);
        drop(flight);
        assert_eq!((store.used(), store.flights()), (0, 0));
        drop(begin());
        store.record_purge(Purge::everything(), clock::unix_millis());
        assert_eq!((store.used(), store.flights()), (0, 0));
    });
}

#[test]
fn what_was_asked_for_before_an_invalidation_is_told_from_what_is_after_it() {
    let ways: [fn(&CacheStore, Millis); 2] = [
        |store, now| store.invalidate_key(&key_of("/a"), now, PurgeSource::Method),
        |store, now| _ = store.record_purge(Purge::everything(), now),
    ];
    for (invalidate, way) in ways.into_iter().zip(["by key", "by purge"]) {
        for (set_back, clock) in [(0, "the same millisecond"), (5000, "a clock that is set back")] {
            let (store, _commands) = new_store();
            let begin = |now| FlightLead::begin_fetch(&store, &key_of("/a"), 0, now);
            let stores = |lead: &FlightLead| {
                store.insert_object(object_asked_at(lead.flight().began(), &store, "/a", 1))
            };
            let now = 1_800_000_000_000;
            let before = begin(now).unwrap();
            invalidate(&store, now - set_back);
            let after = begin(now - set_back).unwrap();
            assert!(begin(now - set_back).is_err(), "others wait for it, {way}, {clock}");
            assert!(!stores(&before) && find(&store, "/a", 1).is_none(), "{way}, {clock}");
            assert!(stores(&after) && find(&store, "/a", 1).is_some(), "{way}, {clock}");
        }
    }
}

#[test]
fn what_stays_is_found_while_its_neighbours_come_and_go() {
    const ROUNDS: u64 = 3000;
    let (store, commands) = new_store();
    let stays = new_object(&store, "/a", 0);
    assert!(store.insert_object(stays.clone()));
    let one = store.used();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (1..=2)
            .map(|variant| {
                let store = &store;
                scope.spawn(move || {
                    for _ in 0..ROUNDS {
                        let object = new_object(store, "/a", variant);
                        assert!(store.insert_object(object.clone()));
                        assert!(store.remove_object(&object));
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !ended.load(Ordering::Acquire) {
                assert!(find(&store, "/a", 0).is_some());
                let hash = stays.key.hash();
                assert!(store.read_numbered(hash, stays.number, |_| ()).is_some());
            }
        });
        let ended = &ended;
        scope.spawn(move || {
            while !ended.load(Ordering::Acquire) {
                commands.try_iter().for_each(drop);
                std::thread::yield_now();
            }
        });
        let all = writers.into_iter().map(std::thread::ScopedJoinHandle::join);
        let all: Vec<_> = all.collect();
        ended.store(true, Ordering::Release);
        all.into_iter().for_each(|joined| joined.unwrap());
    });
    assert_eq!((store.entries(), store.used(), store.held()), (1, one, 0));
    assert_eq!(store.remove_key(&key_of("/a")), 1);
    drop(stays);
    assert_eq!((store.entries(), store.used(), store.held()), (0, 0, 0));
}
