//! Whose place an ejection is.

use std::time::Duration;

use crate::load::proxy;
use crate::server::{Mode, servers};
use support::{Origin, SOON, Step, Tidegate, wait_until};

fn state(proxy: &Tidegate, n: usize) -> String {
    proxy.stats()["upstreams"][0]["servers"][n]["state"].as_str().unwrap().to_owned()
}

#[test]
fn r11_a_server_that_breaks_off_its_answers_is_ejected() {
    let (servers, list) = servers(3);
    let proxy = proxy(&format!("{list}\nbalance = 'round_robin'"));
    servers[2].set(Mode::HalfBody);
    let mut cut = 0;
    for _ in 0..60 {
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        cut += usize::from(client.try_response("GET").is_err());
    }
    assert_eq!(cut, 5);
    assert_eq!(state(&proxy, 2), "ejected");
}

#[test]
fn r11_answers_that_clients_leave_are_not_held_against_the_server() {
    let origin = Origin::start(|_| {
        vec![
            Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n12345".to_vec()),
            Step::Hold,
        ]
    });
    let (_servers, list) = servers(1);
    let list = list.replace(']', &format!(", '{}']", origin.server()));
    let proxy = proxy(&format!("{list}\nbalance = 'round_robin'\neject = {{ failures = 2 }}"));
    for n in 0..20 {
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        if n % 2 == 1 {
            wait_until(SOON, "it is being answered", || origin.requests().len() == n / 2 + 1);
            client.reset();
            wait_until(SOON, "it is over", || origin.open_connections() == 0);
        } else {
            client.response();
        }
    }
    assert_eq!((state(&proxy, 0), state(&proxy, 1)), ("up".into(), "up".into()));
}

#[test]
fn r9_a_server_that_is_well_again_gives_its_place_to_one_that_fails() {
    let (servers, list) = servers(3);
    let proxy = proxy(&format!(
        "{list}\nbalance = 'round_robin'\nslow_start = '0s'\neject = {{ for = '20s' }}\nretry = {{ attempts = 0 }}"
    ));
    let mut client = proxy.client();
    servers[0].set(Mode::Failing);
    wait_until(SOON, "the first is ejected", || {
        client.get("/");
        state(&proxy, 0) == "ejected"
    });
    servers[0].set(Mode::Up);
    servers[1].set(Mode::Failing);
    // There is one place, and it is kept for a tenth of the time.
    let began = std::time::Instant::now();
    wait_until(Duration::from_secs(10), "the second has the place", || {
        client.get("/");
        state(&proxy, 1) == "ejected"
    });
    let took = began.elapsed();
    assert!((Duration::from_millis(1500)..Duration::from_secs(6)).contains(&took), "{took:?}");
    assert_eq!(state(&proxy, 0), "up");
    let statuses: Vec<u16> = (0..30).map(|_| client.get("/").status).collect();
    assert_eq!(statuses, [200; 30]);
}

#[test]
fn r9_a_connection_is_enough_to_come_back_only_for_those_that_refused_one() {
    let (servers, list) = servers(2);
    let proxy = proxy(&format!("{list}\nbalance = 'round_robin'\nretry = {{ attempts = 0 }}"));
    let mut client = proxy.client();
    servers[0].set(Mode::Failing);
    wait_until(SOON, "it is ejected", || {
        client.get("/");
        state(&proxy, 0) == "ejected"
    });
    let before = servers[0].requests();
    std::thread::sleep(Duration::from_millis(700));
    (0..10).for_each(|_| assert_eq!(client.get("/").status, 200));
    assert_eq!((state(&proxy, 0).as_str(), servers[0].requests()), ("ejected", before));
}
