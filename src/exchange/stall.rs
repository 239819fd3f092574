//! What a response does while its client holds it up: it may be asked to make room for others.

use std::task::{Context, Poll};

use super::{Client, Halt, Outcome};
use crate::net::stalls::Stall;

/// The exchange waits until its client takes what was sent; so many bytes have been moved in it, in
/// either direction. Ready when it has ended instead, because the client has stood still and its
/// memory is needed: the response is cut then.
pub fn poll_give_way<C: Client>(
    stall: &mut Stall,
    client: &mut C,
    moved: u64,
    cx: &Context<'_>,
) -> Poll<Outcome> {
    stall.poll_cut(cx, client, moved).map(|()| {
        client.cut_stalled();
        Outcome::ProxyCut(Halt::Stalled)
    })
}
