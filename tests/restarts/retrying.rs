//! What is sent again, and how often.

use crate::load::proxy;
use crate::server::{Mode, servers};
use support::{Blackhole, Configuration, RawClient, Tidegate, refused_address};

const POST: &str = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi";

fn retries(proxy: &Tidegate) -> u64 {
    proxy.stats()["upstreams"][0]["retries"].as_u64().unwrap()
}

/// The statuses of so many GETs.
fn gets(client: &mut RawClient, n: usize) -> Vec<u16> {
    (0..n).map(|_| client.get("/").status).collect()
}

#[test]
fn r2_retries_that_the_budget_refused_are_not_spent() {
    let (servers, list) = servers(2);
    servers.iter().for_each(|server| server.set(Mode::Busy));
    let proxy =
        proxy(&format!("{list}\neject = false\nretry = {{ budget = '20%', backoff = '0s' }}"));
    assert_eq!(gets(&mut proxy.client(), 1000), [503; 1000]);
    let retries = retries(&proxy);
    // A fifth, and 30 for each window of ten seconds that it took.
    assert!((229..=300).contains(&retries), "{retries}");
    assert_eq!(servers.iter().map(|s| s.requests() as u64).sum::<u64>(), 1000 + retries);
}

#[test]
fn r8_a_budget_of_nothing_is_none_but_what_was_not_sent_goes_elsewhere() {
    let (servers, list) = servers(3);
    servers.iter().for_each(|server| server.set(Mode::Busy));
    let proxy = proxy(&format!("{list}\neject = false\nretry = {{ budget = '0%' }}"));
    assert_eq!(gets(&mut proxy.client(), 60), [503; 60]);
    assert_eq!(retries(&proxy), 0);
    servers[0].set(Mode::Down);
    servers[1].set(Mode::Up);
    servers[2].set(Mode::Down);
    for _ in 0..30 {
        assert_eq!(proxy.client().exchange(POST).status, 200);
    }
}

#[test]
fn r8_a_route_may_have_a_budget_of_nothing() {
    let (servers, list) = servers(2);
    servers.iter().for_each(|server| server.set(Mode::Busy));
    let failing = Configuration::default().upstream_with("app", &format!("{list}\neject = false"));
    let proxy = failing.route("retry = { budget = '0%' }").start();
    assert_eq!(gets(&mut proxy.client(), 20), [503; 20]);
    assert_eq!(retries(&proxy), 0);
}

#[test]
fn r10_idempotent_requests_survive_a_server_that_hangs_or_talks_nonsense() {
    for mode in [Mode::Stopped, Mode::Garbage, Mode::HalfHead, Mode::Closing] {
        let (servers, list) = servers(3);
        let proxy = proxy(&format!(
            "{list}\nbalance = 'round_robin'\ntimeout = {{ first_byte = '100ms' }}"
        ));
        servers[1].set(mode);
        let mut client = proxy.client();
        assert_eq!(gets(&mut client, 30), [200; 30]);
        assert!(retries(&proxy) >= 5, "the server was never asked");
        // Nobody knows what became of a write: it is answered, and not sent again.
        let (servers, list) = self::servers(2);
        let proxy = self::proxy(&format!(
            "{list}\nbalance = 'round_robin'\neject = false\ntimeout = {{ first_byte = '100ms' }}"
        ));
        servers[1].set(mode);
        let mut statuses: Vec<u16> = (0..6).map(|_| proxy.client().exchange(POST).status).collect();
        statuses.sort_unstable();
        let lost = if mode == Mode::Stopped { 504 } else { 502 };
        assert_eq!(statuses, [200, 200, 200, lost, lost, lost]);
        assert_eq!(servers[0].requests(), 3);
    }
}

#[test]
fn r10_nothing_is_sent_again_when_the_time_for_all_of_it_is_over() {
    let (servers, list) = servers(2);
    servers.iter().for_each(|server| server.set(Mode::Stopped));
    let proxy = proxy(&format!("{list}\ntimeout = {{ total = '200ms' }}"));
    assert_eq!(proxy.client().get("/").status, 504);
    assert_eq!(retries(&proxy), 0);
}

#[test]
fn a_connect_timeout_goes_elsewhere_with_either_word_and_a_refusal_with_connect_alone() {
    let hole = Blackhole::start();
    let refused = refused_address().to_string();
    for (bad, on, moves) in [
        (hole.address.to_string(), "connect", true),
        (hole.address.to_string(), "timeout", true),
        (hole.address.to_string(), "503", false),
        (refused.clone(), "connect", true),
        (refused, "timeout", false),
    ] {
        let (servers, _) = servers(1);
        let proxy = proxy(&format!(
            "servers = ['{bad}', '{}']\nbalance = 'round_robin'\neject = false\n\
             timeout = {{ connect = '150ms' }}\nretry = {{ on = ['{on}'] }}",
            servers[0].address
        ));
        let first = proxy.client().exchange(POST).status;
        assert_eq!(first == 200, moves, "{bad} with {on}: {first}");
        if moves {
            assert_eq!(servers[0].requests(), 1);
        }
    }
}

#[test]
fn a_fallback_answers_a_write_that_no_server_took() {
    let (servers, _) = servers(1);
    let gone = [refused_address(), refused_address()];
    let proxy = Configuration::default()
        .upstream("app", gone, "fallback = 'spare'")
        .upstream("spare", [servers[0].address], "")
        .start();
    for _ in 0..5 {
        assert_eq!(proxy.client().exchange(POST).status, 200);
    }
    assert_eq!(servers[0].requests(), 5);
}
