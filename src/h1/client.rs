//! A client's HTTP/1 connection: reads requests, writes responses, knows when it may be used again.

mod closing;
mod departure;
mod life;
mod sides;

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

pub use self::life::{Closing, Life};
use crate::clock::{self, Instant};
use crate::net::seats::{Seat, SeatWait};
use crate::net::timer::earlier_of;
use crate::net::{BodyReader, Inbox, Outbox, Stream, Timer};
use crate::wire::request::{Limits, RequestParser};
use crate::wire::{Fault, Known, RequestHead, Sender, Version, framing, remains};

/// Pipelined requests beyond this many bytes stay in the socket until their turn comes.
const PIPELINE_BYTES: usize = 64 * 1024;
/// Bytes of an unwanted request body that are read so that the connection can be kept.
const DRAIN_BYTES: u64 = 64 * 1024;
/// The time for which a connection that is too old must have been silent before it ends without a
/// word.
const SILENT: Duration = Duration::from_secs(1);

/// The beginning of HTTP/2, as far as it looks like a request (RFC 9113 §3.4).
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// The next event on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextRequest {
    /// A request whose head has been stored.
    Request,
    /// Nothing: the client closed, was idle too long, or the listener is closing.
    Closed,
    /// The first bytes of HTTP/2, by a client that knows that it is spoken here (RFC 9113 §3.3).
    Http2,
    /// Something that is not a request. What can be made out of it has been stored.
    Fault(Fault),
    /// A part of a head, and then nothing for too long. What can be made out of it has been stored.
    Timeout,
    /// The same, and somebody else needs the place.
    Crowded,
}

/// The deadlines while a head is read.
#[derive(Debug, Clone, Copy)]
pub struct HeadTimes {
    /// From the first byte to the last of a head; for the first request from the accept on.
    pub headers: Option<Duration>,
    /// Between two requests.
    pub idle: Option<Duration>,
}

/// One client connection that speaks HTTP/1.
#[derive(Debug)]
pub struct H1Client {
    stream: Stream,
    inbox: Inbox,
    out: Outbox,
    body: BodyReader,
    parser: RequestParser,
    version: Version,
    keep_alive: bool,
    begun: bool,
    tunnel: bool,
    /// The client waits for 100 before it sends the body.
    expects: bool,
    /// The client will send nothing more.
    ended: bool,
    cut: bool,
    /// A close is a reset for now: nothing else would tell it from the end of the response.
    resets: bool,
    requests: u32,
    /// The most of them, and when it is too old for another one.
    most: (u32, Option<Instant>),
    /// Bytes of the current response's body.
    sent: u64,
    head_at: Instant,
    /// Set when the worker drains: responses from then on end their connections.
    closing: Rc<Closing>,
    /// The place between the two moments of a drain at which this connection ends if it stays idle.
    place: u8,
    /// The moment at which the client ended its sending side while it waited for an answer.
    half_closed: Option<Instant>,
    /// True once it has been asked for a sign of life.
    asked: bool,
    /// As much of a body was read ahead as may be: the socket is not watched any more.
    brimful: bool,
}

impl H1Client {
    /// Takes over an accepted socket.
    #[must_use]
    pub fn new(
        stream: Stream,
        now: Instant,
        (closing, life): (Rc<Closing>, Life),
        place: u8,
    ) -> Self {
        Self {
            stream,
            inbox: Inbox::default(),
            out: Outbox::default(),
            body: BodyReader::default(),
            parser: RequestParser::default(),
            version: Version::Http11,
            keep_alive: true,
            begun: false,
            tunnel: false,
            expects: false,
            ended: false,
            cut: false,
            resets: false,
            requests: 0,
            most: (life.requests, life.end_of_life(now, place)),
            sent: 0,
            head_at: now,
            closing,
            place,
            half_closed: None,
            asked: false,
            brimful: false,
        }
    }

    /// Waits for the first byte of the next request. `false` when the connection is over, which an
    /// idle one is some time after its listener has begun to close, or when somebody needs its
    /// place.
    ///
    /// Cancel safety: nothing is lost, received bytes stay with the connection.
    pub async fn wake(&mut self, seat: &Seat<'_>, timer: &mut Timer, times: HeadTimes) -> bool {
        if self.find_request() {
            return true;
        }
        self.out.release_memory();
        let idle_until = match self.requests {
            0 => clock::deadline(self.head_at, times.headers),
            _ => clock::deadline(clock::now(), times.idle),
        };
        // Not at once when it becomes too old: the next request may be on its way, and its answer
        // says that it was the last.
        let too_old = self.most.1.filter(|_| self.requests > 0).map(|end| {
            let silent = clock::now() + SILENT;
            if end > silent { end } else { silent }
        });
        poll_fn(|cx| {
            while let Poll::Ready(filled) = self.inbox.poll_fill(cx, &mut self.stream, usize::MAX) {
                if matches!(filled, Ok(0) | Err(_)) {
                    self.ended = true;
                    return Poll::Ready(false);
                }
                if self.find_request() {
                    seat.begin_work();
                    return Poll::Ready(true);
                }
            }
            if seat.begin_wait(SeatWait::Request) {
                // Who has said nothing yet has nothing to read.
                self.ended = self.requests == 0;
                return Poll::Ready(false);
            }
            let until = earlier_of(idle_until, self.closing.idle_until(self.place));
            timer.poll_at(cx, earlier_of(until, too_old)).map(|()| false)
        })
        .await
    }

    /// Returns whether a request has begun. Empty lines behind the one before, and the half of one,
    /// are not the beginning of the next (RFC 9112 §2.2): the connection is as idle as before.
    fn find_request(&mut self) -> bool {
        if self.requests == 0 {
            return !self.inbox.is_empty();
        }
        let pairs = self.inbox.data().chunks(2);
        let empty = 2 * pairs.take_while(|pair| *pair == b"\r\n").count();
        self.inbox.consume(empty);
        !matches!(self.inbox.data(), [] | [b'\r'])
    }

    /// Reads the head of a request whose first bytes are there.
    ///
    /// Cancel safety: as for [`H1Client::wake`].
    pub async fn next(
        &mut self,
        head: &mut RequestHead,
        (seat, timer): (&Seat<'_>, &mut Timer),
        limits: &Limits,
        times: HeadTimes,
    ) -> NextRequest {
        // Most heads arrive whole: the clock is read only for those that do not.
        let mut from = if self.requests == 0 { Some(self.head_at) } else { None };
        let mut waited = false;
        let next = poll_fn(|cx| {
            loop {
                match self.parser.parse(self.inbox.data(), limits, head) {
                    Ok(Some(used)) => {
                        self.inbox.consume(used);
                        return Poll::Ready(self.accept_request(head));
                    }
                    Ok(None) => {}
                    Err(fault) => {
                        remains::make_out(self.inbox.data(), head);
                        return Poll::Ready(self.classify_fault(fault));
                    }
                }
                let room = limits.bytes.saturating_add(PIPELINE_BYTES);
                match self.inbox.poll_fill(cx, &mut self.stream, room) {
                    Poll::Ready(Ok(0) | Err(_)) => {
                        self.ended = true;
                        return Poll::Ready(NextRequest::Closed);
                    }
                    Poll::Ready(Ok(_)) => {}
                    Poll::Pending => break,
                }
            }
            waited = true;
            let next = if seat.begin_wait(SeatWait::Rest) {
                NextRequest::Crowded
            } else {
                let from = *from.get_or_insert_with(clock::now);
                ready!(timer.poll_at(cx, clock::deadline(from, times.headers)));
                NextRequest::Timeout
            };
            self.keep_alive = false;
            remains::make_out(self.inbox.data(), head);
            Poll::Ready(next)
        })
        .await;
        if waited && next != NextRequest::Crowded {
            seat.begin_work();
        }
        next
    }

    /// Reads nothing more, not even to let the client read its answer: its place is needed.
    pub fn stop_reading(&mut self) {
        self.ended = true;
    }

    /// The connection and what has been read of it, for another protocol.
    #[must_use]
    pub fn into_parts(self) -> (Vec<u8>, Stream) {
        (self.inbox.data().to_vec(), self.stream)
    }

    /// After bytes that are no request nobody knows where the next one starts.
    fn classify_fault(&mut self, fault: Fault) -> NextRequest {
        let first = self.requests == 0 && !self.stream.is_tls();
        if fault == Fault::Version && first && self.inbox.data().starts_with(HTTP2) {
            return NextRequest::Http2;
        }
        let fault = if first && remains::is_tls(self.inbox.data()) { Fault::Tls } else { fault };
        self.begun = false;
        self.keep_alive = false;
        NextRequest::Fault(fault)
    }

    /// Prepares for the body and the response of a request whose head is complete.
    fn accept_request(&mut self, head: &RequestHead) -> NextRequest {
        self.requests = self.requests.saturating_add(1);
        self.head_at = clock::now();
        self.sent = 0;
        self.brimful = false;
        self.version = head.version;
        self.begun = false;
        self.expects = head.version != Version::Http10 && head.fields.has(Known::Expect);
        self.keep_alive = match head.version {
            Version::Http10 => head.fields.lists(Known::Connection, b"keep-alive"),
            Version::Http11 | Version::Http2 => {
                !head.fields.has(Known::Connection)
                    || !head.fields.lists(Known::Connection, b"close")
            }
        };
        match framing::of_request(head) {
            Ok(framing) => {
                self.body = BodyReader::new(framing, Sender::Client);
                NextRequest::Request
            }
            Err(fault) => self.classify_fault(fault),
        }
    }

    /// Returns when the head of the current request was complete.
    #[must_use]
    pub fn head_at(&self) -> Instant {
        self.head_at
    }
}

#[cfg(test)]
mod tests;
