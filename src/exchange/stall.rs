//! What a response does while its client holds it up: it may be asked to make room for others.

use std::task::{Context, Poll};

use super::{Client, Halt, Outcome};
use crate::net::stalls::{Stall, StallStep};

/// The exchange waits until its client takes what was sent; so many bytes have been moved in it, in
/// either direction. Ready when it has ended instead, because the client has stood still and its
/// memory is needed: the response is cut then.
pub fn poll_give_way<C: Client>(
    stall: &mut Stall,
    client: &mut C,
    moved: u64,
    cx: &Context<'_>,
) -> Poll<Outcome> {
    if stall.is_looking() && client.is_insisting() {
        // Another task is about to find out whether the client has moved.
        cx.waker().wake_by_ref();
        return Poll::Pending;
    }
    let Some(mut mark) = client.stall_mark() else { return Poll::Pending };
    mark.own = mark.own.wrapping_add(moved);
    if stall.is_looking() {
        mark.untaken = client.count_untaken();
    }
    match stall.begin_wait(cx, mark) {
        StallStep::Wait => Poll::Pending,
        StallStep::Look => {
            client.insist_on_write();
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        StallStep::Cut => {
            client.cut_stalled();
            Poll::Ready(Outcome::ProxyCut(Halt::Stalled))
        }
    }
}
