//! Protocols other than WebSocket, asked for by a request with a body: Docker's `attach` and `exec`
//! do so.

use crate::setup::{one, plain};
use support::{End, Nginx, Origin, SOON, Step, wait_until};

const SWITCH: &str =
    "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: text/x\r\n\r\n";

fn ask(more: &str) -> String {
    format!(
        "POST /v1.41/exec/x/start HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\n\
         Connection: Upgrade\r\nUpgrade: tcp\r\n{more}\r\n"
    )
}

/// Reads the request, switches, and sends back what comes.
fn docker() -> Origin {
    Origin::start(|_| vec![Step::Send(SWITCH.into()), Step::Echo, Step::Close])
}

#[test]
fn p5_a_body_comes_before_the_switch() {
    let rows = [
        ("Content-Length: 2\r\n", "{}"),
        ("Transfer-Encoding: chunked\r\n", "1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"),
        ("Content-Length: 0\r\n", ""),
    ];
    for (framing, body) in rows {
        for step in [1, 7, 10_000] {
            let origin = docker();
            let proxy = plain(&origin);
            let mut client = proxy.client();
            client.send_in_pieces([&ask(framing), body].concat(), step);
            let answer = client.response();
            assert_eq!((answer.status, answer.header("upgrade")), (101, Some("tcp")), "{framing}");
            client.send("ping");
            assert_eq!(client.bytes(4), b"ping");
            client.close_write();
            assert_eq!(client.end(SOON), (Vec::new(), End::Closed));
            let asked = origin.only_request();
            assert_eq!((asked.complete, asked.header("upgrade")), (true, Some("tcp")));
            assert_eq!(asked.body, if body.is_empty() { "" } else { "{}" }.as_bytes());
        }
    }
}

#[test]
fn p5_what_follows_the_body_is_of_the_new_protocol() {
    let origin = docker();
    let proxy = plain(&origin);
    let mut client = proxy.client();
    client.send([&ask("Content-Length: 2\r\n"), "{}GET / HTTP/1.1\r\n\r\n"].concat());
    assert_eq!(client.response().status, 101);
    assert_eq!(client.bytes(18), b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(origin.only_request().body, b"{}");
}

#[test]
fn p5_a_server_that_switches_early_gets_the_body_first() {
    let origin = Origin::on_head(|_| {
        vec![Step::Send(SWITCH.into()), Step::ReadBody, Step::Echo, Step::Close]
    });
    let proxy = plain(&origin);
    let mut client = proxy.client();
    client.send(ask("Content-Length: 2\r\n"));
    wait_until(SOON, "the head has come", || origin.requests().len() == 1);
    client.send("{");
    wait_until(SOON, "a part of the body has come", || origin.connections()[0].raw.ends_with(b"{"));
    client.send("}ping");
    assert_eq!(client.response().status, 101);
    assert_eq!(client.bytes(4), b"ping");
    assert_eq!(origin.only_request().body, b"{}");
}

#[test]
fn p5_a_body_that_is_cut_after_the_switch_looks_cut() {
    let origin = Origin::on_head(|_| vec![Step::Send(SWITCH.into()), Step::ReadBody, Step::Echo]);
    let proxy = plain(&origin);
    let mut client = proxy.client();
    client.send([&ask("Content-Length: 5\r\n"), "{}"].concat());
    wait_until(SOON, "a part of the body has come", || {
        origin.connections().first().is_some_and(|connection| connection.raw.ends_with(b"{}"))
    });
    client.close_write();
    wait_until(SOON, "the server is told", || origin.connections()[0].end.is_some());
    assert_eq!(origin.connections()[0].end, Some(End::Reset));
    assert!(origin.complete().is_empty());
}

#[test]
fn p5_a_server_may_stay_with_http() {
    let origin = Origin::echo();
    let proxy = plain(&origin);
    let mut client = proxy.client();
    for _ in 0..2 {
        let answer = client.exchange([&ask("Content-Length: 2\r\n"), "{}"].concat());
        assert_eq!(answer.status, 200);
        assert!(answer.text().ends_with("{}"), "{}", answer.text());
    }
    // HTTP/2 has no place for a body in front of a tunnel: there it is an ordinary request.
    let nginx = Nginx::h2c(&[("docker", b"fine")], "");
    let proxy = one(nginx.address).app("protocol = 'h2c'").start();
    let put = ask("Content-Length: 2\r\n").replace("POST /v1.41/exec/x/start", "PUT /store/x");
    assert_eq!(proxy.client().exchange([&put, "{}"].concat()).status, 201);
    assert_eq!(nginx.stored("x"), b"{}");
}

#[test]
fn p5_a_handshake_of_websocket_has_no_body() {
    let origin = Origin::ok("fine");
    let proxy = plain(&origin);
    let ask = ask("Content-Length: 2\r\n").replace("Upgrade: tcp", "Upgrade: websocket");
    assert_eq!(proxy.client().exchange([&ask, "{}"].concat()).status, 200);
    let asked = origin.only_request();
    assert_eq!((asked.header("upgrade"), &asked.body[..]), (None, &b"{}"[..]));
}
