//! WebSocket: a handshake that is checked, then bytes both ways until both sides are done.

use crate::setup::plain;
use support::{End, Origin, RawClient, SOON, Step, Tidegate, wait_until};

const REQUEST: &str = "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
/// A masked text frame "hello".
const FRAME: &[u8] = b"\x81\x85\x01\x02\x03\x04\x69\x67\x6f\x68\x6e";

fn echoing() -> Origin {
    Origin::start(|_| {
        vec![Step::Send(SWITCH.into()), Step::Echo, Step::Send(b"goodbye".to_vec()), Step::Close]
    })
}

fn upgraded(proxy: &Tidegate) -> RawClient {
    let mut client = proxy.client();
    let answer = client.exchange(REQUEST);
    assert_eq!(answer.status, 101);
    assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    let upgrade = answer.header("upgrade").unwrap_or_default().to_ascii_lowercase();
    assert_eq!(upgrade, "websocket");
    client
}

#[test]
fn frames_are_echoed_through_the_tunnel() {
    let origin = echoing();
    let proxy = plain(&origin);
    let mut client = upgraded(&proxy);
    let seen = origin.only_request();
    assert_eq!(seen.header("upgrade").map(str::to_ascii_lowercase).as_deref(), Some("websocket"));
    assert_eq!(seen.header("sec-websocket-version"), Some("13"));
    for _ in 0..3 {
        client.send(FRAME);
        assert_eq!(client.bytes(FRAME.len()), FRAME);
    }
    client.send_in_pieces(FRAME, 1);
    assert_eq!(client.bytes(FRAME.len()), FRAME);
}

#[test]
fn a_half_closed_tunnel_still_delivers_the_other_direction() {
    let origin = echoing();
    let proxy = plain(&origin);
    let mut client = upgraded(&proxy);
    client.send(FRAME);
    client.close_write();
    let (bytes, end) = client.end(SOON);
    assert_eq!(bytes, [FRAME, b"goodbye"].concat());
    assert_eq!(end, End::Closed);
}

#[test]
fn bytes_sent_with_the_switch_arrive_after_it() {
    let origin =
        Origin::start(|_| vec![Step::Send([SWITCH.as_bytes(), FRAME].concat()), Step::Hold]);
    let proxy = plain(&origin);
    let mut client = upgraded(&proxy);
    assert_eq!(client.bytes(FRAME.len()), FRAME);
}

#[test]
fn bytes_sent_with_the_request_reach_the_origin_after_the_switch() {
    let origin = echoing();
    let proxy = plain(&origin);
    let mut client = proxy.client();
    client.send([REQUEST.as_bytes(), FRAME].concat());
    assert_eq!(client.response().status, 101);
    assert_eq!(client.bytes(FRAME.len()), FRAME);
}

#[test]
fn a_client_that_vanishes_ends_the_tunnel_at_the_origin() {
    let origin = echoing();
    let proxy = plain(&origin);
    upgraded(&proxy).reset();
    wait_until(SOON, "the origin's side ends", || origin.connections()[0].done);
}

#[test]
fn an_origin_that_vanishes_ends_the_tunnel_at_the_client() {
    let origin = Origin::start(|_| vec![Step::Send(SWITCH.into()), Step::Reset]);
    let proxy = plain(&origin);
    let mut client = proxy.client();
    client.send(REQUEST);
    let (_, end) = client.end(SOON);
    assert_ne!(end, End::StillOpen);
}

#[test]
fn a_megabyte_passes_through_the_tunnel_unchanged() {
    let origin = echoing();
    let proxy = plain(&origin);
    let mut client = upgraded(&proxy);
    let bytes: Vec<u8> = (0..1usize << 20).map(|n| u8::try_from(n * 7 % 253).unwrap()).collect();
    for piece in bytes.chunks(16 * 1024) {
        client.send(piece);
        assert!(client.bytes(piece.len()) == piece, "bytes came back changed");
    }
}

#[test]
fn s1_a_tunnel_that_is_broken_off_ends_orderly_for_nobody() {
    // By the server.
    let breaks =
        Origin::start(|_| vec![Step::Send([SWITCH.as_bytes(), FRAME].concat()), Step::Reset]);
    let proxy = plain(&breaks);
    let mut client = upgraded(&proxy);
    let (bytes, end) = client.end(SOON);
    assert!(FRAME.starts_with(&bytes), "{bytes:?}");
    assert_eq!(end, End::Reset);
    // By the client.
    let origin = echoing();
    let proxy = plain(&origin);
    let mut client = upgraded(&proxy);
    client.send(FRAME);
    assert_eq!(client.bytes(FRAME.len()), FRAME);
    client.reset();
    wait_until(SOON, "the origin's side ends", || origin.connections()[0].end.is_some());
    assert_eq!(origin.connections()[0].end, Some(End::Reset));
}

#[test]
fn s1_a_client_that_leaves_before_its_tunnel_is_open_ends_orderly_for_nobody() {
    let silent = Origin::start(|_| vec![Step::Hold]);
    let proxy = plain(&silent);
    let mut client = proxy.client();
    client.send(REQUEST);
    wait_until(SOON, "the request arrives", || !silent.requests().is_empty());
    client.reset();
    wait_until(SOON, "the origin's side ends", || silent.connections()[0].end.is_some());
    assert_eq!(silent.connections()[0].end, Some(End::Reset));
}

#[test]
fn s1_a_switch_to_what_nobody_asked_for_ends_orderly_for_nobody() {
    const PLAIN: &str = "GET /ws HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let other = SWITCH.replace("Upgrade: websocket", "Upgrade: h2c");
    let origin = Origin::start(move |_| vec![Step::Send(other.clone().into()), Step::Hold]);
    let proxy = plain(&origin);
    for (at, request) in [REQUEST, PLAIN].into_iter().enumerate() {
        assert_eq!(proxy.client().exchange(request).status, 502, "{request}");
        let ended = || origin.connections().get(at).is_some_and(|seen| seen.end.is_some());
        wait_until(SOON, "the origin's side ends", ended);
        assert_eq!(origin.connections()[at].end, Some(End::Reset), "{request}");
    }
}
