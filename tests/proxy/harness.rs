//! The parties of the tests, tried against each other without the proxy between them: a test that
//! fails elsewhere should not leave the harness under suspicion.

use std::net::SocketAddr;
use std::time::Duration;

use support::{
    Blackhole, Configuration, End, Nginx, Origin, RawClient, SOON, Step, Tidegate, curl, ok,
    wait_until,
};

fn address(origin: &Origin) -> SocketAddr {
    origin.server().parse().unwrap()
}

#[test]
fn origin_and_client_agree_on_length_chunks_and_trailers() {
    let origin = Origin::start(|request| {
        let body = "2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n";
        let chunked = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        vec![Step::Send(if request.chunked { chunked.into_bytes() } else { ok("plain") })]
    });
    let mut client = RawClient::connect(address(&origin));
    assert_eq!(client.get("/a").text(), "plain");
    let request =
        "POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 2\r\n\r\n";
    client.send_in_pieces(request, 1);
    let response = client.response();
    assert_eq!(response.text(), "hi");
    assert_eq!(response.trailers, [("X-Sum".to_owned(), "1".to_owned())]);
    let seen = origin.complete();
    assert_eq!(seen[1].text(), "abc");
    assert_eq!(seen[1].trailers, [("X-T".to_owned(), "2".to_owned())]);
    assert_eq!((seen[1].connection, seen[1].index), (0, 1));
}

#[test]
fn client_tells_a_close_from_a_reset() {
    let origin = Origin::start(|request| {
        vec![if request.target == "/reset" { Step::Reset } else { Step::Close }]
    });
    for (path, expected) in [("/reset", End::Reset), ("/close", End::Closed)] {
        let mut client = RawClient::connect(address(&origin));
        client.send(format!("GET {path} HTTP/1.1\r\n\r\n"));
        assert_eq!(client.end(SOON), (Vec::new(), expected), "{path}");
    }
}

#[test]
fn origin_records_how_its_peer_left() {
    let origin = Origin::start(|_| vec![Step::Hold]);
    let mut leaver = RawClient::connect(address(&origin));
    leaver.send("GET / HTTP/1.1\r\n\r\n");
    wait_until(SOON, "the request arrives", || origin.requests().len() == 1);
    leaver.reset();
    wait_until(SOON, "the reset is seen", || origin.connections()[0].end == Some(End::Reset));
    let mut partial = RawClient::connect(address(&origin));
    partial.send("POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nfive!");
    drop(partial);
    wait_until(SOON, "the close is seen", || {
        origin.connections().get(1).is_some_and(|c| c.end == Some(End::Closed))
    });
    assert_eq!(origin.complete().len(), 1);
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn a_blackhole_neither_accepts_nor_refuses() {
    let hole = Blackhole::start();
    let tried = std::net::TcpStream::connect_timeout(&hole.address, Duration::from_millis(300));
    assert_eq!(tried.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
}

#[test]
fn nginx_and_curl_are_there_and_work() {
    let nginx = Nginx::start(&[("hello.txt", b"hello\n")]);
    let url = format!("http://{}/hello.txt", nginx.address);
    let run = curl(&[&url]);
    assert_eq!((run.exit, run.text().as_str()), (Some(0), "hello\n"));
    let post = curl(&["--data-binary", "body", &format!("http://{}/post", nginx.address)]);
    assert_eq!(post.text(), "stored\n");
    assert_eq!(nginx.posted(), [b"body"]);
}

fn complaint(story: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let told = std::panic::catch_unwind(story).expect_err("a mistake is noticed");
    told.downcast_ref::<String>().cloned().expect("a text")
}

#[test]
fn a_configuration_says_what_a_test_says_and_the_rest_as_everywhere() {
    let text = Configuration::default()
        .runtime("workers = 1")
        .listen("name = 'a'")
        .listen("name = 'b'\naddress = 'unix:/b'")
        .upstream("app", [r#"it's "odd" \"#], "eject = false")
        .app("balance = 'random'")
        .upstream_with("rest", "servers = [{ address = '127.0.0.1:1', weight = 2 }]")
        .route("path = '/{id}'\n[auth.staff]\napi_key = { header = 'x-key', keys = {} }")
        .route("respond = {}")
        .route("upstream = 'rest'")
        .text();
    let said: serde_json::Value = toml::from_str(&text).unwrap();
    let expected = serde_json::json!({
        "admin": { "address": "127.0.0.1:0" },
        "log": { "access": "off" },
        "runtime": { "workers": 1, "drain": "3s" },
        "listen": [{ "name": "a", "address": "127.0.0.1:0" }, { "name": "b", "address": "unix:/b" }],
        "upstream": {
            "app": { "servers": ["it's \"odd\" \\"], "eject": false, "balance": "random" },
            "rest": { "servers": [{ "address": "127.0.0.1:1", "weight": 2 }] },
        },
        "auth": { "staff": { "api_key": { "header": "x-key", "keys": {} } } },
        "route": [{ "path": "/{id}", "upstream": "app" }, { "respond": {} }, { "upstream": "rest" }],
    });
    assert_eq!(said, expected);
}

#[test]
fn mistakes_in_configurations_are_told() {
    let twice = complaint(|| {
        let _never = Configuration::of("127.0.0.1:1").app("eject = false").app("eject = true");
    });
    assert_eq!(twice, "`upstream.app.eject` is false, and then true");
    let broken = complaint(|| drop(Configuration::of("127.0.0.1:1").app("eject =")));
    assert!(broken.contains("[upstream.app]\neject ="), "{broken}");
    let answer = "[[listen]]\naddress = '127.0.0.1:0'\n[[route]]\npath = '/{id}'\nrespond = { headers = { x = '{who}{id}{path}' } }";
    let unused = complaint(|| drop(Tidegate::with(answer, &[("port", &1)])));
    assert!(unused.starts_with("no {port} in the configuration"), "{unused}");
    let missing = complaint(|| drop(Tidegate::start(answer)));
    assert!(missing.starts_with("{who} has no value in the configuration"), "{missing}");
}
