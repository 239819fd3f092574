use std::sync::mpsc;

use super::*;
use crate::cache::housekeeping::HousekeepingCommand;
use crate::cache::purge::PurgeSource;

/// The time of the first fetch, in milliseconds since 1970.
const FIRST: Millis = 1_800_000_000_000;

fn new_store(memory: u64) -> (CacheStore, mpsc::Receiver<HousekeepingCommand>) {
    let (sender, receiver) = mpsc::sync_channel(16);
    (CacheStore::new("c".into(), (memory, 1000), sender), receiver)
}

fn key_of(path: &str) -> Arc<StoreKey> {
    Arc::new(StoreKey::new("c", b"http", b"a", path.as_bytes(), None, &[]))
}

/// Begins a fetch of `/a`; `None` where it waits for another one.
fn begin(store: &CacheStore, now: Millis) -> Option<Arc<Flight>> {
    let key = key_of("/a");
    let flight = Arc::new(Flight::new(key.clone(), store.time_request(now)));
    store.lead_flight(&key, 0, &flight, now).ok().map(|()| flight)
}

fn mark(store: &CacheStore, flight: &Arc<Flight>, now: Millis) -> bool {
    store.mark_unshared(flight.key(), 0, flight, now)
}

#[test]
fn beside_a_mark_nobody_waits_until_a_response_comes_that_others_can_use() {
    let (store, _commands) = new_store(1 << 30);
    let first = begin(&store, FIRST).unwrap();
    assert!(begin(&store, FIRST).is_none(), "others wait for it");
    assert!(mark(&store, &first, FIRST));
    store.land_flight(first.key(), 0, &first);
    let beside: Vec<_> = (0..5).map(|_| begin(&store, FIRST + 1).unwrap()).collect();
    assert!(!mark(&store, &beside[0], FIRST + 2), "it was there");
    store.end_mark(beside[1].key(), 0, &beside[1]);
    let other = Arc::new(Flight::new(key_of("/a"), FIRST + 3));
    let led = store.lead_flight(&key_of("/a"), 0, &other, FIRST + 3).unwrap_err();
    assert!(Arc::ptr_eq(&led, &beside[1]), "others wait for that one");
    // Those that are still under way change nothing of that.
    mark(&store, &beside[2], FIRST + 3);
    store.end_mark(beside[3].key(), 0, &beside[3]);
    store.land_flight(beside[4].key(), 0, &beside[4]);
    assert!(begin(&store, FIRST + 4).is_none());
    store.land_flight(beside[1].key(), 0, &beside[1]);
    assert_eq!(store.flights(), 0);
    assert!(begin(&store, FIRST + 5).is_some() && begin(&store, FIRST + 5).is_none());
}

#[test]
fn a_mark_lasts_for_two_minutes_since_the_last_response() {
    let (store, _commands) = new_store(1 << 30);
    mark(&store, &begin(&store, FIRST).unwrap(), FIRST);
    let renews = begin(&store, FIRST + 100_000).unwrap();
    mark(&store, &renews, FIRST + 100_000);
    store.forget_landed(FIRST + 220_000);
    assert!(begin(&store, FIRST + 220_000).is_some() && begin(&store, FIRST + 220_000).is_some());
    store.forget_landed(FIRST + 220_001);
    assert_eq!(store.flights(), 0);
    mark(&store, &begin(&store, FIRST + 300_000).unwrap(), FIRST + 300_000);
    assert!(begin(&store, FIRST + 420_001).is_some() && begin(&store, FIRST + 420_001).is_none());
}

#[test]
fn what_was_asked_for_before_a_purge_neither_renews_nor_ends_a_mark_after_it() {
    let (store, _commands) = new_store(1 << 30);
    mark(&store, &begin(&store, FIRST).unwrap(), FIRST);
    let before = begin(&store, FIRST).unwrap();
    store.record_purge(Purge::everything(), FIRST);
    assert_eq!(store.flights(), 0);
    let after = begin(&store, FIRST).unwrap();
    store.end_mark(before.key(), 0, &before);
    assert!(!mark(&store, &before, FIRST + 1));
    assert!(begin(&store, FIRST + 1).is_none(), "others wait for the one after it");
    mark(&store, &after, FIRST + 1);
    store.end_mark(before.key(), 0, &before);
    store.take_back_mark(before.key(), 0, &before);
    assert!(begin(&store, FIRST + 2).is_some() && begin(&store, FIRST + 2).is_some());
    // The first fetch of a key leaves no mark either if a purge has passed meanwhile.
    store.record_purge(Purge::everything(), FIRST + 2);
    let purged = begin(&store, FIRST + 2).unwrap();
    store.record_purge(Purge::everything(), FIRST + 2);
    assert!(!mark(&store, &purged, FIRST + 2));
    assert_eq!(store.flights(), 0);
    // The same if the key alone was made invalid.
    let invalid = begin(&store, FIRST + 3).unwrap();
    mark(&store, &invalid, FIRST + 3);
    store.invalidate_key(invalid.key(), FIRST + 3, PurgeSource::Method);
    assert!(begin(&store, FIRST + 4).is_some() && begin(&store, FIRST + 4).is_none());
}

#[test]
fn a_mark_is_taken_back_unless_a_response_was_whole() {
    let (store, _commands) = new_store(1 << 30);
    let first = begin(&store, FIRST).unwrap();
    mark(&store, &first, FIRST);
    store.take_back_mark(first.key(), 0, &first);
    assert_eq!(store.flights(), 0);
    let first = begin(&store, FIRST).unwrap();
    mark(&store, &first, FIRST);
    let beside = begin(&store, FIRST).unwrap();
    mark(&store, &beside, FIRST);
    beside.mark().unwrap().prove_mark();
    store.take_back_mark(first.key(), 0, &first);
    assert_eq!(store.flights(), 1);
}

#[test]
fn what_no_client_waits_for_goes_beside_nothing() {
    let (store, _commands) = new_store(1 << 30);
    mark(&store, &begin(&store, FIRST).unwrap(), FIRST);
    let behind = Arc::new(Flight::new(key_of("/a"), FIRST));
    store.lead_behind(&key_of("/a"), 0, &behind).unwrap();
    let other = Arc::new(Flight::new(key_of("/a"), FIRST));
    assert!(Arc::ptr_eq(&store.lead_behind(&key_of("/a"), 0, &other).unwrap_err(), &behind));
    assert!(mark(&store, &behind, FIRST), "it is marked again");
}

#[test]
fn marks_are_bounded_by_the_memory_and_go_sooner_where_they_are_many() {
    let (store, _commands) = new_store(1 << 20);
    let leave = |n: u64, now| {
        let key = key_of(&format!("/{n}"));
        let flight = Arc::new(Flight::new(key.clone(), now));
        store.lead_flight(&key, 0, &flight, now).unwrap();
        store.mark_unshared(&key, 0, &flight, now);
    };
    (100..200).for_each(|n| leave(n, FIRST));
    let most = store.flights();
    assert!((35..=40).contains(&most), "{most}");
    (200..300).for_each(|n| leave(n, FIRST + 5_000));
    assert_eq!(store.flights(), most);
    store.forget_landed(FIRST + 10_001);
    assert_eq!(store.flights(), 0, "they make room for others");
    (0..15).for_each(|n| leave(n, FIRST + 20_000));
    store.forget_landed(FIRST + 140_000);
    assert_eq!(store.flights(), 15, "there is room for as many again");
}
