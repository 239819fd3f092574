//! Frames of HTTP/2: what is seen in them does not depend on how the bytes arrive.

use super::{Plan, show};
use crate::wire::frames::{Seen, Sight};

/// Panics when a rule is broken.
pub fn check(input: &[u8]) {
    let Some((plan, wire)) = Plan::split(input) else { return };
    let expected = seen(&[wire]);
    for feed in plan.feeds(wire) {
        assert_eq!(seen(&feed), expected, "{} in {} pieces", show(wire), feed.len());
    }
}

/// Where large heads end, and where it is too much.
fn seen(pieces: &[&[u8]]) -> (Vec<usize>, bool) {
    let mut sight = Sight::new(10, 0);
    let (mut ends, mut before) = (Vec::new(), 0);
    for piece in pieces {
        let mut at = 0;
        loop {
            match sight.look(&piece[at..], || 0) {
                Seen::Fine => break,
                Seen::Large(end) => {
                    assert!(end > 0 && at + end <= piece.len());
                    at += end;
                    ends.push(before + at);
                }
                Seen::TooMuch => return (ends, true),
            }
        }
        before += piece.len();
    }
    (ends, false)
}
