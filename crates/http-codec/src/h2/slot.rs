//! What a connection knows of one of its streams.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use super::stream::{StreamEnd, StreamState};
use crate::{Fault, Fields, ResponseHead};

/// Bytes of memory that a stream keeps for the next one.
pub(super) const KEEP: usize = 16 * 1024;

/// A stream, or the memory for one.
#[derive(Debug, Default)]
pub(super) struct StreamSlot {
    pub(super) id: u32,
    pub(super) state: StreamState,
    /// The fault of the request on it: nothing more of it is read, and what is answered ends with a
    /// reset.
    pub(super) fault: Option<Fault>,
    /// The bytes that the request was said to have, and those that have come.
    pub(super) announced: Option<u64>,
    pub(super) arrived: u64,
    /// The bytes that were received and not taken yet.
    pub(super) data: Vec<u8>,
    pub(super) trailers: Option<Fields>,
    /// Bytes that the other side may still send, and those that it may send again but has not been
    /// told.
    pub(super) window: i64,
    pub(super) unsaid: u32,
    /// All that it may send ahead, now.
    pub(super) window_size: u32,
    /// The head of a response, once it is there, and those that came before it.
    pub(super) head: ResponseHead,
    pub(super) answered: bool,
    pub(super) interim: VecDeque<ResponseHead>,
    /// Bytes that may still be sent.
    pub(super) credit: i64,
    /// The beginning of its last frame, counted from the first byte of the connection.
    pub(super) tail: Option<u64>,
    /// Bytes that it has sent since the connection had nothing left to send.
    pub(super) burst: usize,
    pub(super) round: u32,
    /// True if it is among those that wait for their turn.
    pub(super) queued: bool,
    waker: Option<Waker>,
    awaits_read: bool,
    awaits_write: bool,
}

impl StreamSlot {
    pub(super) fn begin_stream(&mut self, id: u32, window: i64, credit: i64) {
        let mut data = std::mem::take(&mut self.data);
        data.clear();
        let mut head = std::mem::take(&mut self.head);
        head.set(0, b"");
        *self = Self { id, window, credit, data, head, ..Self::default() };
    }

    /// Lets go of what it does not need while it is nobody's.
    pub(super) fn clear_slot(&mut self) {
        self.id = 0;
        self.state = StreamState::Idle;
        self.waker = None;
        self.trailers = None;
        self.interim.clear();
        self.data.clear();
        if self.data.capacity() > KEEP {
            self.data = Vec::new();
        }
        if self.head.fields.capacity() > KEEP {
            self.head = ResponseHead::default();
        }
    }

    /// Wakes this task when there is something to read.
    pub(super) fn await_read(&mut self, cx: &Context<'_>) {
        self.awaits_read = true;
        self.set_waker(cx);
    }

    /// Wakes this task when something may be sent.
    pub(super) fn await_write(&mut self, cx: &Context<'_>) {
        self.awaits_write = true;
        self.set_waker(cx);
    }

    /// Wakes this task when it is over.
    pub(super) fn set_waker(&mut self, cx: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }

    /// Wakes the reader: there is something to read. Returns whether anybody waited for that.
    pub(super) fn wake_reader(&mut self) -> bool {
        let waits = std::mem::take(&mut self.awaits_read);
        if waits {
            self.waker.iter().for_each(Waker::wake_by_ref);
        }
        waits
    }

    /// Something may be sent.
    pub(super) fn wake_writer(&mut self) {
        if std::mem::take(&mut self.awaits_write) {
            self.waker.iter().for_each(Waker::wake_by_ref);
        }
    }

    /// Returns whether parts of a message are wanted.
    pub(super) fn is_reading(&self) -> bool {
        self.fault.is_none() && self.state.check_receives().is_ok()
    }

    /// Ends the stream before both messages have. `false` when it had ended already.
    pub(super) fn end_stream(&mut self, end: StreamEnd) -> bool {
        let closes = self.state.close_stream(end);
        if closes {
            self.waker.iter().for_each(Waker::wake_by_ref);
        }
        closes
    }
}
