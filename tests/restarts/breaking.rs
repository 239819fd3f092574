//! Circuit breakers, and what there is when nobody is left.

use crate::load::proxy;
use crate::server::{Mode, servers};
use support::{SOON, assert_problem, wait_until};

const POST: &str = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi";

#[test]
fn r3_connections_that_are_closed_cost_no_more_answers_than_the_breaker_allows() {
    for (method, request) in [("GET", "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"), ("POST", POST)] {
        for per in ["upstream", "server"] {
            let (servers, list) = servers(1);
            let proxy = proxy(&format!("{list}\nbreaker = {{ failures = 3, per = '{per}' }}"));
            // Enough answers on kept connections for the server to be trusted with writes, and two
            // connections at rest.
            let mut clients = [proxy.client(), proxy.client()];
            for _ in 0..60 {
                clients
                    .iter_mut()
                    .for_each(|client| client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"));
                clients.iter_mut().for_each(|client| assert_eq!(client.response().status, 200));
            }
            servers[0].set(Mode::Closing);
            let statuses: Vec<u16> =
                (0..8).map(|_| proxy.client().exchange(request).status).collect();
            assert_eq!(statuses, [502, 502, 502, 503, 503, 503, 503, 503], "{method}, {per}");
        }
    }
}

#[test]
fn r9_one_server_that_is_down_does_not_open_the_breaker_of_all() {
    let (servers, list) = servers(3);
    let proxy = proxy(&format!("{list}\neject = false\nbreaker = {{ failures = 1 }}"));
    servers[0].set(Mode::Down);
    for _ in 0..30 {
        assert_eq!(proxy.client().exchange(POST).status, 200);
    }
    assert_eq!(proxy.stats()["upstreams"][0]["breaker"]["state"], "closed");
    servers.iter().for_each(|server| server.set(Mode::Down));
    assert_eq!(proxy.client().exchange(POST).status, 502);
    assert_problem(&proxy.client().exchange(POST), 503, "breaker_open");
}

#[test]
fn a_server_whose_own_breaker_is_open_is_left_out() {
    let (servers, list) = servers(2);
    let proxy = proxy(&format!(
        "{list}\nbalance = 'round_robin'\neject = false\nretry = {{ attempts = 0 }}\n\
         breaker = {{ failures = 2, open_for = '60s', per = 'server' }}"
    ));
    servers[1].set(Mode::Failing);
    let mut client = proxy.client();
    let statuses: Vec<u16> = (0..20).map(|_| client.get("/").status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 500).count(), 2, "{statuses:?}");
    assert_eq!((servers[0].requests(), servers[1].requests()), (18, 2));
    servers[0].set(Mode::Failing);
    let statuses: Vec<u16> = (0..4).map(|_| client.get("/").status).collect();
    assert_eq!(statuses, [500, 500, 503, 503]);
    assert_problem(&client.get("/"), 503, "breaker_open");
}

#[test]
fn failing_open_is_loud_and_said_once() {
    let (servers, list) = servers(1);
    servers[0].set(Mode::Failing);
    let proxy =
        proxy(&format!("{list}\nhealth = {{ path = '/', every = '50ms', fall = 1, rise = 1 }}"));
    let mut client = proxy.client();
    (0..5).for_each(|_| assert_eq!(client.get("/").status, 500));
    let said = |what: &str| proxy.log().matches(what).count();
    wait_until(SOON, "it is said", || {
        said("no server is healthy: requests go to all of them") == 1
    });
    let log = proxy.log();
    let line = log.lines().find(|line| line.contains("no server is healthy")).unwrap();
    assert!(line.contains("ERROR") && line.contains("upstream.fail_open"), "{line}");
    servers[0].set(Mode::Up);
    wait_until(SOON, "it is well", || {
        client.get("/");
        said("a server is healthy again") == 1
    });
    assert_eq!(said("no server is healthy"), 1);
}
