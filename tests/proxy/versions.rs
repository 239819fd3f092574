//! Old clients, answers without bodies, and interim answers.

use crate::setup::plain;
use support::{Configuration, Origin, RawClient, SOON, Step, ok};

const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

#[test]
fn an_http_1_0_client_gets_a_chunked_answer_until_the_close() {
    let origin = Origin::start(|_| vec![Step::Send(CHUNKED.into())]);
    let proxy = plain(&origin);
    let mut client = proxy.client();
    let answer = client.exchange("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n");
    assert_eq!(answer.text(), "hello");
    assert_eq!(answer.header("transfer-encoding"), None);
    client.assert_closes(SOON);
    assert_eq!(origin.only_request().version, "HTTP/1.1");
}

#[test]
fn an_http_1_0_client_without_keep_alive_is_closed_after_the_answer() {
    let origin = Origin::ok("hello");
    let proxy = plain(&origin);
    let mut client = proxy.client();
    let answer = client.exchange("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n");
    assert_eq!(answer.text(), "hello");
    client.assert_closes(SOON);
}

#[test]
fn an_http_1_0_client_can_keep_its_connection() {
    let origin = Origin::ok("hello");
    let proxy = plain(&origin);
    let mut client = proxy.client();
    for _ in 0..3 {
        let request = "GET / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n";
        let answer = client.exchange(request);
        assert_eq!(answer.text(), "hello");
        let said = answer.header("connection").unwrap_or_default().to_ascii_lowercase();
        assert_eq!(said, "keep-alive");
    }
}

#[test]
fn connection_close_ends_the_connection_after_the_answer() {
    let origin = Origin::ok("hello");
    let proxy = plain(&origin);
    let mut client = proxy.client();
    let answer = client.exchange("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    assert_eq!(answer.text(), "hello");
    assert!(answer.says_close());
    client.assert_closes(SOON);
}

#[test]
fn the_clients_close_does_not_close_the_origins_connection() {
    let origin = Origin::ok("hello");
    let proxy = plain(&origin);
    for _ in 0..3 {
        let request = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
        assert_eq!(proxy.client().exchange(request).text(), "hello");
    }
    assert_eq!(origin.accepts(), 1);
}

#[test]
fn head_answers_keep_their_length_and_have_no_body() {
    let origin = Origin::start(|request| match request.method.as_str() {
        "HEAD" => vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n".to_vec())],
        _ => vec![Step::Send(ok("next"))],
    });
    let proxy = plain(&origin);
    let mut client = proxy.client();
    client.send("HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(client.response_to_head().header("content-length"), Some("1234"));
    assert_eq!(client.get("/next").text(), "next");
    assert_eq!(origin.accepts(), 1);
}

#[test]
fn bodiless_statuses_leave_the_connections_usable() {
    for (status, line) in [(204, "204 No Content"), (304, "304 Not Modified")] {
        let answer = format!("HTTP/1.1 {line}\r\nETag: \"1\"\r\n\r\n");
        let origin = Origin::start(move |request| match request.target.as_str() {
            "/next" => vec![Step::Send(ok("next"))],
            _ => vec![Step::Send(answer.clone().into_bytes())],
        });
        let proxy = plain(&origin);
        let mut client = proxy.client();
        let answer = client.get("/");
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("etag"), Some("\"1\""));
        assert_eq!(answer.header("transfer-encoding"), None);
        assert_eq!(client.get("/next").text(), "next");
        assert_eq!(origin.accepts(), 1, "{status}");
    }
}

#[test]
fn expect_100_continue_is_the_origins_to_answer() {
    let origin = Origin::on_head(|_| {
        let go_on = b"HTTP/1.1 100 Continue\r\n\r\n".to_vec();
        vec![Step::Send(go_on), Step::ReadBody, Step::Send(ok("stored"))]
    });
    let proxy = plain(&origin);
    let mut client = proxy.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    );
    assert_eq!(client.next_head().status, 100);
    assert!(origin.complete().is_empty());
    client.send("hello");
    assert_eq!(client.response().text(), "stored");
    assert_eq!(origin.only_request().text(), "hello");
}

#[test]
fn early_hints_pass_to_http_1_1_but_not_to_http_1_0() {
    let origin = Origin::start(|_| {
        let hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n".to_vec();
        vec![Step::Send(hints), Step::Send(ok("page"))]
    });
    let proxy = plain(&origin);
    let answer = proxy.client().get("/");
    assert_eq!(answer.text(), "page");
    assert_eq!(answer.interim.len(), 1);
    assert_eq!(answer.interim[0].status, 103);
    assert_eq!(answer.interim[0].header("link"), Some("</a.css>; rel=preload"));
    let old = proxy.client().exchange("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n");
    assert_eq!((old.text().as_str(), old.interim.len()), ("page", 0));
}

#[test]
fn p8_a_client_that_names_no_host_is_sent_nowhere() {
    let origin = Origin::ok("hello");
    let lines = r#"
        [[listen]]
        name = "redirecting"
        redirect = "https"
        [[listen]]
        name = "main"
        [[route]]
        path = "/host/*"
        redirect = { to = "https://{host}{path}", status = 308 }
        [[route]]
        path = "/fixed/*"
        redirect = { to = "https://b.test/x", status = 308 }
        [[route]]
        path = "/here/*"
        redirect = { to = "/x{path}", status = 308 }
        [[route]]
    "#;
    let proxy = Configuration::of(&origin).toml(lines).start();
    let ask = |listener: &str, path: &str, host: &str| {
        let mut client = RawClient::connect(proxy.listener(listener));
        let answer = client.exchange(format!("GET {path} HTTP/1.0\r\n{host}\r\n"));
        (answer.status, answer.header("location").map(str::to_owned))
    };
    let host = "Host: a.test\r\n";
    let to = |location: &str| (308, Some(location.to_owned()));
    assert_eq!(ask("redirecting", "/x", ""), (400, None));
    assert_eq!(ask("redirecting", "/x", host), to("https://a.test/x"));
    assert_eq!(ask("main", "/host/x", ""), (400, None));
    assert_eq!(ask("main", "/host/x", host), to("https://a.test/host/x"));
    assert_eq!(ask("main", "http://c.test/host/x", ""), to("https://c.test/host/x"));
    assert_eq!(ask("main", "/fixed/x", ""), to("https://b.test/x"));
    assert_eq!(ask("main", "/here/x", ""), to("/x/here/x"));
    assert_eq!(ask("main", "/x", ""), (200, None));
}
