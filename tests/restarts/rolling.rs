//! Servers that are restarted while clients ask: nobody is told.

use std::thread;
use std::time::Duration;

use crate::load::{Kind, Load, Outcome, duplicates, proxy};
use crate::server::{Mode, Server, servers};
use support::{SOON, wait_until};

const MS: Duration = Duration::from_millis(1);

/// Takes one after the other down for 400 ms and waits 100 ms, twice.
fn roll(servers: &[Server]) {
    for _ in 0..2 {
        for server in servers {
            server.set(Mode::Down);
            thread::sleep(400 * MS);
            server.set(Mode::Up);
            thread::sleep(100 * MS);
        }
    }
}

fn nothing_lost(outcome: &Outcome, servers: &[Server], word: &str) {
    let Outcome { sent, lost, .. } = outcome;
    assert!(*sent > 50, "only {sent} sent");
    // A write that was under way to a connection as the server closed it is nobody's to repeat.
    let crossed: usize = servers.iter().map(Server::crossed).sum();
    let excused =
        |target: &str, why: &str| target.starts_with("/post") && why.contains("upstream_closed");
    assert!(lost.len() <= crossed, "of {sent}, {crossed} crossed: {lost:?}");
    assert!(lost.iter().all(|(target, why)| excused(target, why)), "{lost:?}");
    assert_eq!(duplicates(servers, word), Vec::<String>::new());
}

#[test]
fn r9_a_rolling_restart_of_three_loses_and_doubles_nothing() {
    let (servers, list) = servers(3);
    let proxy = proxy(&list);
    let load = Load::start(&proxy, Kind::Post, 10 * MS);
    roll(&servers);
    let outcome = load.end();
    nothing_lost(&outcome, &servers, "/post");
    assert!(outcome.slowest < Duration::from_secs(2), "{:?}", outcome.slowest);
    let stats = proxy.stats();
    assert!(stats["upstreams"][0]["retries"].as_u64().unwrap() > 0, "nobody was ever refused");
    assert_eq!(stats["upstreams"][0]["retries_over_budget"], 0);
}

#[test]
fn r9_handshakes_of_websockets_survive_a_rolling_restart() {
    let (servers, list) = servers(3);
    let proxy = proxy(&list);
    let load = Load::start(&proxy, Kind::WebSocket, 10 * MS);
    roll(&servers);
    nothing_lost(&load.end(), &servers, "/websocket");
}

#[test]
fn r9_every_strategy_survives_a_rolling_restart() {
    for balance in [
        "'round_robin'",
        "'random'",
        "'least_conn'",
        "'peak_ewma'",
        "{ hash = 'path' }",
        "{ sticky = 'tg', secret = '0123456789abcdef0123456789abcdef' }",
    ] {
        let (servers, list) = servers(3);
        let proxy = proxy(&format!("{list}\nbalance = {balance}"));
        let load = Load::start(&proxy, Kind::Post, 5 * MS);
        for server in &servers {
            server.set(Mode::Down);
            thread::sleep(200 * MS);
            server.set(Mode::Up);
            thread::sleep(50 * MS);
        }
        nothing_lost(&load.end(), &servers, "/post");
    }
}

#[test]
fn r9_one_of_three_is_enough_without_any_budget() {
    let (servers, list) = servers(3);
    let proxy = proxy(&format!("{list}\nretry = {{ attempts = 0, budget = '0%' }}"));
    servers[0].set(Mode::Down);
    servers[1].set(Mode::Down);
    let load = Load::start(&proxy, Kind::Post, 5 * MS);
    thread::sleep(Duration::from_secs(1));
    nothing_lost(&load.end(), &servers, "/post");
    // Those that refuse are not preferred for having nothing to do.
    let retries = proxy.stats()["upstreams"][0]["retries"].as_u64().unwrap();
    assert!((2..=40).contains(&retries), "{retries}");
}

#[test]
fn r9_each_of_ten_is_asked_once_until_one_is_up() {
    let (servers, list) = servers(10);
    let proxy = proxy(&format!("{list}\nbalance = 'round_robin'"));
    servers.iter().skip(1).for_each(|server| server.set(Mode::Down));
    let load = Load::start(&proxy, Kind::Post, 5 * MS);
    thread::sleep(500 * MS);
    nothing_lost(&load.end(), &servers, "/post");
}

#[test]
fn r9_all_down_is_an_answer_and_not_a_wait() {
    let (servers, list) = servers(3);
    let proxy = proxy(&list);
    servers.iter().for_each(|server| server.set(Mode::Down));
    let mut client = proxy.client();
    for _ in 0..20 {
        let answer = client.get("/");
        assert_eq!(answer.status, 502, "{}", answer.text());
    }
    servers[1].set(Mode::Up);
    assert_eq!(client.get("/").status, 200);
}

#[test]
fn r9_servers_that_flap_cost_nothing_while_one_is_up() {
    let (servers, list) = servers(3);
    let proxy = proxy(&list);
    let load = Load::start(&proxy, Kind::Post, 5 * MS);
    for step in 0..40 {
        let (first, second) = (&servers[step % 2], &servers[(step + 1) % 2]);
        first.set(Mode::Down);
        second.set(Mode::Up);
        thread::sleep(40 * MS);
    }
    nothing_lost(&load.end(), &servers, "/post");
}

#[test]
fn r9_a_server_that_is_back_gets_requests_long_before_its_ejection_would_end() {
    let (servers, list) = servers(2);
    let proxy = proxy(&format!("{list}\nslow_start = '0s'"));
    servers[0].set(Mode::Down);
    let state =
        || proxy.stats()["upstreams"][0]["servers"][0]["state"].as_str().unwrap().to_owned();
    let mut client = proxy.client();
    client.get("/");
    client.get("/");
    wait_until(SOON, "it is noticed", || {
        client.get("/");
        state() == "unreachable"
    });
    servers[0].set(Mode::Up);
    wait_until(Duration::from_secs(2), "it is up", || state() == "up");
    let before = servers[0].requests();
    for _ in 0..50 {
        assert_eq!(client.get("/").status, 200);
    }
    assert!(servers[0].requests() - before >= 10);
}

#[test]
fn r9_what_found_no_connection_waits_for_a_server_that_is_only_full() {
    let (servers, list) = servers(2);
    let proxy = proxy(&format!(
        "{list}\nlimits = {{ requests = 1, pending = 50, pending_timeout = '5s' }}\neject = false"
    ));
    servers[0].set(Mode::Down);
    servers[1].set(Mode::Stopped);
    let mut waiting: Vec<_> = (0..6).map(|_| proxy.client()).collect();
    waiting.iter_mut().for_each(|client| {
        client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi");
    });
    wait_until(SOON, "five wait", || proxy.stats()["upstreams"][0]["queue"]["depth"] == 5);
    servers[1].set(Mode::Up);
    let statuses: Vec<u16> = waiting.iter_mut().map(|client| client.response().status).collect();
    assert_eq!(statuses, [200; 6]);
}
