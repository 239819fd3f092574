//! Responses as hyper's client reads them: what the codec accepts, hyper must see the same way.

use super::differential_request::{same_fields, same_trailers};
use super::peer;
use super::reading::{self, End, Message, Start};
use super::{Plan, show};

/// Panics when a rule is broken.
pub fn check(input: &[u8]) {
    let Some((plan, wire)) = Plan::split(input) else { return };
    let ours = reading::responses(&[wire], plan.head_request);
    let theirs = peer::client(wire, plan.piece, plan.head_request);
    let complete = ours.messages.last().filter(|m| is_final(m));
    match (complete, &ours.end, &theirs) {
        (Some(message), _, Some(seen)) => {
            same_head(message, seen, wire);
            assert_eq!(seen.body.as_deref(), Some(&message.body[..]), "body of {}", show(wire));
            same_trailers(&message.trailers, &seen.trailers);
        }
        (None, End::InBody(message), Some(seen)) => {
            same_head(message, seen, wire);
            assert_eq!(seen.body, None, "hyper sees a complete body in {}", show(wire));
        }
        (Some(_), _, None) | (None, End::InBody(_), None) => {
            unreachable!("hyper refuses {}", show(wire))
        }
        (None, End::Refused(_) | End::RefusedResponse(_), _) => {}
        // So many informational ones that the reading stopped before the final one.
        (None, End::Complete, _) if ours.messages.len() >= reading::MAX_MESSAGES => {}
        (None, End::Complete | End::InHead, seen) => {
            assert!(seen.is_none(), "hyper does not wait for {}", show(wire));
        }
    }
}

fn same_head(message: &Message, seen: &peer::Seen<http::response::Parts>, wire: &[u8]) {
    let Start::Response { status, .. } = message.start else { unreachable!("a response") };
    assert_eq!(seen.head.status.as_u16(), status, "{}", show(wire));
    same_fields(&message.fields, &seen.head.headers);
}

fn is_final(message: &Message) -> bool {
    matches!(message.start, Start::Response { status: 101 | 200.., .. })
}
