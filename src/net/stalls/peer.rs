//! The peer whose response waits, and what is done about it: the same for a stream, for a
//! connection of HTTP/1 and for all that a connection of HTTP/2 has left.

use std::task::{Context, Poll};

use super::{Stall, StallMark, StallStep};

/// A client, as far as it may hold up what is sent to it. One that nothing is said of holds up
/// nobody.
pub trait StallPeer {
    /// Returns how far the client has come with what is sent to it; `None` for one that holds
    /// nobody up.
    fn stall_mark(&self) -> Option<StallMark> {
        None
    }
    /// Counts the bytes that were sent and that the client's system has not acknowledged. `None`
    /// where nobody tells.
    fn count_untaken(&self) -> Option<u32> {
        None
    }
    /// What waits for the client is tried to be sent at the next write, although the system has not
    /// said that it takes more.
    fn insist_on_write(&mut self) {}
    /// Returns whether that is still to be tried, by another task.
    fn is_insisting(&self) -> bool {
        false
    }
}

impl Stall {
    /// What is sent waits until `peer` takes it; so many bytes have been moved for the same
    /// exchange in either direction. Ready when it has to end instead, because the peer has stood
    /// still and its memory is needed.
    pub fn poll_cut(
        &mut self,
        cx: &Context<'_>,
        peer: &mut impl StallPeer,
        moved: u64,
    ) -> Poll<()> {
        if self.is_looking() && peer.is_insisting() {
            // Another task is about to find out whether the peer has moved.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Some(mut mark) = peer.stall_mark() else { return Poll::Pending };
        mark.own = mark.own.wrapping_add(moved);
        if self.is_looking() {
            mark.untaken = peer.count_untaken();
        }
        match self.begin_wait(cx, mark) {
            StallStep::Wait => Poll::Pending,
            StallStep::Look => {
                peer.insist_on_write();
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            StallStep::Cut => Poll::Ready(()),
        }
    }
}
