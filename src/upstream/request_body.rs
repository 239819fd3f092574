//! The request body as an attempt sees it: what an earlier attempt already took, then the rest from
//! the client. Bodies are remembered only while a second attempt is possible, and only up to a
//! limit.

use std::cell::RefCell;
use std::task::{Context, Poll};

use super::mirror_buffer::MirrorBuffer;
use super::request::ForwardRequest;
use super::requester::Requester;
use crate::exchange::{Client, Source};
use crate::net::{BodyError, Fill, MemoryReservation};
use crate::wire::Fault;
use crate::wire::head::Fields;

/// The part of the body that has been taken from the client so far.
#[derive(Debug)]
pub struct Replay {
    bytes: Vec<u8>,
    limit: usize,
    /// The most that all requests may hold, in bytes, and the part of it that this holds.
    memory: usize,
    held: MemoryReservation,
    /// More was taken than is remembered.
    lost: bool,
}

impl Replay {
    /// Remembers up to `limit` bytes, if all requests hold no more than `memory` with them; 0
    /// remembers nothing.
    #[must_use]
    pub fn new(limit: usize, memory: usize) -> Self {
        // Requests come before what some of them might need again.
        let memory = memory / 2;
        Self { bytes: Vec::new(), limit, memory, held: MemoryReservation::default(), lost: false }
    }

    /// Returns whether the body can be sent from its start once more.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.lost
    }

    fn remember_bytes(&mut self, data: &[u8]) {
        if self.lost || data.is_empty() {
            return;
        }
        let fits = self.bytes.len() + data.len() <= self.limit;
        if !fits || !self.held.grow_by(data.len(), self.memory) {
            self.lost = true;
            self.bytes = Vec::new();
            self.held.release_all();
        } else {
            self.bytes.extend_from_slice(data);
        }
    }
}

/// The request body during one attempt.
pub struct Upload<'a, C> {
    /// The client, for everything else that is needed of it meanwhile.
    pub client: &'a mut C,
    replay: &'a mut Replay,
    /// The bytes of the remembered part that this attempt has taken.
    at: usize,
    limit: u64,
    seen: Option<&'a RefCell<MirrorBuffer>>,
    requester: &'a dyn Requester,
}

impl<'a, C: Client> Upload<'a, C> {
    /// Starts an attempt. A body of more than the job's limit is an error. What is taken from the
    /// client is kept for a copy, if there will be one.
    pub fn new<'j: 'a>(
        client: &'a mut C,
        replay: &'a mut Replay,
        job: &ForwardRequest<'j>,
    ) -> Self {
        let limit = job.request.body_limit.bytes;
        Self { client, replay, at: 0, limit, seen: job.seen, requester: job.requester }
    }

    /// Goes on where an attempt stands that has taken so much of what is remembered.
    #[must_use]
    pub fn resume_at(mut self, at: usize) -> Self {
        self.at = at;
        self
    }

    /// Returns whether the whole request has been received, and had neither a body nor trailers.
    pub fn is_empty(&self) -> bool {
        self.client.is_empty()
    }

    /// Returns how many of the remembered bytes have been taken.
    #[must_use]
    pub fn bytes_taken(&self) -> usize {
        self.at
    }
}

impl<C: Client> Source for Upload<'_, C> {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, BodyError>> {
        if self.at < self.replay.bytes.len() {
            return Poll::Ready(Ok(Fill::Data));
        }
        let filled = self.client.poll_fill(cx);
        if self.client.received_bytes() > self.limit {
            return Poll::Ready(Err(BodyError::TooLarge));
        }
        filled
    }

    fn body_data(&self) -> &[u8] {
        match self.replay.bytes.get(self.at..) {
            Some(again) if !again.is_empty() => again,
            _ => self.client.body_data(),
        }
    }

    fn consume_body(&mut self, n: usize) {
        if self.at < self.replay.bytes.len() {
            self.at += n;
            return;
        }
        let taken = self.client.body_data().get(..n).unwrap_or_default();
        self.replay.remember_bytes(taken);
        if let Some(seen) = self.seen {
            seen.borrow_mut().keep_bytes(taken);
        }
        self.at = self.replay.bytes.len();
        self.client.consume_body(n);
    }

    fn read_trailers(&mut self) -> Result<Option<Fields>, Fault> {
        let mut trailers = self.client.read_trailers()?;
        if let Some(fields) = &mut trailers {
            fields.retain(|field| self.requester.allows_trailer(field.name));
        }
        Ok(trailers)
    }
}
