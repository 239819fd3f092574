//! What streams take of what was received.

use std::task::{Context, Poll};

use super::State;
use super::slot::{KEEP, Over};
use crate::wire::{Fields, ResponseHead};

/// What there is of a body.
#[derive(Debug)]
pub enum Taken {
    /// A part of it.
    Data,
    /// Its end, and the trailers behind it.
    End(Option<Fields>),
}

impl State {
    /// Waits for a part of a body, which takes the place of what is in `data`.
    ///
    /// # Errors
    /// [`Over`]: nothing more comes.
    pub fn poll_body(
        &mut self,
        cx: &Context<'_>,
        index: u32,
        data: &mut Vec<u8>,
    ) -> Poll<Result<Taken, Over>> {
        let Some(slot) = self.slot(index) else { return Poll::Ready(Err(Over::Here)) };
        if !slot.data.is_empty() {
            data.clear();
            std::mem::swap(data, &mut slot.data);
            return Poll::Ready(Ok(Taken::Data));
        }
        if slot.received {
            return Poll::Ready(Ok(Taken::End(slot.trailers.take())));
        }
        if let Some(over) = slot.over {
            return Poll::Ready(Err(over));
        }
        slot.await_read(cx);
        Poll::Pending
    }

    /// Waits for the head of a response, informational ones included, which takes the place of `head`.
    ///
    /// # Errors
    /// [`Over`]: none comes.
    pub fn poll_head(
        &mut self,
        cx: &Context<'_>,
        index: u32,
        head: &mut ResponseHead,
    ) -> Poll<Result<(), Over>> {
        let Some(slot) = self.slot(index) else { return Poll::Ready(Err(Over::Here)) };
        if let Some(interim) = slot.interim.pop_front() {
            *head = interim;
            return Poll::Ready(Ok(()));
        }
        if slot.answered {
            std::mem::swap(head, &mut slot.head);
            return Poll::Ready(Ok(()));
        }
        if let Some(over) = slot.over {
            return Poll::Ready(Err(over));
        }
        slot.await_read(cx);
        Poll::Pending
    }

    /// Ready once nothing more comes of a stream.
    pub fn poll_over(&mut self, cx: &Context<'_>, index: u32) -> Poll<Over> {
        let Some(slot) = self.slot(index) else { return Poll::Ready(Over::Here) };
        match slot.over {
            Some(over) => Poll::Ready(over),
            None => {
                slot.set(cx);
                Poll::Pending
            }
        }
    }

    /// Ready once there is room for a head.
    pub fn poll_room(&mut self, cx: &Context<'_>, index: u32) -> Poll<()> {
        if self.has_room() {
            return Poll::Ready(());
        }
        let Some(slot) = self.slot(index) else { return Poll::Ready(()) };
        slot.await_write(cx);
        self.queue(index);
        Poll::Pending
    }

    /// Whether the other side has said all, and all of it was taken, trailers included.
    #[must_use]
    pub fn is_taken(&self, index: u32) -> bool {
        let slot = self.slots.get(index as usize);
        slot.is_none_or(|slot| slot.received && slot.data.is_empty() && slot.trailers.is_none())
    }

    /// Whether this side has said all.
    #[must_use]
    pub fn is_sent(&self, index: u32) -> bool {
        self.slots.get(index as usize).is_none_or(|slot| slot.sent)
    }

    /// Gives memory back, for the next stream.
    pub fn reuse(&mut self, index: u32, data: Vec<u8>, head: Option<ResponseHead>) {
        if let Some(slot) = self.slot(index) {
            if slot.data.capacity() == 0 && data.capacity() <= KEEP {
                slot.data = data;
                slot.data.clear();
            }
            if let Some(head) = head
                && slot.head.fields.capacity() == 0
                && head.fields.capacity() <= KEEP
            {
                slot.head = head;
            }
        }
    }
}
