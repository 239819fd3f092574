//! Requests: the same verdict however the bytes arrive, and exactly what the grammar says.

use super::reading::{self, Message, Start};
use super::{Plan, grammar, show};
use http_codec::fault::Fault;
use http_codec::head::RequestHead;
use http_codec::request::{Limits, RequestParser, Underscores};

/// The longest method and the most empty lines before a request.
const MAX_METHOD: usize = 32;
const MAX_EMPTY_LINES: usize = 2;
const MAX_FIELDS: usize = 1000;

/// Panics when a rule is broken.
pub fn check(input: &[u8]) {
    let Some((plan, wire)) = Plan::split(input) else { return };
    let mut feeds = plan.feeds(wire).into_iter();
    let whole = feeds.next().map(|feed| reading::requests(&feed, plan.limits));
    for feed in feeds {
        let split = Some(reading::requests(&feed, plan.limits));
        assert_eq!(whole, split, "{} in pieces {:?}", show(wire), lengths(&feed));
    }
    for message in whole.iter().flat_map(reading::Reading::accepted) {
        by_the_book(message, &plan.limits);
    }
    first_head(wire, &plan.limits);
}

/// Whether the first request is taken, refused, or waits for more.
pub fn verdict(input: &[u8]) -> &'static str {
    let Some((plan, wire)) = Plan::split(input) else { return "cut" };
    reading::requests(&[wire], plan.limits).end.verdict()
}

fn lengths(feed: &[&[u8]]) -> Vec<usize> {
    feed.iter().map(|piece| piece.len()).collect()
}

/// What was accepted is what the grammar reads in the same bytes.
fn by_the_book(message: &Message, limits: &Limits) {
    let head = without_empty_lines(&message.raw);
    let Some(mut expected) = grammar::request(head) else {
        unreachable!("accepted against the grammar: {}", show(&message.raw));
    };
    drop_underscores(&mut expected.fields, limits);
    assert_eq!(expected.len, head.len(), "another end of head: {}", show(head));
    assert_eq!(expected.start, message.start);
    assert_eq!(expected.version, message.version);
    assert_eq!(expected.fields, message.fields);
    let framing = grammar::request_framing(expected.version, &expected.fields);
    assert_eq!(framing, Some(message.framing), "{}", show(head));
}

/// The first head is accepted if and only if the grammar and the limits allow it.
fn first_head(wire: &[u8], limits: &Limits) {
    let head = without_empty_lines(wire);
    let skipped = wire.len() - head.len();
    let mut out = RequestHead::default();
    let got = RequestParser::default().parse(wire, limits, &mut out);
    let allowed = skipped <= 2 * MAX_EMPTY_LINES;
    match grammar::request(head) {
        Some(expected) if allowed && fits(&expected, limits) => {
            assert_eq!(got, Ok(Some(skipped + expected.len)), "{}", show(wire));
        }
        Some(_) => assert!(got.is_err(), "beyond a limit but accepted: {}", show(wire)),
        None => assert!(!matches!(got, Ok(Some(_))), "malformed but accepted: {}", show(wire)),
    }
    if grammar::end_of_head(head).is_some() || head.len() >= limits.bytes {
        assert_ne!(got, Ok(None), "a complete head is waited for: {}", show(wire));
    }
    if let Err(fault) = got {
        assert!(matches!(fault.status(), 400 | 414 | 431 | 501 | 505), "{fault:?}");
        assert!(!matches!(fault, Fault::ChunkSize | Fault::ChunkEnd | Fault::ContentLength));
    }
}

fn fits(head: &grammar::Head, limits: &Limits) -> bool {
    let method = match &head.start {
        Start::Request { method, .. } => method.len(),
        Start::Response { .. } => 0,
    };
    let underscored = head.fields.iter().any(|(name, _)| name.contains(&b'_'));
    method <= MAX_METHOD
        && head.len <= limits.bytes
        && head.fields.len() <= limits.fields.min(MAX_FIELDS)
        && !(underscored && limits.underscores == Underscores::Refuse)
}

fn drop_underscores(fields: &mut reading::Pairs, limits: &Limits) {
    if limits.underscores == Underscores::Drop {
        fields.retain(|(name, _)| !name.contains(&b'_'));
    }
}

fn without_empty_lines(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let Some(after) = rest.strip_prefix(b"\r\n") {
        rest = after;
    }
    rest
}
