//! What a reload does not touch.

use crate::change::{Changing, simple};
use support::{Gate, Origin, RawClient, SOON, Step, ok, wait_until};

fn failing(text: &str, server: &str) -> String {
    simple(server, "x").replace(&format!("servers = [\"{server}\"]"), text)
}

fn server(changing: &Changing, n: usize) -> serde_json::Value {
    changing.stats()["upstreams"][0]["servers"][n].clone()
}

#[test]
fn connections_to_clients_and_servers_stay() {
    let origin = Origin::ok("app");
    let changing = Changing::start(&simple(&origin.server(), "one"));
    let mut client = changing.proxy.client();
    assert_eq!(client.get("/").text(), "app");
    for n in 0..5 {
        changing.reload(&simple(&origin.server(), &format!("word {n}")));
        assert_eq!(client.get("/").text(), "app");
        assert_eq!(client.get("/word").text(), format!("word {n}"));
    }
    assert_eq!(origin.accepts(), 1, "the connection to the server is kept");
    let stats = changing.stats();
    assert_eq!(stats["upstreams"][0]["servers"][0]["requests"], 6, "counters go on");
    assert_eq!(stats["routes"][0]["requests"], 6);
    assert_eq!(stats["listeners"][0]["accepted"], 1);
}

#[test]
fn a_request_that_runs_is_finished_by_the_configuration_it_began_with() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin =
        Origin::start(move |_| vec![Step::Until(held.clone()), Step::Send(ok("finished"))]);
    let changing = Changing::start(&simple(&origin.server(), "one"));
    let mut client = changing.proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    wait_until(SOON, "the request arrives", || origin.requests().len() == 1);
    let other = Origin::ok("other");
    changing.reload(&simple(&other.server(), "two"));
    assert_eq!(changing.proxy.client().get("/").text(), "other");
    gate.open();
    assert_eq!(client.response().text(), "finished");
    assert_eq!(client.get("/").text(), "other");
}

#[test]
fn ejections_and_orders_survive() {
    let bad = Origin::start(|_| {
        vec![Step::Send(b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n".to_vec())]
    });
    let good = Origin::ok("good");
    let text = |weight: u32| {
        let list = format!(
            "servers = [{{ address = \"{}\", weight = {weight} }}, \"{}\"]\nbalance = \"round_robin\"\nretry = {{ attempts = 0 }}",
            bad.server(),
            good.server()
        );
        failing(&list, "127.0.0.1:1")
    };
    let changing = Changing::start(&text(1));
    let mut client = changing.proxy.client();
    for _ in 0..10 {
        client.get("/");
    }
    assert_eq!(server(&changing, 0)["state"], "ejected");
    changing.reload(&text(2));
    assert_eq!(server(&changing, 0)["state"], "ejected");
    assert_eq!(server(&changing, 0)["weight"], 2);
    assert_eq!(changing.stats()["upstreams"][0]["ejected"], 1);
    assert!((0..10).all(|_| client.get("/").status == 200));
    let call = format!("/upstreams/app/servers/{}/disable", bad.server());
    assert_eq!(changing.post(&call).status, 200);
    changing.reload(&text(3));
    assert_eq!(server(&changing, 0)["state"], "disabled");
    // A server that is gone takes its ejection along.
    changing.reload(&failing(&format!("servers = [\"{}\"]", good.server()), "127.0.0.1:1"));
    assert_eq!(changing.stats()["upstreams"][0]["ejected"], 0);
}

#[test]
fn an_open_breaker_stays_open() {
    let bad = Origin::start(|_| {
        vec![Step::Send(b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n".to_vec())]
    });
    let text = |word: &str| {
        simple(&bad.server(), word).replace(
            "[[route]]\n        name = \"app\"",
            "breaker = { failures = 3 }\n[[route]]\nname = \"app\"",
        )
    };
    let changing = Changing::start(&text("one"));
    let mut client = changing.proxy.client();
    for _ in 0..3 {
        assert_eq!(client.get("/").status, 500);
    }
    assert_eq!(client.get("/").status, 503);
    changing.reload(&text("two"));
    assert_eq!(client.get("/").status, 503);
    assert_eq!(bad.requests().len(), 3);
}

#[test]
fn a_server_that_joins_is_checked_before_its_first_request_and_starts_slowly() {
    let (old, new) = (Origin::ok("old"), Origin::ok("new"));
    let text = |servers: &[&Origin]| {
        let list: Vec<String> = servers.iter().map(|o| format!("\"{}\"", o.server())).collect();
        failing(&format!("servers = [{}]\nhealth = \"/health\"", list.join(", ")), "127.0.0.1:1")
    };
    let changing = Changing::start(&text(&[&old]));
    changing.reload(&text(&[&old, &new]));
    wait_until(SOON, "it is checked", || server(&changing, 1)["state"] == "up");
    assert_eq!(new.requests()[0].target, "/health");
    assert_eq!(server(&changing, 1)["slow_start"], true);
    assert_eq!(server(&changing, 0)["slow_start"], false);
    let checks = old.requests().iter().filter(|r| r.target == "/health").count();
    assert_eq!(checks, 1, "the other checker did not notice");
}

#[test]
fn listeners_come_and_go_and_those_that_stay_do_not_notice() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        let mut steps = vec![Step::Send(ok("app"))];
        if request.target == "/held" {
            steps.insert(0, Step::Until(held.clone()));
        }
        steps
    });
    let simple = |word| simple(&origin.server(), word) + "[runtime]\ndrain = \"2s\"\n";
    let changing = Changing::start(&simple("one"));
    let mut stays = changing.proxy.client();
    assert_eq!(stays.get("/").text(), "app");
    let second = "[[listen]]\nname = \"second\"\naddress = \"unix:{dir}/second.sock\"\n";
    changing.reload(&(simple("two") + second));
    let socket = changing.proxy.path("second.sock");
    let mut idle = RawClient::connect_unix(&socket);
    assert_eq!(idle.get("/word").text(), "two");
    let mut busy = RawClient::connect_unix(&socket);
    busy.send("GET /held HTTP/1.1\r\nHost: a.test\r\n\r\n");
    wait_until(SOON, "the request arrives", || origin.requests().len() == 2);
    changing.reload(&simple("three"));
    idle.assert_closes(SOON);
    wait_until(SOON, "the socket is gone", || !socket.exists());
    gate.open();
    assert_eq!(busy.response().text(), "app");
    busy.assert_closes(SOON);
    assert_eq!(stays.get("/word").text(), "three");
}

#[test]
fn a_route_may_name_a_listener_that_came_later() {
    let origin = Origin::ok("app");
    let changing = Changing::start(&simple(&origin.server(), "one"));
    let second = "[[listen]]\nname = \"second\"\naddress = \"unix:{dir}/second.sock\"\n\
                  [[route]]\npath = \"/only\"\nlisten = \"second\"\nrespond = { status = 200, body = \"second\" }\n";
    let whole = simple(&origin.server(), "two");
    // The new one comes first in the file: places in it mean nothing.
    let (before, after) = whole.split_once("[upstream.app]").unwrap();
    changing.reload(&format!("{second}{before}[upstream.app]{after}"));
    let socket = changing.proxy.path("second.sock");
    assert_eq!(RawClient::connect_unix(&socket).get("/only").text(), "second");
    assert_eq!(changing.proxy.client().get("/only").text(), "app");
}
