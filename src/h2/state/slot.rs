//! What a connection knows of one of its streams.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use super::Ended;
use crate::wire::frames::Code;
use crate::wire::{Fields, ResponseFault, ResponseHead};

/// How much memory a stream keeps for the next one.
pub(super) const KEEP: usize = 16 * 1024;

/// Why nothing more comes of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// The other side broke it off.
    Reset(Code),
    /// The other side has not looked at it, and never will (RFC 9113 §8.7).
    Unprocessed,
    /// This side broke it off.
    Here,
    /// What came is not a response.
    Invalid(ResponseFault),
    /// With its connection.
    Connection(Ended),
}

/// A stream, or the memory for one.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) id: u32,
    pub(super) over: Option<Over>,
    /// What was received and not taken yet.
    pub(super) data: Vec<u8>,
    pub(super) trailers: Option<Fields>,
    /// What the other side may still send, and what it may send again but has not been told.
    pub(super) window: i64,
    pub(super) unsaid: u32,
    /// The other side has said all.
    pub(super) received: bool,
    /// The head of a response, once it is there, and those that came before it.
    pub(super) head: ResponseHead,
    pub(super) answered: bool,
    pub(super) interim: VecDeque<ResponseHead>,
    /// What may still be sent.
    pub(super) credit: i64,
    /// This side has said all.
    pub(super) sent: bool,
    /// Where its last frame begins, counted from the first byte of the connection.
    pub(super) tail: Option<u64>,
    /// What it has sent since the connection had nothing left to send.
    pub(super) burst: usize,
    pub(super) round: u32,
    /// It is among those that wait for their turn.
    pub(super) queued: bool,
    waker: Option<Waker>,
    reads: bool,
    writes: bool,
}

impl Slot {
    pub(super) fn begin(&mut self, id: u32, window: i64, credit: i64) {
        let mut data = std::mem::take(&mut self.data);
        data.clear();
        let mut head = std::mem::take(&mut self.head);
        head.set(0, b"");
        *self = Self { id, window, credit, data, head, ..Self::default() };
    }

    /// Lets go of what it does not need while it is nobody's.
    pub(super) fn clear(&mut self) {
        self.id = 0;
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
        self.reads = true;
        self.set(cx);
    }

    /// Wakes this task when something may be sent.
    pub(super) fn await_write(&mut self, cx: &Context<'_>) {
        self.writes = true;
        self.set(cx);
    }

    /// Wakes this task when it is over.
    pub(super) fn set(&mut self, cx: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }

    /// There is something to read. Whether anybody waited for that.
    pub(super) fn wake_reader(&mut self) -> bool {
        let waits = std::mem::take(&mut self.reads);
        if waits {
            self.waker.iter().for_each(Waker::wake_by_ref);
        }
        waits
    }

    /// Something may be sent.
    pub(super) fn wake_writer(&mut self) {
        if std::mem::take(&mut self.writes) {
            self.waker.iter().for_each(Waker::wake_by_ref);
        }
    }

    /// Nothing more comes of it. What has come stays.
    pub(super) fn end(&mut self, over: Over) {
        if self.over.is_none() {
            self.over = Some(over);
            self.waker.iter().for_each(Waker::wake_by_ref);
        }
    }
}
