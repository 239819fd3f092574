//! Responses: the same verdict however the bytes arrive, and exactly what the grammar says.

use super::reading::{self, Message, Start};
use super::{Plan, grammar, show};
use http_codec::head::ResponseHead;
use http_codec::response::{HEAD_BYTES, MAX_FIELDS, ResponseParser};

/// Panics when a rule is broken.
pub fn check(input: &[u8]) {
    let Some((plan, wire)) = Plan::split(input) else { return };
    let mut feeds = plan.feeds(wire).into_iter();
    let whole = feeds.next().map(|feed| reading::responses(&feed, plan.head_request));
    for feed in feeds {
        let split = Some(reading::responses(&feed, plan.head_request));
        assert_eq!(whole, split, "{} in {} pieces", show(wire), feed.len());
    }
    for message in whole.iter().flat_map(reading::Reading::accepted) {
        by_the_book(message, plan.head_request);
    }
    first_head(wire);
}

/// Whether the response is taken, refused, or waits for more.
pub fn verdict(input: &[u8]) -> &'static str {
    let Some((plan, wire)) = Plan::split(input) else { return "cut" };
    reading::responses(&[wire], plan.head_request).end.verdict()
}

fn by_the_book(message: &Message, head_request: bool) {
    let (Some(expected), Start::Response { status, .. }) =
        (grammar::response(&message.raw), &message.start)
    else {
        unreachable!("accepted against the grammar: {}", show(&message.raw));
    };
    assert_eq!(expected.len, message.raw.len(), "another end of head");
    assert_eq!(expected.start, message.start);
    assert_eq!(expected.version, message.version);
    assert_eq!(expected.fields, message.fields);
    let framing = grammar::response_framing(&expected, *status, head_request);
    assert_eq!(framing, Some(message.framing), "{}", show(&message.raw));
}

fn first_head(wire: &[u8]) {
    let got = ResponseParser::default().parse(wire, &mut ResponseHead::default());
    match grammar::response(wire) {
        Some(head) if head.len <= HEAD_BYTES && head.fields.len() <= MAX_FIELDS => {
            assert_eq!(got, Ok(Some(head.len)), "{}", show(wire));
        }
        Some(_) => assert!(got.is_err(), "beyond a limit but accepted: {}", show(wire)),
        None => assert!(!matches!(got, Ok(Some(_))), "malformed but accepted: {}", show(wire)),
    }
    if grammar::end_of_head(wire).is_some() || wire.len() >= HEAD_BYTES {
        assert_ne!(got, Ok(None), "a complete head is waited for: {}", show(wire));
    }
}
