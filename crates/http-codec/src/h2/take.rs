//! What streams take of what was received.

use std::task::{Context, Poll};

use super::State;
use super::slot::KEEP;
use super::{AT_REST, Role, StreamEnd};
use crate::{Fields, ResponseFault, ResponseHead};

/// The next part of a body.
#[derive(Debug)]
pub enum Taken {
    /// A part of it.
    Data,
    /// The end of the body, and the trailers behind it.
    End(Option<Fields>),
}

impl State {
    /// Waits for a part of a body, which takes the place of what is in `data`. Of a request that is
    /// malformed or broken off nothing more is handed out; of a response, everything that came
    /// before.
    ///
    /// # Errors
    /// [`StreamEnd`]: nothing more comes.
    pub fn poll_body(
        &mut self,
        cx: &Context<'_>,
        index: u32,
        data: &mut Vec<u8>,
    ) -> Poll<Result<Taken, StreamEnd>> {
        let role = self.role;
        let Some(slot) = self.slot_mut(index) else {
            return Poll::Ready(Err(StreamEnd::Cancelled));
        };
        if let Some(fault) = slot.fault {
            return Poll::Ready(Err(StreamEnd::Malformed(fault)));
        }
        let broken = slot.state.break_reason().filter(|end| *end != StreamEnd::Stopped);
        if let Some(end) = broken.filter(|_| role == Role::Server || slot.data.is_empty()) {
            return Poll::Ready(Err(end));
        }
        if !slot.data.is_empty() {
            data.clear();
            std::mem::swap(data, &mut slot.data);
            return Poll::Ready(Ok(Taken::Data));
        }
        if slot.state.is_received() {
            return Poll::Ready(Ok(Taken::End(slot.trailers.take())));
        }
        slot.await_read(cx);
        Poll::Pending
    }

    /// Tells what is wrong with a response of which only the head has been taken, as far as
    /// anything can be told by what has come: it contradicts the length that it `announced`, or was
    /// broken off.
    #[must_use]
    pub fn broken_ahead(&self, index: u32, announced: Option<u64>) -> Option<StreamEnd> {
        let slot = self.slots.get(index as usize)?;
        let length = slot.data.len() as u64;
        let contradicts = announced.is_some_and(|announced| {
            length > announced || length < announced && slot.state.is_received()
        });
        if contradicts {
            return Some(StreamEnd::Invalid(ResponseFault::ContentLength));
        }
        slot.state.break_reason().filter(|end| *end != StreamEnd::Stopped)
    }

    /// Waits for the head of a response, informational ones included, which takes the place of
    /// `head`.
    ///
    /// # Errors
    /// [`StreamEnd`]: none comes.
    pub fn poll_head(
        &mut self,
        cx: &Context<'_>,
        index: u32,
        head: &mut ResponseHead,
    ) -> Poll<Result<(), StreamEnd>> {
        let Some(slot) = self.slot_mut(index) else {
            return Poll::Ready(Err(StreamEnd::Cancelled));
        };
        if let Some(interim) = slot.interim.pop_front() {
            *head = interim;
            return Poll::Ready(Ok(()));
        }
        if slot.answered {
            std::mem::swap(head, &mut slot.head);
            return Poll::Ready(Ok(()));
        }
        if let Some(end) = slot.state.break_reason() {
            return Poll::Ready(Err(end));
        }
        slot.await_read(cx);
        Poll::Pending
    }

    /// Ready once nothing more comes of a stream.
    pub fn poll_over(&mut self, cx: &Context<'_>, index: u32) -> Poll<StreamEnd> {
        let Some(slot) = self.slot_mut(index) else { return Poll::Ready(StreamEnd::Cancelled) };
        match slot.state.break_reason() {
            Some(end) => Poll::Ready(end),
            None => {
                slot.set_waker(cx);
                Poll::Pending
            }
        }
    }

    /// Ready once there is room for a head.
    pub fn poll_room(&mut self, cx: &Context<'_>, index: u32) -> Poll<()> {
        if self.has_room() {
            return Poll::Ready(());
        }
        let Some(slot) = self.slot_mut(index) else { return Poll::Ready(()) };
        slot.await_write(cx);
        self.queue_stream(index);
        Poll::Pending
    }

    /// Returns whether the other side has said all, and all of it was taken, trailers included.
    #[must_use]
    pub fn is_taken(&self, index: u32) -> bool {
        let slot = self.slots.get(index as usize);
        slot.is_none_or(|slot| {
            let whole = slot.fault.is_none() && slot.state.is_received();
            whole && slot.data.is_empty() && slot.trailers.is_none()
        })
    }

    /// Returns whether this side has said all.
    #[must_use]
    pub fn is_sent(&self, index: u32) -> bool {
        self.slots.get(index as usize).is_none_or(|slot| slot.state.is_sent())
    }

    /// Gives memory back, for the next stream.
    pub fn reuse(&mut self, index: u32, data: Vec<u8>, head: Option<ResponseHead>) {
        let keep = if self.ids.is_empty() { AT_REST } else { KEEP };
        if let Some(slot) = self.slot_mut(index) {
            if slot.data.capacity() == 0 && data.capacity() <= keep {
                slot.data = data;
                slot.data.clear();
            }
            if let Some(head) = head
                && slot.head.fields.capacity() == 0
                && head.fields.capacity() <= keep
            {
                slot.head = head;
            }
        }
    }
}
