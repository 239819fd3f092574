use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};

use super::book::{Book, Refused, Registered, Settings};
use super::keeper::Keeper;
use super::lease::{Registration, Unfit, check_id, is_allowed};
use super::{Hear, Order};
use crate::clock::{self, Random};
use crate::discovery::Updates;

const SECOND: Duration = Duration::from_secs(1);

fn settings(most: usize) -> Settings {
    Settings { most, allow: Box::default(), shared: false }
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

fn said(port: u16, seconds: u64) -> Registration {
    Registration {
        address: Some(at(port)),
        ttl: Some(Duration::from_secs(seconds)),
        ..Registration::default()
    }
}

fn ids(book: &Book) -> Vec<&str> {
    book.leases().keys().map(|id| &**id).collect()
}

#[tokio::test(start_paused = true)]
async fn a_lease_lasts_as_long_as_it_is_renewed() {
    let _epoch = clock::millis(clock::now());
    let mut book = Book::new(settings(10));
    let id: Arc<str> = "a".into();
    assert_eq!(book.register_server(&id, said(1, 10), clock::now()), Ok(Registered::New));
    for _ in 0..5 {
        tokio::time::advance(9 * SECOND).await;
        assert_eq!(book.expire_leases(clock::now()), Vec::<Arc<str>>::new());
        assert!(book.leases()["a"].renew(&said(1, 10), clock::now()));
    }
    tokio::time::advance(10 * SECOND - Duration::from_millis(1)).await;
    assert_eq!(book.expire_leases(clock::now()), Vec::<Arc<str>>::new());
    let lease = book.leases()["a"].clone();
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(book.expire_leases(clock::now()), std::slice::from_ref(&id));
    // A renewal that comes a moment late is a new registration.
    assert!(lease.is_over() && !lease.renew(&said(1, 10), clock::now()));
    assert_eq!(book.register_server(&id, said(1, 10), clock::now()), Ok(Registered::New));
    // So is one that comes before anybody has noticed.
    tokio::time::advance(11 * SECOND).await;
    assert_eq!(book.register_server(&id, said(1, 10), clock::now()), Ok(Registered::New));
    assert_eq!(book.expire_leases(clock::now()), Vec::<Arc<str>>::new());
    assert_eq!(ids(&book), ["a"]);
}

/// Registers so many servers one after the other, each of them `apart` after the one before, and
/// returns the lengths of the lists that were sent.
async fn lists_of_registrations(number: u16, apart: Duration) -> Vec<usize> {
    let (updates, lists) = (Updates::default(), Arc::new(ArcSwap::from_pointee(Vec::new())));
    let (taken, sent) = (updates.clone(), lists.clone());
    updates.bell().answer_by(move || {
        let all = taken.take_all().into_values().filter_map(|update| update.entries);
        let all: Vec<usize> = all.map(|entries| entries.len()).collect();
        sent.rcu(|before| [before.as_slice(), &all].concat());
    });
    let (orders, received) = mpsc::channel(2);
    let keeper = tokio::task::LocalSet::new();
    keeper.spawn_local(Keeper::new(Arc::default(), updates).run_keeper(received));
    let registering = async {
        let (tell, _told) = std::sync::mpsc::sync_channel(1);
        let upstreams = BTreeMap::from([("app".into(), settings(10_000))]);
        let follow = Order::Follow { upstreams, redis: None, hear: Hear::Later, tell };
        orders.send(follow).await.unwrap();
        let mut answers = Vec::new();
        for n in 1..=number {
            let (reply, answer) = oneshot::channel();
            let id = format!("s{n}").into();
            let register = Order::Register("app".into(), id, said(n, 3600), reply);
            orders.send(register).await.unwrap();
            answers.push(answer);
            // The thread has its turn after each of them.
            tokio::task::yield_now().await;
            tokio::time::advance(apart).await;
        }
        for answer in answers {
            assert_eq!(answer.await.unwrap(), Ok(Registered::New));
        }
    };
    keeper.run_until(registering).await;
    lists.load().to_vec()
}

#[tokio::test(start_paused = true)]
async fn registering_many_copies_each_of_them_a_few_times() {
    let burst = lists_of_registrations(4000, Duration::ZERO).await;
    assert_eq!(burst.last(), Some(&4000), "whoever was answered is in a list");
    let copied: usize = burst.iter().sum();
    assert!(copied < 12 * 4000, "{copied} servers copied in {} lists", burst.len());
    let trickle = lists_of_registrations(4000, Duration::from_micros(100)).await;
    assert_eq!(trickle.last(), Some(&4000));
    assert!(trickle.len() < 600, "{} lists in 400 ms", trickle.len());
    // Those that come one by one are shown at once.
    let slow = lists_of_registrations(100, Duration::from_millis(10)).await;
    assert_eq!(slow, (1..=100).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn only_a_word_of_where_it_is_or_for_how_long_renews() {
    let _epoch = clock::millis(clock::now());
    let mut book = Book::new(settings(10));
    let id: Arc<str> = "a".into();
    let now = clock::now();
    let weight =
        |n| Registration { weight: std::num::NonZeroU16::new(n), ..Registration::default() };
    assert_eq!(book.register_server(&id, weight(2), now), Err(Refused::Unknown));
    assert_eq!(book.register_server(&id, said(1, 10), now), Ok(Registered::New));
    tokio::time::advance(4 * SECOND).await;
    let now = clock::now();
    assert!(!book.leases()["a"].renew(&weight(1), now));
    assert_eq!(book.register_server(&id, weight(5), now), Ok(Registered::Changed));
    assert_eq!(book.leases()["a"].left(now), 6 * SECOND);
    let ttl = Registration { ttl: Some(10 * SECOND), ..Registration::default() };
    assert_eq!(book.register_server(&id, ttl, now), Ok(Registered::Renewed));
    assert_eq!(book.leases()["a"].left(now), 10 * SECOND);
    assert_eq!(book.leases()["a"].known.weight.get(), 5);
    // It moves, and its old address is free.
    assert_eq!(book.register_server(&id, said(2, 10), now), Ok(Registered::Changed));
    assert_eq!(book.register_server(&"b".into(), said(1, 10), now), Ok(Registered::New));
    let taken = Refused::Taken { address: at(2), id };
    assert_eq!(book.register_server(&"b".into(), said(2, 10), now), Err(taken));
    assert_eq!(ids(&book), ["a", "b"]);
}

#[test]
fn bounds_are_kept() {
    let ip = |text: &str| text.parse().unwrap();
    let net = |text: &str| text.parse().unwrap();
    assert!(is_allowed(ip("10.0.0.1"), &[]) && is_allowed(ip("::1"), &[]));
    for link in ["169.254.169.254", "fe80::1", "::ffff:169.254.0.1"] {
        assert!(!is_allowed(ip(link), &[]), "{link}");
    }
    assert!(is_allowed(ip("169.254.1.1"), &[net("169.254.0.0/16")]));
    assert!(!is_allowed(ip("11.0.0.1"), &[net("10.0.0.0/8"), net("fd00::/8")]));
    assert!(is_allowed(ip("::ffff:10.0.0.1"), &[net("10.0.0.0/8")]));
    for fine in ["a", "10.0.0.1:80", "[::1]:80", "pod_7-x@node", &"x".repeat(128)] {
        assert_eq!(check_id(fine), Ok(()), "{fine}");
    }
    for bad in ["", ".", "..", "a b", "a/b", "a\n", "é", "a?b", "a#b", "a%b", &"x".repeat(129)] {
        assert_eq!(check_id(bad), Err(Unfit::Id), "{bad}");
    }
    let mut book = Book::new(settings(2));
    let now = clock::now();
    for n in 0..2 {
        assert_eq!(
            book.register_server(&format!("{n}").into(), said(n, 10), now),
            Ok(Registered::New)
        );
    }
    assert_eq!(book.register_server(&"2".into(), said(7, 10), now), Err(Refused::Full(2)));
    let known = book.leases()["1"].known.clone();
    let other = super::lease::Known { address: at(9), ..known.clone() };
    assert!(
        !book.learn_server(&"2".into(), other.clone(), SECOND, now),
        "others bring no more than fit"
    );
    assert!(book.learn_server(&"1".into(), other, SECOND, now));
    assert!(!book.learn_server(&"0".into(), known, SECOND, now) || book.leases().len() == 2);
}

/// What a book must say, kept in the simplest way.
#[derive(Default)]
struct Model(BTreeMap<u64, (u16, u64)>);

#[test]
fn a_book_is_what_its_leases_say_whatever_happens() {
    let seed = std::env::var("TIDEGATE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = std::env::var("TIDEGATE_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    for seed in seed.map_or(0..seeds.unwrap_or(200), |seed: u64| seed..seed + 1) {
        let started = std::panic::catch_unwind(|| simulate(seed));
        assert!(started.is_ok(), "TIDEGATE_SEED={seed}");
    }
}

fn simulate(seed: u64) {
    let mut random = Random::seeded(seed);
    let start = clock::now();
    let base = clock::millis(start);
    let (mut book, mut model) = (Book::new(settings(8)), Model::default());
    let mut ms = 0;
    for _ in 0..400 {
        ms += random.below(1500);
        let now = start + Duration::from_millis(ms);
        // What time has ended, as the book sees it, in whole milliseconds.
        let at_now = clock::millis(now) - base;
        let id = random.below(12);
        let name: Arc<str> = id.to_string().into();
        let port = 1 + u16::try_from(random.below(14)).unwrap();
        let ttl = 1 + random.below(5);
        match random.below(10) {
            0 => {
                let there = book.remove_server(&name).is_some_and(|_| true);
                assert!(there || !model.0.contains_key(&id));
                model.0.remove(&id);
            }
            1..=3 => {
                let over = book.expire_leases(now);
                let ended: Vec<u64> = model
                    .0
                    .iter()
                    .filter(|(_, (_, ends))| *ends <= at_now)
                    .map(|(id, _)| *id)
                    .collect();
                let mut over: Vec<u64> = over.iter().map(|id| id.parse().unwrap()).collect();
                over.sort_unstable();
                assert!(over.iter().all(|id| ended.contains(id)));
                model.0.retain(|_, (_, ends)| *ends > at_now);
            }
            _ => {
                let registered = book.register_server(&name, said(port, ttl), now);
                let known = model.0.get(&id).copied().filter(|(_, ends)| *ends > at_now);
                let owner =
                    model.0.iter().find(|(other, (taken, _))| **other != id && *taken == port);
                match (&registered, known) {
                    (Ok(Registered::New), None) | (Ok(Registered::Changed), Some(_)) => {}
                    (Ok(Registered::Renewed), Some((same, _))) => assert_eq!(same, port),
                    (Err(Refused::Taken { id: by, .. }), _) => {
                        assert_eq!(owner.map(|(owner, _)| owner.to_string()), Some(by.to_string()));
                    }
                    (Err(Refused::Full(8)), None) => assert!(model.0.len() >= 8),
                    other => panic!("{other:?}"),
                }
                if registered.is_ok() {
                    assert_eq!(owner, None);
                    model.0.insert(id, (port, at_now + ttl * 1000));
                } else if known.is_none() {
                    // The lease that was found to be over is no longer one.
                }
            }
        }
        assert!(book.leases().len() <= 8);
        let alive = book
            .leases()
            .iter()
            .filter(|(_, lease)| !lease.is_over() && lease.ends() - base > at_now);
        let alive: BTreeMap<u64, u16> =
            alive.map(|(id, lease)| (id.parse().unwrap(), lease.known.address.port())).collect();
        let expected: BTreeMap<u64, u16> = model
            .0
            .iter()
            .filter(|(_, (_, ends))| *ends > at_now)
            .map(|(id, (port, _))| (*id, *port))
            .collect();
        assert_eq!(alive, expected);
        assert!(
            book.next_end()
                <= book
                    .leases()
                    .values()
                    .map(|lease| lease.ends())
                    .filter(|e| *e > 0)
                    .min()
                    .unwrap_or(u64::MAX)
        );
    }
}
