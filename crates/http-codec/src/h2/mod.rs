//! One HTTP/2 connection (RFC 9113), without its socket: bytes that were received go in, and what
//! is to be sent piles up. Both ends share it: the task that reads and writes the socket, and the
//! streams.

mod control;
mod flood;
mod heads;
mod receive;
mod send;
mod slot;
mod stream;
mod take;

use std::collections::VecDeque;
use std::task::{Context, Waker};

use self::flood::FloodBudget;
pub use self::send::{Obstacle, Write};
use self::slot::StreamSlot;
use self::stream::ClosedStreams;
pub use self::stream::{StreamEnd, StreamState};
pub use self::take::Taken;
use crate::frames::{self, ErrorCode, kind, setting};
use crate::hpack::{Encoder, HpackDecoder};
use crate::request::Limits;
use crate::{Fault, RequestHead};
use memory_budget::Weight;
use std::time::Instant;

/// Bytes that are sent as soon as possible; whoever wants to send more waits until less of it is
/// left.
const HIGH: usize = 128 * 1024;
/// From this on nothing more is read: the other side asks, and takes no answers.
const FULL: usize = 256 * 1024;
/// Bytes that one stream may send before others have had their turn.
const BURST: usize = 64 * 1024;

/// The most that a buffer keeps while no stream is under way.
const AT_REST: usize = 4 * 1024;
/// Bytes that may have been taken of what was received on a connection before the other side is
/// told.
pub const SLACK: u32 = 128 * 1024;

/// The side of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The other side asks.
    Server,
    /// The side that asks.
    Client,
}

/// The terms of the other side.
#[derive(Debug, Clone, Copy)]
pub struct H2Config {
    /// Streams at the same time.
    pub streams: u32,
    /// Bytes it may send ahead on one stream that has begun.
    pub stream_window: u32,
    /// The most that it grows to while they are taken.
    pub stream_window_most: u32,
    /// Bytes that all streams together may grow by.
    pub growth: u32,
    /// Bytes it may send ahead on all of them together. Where this is as large as all of those and
    /// [`SLACK`], no stream that stands still holds up another one.
    pub connection_window: u32,
    /// Heads.
    pub head: Limits,
}

/// Takes the streams that a client begins.
pub trait Accept {
    /// Memory for the head of a request.
    fn head(&mut self) -> Box<RequestHead>;
    /// A key for a WebSocket to a server that speaks HTTP/1.1.
    fn key(&mut self) -> String;
    /// A stream has begun; what is wrong with its head, if anything is.
    fn stream(&mut self, slot: u32, head: Box<RequestHead>, fault: Option<Fault>);
}

/// The progress of a connection's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GoAwayState {
    No,
    /// The end was announced; what is under way already is still taken.
    Announced,
    /// The last stream was told.
    Last,
}

/// A reason why a connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The connection broke, or the other side closed it.
    Lost,
    /// The other side broke the rules; it has been told which one.
    Failed(ErrorCode),
}

/// A connection.
#[derive(Debug)]
pub struct State {
    role: Role,
    terms: H2Config,
    now: fn() -> u64,
    ended: Option<Ended>,
    leaving: GoAwayState,

    // What comes in.
    part: receive::NextPart,
    decoder: HpackDecoder,
    /// A head that came in several frames.
    block: Vec<u8>,
    /// The own fields of a request, and its cookie.
    text: Vec<u8>,
    cookie: Vec<u8>,
    budget: FloodBudget,
    /// Bytes that the other side may still send, and those that it may send again but has not been
    /// told.
    window: i64,
    unsaid: u32,
    /// Bytes that windows of streams may still grow by.
    growth: u32,
    /// The other side has said what it can do.
    settled: bool,
    settlers: Vec<Waker>,

    // Streams.
    slots: Vec<StreamSlot>,
    free: Vec<u32>,
    /// Streams by their numbers, in order, and their slots.
    ids: VecDeque<(u32, u32)>,
    /// The last stream that the other side began.
    last: u32,
    /// The next one that this side begins.
    next: u32,
    /// The last stream that was said to be looked at.
    promised: u32,
    closed: ClosedStreams,
    /// Answers that have begun.
    heard: u64,

    // What goes out.
    encoder: Encoder,
    out: Vec<u8>,
    /// Bytes of it that have left, and all that had left before it.
    out_at: usize,
    out_base: u64,
    /// Bytes that may still be sent on all streams, and on a new one.
    credit: i64,
    stream_credit: i64,
    /// Streams that wait for their turn.
    waiting: VecDeque<u32>,
    /// Counts the times that everything had left.
    round: u32,
    /// Streams that the other side allows, and whether it takes tunnels.
    allowed: u32,
    tunnels: bool,
    /// The task that writes it, and whether it has been told to.
    task: Option<Waker>,
    told: bool,
    /// Streams have been given something to do since this was asked last.
    stirred: bool,
    /// Bytes of bodies that were received and not passed on yet, and those that wait to be sent.
    received: Weight,
    unsent: Weight,
    /// Since when the other side has taken nothing of what waits to be sent.
    stalled: Option<Instant>,
    /// Bytes that the other side has allowed to be sent on all streams beyond the first ones.
    granted: u64,
    /// The next write is tried whether or not the system has said that it is possible.
    insists: bool,
    /// A bad head waits for its answer; the next one is read when that is gone, so that bad heads
    /// pile up nothing.
    paused: bool,
}

impl State {
    /// A client's connection. `now` tells the current second.
    #[must_use]
    pub fn server(terms: H2Config, now: fn() -> u64) -> Self {
        let mut state = Self::new(Role::Server, terms, now);
        let settings = [
            (setting::MAX_CONCURRENT_STREAMS, terms.streams),
            (setting::INITIAL_WINDOW_SIZE, terms.stream_window),
            (setting::MAX_HEADER_LIST_SIZE, u32::try_from(terms.head.bytes).unwrap_or(u32::MAX)),
            (setting::ENABLE_CONNECT_PROTOCOL, 1),
        ];
        // It is said once the client has shown that it speaks HTTP/2.
        state.send_hello(&settings);
        std::mem::swap(&mut state.out, &mut state.block);
        state
    }

    /// A connection to a server, which is taken to allow so many `streams` until it says so itself.
    #[must_use]
    pub fn client(terms: H2Config, streams: u32, now: fn() -> u64) -> Self {
        let mut state = Self::new(Role::Client, terms, now);
        state.allowed = streams;
        state.out.extend_from_slice(frames::PREFACE);
        let settings = [
            (setting::ENABLE_PUSH, 0),
            (setting::INITIAL_WINDOW_SIZE, terms.stream_window),
            (setting::MAX_HEADER_LIST_SIZE, u32::try_from(terms.head.bytes).unwrap_or(u32::MAX)),
        ];
        state.send_hello(&settings);
        state
    }

    fn new(role: Role, terms: H2Config, now: fn() -> u64) -> Self {
        Self {
            role,
            terms,
            now,
            ended: None,
            leaving: GoAwayState::No,
            part: receive::NextPart::first_part(role),
            decoder: HpackDecoder::default(),
            block: Vec::new(),
            text: Vec::new(),
            cookie: Vec::new(),
            budget: FloodBudget::new(now()),
            window: i64::from(terms.connection_window.max(frames::WINDOW)),
            unsaid: 0,
            growth: terms.growth,
            settled: false,
            settlers: Vec::new(),
            slots: Vec::new(),
            free: Vec::new(),
            ids: VecDeque::new(),
            last: 0,
            next: 1,
            promised: frames::LARGEST,
            closed: ClosedStreams::default(),
            heard: 0,
            encoder: Encoder::default(),
            out: Vec::new(),
            out_at: 0,
            out_base: 0,
            credit: i64::from(frames::WINDOW),
            stream_credit: i64::from(frames::WINDOW),
            waiting: VecDeque::new(),
            round: 0,
            allowed: u32::MAX,
            tunnels: false,
            task: None,
            told: false,
            stirred: false,
            received: Weight::default(),
            unsent: Weight::default(),
            stalled: None,
            granted: 0,
            insists: false,
            paused: false,
        }
    }

    fn send_hello(&mut self, settings: &[(u16, u32)]) {
        frames::put_settings(&mut self.out, settings);
        if let Some(more) = self.terms.connection_window.checked_sub(frames::WINDOW)
            && more > 0
        {
            frames::put(&mut self.out, kind::WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
        }
    }

    /// Gives memory back that large heads and bodies needed, while no stream is under way.
    fn release_memory(&mut self) {
        if !matches!(self.part, receive::NextPart::Block { .. }) {
            give_up(&mut self.block);
        }
        give_up(&mut self.text);
        give_up(&mut self.cookie);
        if self.out.is_empty() {
            give_up(&mut self.out);
        }
        self.decoder.rest();
        self.encoder.rest();
        self.closed.release_memory();
        // One slot is kept, for the next stream.
        self.slots.truncate(1);
        self.free.clear();
        self.free.push(0);
        self.slots.shrink_to(8);
        self.free.shrink_to(8);
        self.ids.shrink_to(8);
        self.waiting.shrink_to(8);
    }

    /// Returns whether it is over, and why.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        self.ended
    }

    /// Streams under way.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.ids.len()
    }

    /// Returns whether streams were given something to do since this was asked last: what they have
    /// to say will follow at once.
    pub fn take_stirred(&mut self) -> bool {
        std::mem::take(&mut self.stirred)
    }

    /// Returns whether a head has to be answered before the next one is read, since this was asked
    /// last.
    pub fn take_paused(&mut self) -> bool {
        std::mem::take(&mut self.paused)
    }

    /// Returns whether nothing more is to come: it was said that the connection ends, and all
    /// streams have ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.leaving == GoAwayState::Last && self.ids.is_empty()
    }

    /// Returns whether nothing is left but to tell the other side.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ended.is_some() || self.is_done()
    }

    /// Returns what may be sent on all streams together; what may still be received, what the other
    /// side has not been told that it may send again, and what both were at first.
    #[must_use]
    pub fn windows(&self) -> (i64, i64, i64, i64) {
        let all = i64::from(self.terms.connection_window.max(frames::WINDOW));
        (self.credit, self.window, i64::from(self.unsaid), all)
    }

    /// Streams that the other side allows at the same time.
    #[must_use]
    pub fn allowed(&self) -> u32 {
        self.allowed
    }

    /// Returns whether the other side takes `CONNECT` with a protocol (RFC 8441 §3).
    #[must_use]
    pub fn takes_tunnels(&self) -> bool {
        self.tunnels
    }

    /// Returns whether the other side has said what it can do.
    #[must_use]
    pub fn has_settled(&self) -> bool {
        self.settled
    }

    /// Returns whether new streams make sense.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.ended.is_none() && self.leaving == GoAwayState::No && self.next <= frames::LARGEST
    }

    /// Answers that have begun, over all streams.
    #[must_use]
    pub fn heard(&self) -> u64 {
        self.heard
    }

    /// Wakes this task once the other side has said what it can do, or never will.
    pub fn await_settled(&mut self, cx: &Context<'_>) {
        if !self.settlers.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.settlers.push(cx.waker().clone());
        }
    }

    /// The task that reads and writes the connection.
    pub fn set_task(&mut self, cx: &Context<'_>) {
        if !self.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            self.task = Some(cx.waker().clone());
        }
    }

    /// Notes that there is something to be sent.
    fn notify_writer(&mut self) {
        if !self.told {
            self.told = true;
            self.task.iter().for_each(Waker::wake_by_ref);
        }
    }

    fn mark_settled(&mut self) {
        self.settled = true;
        self.settlers.drain(..).for_each(Waker::wake);
    }

    /// The connection has broken, or was closed by the other side.
    pub fn lose(&mut self) {
        self.end_connection(Ended::Lost);
    }

    fn end_connection(&mut self, how: Ended) {
        if self.ended.is_some() {
            return;
        }
        self.ended = Some(how);
        self.settlers.drain(..).for_each(Waker::wake);
        for at in 0..self.ids.len() {
            if let Some((_, index)) = self.ids.get(at).copied() {
                self.end_stream(index, StreamEnd::Connection(how));
            }
        }
    }

    /// Ends a stream before both messages have.
    fn end_stream(&mut self, index: u32, end: StreamEnd) {
        let role = self.role;
        let Some(slot) = self.slots.get_mut(index as usize) else { return };
        let end = match (role, end) {
            // A response that has come to its end is whole, whatever becomes of the rest.
            (
                Role::Client,
                StreamEnd::Reset(_) | StreamEnd::Unprocessed | StreamEnd::Connection(_),
            ) if slot.state == StreamState::HalfClosedRemote => StreamEnd::Stopped,
            // Who has answered has looked at it.
            (Role::Client, StreamEnd::Unprocessed) if slot.answered => {
                StreamEnd::Reset(ErrorCode::REFUSED_STREAM)
            }
            (_, end) => end,
        };
        if slot.end_stream(end) && role == Role::Server {
            // Nobody reads what is left of a request that is broken off.
            let unread = std::mem::take(&mut slot.data).len();
            self.received.subtract_bytes(unread);
            self.give_back(unread);
        }
    }

    /// The other side has broken a rule: it is told so, and nothing more is read.
    fn fail_connection(&mut self, code: ErrorCode) {
        if self.ended.is_none() {
            self.send_goaway(self.last, code);
            self.end_connection(Ended::Failed(code));
        }
    }

    /// Tells the other side that the connection is going to end. What it has under way already is
    /// still taken.
    pub fn announce_end(&mut self) {
        if self.leaving != GoAwayState::No || self.ended.is_some() {
            return;
        }
        match self.role {
            // It has said nothing yet, and is told nothing.
            Role::Server if self.part == receive::NextPart::Preface => self.lose(),
            Role::Server => {
                // RFC 9113 §6.8: the answer to the PING shows that the client has read the first of
                // the two.
                self.leaving = GoAwayState::Announced;
                self.send_goaway(frames::LARGEST, ErrorCode::NO_ERROR);
                frames::put(&mut self.out, kind::PING, 0, 0, &GOODBYE);
            }
            Role::Client => {
                self.leaving = GoAwayState::Last;
                self.send_goaway(self.last, ErrorCode::NO_ERROR);
            }
        }
        self.notify_writer();
    }

    /// Ends it with the last stream that was begun.
    pub fn end_with_last(&mut self) {
        if self.leaving != GoAwayState::Last && self.ended.is_none() {
            self.leaving = GoAwayState::Last;
            self.send_goaway(self.last, ErrorCode::NO_ERROR);
            self.notify_writer();
        }
    }

    fn send_goaway(&mut self, last: u32, code: ErrorCode) {
        // RFC 9113 §6.8: it never becomes more.
        self.promised = self.promised.min(last);
        let [a, b, c, d] = self.promised.to_be_bytes();
        let [e, f, g, h] = code.0.to_be_bytes();
        frames::put(&mut self.out, kind::GOAWAY, 0, 0, &[a, b, c, d, e, f, g, h]);
    }

    fn slot_mut(&mut self, slot: u32) -> Option<&mut StreamSlot> {
        self.slots.get_mut(slot as usize)
    }

    /// The slot of a stream.
    fn find_slot(&self, id: u32) -> Option<u32> {
        // Most frames are for one of the last streams, or there are few.
        let at = self.ids.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.ids.get(at).map(|(_, slot)| *slot)
    }

    /// A slot for a new stream.
    fn occupy_slot(&mut self, id: u32) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(StreamSlot::default());
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        // The other side may begin before it has heard that its windows are smaller than they are
        // at first.
        let window = i64::from(self.terms.stream_window.max(frames::WINDOW));
        let credit = self.stream_credit;
        let size = self.terms.stream_window;
        if let Some(slot) = self.slot_mut(index) {
            slot.begin_stream(id, window, credit);
            slot.window_size = size;
        }
        self.ids.push_back((id, index));
        index
    }
}

/// Lets go of what was larger than heads usually are.
fn give_up(memory: &mut Vec<u8>) {
    if memory.capacity() > AT_REST {
        *memory = Vec::new();
    }
}

/// The content of the PING that follows the announcement of the end.
const GOODBYE: [u8; 8] = *b"goodbye!";

#[cfg(test)]
mod tests;
