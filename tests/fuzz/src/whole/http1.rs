//! A client of HTTP/1: any bytes, in pieces.

use tidegate::net::Memory;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::message::{self, Framing, Message, Read, Writer};
use super::server::{self, Answer, Log};
use super::{is_own, rig};

/// Panics when a rule is broken.
pub fn check(client: &[u8], answers: Vec<Answer>, piece: usize) {
    // That is another protocol, and has an own harness.
    if client.trim_ascii_start().starts_with(b"PRI ") {
        return;
    }
    let log = std::cell::RefCell::new(None);
    let served = rig().serve(|connection| {
        log.replace(Some(server::start(answers.clone())));
        talk(connection, client.to_vec(), piece)
    });
    let (said, reset) = match served {
        Ok(said) => said,
        Err(why) => unreachable!("{why}: {}", client.escape_ascii()),
    };
    let expected = read_all(client);
    if let Some(log) = log.take() {
        let log = log.borrow();
        assert!(log.malformed.is_empty(), "{}\nsent as {:?}", client.escape_ascii(), log.malformed);
        same_requests(client, &expected, &log);
    }
    same_responses(client, &expected, &answers, &said, reset);
}

/// Sends everything, and reads until the proxy closes.
async fn talk(connection: Memory, bytes: Vec<u8>, piece: usize) -> (Vec<u8>, bool) {
    let (mut from, mut to) = tokio::io::split(connection);
    let sending = tokio::task::spawn_local(async move {
        for part in bytes.chunks(piece.max(bytes.len() / 200)) {
            if to.write_all(part).await.is_err() {
                return to;
            }
            tokio::task::yield_now().await;
        }
        let _gone = to.shutdown().await;
        to
    });
    let mut said = Vec::new();
    let ended = from.read_to_end(&mut said).await;
    drop(sending.await);
    (said, ended.is_err())
}

/// The requests in these bytes, as far as they are any.
fn read_all(bytes: &[u8]) -> Vec<Message> {
    let mut all = Vec::new();
    let mut rest = bytes;
    while let Read::Message(message) = message::request(rest, Writer::Other) {
        let whole = message.whole;
        rest = &rest[message.used..];
        all.push(message);
        if !whole {
            break;
        }
    }
    all
}

/// A target that is sent as it came.
fn is_plain(target: &[u8]) -> bool {
    target.starts_with(b"/")
        && target.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'/')
        && !target.windows(2).any(|w| w == b"//")
}

/// Every whole request at the server is one of the client's, in their order, none of them twice.
fn same_requests(client: &[u8], expected: &[Message], log: &Log) {
    let mut next = 0;
    let mut again = None;
    for seen in log.seen.iter().filter(|seen| seen.message.whole) {
        let fits = |sent: &Message| {
            sent.whole
                && sent.method == seen.message.method
                && sent.body == seen.message.body
                && (!is_plain(&sent.target) || sent.target == seen.message.target)
        };
        // What was not answered may be sent once more.
        let from = again.take().unwrap_or(next);
        let found = (from..expected.len()).find(|at| fits(&expected[*at]));
        let Some(at) = found else {
            unreachable!(
                "{}\nbecame {:?}\nof {expected:?}",
                client.escape_ascii(),
                log.seen.iter().map(|seen| &seen.message).collect::<Vec<_>>()
            );
        };
        next = at + 1;
        again = (!seen.answered).then_some(at);
    }
}

/// Every whole response is one that the server gave in whole, or the proxy's own.
fn same_responses(
    client: &[u8],
    expected: &[Message],
    answers: &[Answer],
    said: &[u8],
    reset: bool,
) {
    let mut rest = said;
    let mut count = 0;
    while !rest.is_empty() {
        let to_head = expected.get(count).is_some_and(|request| request.method == b"HEAD");
        let message = match message::response(rest, Writer::Proxy, to_head) {
            Read::Message(message) => message,
            Read::Nothing => break,
            Read::Malformed => {
                unreachable!("{}\nanswered {}", client.escape_ascii(), said.escape_ascii())
            }
        };
        count += 1;
        let closed = message.framing == Framing::UntilClose && !reset;
        if !message.whole && !closed {
            break;
        }
        let known = is_own(&message.body)
            || message.body.is_empty()
            || message.body == b"ok"
            || answers.iter().any(|answer| answer.body(to_head).as_ref() == Some(&message.body));
        assert!(
            known,
            "{}\nanswered {}\nfor {answers:?}",
            client.escape_ascii(),
            said.escape_ascii()
        );
        rest = &rest[message.used..];
    }
    // One more for what is no request.
    assert!(
        count <= expected.len() + 1,
        "{}\nanswered {}",
        client.escape_ascii(),
        said.escape_ascii()
    );
}
