//! A client that has left costs the origin nothing more, and an abort is seen as an abort.

use std::time::Duration;

use crate::setup::plain;
use support::{End, Origin, RawClient, SOON, Step, Tidegate, wait_until};

const AT_ONCE: Duration = Duration::from_secs(1);

/// A client whose request the origin will never answer.
fn waiting_client(origin: &Origin, proxy: &Tidegate) -> RawClient {
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    wait_until(SOON, "the origin is asked", || origin.requests().len() == 1);
    client
}

#[test]
fn a_client_that_closes_while_waiting_cancels_its_request() {
    let origin = Origin::start(|_| vec![Step::Hold]);
    let proxy = plain(&origin);
    drop(waiting_client(&origin, &proxy));
    wait_until(AT_ONCE, "the origin is told", || origin.open_connections() == 0);
}

#[test]
fn a_client_that_resets_while_waiting_cancels_its_request() {
    let origin = Origin::start(|_| vec![Step::Hold]);
    let proxy = plain(&origin);
    waiting_client(&origin, &proxy).reset();
    wait_until(AT_ONCE, "the origin is told", || origin.open_connections() == 0);
}

#[test]
fn a_client_that_leaves_in_the_middle_of_an_answer_stops_the_origin() {
    let origin = Origin::start(|_| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n".to_vec();
        vec![Step::Send(head), Step::Fill(1_000_000_000)]
    });
    let proxy = plain(&origin);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    client.wait_for("xxxx");
    drop(client);
    wait_until(AT_ONCE, "the origin is stopped", || origin.open_connections() == 0);
    assert!(origin.sent() < 1_000_000_000);
}

#[test]
fn a_client_that_leaves_in_the_middle_of_an_upload_aborts_it_at_the_origin() {
    let origin = Origin::ok("never");
    let proxy = plain(&origin);
    let mut client = proxy.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    );
    wait_until(SOON, "the origin is asked", || origin.requests().len() == 1);
    client.reset();
    wait_until(AT_ONCE, "the origin is told", || origin.open_connections() == 0);
    assert!(origin.complete().is_empty(), "the upload looked complete");
}

#[test]
fn an_answer_that_breaks_off_resets_the_client() {
    let origin = Origin::start(|_| {
        vec![
            Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello".to_vec()),
            Step::Pause(Duration::from_millis(50)),
            Step::Close,
        ]
    });
    let proxy = plain(&origin);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let (bytes, end) = client.end(SOON);
    assert!(bytes.ends_with(b"hello"));
    assert_eq!(end, End::Reset);
}
