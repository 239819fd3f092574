//! A pause of an exchange.

use std::future::poll_fn;
use std::task::{Poll, ready};
use std::time::Duration;

use super::Client;
use crate::clock;
use crate::net::Timer;

/// Lets every exchange that is ready have its turn before this one goes on.
///
/// Requests that arrived together then leave together: their servers are woken once for all of
/// them and not once for each, which is most of what a write to a small server costs.
///
/// tokio's `yield_now` would ask the system for events before it goes on: a call more, and requests
/// that come meanwhile would be let in front.
pub async fn yield_turn() {
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Waits for so long, if for anything.
///
/// # Errors
/// The client has left meanwhile.
pub async fn pause_for<C: Client>(
    client: &mut C,
    timer: &mut Timer,
    pause: Option<Duration>,
) -> Result<(), ()> {
    let Some(pause) = pause else { return Ok(()) };
    let until = clock::deadline(clock::now(), Some(pause));
    poll_fn(|cx| {
        if client.poll_gone_unread(cx).is_ready() {
            return Poll::Ready(Err(()));
        }
        if let Some(at) = client.look_again().filter(|at| until.is_some_and(|until| *at < until)) {
            ready!(timer.poll_at(cx, Some(at)));
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(timer.poll_at(cx, until));
        Poll::Ready(Ok(()))
    })
    .await
}
