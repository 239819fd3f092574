//! A stream, as the request on it sees it: a body that comes and a body that goes, each no faster than the other side of
//! the proxy takes it. The stream ends with it.

use std::cell::{RefCell, RefMut};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::state::{Over, State, Taken};
use crate::exchange::Emit;
use crate::net::{BodyError, Fill};
use crate::wire::frames::Code;
use crate::wire::head::{FieldRef, Fields};
use crate::wire::hpack::Encoder;
use crate::wire::{Fault, Known, ResponseHead, known};

/// A connection, as all share it who have to do with it.
pub(super) type Shared = Rc<RefCell<State>>;

/// A stream.
#[derive(Debug)]
pub(super) struct Handle {
    shared: Shared,
    slot: u32,
    /// What was taken of the body, from `at` on.
    data: Vec<u8>,
    at: usize,
    /// The body has ended.
    ended: bool,
    trailers: Option<Fields>,
    /// The bytes of the body so far, and how many it was said to have.
    received: u64,
    pub(super) expected: Option<u64>,
    sent: u64,
    /// What is left of a head that was lent.
    spare: Option<ResponseHead>,
}

impl Handle {
    pub(super) fn new(shared: Shared, slot: u32) -> Self {
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
            spare: None,
        }
    }

    pub(super) fn state(&self) -> RefMut<'_, State> {
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
            Err(_) => Poll::Ready(Err(BodyError::Io(io::ErrorKind::ConnectionReset.into()))),
        }
    }

    pub(super) fn data(&self) -> &[u8] {
        self.data.get(self.at..).unwrap_or_default()
    }

    pub(super) fn consume(&mut self, n: usize) {
        let n = n.min(self.data.len() - self.at);
        self.at += n;
        if n > 0 {
            self.shared.borrow_mut().taken(self.slot, n);
        }
    }

    pub(super) fn trailers(&mut self) -> Option<Fields> {
        self.trailers.take()
    }

    /// Body bytes so far.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Whether nothing more will come.
    pub(super) fn is_received(&self) -> bool {
        self.at == self.data.len() && (self.ended || self.shared.borrow().is_taken(self.slot))
    }

    pub(super) fn poll_head(
        &mut self,
        cx: &Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<(), Over>> {
        self.shared.borrow_mut().poll_head(cx, self.slot, head)
    }

    /// A head that is no longer needed.
    pub(super) fn spare(&mut self, head: ResponseHead) {
        self.spare = Some(head);
    }

    pub(super) fn poll_over(&self, cx: &Context<'_>) -> Poll<Over> {
        self.shared.borrow_mut().poll_over(cx, self.slot)
    }

    pub(super) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        self.shared.borrow_mut().poll_room(cx, self.slot)
    }

    /// Sends a head.
    pub(super) fn head(&self, ends: bool, write: &mut dyn FnMut(&mut Block<'_>)) {
        self.shared.borrow_mut().put_head(self.slot, ends, &mut |encoder, out| {
            write(&mut Block { encoder, out });
        });
    }

    pub(super) fn poll_write(&mut self, cx: &Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let n = ready!(self.shared.borrow_mut().poll_data(cx, self.slot, data))?;
        self.sent += n as u64;
        Poll::Ready(Ok(n))
    }

    pub(super) fn finish(&mut self, trailers: Option<&Fields>) -> io::Result<()> {
        let mut state = self.shared.borrow_mut();
        match trailers {
            None => state.finish(self.slot, None),
            Some(fields) => state.finish(
                self.slot,
                Some(&mut |encoder, out| {
                    Block { encoder, out }.received(fields, &mut |_| true);
                }),
            ),
        }
    }

    /// Whether the end of what is sent has been said.
    pub(super) fn is_sent(&self) -> bool {
        self.shared.borrow().is_sent(self.slot)
    }

    /// Body bytes sent so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Breaks it off.
    pub(super) fn reset(&self, code: Code) {
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
pub(super) struct Block<'a> {
    pub(super) encoder: &'a mut Encoder,
    pub(super) out: &'a mut Vec<u8>,
}

impl Block<'_> {
    /// A field, unless it concerns a connection of HTTP/1: those must not be sent (RFC 9113 §8.2.2).
    pub(super) fn put(&mut self, name: &[u8], value: &[u8], known: Known) {
        if !known.is_of_http_1() {
            self.encoder.field(self.out, name, value, known);
        }
    }
}

impl Emit for Block<'_> {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        self.put(name, value, known::lookup(name));
    }

    fn received(&mut self, fields: &Fields, keep: &mut dyn FnMut(FieldRef<'_>) -> bool) {
        for field in fields.iter().filter(|field| keep(*field)) {
            self.put(field.name, field.value, field.known);
        }
    }
}
