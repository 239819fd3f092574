//! A stream, as the request on it sees it: a body that comes and a body that goes, each no faster
//! than the other side of the proxy takes it. The stream ends with it.

use std::cell::{RefCell, RefMut};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::state::{Obstacle, State, StreamEnd, Taken};
use crate::exchange::Emit;
use crate::net::stalls::{Holdup, StallMark};
use crate::net::{BodyError, BodyFraming, BodyTally, Fill};
use crate::wire::frames::{self, ErrorCode};
use crate::wire::head::{FieldRef, Fields};
use crate::wire::hpack::Encoder;
use crate::wire::{Fault, Known, ResponseHead, known};

/// A connection, as all share it who have to do with it.
pub(super) type SharedConnection = Rc<RefCell<State>>;

/// Bytes by which a connection's window has to be opened for all who wait for it to have been let
/// through something.
const GRANT: u64 = 4096;

/// A stream.
#[derive(Debug)]
pub(super) struct Handle {
    shared: SharedConnection,
    slot: u32,
    /// The part of the body that was taken, from `at` on.
    data: Vec<u8>,
    at: usize,
    /// The body has ended.
    ended: bool,
    trailers: Option<Fields>,
    /// The bytes of the body so far, and how many a response was said to have. What a request says
    /// of itself is compared where it is received.
    received: u64,
    pub(super) expected: Option<u64>,
    sent: u64,
    /// The count of what was sent, against what the head announced.
    tally: BodyTally,
    /// The rest of a head that was lent.
    spare: Option<ResponseHead>,
}

impl Handle {
    pub(super) fn new(shared: SharedConnection, slot: u32) -> Self {
        Self {
            shared,
            slot,
            data: Vec::new(),
            at: 0,
            ended: false,
            trailers: None,
            received: 0,
            expected: None,
            sent: 0,
            tally: BodyTally::default(),
            spare: None,
        }
    }

    pub(super) fn connection_state(&self) -> RefMut<'_, State> {
        self.shared.borrow_mut()
    }

    pub(super) fn poll_fill(&mut self, cx: &Context<'_>) -> Poll<Result<Fill, BodyError>> {
        if self.at < self.data.len() {
            return Poll::Ready(Ok(Fill::Data));
        }
        if self.ended {
            return Poll::Ready(Ok(Fill::End));
        }
        let taken = self.shared.borrow_mut().poll_body(cx, self.slot, &mut self.data);
        match ready!(taken) {
            Ok(Taken::Data) => {
                self.at = 0;
                self.received += self.data.len() as u64;
                if self.expected.is_some_and(|expected| self.received > expected) {
                    return Poll::Ready(Err(BodyError::Framing(Fault::ContentLength)));
                }
                Poll::Ready(Ok(Fill::Data))
            }
            Ok(Taken::End(trailers)) => {
                if self.expected.is_some_and(|expected| self.received < expected) {
                    return Poll::Ready(Err(BodyError::Truncated));
                }
                self.ended = true;
                self.trailers = trailers;
                Poll::Ready(Ok(Fill::End))
            }
            Err(StreamEnd::Malformed(fault)) => Poll::Ready(Err(BodyError::Framing(fault))),
            Err(_) => Poll::Ready(Err(BodyError::Io(io::ErrorKind::ConnectionReset.into()))),
        }
    }

    /// Returns what can be told to be wrong with a response of which only the head was taken.
    pub(super) fn broken_ahead(&self) -> Option<StreamEnd> {
        self.shared.borrow().broken_ahead(self.slot, self.expected)
    }

    pub(super) fn body_data(&self) -> &[u8] {
        self.data.get(self.at..).unwrap_or_default()
    }

    pub(super) fn consume_body(&mut self, n: usize) {
        let n = n.min(self.data.len() - self.at);
        self.at += n;
        if n > 0 {
            self.shared.borrow_mut().taken(self.slot, n);
        }
    }

    /// Returns what came behind the body, once that has ended.
    pub(super) fn body_trailers(&self) -> Option<&Fields> {
        self.trailers.as_ref()
    }

    /// As [`Self::body_trailers`], for those who ask once.
    pub(super) fn take_trailers(&mut self) -> Option<Fields> {
        self.trailers.take()
    }

    /// Returns whether nothing more will come, and nothing has.
    pub(super) fn is_empty(&self) -> bool {
        self.received == 0 && self.trailers.is_none() && self.is_received()
    }

    /// Body bytes so far.
    pub(super) fn received_bytes(&self) -> u64 {
        self.received
    }

    /// Returns whether nothing more will come, and what came is as long as it was said to be.
    pub(super) fn is_received(&self) -> bool {
        let as_said = || self.expected.is_none_or(|expected| expected == self.received);
        let ended = || self.ended || self.shared.borrow().is_taken(self.slot) && as_said();
        self.at == self.data.len() && ended()
    }

    /// Returns whether nothing more will come, and no trailers are left to be taken.
    pub(super) fn has_nothing_left(&self) -> bool {
        self.trailers.is_none() && self.is_received()
    }

    pub(super) fn poll_head(
        &mut self,
        cx: &Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<(), StreamEnd>> {
        self.shared.borrow_mut().poll_head(cx, self.slot, head)
    }

    /// A head that is no longer needed.
    pub(super) fn spare_head(&mut self, head: ResponseHead) {
        self.spare = Some(head);
    }

    pub(super) fn poll_over(&self, cx: &Context<'_>) -> Poll<StreamEnd> {
        self.shared.borrow_mut().poll_over(cx, self.slot)
    }

    pub(super) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        self.shared.borrow_mut().poll_room(cx, self.slot)
    }

    /// Sends a head that announces such a body; `ends` when neither it nor trailers follow.
    pub(super) fn send_head(
        &mut self,
        coding: BodyFraming,
        ends: bool,
        write: &mut dyn FnMut(&mut FieldBlock<'_>),
    ) {
        self.tally = BodyTally::new(coding);
        // A head that ends a message whose body is owed does not end it.
        let ends = ends && self.tally.check_end().is_ok();
        self.put_head(ends, write);
    }

    /// Sends a head that others follow.
    pub(super) fn send_interim(&self, write: &mut dyn FnMut(&mut FieldBlock<'_>)) {
        self.put_head(false, write);
    }

    fn put_head(&self, ends: bool, write: &mut dyn FnMut(&mut FieldBlock<'_>)) {
        self.shared.borrow_mut().put_head(self.slot, ends, &mut |encoder, out| {
            write(&mut FieldBlock { encoder, out });
        });
    }

    pub(super) fn poll_write(&mut self, cx: &Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.tally.check_write(data.len())?;
        let n = ready!(self.shared.borrow_mut().poll_data(cx, self.slot, data))?;
        self.tally.count_written(n);
        self.sent += n as u64;
        Poll::Ready(Ok(n))
    }

    /// Ends what is sent. Without exactly the body that was announced it does not end: the stream
    /// is broken off later.
    pub(super) fn finish_message(&mut self, trailers: Option<&Fields>) -> io::Result<()> {
        if !self.tally.is_whole() {
            self.tally.check_end()?;
        }
        let mut state = self.shared.borrow_mut();
        match trailers {
            None => state.finish(self.slot, None),
            Some(fields) => state.finish(
                self.slot,
                Some(&mut |encoder, out| {
                    FieldBlock { encoder, out }.emit_received(fields, &mut |_| true);
                }),
            ),
        }
    }

    /// Returns whether the end of what is sent has been said.
    pub(super) fn is_sent(&self) -> bool {
        self.shared.borrow().is_sent(self.slot)
    }

    /// Body bytes sent so far.
    pub(super) fn sent_bytes(&self) -> u64 {
        self.sent
    }

    /// Returns how far the other side has come with what is sent on it, and with what holds it up.
    pub(super) fn stall_mark(&self) -> StallMark {
        let state = self.shared.borrow();
        let opened = self.sent > u64::from(frames::WINDOW);
        let window = if opened { Holdup::OpenedWindow } else { Holdup::Window };
        let (shared, holdup) = match state.obstacle(self.slot) {
            Obstacle::StreamWindow => (0, window),
            // What others of the connection send of it is no movement of the client, and a few
            // bytes are none for all of them.
            Obstacle::ConnectionWindow => (state.bytes_granted() / GRANT, window),
            Obstacle::Socket => (state.bytes_left(), Holdup::Socket),
        };
        let own = self.sent.wrapping_add(self.received);
        StallMark { own, shared, holdup, untaken: None }
    }

    /// Breaks it off.
    pub(super) fn reset_stream(&self, code: ErrorCode) {
        self.shared.borrow_mut().reset(self.slot, code);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = self.shared.borrow_mut();
        let unread = self.data.len() - self.at;
        if unread > 0 {
            state.taken(self.slot, unread);
        }
        state.close(self.slot);
        state.reuse(self.slot, std::mem::take(&mut self.data), self.spare.take());
    }
}

/// A block of fields that is being written.
pub(super) struct FieldBlock<'a> {
    pub(super) encoder: &'a mut Encoder,
    pub(super) out: &'a mut Vec<u8>,
}

impl FieldBlock<'_> {
    /// A field, unless it concerns a connection of HTTP/1: those must not be sent (RFC 9113
    /// §8.2.2).
    pub(super) fn put_field(&mut self, name: &[u8], value: &[u8], known: Known) {
        if !known.is_of_http_1() {
            self.encoder.field(self.out, name, value, known);
        }
    }
}

impl Emit for FieldBlock<'_> {
    fn emit_field(&mut self, name: &[u8], value: &[u8]) {
        self.put_field(name, value, known::lookup(name));
    }

    fn emit_received(&mut self, fields: &Fields, keep: &mut dyn FnMut(FieldRef<'_>) -> bool) {
        for field in fields.iter().filter(|field| keep(*field)) {
            if field.never_indexed && !field.known.is_of_http_1() {
                self.encoder.never_indexed(self.out, field.name, field.value);
            } else {
                self.put_field(field.name, field.value, field.known);
            }
        }
    }
}

#[cfg(test)]
mod tests;
