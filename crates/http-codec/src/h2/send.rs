//! What goes out. Everything that is sent at once piles up here and leaves with one write.

use std::io;
use std::task::{Context, Poll};

use super::{BURST, FULL, GoAwayState, HIGH, Role, SLACK, State, StreamEnd, StreamState};
use crate::frames::{self, ErrorCode, FrameHead, flag, kind};
use crate::hpack::Encoder;
use std::time::Instant;

/// Less than this in a frame because the other side's window ends there earns nothing.
const CRUMB: usize = 256;
/// The most that is kept for later while nothing is to be sent.
const KEEP: usize = 16 * 1024;

/// The thing that keeps a stream from sending more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// The stream's own window is used up.
    StreamWindow,
    /// The window of all streams together is.
    ConnectionWindow,
    /// What was sent before has not left yet.
    Socket,
}

/// Writes the fields of a head.
pub type Write<'a> = dyn FnMut(&mut Encoder, &mut Vec<u8>) + 'a;

impl State {
    /// Bytes that have not left yet.
    #[must_use]
    pub fn unsent(&self) -> &[u8] {
        self.out.get(self.out_at..).unwrap_or_default()
    }

    /// As many as the other side takes now have left: what waits is counted, and for how long it
    /// has waited.
    pub fn wait(&mut self, now: impl Fn() -> Instant) {
        let waits = !self.unsent().is_empty();
        self.unsent.set_bytes(if waits { self.out.capacity() } else { 0 });
        match (waits, self.stalled) {
            (true, None) => self.stalled = Some(now()),
            (false, Some(_)) => self.stalled = None,
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Since when the other side has taken nothing of what waits for it.
    #[must_use]
    pub fn stalled(&self) -> Option<Instant> {
        self.stalled
    }

    /// Bytes that have left since the connection began.
    #[must_use]
    pub fn bytes_left(&self) -> u64 {
        self.out_base + self.out_at as u64
    }

    /// Bytes that the other side has allowed to be sent on all streams beyond the first ones.
    #[must_use]
    pub fn bytes_granted(&self) -> u64 {
        self.granted
    }

    /// Returns what a stream waits for that cannot send more now.
    #[must_use]
    pub fn obstacle(&self, index: u32) -> Obstacle {
        if self.slots.get(index as usize).is_some_and(|slot| slot.credit <= 0) {
            Obstacle::StreamWindow
        } else if self.credit <= 0 {
            Obstacle::ConnectionWindow
        } else {
            Obstacle::Socket
        }
    }

    /// What waits is tried to be written once more, although the system has not said that it takes
    /// any.
    pub fn insist_on_write(&mut self) {
        if !self.unsent().is_empty() && self.ended.is_none() {
            self.insists = true;
            self.notify_writer();
        }
    }

    /// Returns whether that has not been tried yet.
    #[must_use]
    pub fn is_insisting(&self) -> bool {
        self.insists && !self.unsent().is_empty() && self.ended.is_none()
    }

    /// Returns whether somebody insists on a write that is tried now.
    pub fn take_insists(&mut self) -> bool {
        std::mem::take(&mut self.insists)
    }

    /// All of it was taken: the same is tried with what comes next.
    pub fn go_on_insisting(&mut self) {
        self.insists = true;
    }

    /// So many of them have.
    pub fn left(&mut self, n: usize) {
        self.stalled = None;
        self.out_at += n;
        self.budget.earn_frames(n);
        if self.out_at >= self.out.len() {
            self.out_base += self.out.len() as u64;
            self.out_at = 0;
            self.out.clear();
            if self.ids.is_empty() && self.out.capacity() > KEEP {
                self.out = Vec::new();
            }
            self.round = self.round.wrapping_add(1);
            self.next_turn();
        } else if self.out_at >= HIGH {
            // It may never be empty, when it is filled as fast as it leaves.
            self.out.drain(..self.out_at);
            self.out_base += self.out_at as u64;
            self.out_at = 0;
        }
    }

    /// The task that writes is at it: it has to be told of what comes from now on.
    pub fn heeded(&mut self) {
        self.told = false;
    }

    /// Returns whether so much has not left that nothing more should be read.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.out.len() - self.out_at > FULL
    }

    /// Returns whether there is room for more.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.out.len() - self.out_at < HIGH
    }

    /// A stream waits for its turn.
    pub(super) fn queue_stream(&mut self, index: u32) {
        if let Some(slot) = self.slots.get_mut(index as usize)
            && !std::mem::replace(&mut slot.queued, true)
        {
            self.waiting.push_back(index);
        }
    }

    /// Lets those that wait try again: to send a head, which needs room, or a body, which needs a
    /// window too.
    pub(super) fn next_turn(&mut self) {
        while let Some(index) = self.waiting.pop_front() {
            if let Some(slot) = self.slots.get_mut(index as usize) {
                slot.queued = false;
                slot.wake_writer();
            }
        }
    }

    /// Begins a stream of this side's own.
    pub fn open(&mut self) -> Option<u32> {
        if !self.is_open() {
            return None;
        }
        let id = self.next;
        self.next += 2;
        Some(self.occupy_slot(id))
    }

    /// Sends a head: its fields are what `write` writes. `ends` when nothing follows.
    pub fn put_head(&mut self, index: u32, ends: bool, write: &mut Write<'_>) {
        let role = self.role;
        let Some(slot) = self.slots.get_mut(index as usize) else { return };
        if role == Role::Client {
            slot.state.open_stream();
        }
        if !slot.state.may_send() {
            return;
        }
        // RFC 9113 §8.1.1: the answer to what is malformed is followed by the reset that ends it.
        let resets = ends && slot.fault.is_some();
        let ends = ends && !resets;
        let start = self.out.len();
        self.out.extend_from_slice(&[0; frames::HEAD]);
        self.encoder.begin(&mut self.out);
        write(&mut self.encoder, &mut self.out);
        slot.tail = Some(self.out_base + start as u64);
        if ends {
            slot.state.send_end();
        }
        let stream = slot.id;
        let length = self.out.len() - start - frames::HEAD;
        let ends = if ends { flag::END_STREAM } else { 0 };
        if length > frames::MOST {
            self.split_head(start, stream, ends);
        } else {
            let flags = ends | flag::END_HEADERS;
            self.patch_head(start, FrameHead { length, kind: kind::HEADERS, flags, stream });
        }
        if resets {
            self.reset(index, ErrorCode::PROTOCOL_ERROR);
        }
        self.notify_writer();
    }

    fn patch_head(&mut self, start: usize, head: FrameHead) {
        if let Some(room) = self.out.get_mut(start..start + frames::HEAD) {
            room.copy_from_slice(&head.bytes());
        }
    }

    /// A head that does not fit into one frame.
    fn split_head(&mut self, start: usize, stream: u32, ends: u8) {
        let block = self.out.split_off(start + frames::HEAD);
        self.out.truncate(start);
        let mut kind = kind::HEADERS;
        let mut flags = ends;
        let mut parts = block.chunks(frames::MOST).peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                flags |= flag::END_HEADERS;
            }
            frames::put(&mut self.out, kind, flags, stream, part);
            kind = kind::CONTINUATION;
            flags = 0;
        }
    }

    /// Sends as much of `data` as the other side takes and others leave room for.
    ///
    /// # Errors
    /// Nothing more of this stream can be sent.
    pub fn poll_data(
        &mut self,
        cx: &Context<'_>,
        index: u32,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if data.is_empty() || slot.state.is_sent() {
            return Poll::Ready(Ok(data.len()));
        }
        if !slot.state.may_send() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if slot.round != self.round {
            slot.round = self.round;
            slot.burst = 0;
        }
        let full = self.out.len() - self.out_at >= HIGH;
        let greedy = slot.burst >= BURST && !self.waiting.is_empty();
        let credit = usize::try_from(self.credit.min(slot.credit)).unwrap_or(0);
        if full || greedy || credit == 0 {
            // Who may send nothing on its own stream is told when it may, and waits for no turn.
            let queues = slot.credit > 0;
            slot.await_write(cx);
            if queues {
                self.queue_stream(index);
            }
            return Poll::Pending;
        }
        let n = data.len().min(credit).min(BURST);
        // What is received is answered by one window or two. A window that lets next to nothing
        // through earns no other: so a body could be had byte by byte (CVE-2019-9511).
        let answers = if n < data.len() && n < CRUMB { 0 } else { 2 };
        slot.burst += n;
        slot.credit -= n as i64;
        self.credit -= n as i64;
        let stream = slot.id;
        for part in data.get(..n).unwrap_or_default().chunks(frames::MOST) {
            slot.tail = Some(self.out_base + self.out.len() as u64);
            frames::put(&mut self.out, kind::DATA, 0, stream, part);
            self.budget.allow_frames(answers);
        }
        self.notify_writer();
        Poll::Ready(Ok(n))
    }

    /// Says that nothing more follows on a stream, with trailers or without.
    ///
    /// # Errors
    /// Nothing more of this stream can be sent.
    pub fn finish(&mut self, index: u32, trailers: Option<&mut Write<'_>>) -> io::Result<()> {
        if let Some(trailers) = trailers {
            self.put_head(index, true, trailers);
        }
        let Some(slot) = self.slots.get_mut(index as usize) else { return Ok(()) };
        if slot.state.is_sent() {
            return Ok(());
        }
        if !slot.state.may_send() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if slot.fault.is_some() {
            // As in `put_head`.
            self.reset(index, ErrorCode::PROTOCOL_ERROR);
            return Ok(());
        }
        slot.state.send_end();
        let stream = slot.id;
        // If its last frame is still here, it says so.
        let at = slot.tail.and_then(|tail| tail.checked_sub(self.out_base));
        let at = at.and_then(|at| usize::try_from(at).ok()).filter(|at| *at >= self.out_at);
        match at.and_then(|at| self.out.get_mut(at + 4)) {
            Some(flags) => *flags |= flag::END_STREAM,
            None => frames::put(&mut self.out, kind::DATA, flag::END_STREAM, stream, &[]),
        }
        self.notify_writer();
        Ok(())
    }

    /// Tells the other side that a stream was broken off. Whoever makes this necessary too often is
    /// told to calm down.
    pub(super) fn put_reset(&mut self, id: u32, code: ErrorCode) {
        if self.ended.is_some() {
            return;
        }
        frames::put(&mut self.out, kind::RST_STREAM, 0, id, &code.0.to_be_bytes());
        self.closed.note_reset(id);
        self.notify_writer();
        if self.role == Role::Server && !self.budget.spend_frame(self.now) {
            self.fail_connection(ErrorCode::ENHANCE_YOUR_CALM);
        }
    }

    /// Breaks a stream off. One whose request is malformed is told so, whatever the reason is
    /// otherwise.
    pub fn reset(&mut self, index: u32, code: ErrorCode) {
        let Some(slot) = self.slot_mut(index) else { return };
        let code = if slot.fault.is_some() { ErrorCode::PROTOCOL_ERROR } else { code };
        let (id, begun) = (slot.id, slot.state != StreamState::Idle);
        if !matches!(slot.state, StreamState::Closed(_)) {
            self.end_stream(index, StreamEnd::Cancelled);
            // RFC 9113 §5.1: there is nothing to break off where nothing was said.
            if begun {
                self.put_reset(id, code);
            }
        }
    }

    /// So much of what was received on a stream has been taken: the other side may send it again.
    pub fn taken(&mut self, index: u32, n: usize) {
        self.received.subtract_bytes(n);
        self.give_back(n);
        let (most, growth) = (self.terms.stream_window_most, self.growth);
        let Some(slot) = self.slots.get_mut(index as usize) else { return };
        slot.unsaid = slot.unsaid.saturating_add(u32::try_from(n).unwrap_or(u32::MAX));
        if slot.unsaid >= slot.window_size / 2 && slot.is_reading() {
            // Whoever's bytes are taken may send further ahead: that is what fills a long way.
            let grown = slot.window_size.min(most.saturating_sub(slot.window_size)).min(growth);
            slot.window_size += grown;
            self.growth -= grown;
            let (id, more) = (slot.id, std::mem::take(&mut slot.unsaid) + grown);
            slot.window += i64::from(more);
            frames::put(&mut self.out, kind::WINDOW_UPDATE, 0, id, &more.to_be_bytes());
            self.notify_writer();
        }
    }

    /// The same for the connection.
    pub(super) fn give_back(&mut self, n: usize) {
        self.unsaid = self.unsaid.saturating_add(u32::try_from(n).unwrap_or(u32::MAX));
        if self.unsaid >= SLACK.min(self.terms.connection_window / 2) {
            let more = std::mem::take(&mut self.unsaid);
            self.window += i64::from(more);
            frames::put(&mut self.out, kind::WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
            self.notify_writer();
        }
    }

    /// Nobody looks after a stream any more. If it has not ended, it is broken off.
    pub fn close(&mut self, index: u32) {
        let role = self.role;
        let Some(slot) = self.slot_mut(index) else { return };
        // RFC 9113 §8.1: an answer that is whole stands, whatever becomes of the request.
        let sent = slot.state.is_sent();
        let code =
            if sent && role == Role::Server { ErrorCode::NO_ERROR } else { ErrorCode::CANCEL };
        let (id, queued) = (slot.id, slot.queued);
        self.reset(index, code);
        let Some(slot) = self.slot_mut(index) else { return };
        let (state, unread) = (slot.state, slot.data.len());
        let grown = slot.window_size.saturating_sub(self.terms.stream_window);
        self.growth += grown;
        self.closed.note_closed(id, state);
        self.received.subtract_bytes(unread);
        self.give_back(unread);
        if queued {
            self.waiting.retain(|waiting| *waiting != index);
        }
        if let Ok(at) = self.ids.binary_search_by_key(&id, |(id, _)| *id) {
            self.ids.remove(at);
        }
        if let Some(slot) = self.slot_mut(index) {
            slot.clear_slot();
            slot.queued = false;
        }
        self.free.push(index);
        if self.ids.is_empty() {
            self.release_memory();
            if self.leaving != GoAwayState::No {
                // It ends now.
                self.notify_writer();
            }
        }
    }
}
