use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;

use super::sweeper::{SweeperWork, new_sweeper};
use super::*;
use crate::cache::body::CachedBody;
use crate::cache::key::StoreKey;
use crate::cache::memory::Reservation;
use crate::cache::object::ObjectParts;
use crate::cache::policy::Timing;
use crate::cache::purge::PurgeSource;
use crate::wire::ResponseHead;

/// Housekeeping whose sweeper works when it is told to.
struct TriedHousekeeping {
    house: Housekeeping,
    sweeper: SweeperWork,
}

impl Deref for TriedHousekeeping {
    type Target = Housekeeping;

    fn deref(&self) -> &Housekeeping {
        &self.house
    }
}

impl DerefMut for TriedHousekeeping {
    fn deref_mut(&mut self) -> &mut Housekeeping {
        &mut self.house
    }
}

impl TriedHousekeeping {
    fn new() -> Self {
        let (house, sweeper) = new_sweeper();
        Self { house: Housekeeping::new(house), sweeper }
    }

    /// One step of a purge, its part of the sweeper included.
    fn purge_step(&mut self) {
        self.house.purge_step();
        self.sweeper.sweep_waiting();
        self.house.take_swept();
    }
}

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
    let reservation = Reservation::new(store.memory_used().clone());
    let parts = ObjectParts {
        asked: key,
        variant: 0,
        head,
        timing,
        body,
        length: Some(1000),
        asked_at: clock::unix_millis(),
    };
    let object = Object::new(parts, reservation);
    if !store.reserve_bytes(object.uncounted_size()) {
        return false;
    }
    object.set_counted();
    store.insert_object(Arc::new(object))
}

fn has(store: &CacheStore, path: &str) -> bool {
    let key = StoreKey::new("c", b"http", b"a", path.as_bytes(), None, &[]);
    store.find_stored(key.borrowed(), &crate::wire::head::Fields::default()).object.is_some()
}

fn object_at(store: &CacheStore, path: &str) -> Arc<Object> {
    let key = StoreKey::new("c", b"http", b"a", path.as_bytes(), None, &[]);
    store.find_stored(key.borrowed(), &crate::wire::head::Fields::default()).object.unwrap()
}

/// Orders a purge and carries it out to its end.
fn apply(
    house: &mut TriedHousekeeping,
    commands: &Receiver<HousekeepingCommand>,
    (store, purge): (&Arc<CacheStore>, Purge),
) -> usize {
    let mut ordered = store.order_purge(purge, PurgeSource::Admin).unwrap();
    obey_all(house, commands);
    while !house.purges.is_empty() {
        house.purge_step();
    }
    ordered.purged.try_recv().unwrap()
}

fn by_tag(tag: &str) -> Purge {
    Purge { tag: Some(tag.as_bytes().into()), ..Purge::default() }
}

fn by_path(path: &str) -> Purge {
    Purge { path: Some(path.as_bytes().into()), ..Purge::default() }
}

fn obey_all(house: &mut TriedHousekeeping, commands: &Receiver<HousekeepingCommand>) {
    while let Ok(command) = commands.try_recv() {
        house.obey_command(command);
    }
}

#[test]
fn a_response_that_is_stored_in_the_moment_of_a_purge_is_counted_by_it() {
    let (store, commands) = store(u64::MAX / 2, 1_000_000);
    let mut house = TriedHousekeeping::new();
    // Recorded and told before housekeeping has heard of the response.
    assert!(add(&store, "/1", 60_000, "t"));
    assert_eq!(apply(&mut house, &commands, (&store, by_tag("t"))), 1);
    // Heard of when the sweep has begun.
    assert!(add(&store, "/2", 60_000, "u"));
    let stored = commands.try_recv().unwrap();
    let mut ordered = store.order_purge(by_tag("u"), PurgeSource::Admin).unwrap();
    obey_all(&mut house, &commands);
    house.obey_command(stored);
    while !house.purges.is_empty() {
        house.purge_step();
    }
    assert_eq!(ordered.purged.try_recv().unwrap(), 1);
    assert_eq!((store.used(), store.entries()), (0, 0));
}

#[test]
fn more_purges_than_can_be_told_apart_are_one_of_everything() {
    let (store, commands) = store(u64::MAX / 2, 1_000_000);
    let mut house = TriedHousekeeping::new();
    assert!(add(&store, "/1", 60_000, "kept"));
    obey_all(&mut house, &commands);
    let name = |house: &mut TriedHousekeeping, name: &str| {
        store.invalidate_named(std::iter::once(name.as_bytes()), b"a", |_| ());
        obey_all(house, &commands);
    };
    (0..4096).for_each(|n| name(&mut house, &format!("t{n}")));
    assert!(!store.takes_purges());
    house.pay_owed();
    assert_eq!(house.purges.len(), 4096, "nothing is owed yet");
    for tag in ["other", "kept", "another"] {
        name(&mut house, tag);
    }
    house.pay_owed();
    assert_eq!(house.purges.len(), 4097, "one for the three of them");
    name(&mut house, "later");
    house.pay_owed();
    assert_eq!(
        house.purges.len(),
        4097,
        "that it has yet to come to its end is no reason for another"
    );
    assert_eq!(house.owed.len(), 1);
    while !house.purges.is_empty() {
        house.purge_step();
        house.pay_owed();
    }
    assert_eq!((store.entries(), house.owed.len()), (0, 0));
    assert_eq!(store.counts.purges.get(PurgeSource::Overrun), 2);
}

#[test]
fn names_that_find_no_place_in_the_queue_are_a_purge_of_everything() {
    let (store, commands) = store(u64::MAX / 2, 1_000_000);
    let mut house = TriedHousekeeping::new();
    assert!(add(&store, "/kept", 60_000, "kept"));
    obey_all(&mut house, &commands);
    let name = |name: &str| store.invalidate_named(std::iter::once(name.as_bytes()), b"a", |_| ());
    (0..4096).for_each(|n| name(&format!("t{n}")));
    house.pay_owed();
    assert_eq!((house.owed.len(), house.purges.len()), (0, 0), "all are in the queue");
    name("kept");
    name("/kept");
    house.pay_owed();
    assert_eq!((house.owed.len(), house.purges.len()), (0, 1));
    while !house.purges.is_empty() {
        house.purge_step();
    }
    assert_eq!((store.entries(), has(&store, "/kept")), (0, false));
    assert_eq!(store.counts.purges.get(PurgeSource::Overrun), 1);
    assert_eq!(store.counts.purges.get(PurgeSource::Header), 4098);
    house.pay_owed();
    assert_eq!((house.owed.len(), house.purges.len()), (0, 0), "it is owed once");
}

#[test]
fn what_clients_hold_is_no_reason_to_evict() {
    let (store, commands) = store(64 * 1024, 1_000_000);
    let mut house = TriedHousekeeping::new();
    for n in 0..10 {
        assert!(add(&store, &format!("/kept/{n}"), 60_000, "t"));
    }
    obey_all(&mut house, &commands);
    let stored = store.used();
    let mut readers = Vec::new();
    for n in 0.. {
        let path = format!("/read/{n}");
        if !add(&store, &path, 60_000, "t") {
            break;
        }
        readers.push(object_at(&store, &path).body.new_reader());
        obey_all(&mut house, &commands);
        assert_eq!(apply(&mut house, &commands, (&store, by_path(&path))), 1);
    }
    // 1024 bytes of each, beside what is stored, and no more than 80 KiB of both.
    assert_eq!(store.held(), readers.len() as u64 * 1024);
    let both = store.held() + stored;
    assert!((77 * 1024..=80 * 1024).contains(&both), "{both}");
    obey_all(&mut house, &commands);
    house.look_round();
    assert_eq!((store.used(), store.entries()), (stored, 10));
    assert_eq!(store.counts.evicted.load(Ordering::Relaxed), 0);
    // Of what clients are sent no more is evicted than there is too much of.
    readers.clear();
    assert_eq!(store.held(), 0);
    readers.extend((0..10).map(|n| object_at(&store, &format!("/kept/{n}")).body.new_reader()));
    let mut n = 0;
    while add(&store, &format!("/more/{n}"), 60_000, "t") {
        n += 1;
    }
    obey_all(&mut house, &commands);
    let evicted = store.counts.evicted.load(Ordering::Relaxed);
    assert!((1..10).contains(&evicted), "{evicted}");
    assert_eq!((store.held(), store.entries() as u64), (evicted * 1024, 10 + n - evicted));
    assert!((56 * 1024..=60 * 1024).contains(&store.used()), "{}", store.used());
}

#[test]
fn a_clock_that_is_set_back_keeps_no_purge_from_what_was_there() {
    let (store, commands) = store(u64::MAX / 2, 1_000_000);
    let mut house = TriedHousekeeping::new();
    assert!(add(&store, "/1", 60_000, "t"));
    assert!(add(&store, "/2", 60_000, "u"));
    obey_all(&mut house, &commands);
    let recorded = store.record_purge(by_tag("t"), clock::unix_millis() - 5_000);
    assert!(!has(&store, "/1") && has(&store, "/2"), "at once");
    let (reply, mut purged) = oneshot::channel();
    house.purges.push_back(PurgeUnderWay::new(store.clone(), recorded, reply));
    while !house.purges.is_empty() {
        house.purge_step();
    }
    assert_eq!((purged.try_recv().unwrap(), store.entries()), (1, 1));
}

#[test]
fn memory_stays_within_its_bound_and_is_given_back() {
    let (store, commands) = store(64 * 1024, 1_000_000);
    let mut house = TriedHousekeeping::new();
    for n in 0..1000 {
        add(&store, &format!("/{n}"), 60_000, "t");
        obey_all(&mut house, &commands);
        assert!(store.used() <= 64 * 1024, "{}", store.used());
    }
    assert!(store.entries() > 20 && store.counts.evicted.load(Ordering::Relaxed) > 900);
    let left = apply(&mut house, &commands, (&store, Purge::everything()));
    assert!(left > 20);
    assert_eq!((store.used(), store.entries()), (0, 0));
    assert_eq!(house.wards[0].known().1, 0);
}

#[test]
fn nothing_that_has_left_is_known_or_kept_for_long() {
    let (store, commands) = store(64 * 1024, 1_000_000);
    let mut house = TriedHousekeeping::new();
    let mut handles = Vec::new();
    let mut most = (0, 0);
    for n in 0..20_000 {
        // Some leave because they have run out, most by the order, and each tenth is replaced.
        let lifetime = if n % 3 == 0 { 0 } else { u64::MAX / 4 };
        add(&store, &format!("/{}", n - n % 10), lifetime, "t");
        for command in commands.try_iter() {
            if let HousekeepingCommand::Stored(_, object) = &command {
                handles.push(object.clone());
            }
            house.obey_command(command);
        }
        while house.compact_step() {}
        let known = house.wards[0].known();
        most = (most.0.max(known.0), most.1.max(known.1));
    }
    assert!(handles.len() > 10_000);
    assert!(most.0 <= 1024 + 2 * 41 && most.1 <= 1024 + 2 * 41, "{most:?}");
    // A weak handle would keep what it names allocated; those of this test are the only ones.
    let kept = handles.iter().filter(|handle| handle.strong_count() > 0);
    assert_eq!(kept.count(), store.entries());
    let counts = handles.iter().filter(|handle| handle.strong_count() > 0);
    assert!(counts.into_iter().all(|handle| handle.weak_count() == 1));
}

#[test]
fn what_has_run_out_goes_first_and_the_oldest_next() {
    let (store, commands) = store(u64::MAX / 2, 4);
    let mut house = TriedHousekeeping::new();
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
    let mut house = TriedHousekeeping::new();
    for n in 0..600 {
        assert!(add(&store, &format!("/{n}"), 60_000, if n < 550 { "red" } else { "blue" }));
        obey_all(&mut house, &commands);
    }
    let mut red = store.order_purge(by_tag("red"), PurgeSource::Admin).unwrap();
    obey_all(&mut house, &commands);
    assert_eq!(store.entries(), 600, "nothing was removed so far");
    house.purge_step();
    assert_eq!(store.entries(), 600 - 128);
    let left =
        (0..550).map(|n| StoreKey::new("c", b"http", b"a", format!("/{n}").as_bytes(), None, &[]));
    let one = left.into_iter().find(|key| store.has_key(key.borrowed())).unwrap();
    assert_eq!(store.remove_key(&one), 1, "it leaves by another way meanwhile");
    let mut steps = 1;
    while !house.purges.is_empty() {
        assert!(red.purged.try_recv().is_err(), "it is under way");
        house.purge_step();
        steps += 1;
    }
    assert_eq!((red.purged.try_recv(), steps), (Ok(549), 600_usize.div_ceil(128) + 1));
    assert_eq!((store.entries(), house.purges.len()), (50, 0));
    assert_eq!(apply(&mut house, &commands, (&store, by_tag("blue"))), 50);
    assert_eq!(store.counts.purged.load(Ordering::Relaxed), 599);
    assert_eq!((store.counts.purges.get(PurgeSource::Admin), store.used()), (2, 0));
}

#[test]
fn a_purge_counts_before_it_is_carried_out_and_only_for_what_came_before() {
    let (store, commands) = store(1 << 30, 1_000_000);
    let mut house = TriedHousekeeping::new();
    for path in ["/a", "/b", "/soft"] {
        assert!(add(&store, path, 60_000, if path == "/soft" { "soft" } else { "hard" }));
    }
    obey_all(&mut house, &commands);
    let hard = store.order_purge(by_tag("hard"), PurgeSource::Admin).unwrap();
    let soft = Purge { soft: true, ..by_tag("soft") };
    let soft = store.order_purge(soft, PurgeSource::Admin).unwrap();
    assert!(hard.counts_at_once && soft.counts_at_once);
    assert!(!has(&store, "/a") && !has(&store, "/b") && has(&store, "/soft"));
    let key = StoreKey::new("c", b"http", b"a", b"/soft", None, &[]);
    let found = store.find_stored(key.borrowed(), &crate::wire::head::Fields::default());
    assert!(found.object.unwrap().timing().fresh_for(clock::unix_millis()) < 0);
    assert_eq!(store.entries(), 3, "nothing was removed so far");
    // What is asked for in the same millisecond counts as asked for before.
    let purged_at = clock::unix_millis();
    while clock::unix_millis() == purged_at {}
    assert!(add(&store, "/a", 60_000, "hard") && has(&store, "/a"));
    obey_all(&mut house, &commands);
    while !house.purges.is_empty() {
        house.purge_step();
    }
    assert!(has(&store, "/a") && !has(&store, "/b"));
    assert_eq!(store.entries(), 2);
    house.look_round();
    house.look_round();
    assert!(house.swept.iter().all(Vec::is_empty));
}

#[test]
fn what_a_purge_left_in_the_lists_is_forgotten_in_small_steps() {
    const MANY: usize = 20_000;
    let (store, commands) = store(1 << 30, 1_000_000);
    let mut house = TriedHousekeeping::new();
    for n in 0..MANY {
        assert!(add(&store, &format!("/{n}"), 60_000, "t"));
        obey_all(&mut house, &commands);
    }
    assert_eq!(house.wards[0].known(), (MANY, MANY));
    assert_eq!(apply(&mut house, &commands, (&store, Purge::everything())), MANY);
    let mut steps = 0;
    while house.compact_step() {
        steps += 1;
    }
    let (order, known) = house.wards[0].known();
    assert!(order <= 1024 && known <= 1024, "{order}, {known}");
    assert!(steps >= (MANY - 1024) / 128 - 1, "{steps}: no step looks at more than a part");
    assert!(!house.compact_step(), "nothing is left to do");
}

#[test]
fn a_purge_of_one_path_does_not_wait_for_a_large_one() {
    let (store, commands) = store(1 << 30, 1_000_000);
    let mut house = TriedHousekeeping::new();
    for n in 0..3000 {
        assert!(add(&store, &format!("/{n}"), 60_000, if n == 7 { "one" } else { "many" }));
        obey_all(&mut house, &commands);
    }
    let mut many = store.order_purge(by_tag("many"), PurgeSource::Admin).unwrap();
    let mut one = store.order_purge(by_path("/7"), PurgeSource::Admin).unwrap();
    obey_all(&mut house, &commands);
    // Three turns for each: it passes all responses, a thousand in a turn.
    (0..6).for_each(|_| house.purge_step());
    assert_eq!(one.purged.try_recv(), Ok(1));
    assert!(many.purged.try_recv().is_err() && store.entries() == 3000 - 127 - 2 * 128 - 1);
}

#[test]
fn what_was_on_its_way_into_the_store_when_a_purge_passed_is_removed() {
    let (store, commands) = store(1 << 30, 1_000_000);
    let mut house = TriedHousekeeping::new();
    assert!(add(&store, "/late", 60_000, "t"));
    let late = commands.try_recv().unwrap();
    assert_eq!(apply(&mut house, &commands, (&store, Purge::everything())), 0);
    assert_eq!((store.entries(), has(&store, "/late")), (1, false));
    house.obey_command(late);
    assert_eq!(store.entries(), 0);
}

#[test]
fn further_purges_than_responses_are_held_against_count_once_they_are_carried_out() {
    let (store, commands) = store(1 << 30, 1_000_000);
    let mut house = TriedHousekeeping::new();
    assert!(add(&store, "/a", 60_000, "t"));
    obey_all(&mut house, &commands);
    for n in 0..64 {
        let other = by_path(&format!("/other/{n}"));
        assert!(store.order_purge(other, PurgeSource::Admin).unwrap().counts_at_once);
    }
    let last = store.order_purge(by_path("/a"), PurgeSource::Admin).unwrap();
    assert!(!last.counts_at_once && has(&store, "/a"));
    obey_all(&mut house, &commands);
    while !house.purges.is_empty() {
        house.purge_step();
    }
    assert!(!has(&store, "/a"));
    house.look_round();
    house.look_round();
    assert!(store.order_purge(by_path("/a"), PurgeSource::Admin).unwrap().counts_at_once);
}

#[test]
fn a_purge_by_tag_keeps_out_what_was_asked_for_before_it() {
    let (store, commands) = store(1 << 30, 1000);
    let mut house = TriedHousekeeping::new();
    add(&store, "/a", 60_000, "red");
    add(&store, "/b", 60_000, "blue");
    obey_all(&mut house, &commands);
    assert_eq!(apply(&mut house, &commands, (&store, by_tag("red"))), 1);
    store.record_purge(by_tag("red"), clock::unix_millis() + 60_000);
    assert!(!has(&store, "/a") && has(&store, "/b"));
    assert!(!add(&store, "/a", 60_000, "red"), "its request was sent before the purge");
    assert!(add(&store, "/c", 60_000, "blue"));
    assert_eq!(store.entries(), 2);
}

#[test]
fn the_threads_carry_out_what_is_ordered_and_keep_no_store() {
    let sender = start_thread().unwrap();
    let store = Arc::new(CacheStore::new("c".into(), (1 << 30, 1_000_000), sender.clone()));
    for n in 0..1000 {
        assert!(add(&store, &format!("/{n}"), 60_000, if n < 700 { "red" } else { "blue" }));
    }
    let all = [by_tag("red"), by_path("/999"), by_path("/none"), by_tag("blue")]
        .map(|purge| store.order_purge(purge, PurgeSource::Admin).unwrap());
    let counts = all.map(|ordered| ordered.purged.blocking_recv().unwrap());
    assert_eq!(counts.iter().sum::<usize>(), 1000, "{counts:?}");
    assert_eq!((counts[0], counts[2], store.entries(), store.used()), (700, 0, 0, 0));
    let weak = Arc::downgrade(&store);
    drop((store, sender));
    // Nothing that is under way keeps it: each purge is known for two rounds at most.
    while weak.strong_count() > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn purges_that_have_been_carried_out_keep_no_place_that_others_need() {
    let (store, commands) = store(1 << 30, 1_000_000);
    let mut house = TriedHousekeeping::new();
    for n in 0..200 {
        let path = format!("/{n}");
        assert!(add(&store, &path, 60_000, "t"));
        obey_all(&mut house, &commands);
        let ordered = store.order_purge(by_path(&path), PurgeSource::Admin).unwrap();
        assert!(ordered.counts_at_once && !has(&store, &path), "{n}");
        obey_all(&mut house, &commands);
        while !house.purges.is_empty() {
            house.purge_step();
        }
    }
    assert!(store.purges_under_way() <= 64, "{}", store.purges_under_way());
}

#[test]
fn names_count_before_housekeeping_hears_of_them() {
    let (store, commands) = store(1 << 30, 1_000_000);
    let mut house = TriedHousekeeping::new();
    for (path, tag) in [("/a", "t"), ("/b", "u"), ("/c", "v")] {
        assert!(add(&store, path, 60_000, tag));
    }
    obey_all(&mut house, &commands);
    store.invalidate_named([&b"t, /b"[..]].into_iter(), b"a", |_| ());
    assert!(!has(&store, "/a") && !has(&store, "/b") && has(&store, "/c"));
}

#[test]
fn one_that_left_before_it_was_counted_is_no_reason_to_evict() {
    let (store, commands) = store(1 << 30, 10);
    let mut house = TriedHousekeeping::new();
    store.count_change(1, 0);
    assert_eq!((store.entries(), store.excess()), (0, (0, 0)));
    store.count_change(0, 1);
    assert!(add(&store, "/a", 60_000, "t"));
    obey_all(&mut house, &commands);
    assert_eq!(store.entries(), 1);
}
