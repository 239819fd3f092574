//! Services that come, crash and come back elsewhere while clients ask.

use std::thread;

use crate::load::{Kind, Load};
use crate::server::{Mode, Server};
use crate::{MS, deregister, names, proxy, register};
use support::SOON;

/// Ends the load; panics unless every request got its answer.
fn nothing_lost(load: Load) {
    let outcome = load.end();
    assert!(outcome.sent > 100, "only {} sent", outcome.sent);
    assert!(outcome.lost.is_empty(), "of {}: {:?}", outcome.sent, outcome.lost);
}

#[test]
fn s1_1_services_that_crash_and_come_back_elsewhere_cost_no_request() {
    let proxy = proxy("{ registry = true }", "slow_start = '0s'");
    let mut services: Vec<Server> = (0..3).map(|_| Server::start()).collect();
    let enter = |n: usize, service: &Server| {
        register(&proxy, &format!("s{n}"), &service.address.to_string(), "1s");
    };
    for (n, service) in services.iter().enumerate() {
        enter(n, service);
    }
    let load = Load::start(&proxy, Kind::Get, 5 * MS);
    for round in 0..6 {
        let n = round % 3;
        // It crashes: nobody says goodbye, its lease runs out or it is replaced.
        services[n].set(Mode::Down);
        for _ in 0..2 {
            for (other, service) in services.iter().enumerate().filter(|(other, _)| *other != n) {
                enter(other, service);
            }
            thread::sleep(100 * MS);
        }
        services[n] = Server::start();
        services.iter().enumerate().for_each(|(n, service)| enter(n, service));
        thread::sleep(100 * MS);
    }
    nothing_lost(load);
    assert!(services.iter().all(|service| service.requests() > 0));
}

#[test]
fn scaling_from_3_to_10_to_2_costs_no_request() {
    let proxy = proxy("{ registry = true }", "slow_start = '0s'");
    let services: Vec<Server> = (0..10).map(|_| Server::start()).collect();
    let enter = |n: usize| {
        register(&proxy, &format!("s{n}"), &services[n].address.to_string(), "1m");
    };
    (0..3).for_each(enter);
    let load = Load::start(&proxy, Kind::Post, 5 * MS);
    thread::sleep(200 * MS);
    (3..10).for_each(enter);
    assert_eq!(names(&proxy).len(), 10);
    assert!(support::holds_within(SOON, &mut || {
        services.iter().all(|service| service.requests() > 0)
    }));
    for (n, service) in services.iter().enumerate().skip(2) {
        assert_eq!(deregister(&proxy, &format!("s{n}")).status, 200);
        // Who has said goodbye may go as soon as what it has is done.
        service.set(Mode::Down);
    }
    assert_eq!(names(&proxy), ["s0", "s1"]);
    thread::sleep(200 * MS);
    nothing_lost(load);
}
