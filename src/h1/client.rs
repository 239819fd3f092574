//! A client's HTTP/1 connection: reads requests, writes responses, knows when it may be used again.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::clock::{self, Instant};
use crate::exchange::{Client, Emit, Length, Outgoing, Sink, Source};
use crate::net::room::Room;
use crate::net::seats::{Seat, SeatWait};
use crate::net::stalls::{StallMark, StallPeer};
use crate::net::timer::earlier_of;
use crate::net::{BodyError, BodyFraming, BodyReader, Fill, Inbox, Outbox, Stream, Timer};
use crate::wire::head::Fields;
use crate::wire::request::{Limits, RequestParser};
use crate::wire::{
    Fault, Framing, Known, RequestHead, ResponseHead, Sender, Version, encode, framing, remains,
};

/// Pipelined requests beyond this many bytes stay in the socket until their turn comes.
const PIPELINE_BYTES: usize = 64 * 1024;
/// A client that ended its sending side may still want the answer (`printf … | nc`), or may have
/// gone away: both look alike. nginx, Go and hyper take both for departure. Here it is asked, by an
/// unneeded `100 Continue`, which every HTTP/1.1 client skips (RFC 9110 §15.2) and a closed socket
/// answers with a reset; but only when the answer takes longer than this.
const ASK_AFTER: Duration = Duration::from_millis(150);
/// The pause between two looks for the outcome: the end of the stream hides a reset from the
/// reactor.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Bytes of an unwanted request body that are read so that the connection can be kept.
const DRAIN_BYTES: u64 = 64 * 1024;
/// The time for which a closing connection goes on reading, so that a client that is still sending
/// gets to see its answer instead of a reset (RFC 9112 §9.6).
const LINGER_TOTAL: Duration = Duration::from_secs(10);
const LINGER_GAP: Duration = Duration::from_secs(2);

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

/// The life of a connection with which nothing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// After so many requests.
    pub requests: u32,
    /// The age at which it ends.
    pub age: Option<Duration>,
}

impl Default for Life {
    fn default() -> Self {
        Self { requests: u32::MAX, age: None }
    }
}

impl Life {
    /// Returns when a connection that began at `now` is too old. `place` spreads them over the last
    /// tenth of their time, so that those that came together do not all come again together.
    #[must_use]
    pub fn end_of_life(self, now: Instant, place: u8) -> Option<Instant> {
        let age = self.age?;
        now.checked_add(age.saturating_sub(age / 10 * u32::from(place) / 255))
    }
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

/// The moments at which a listener's connections are to end.
#[derive(Debug, Default)]
pub struct Closing {
    begun: Cell<Option<(Instant, Duration)>>,
    room: Arc<Room>,
}

impl Closing {
    /// Not yet, while there is room for them.
    #[must_use]
    pub fn new(room: Arc<Room>) -> Self {
        Self { begun: Cell::new(None), room }
    }

    /// Responses end their connections from now on. Idle connections are left alone for `grace` at
    /// most: a request may be on its way to one of them, and closing it would lose that request.
    /// They end in the second half of that time, not all at once.
    pub fn begin_closing(&self, now: Instant, grace: Duration) {
        self.begun.set(Some((now, grace)));
    }

    /// Returns whether they have begun to end.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun.get().is_some()
    }

    /// Returns whether connections should not be kept beyond the answers that are under way: they
    /// end anyway, or hardly a place is left.
    #[must_use]
    pub fn keeps_none(&self) -> bool {
        self.has_begun() || self.room.is_crowded()
    }

    fn idle_until(&self, place: u8) -> Option<Instant> {
        let (begun, grace) = self.begun.get()?;
        begun.checked_add(grace / 2 + grace / 2 * u32::from(place) / 255)
    }
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
        if !self.inbox.is_empty() {
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
        poll_fn(|cx| match self.inbox.poll_fill(cx, &mut self.stream, usize::MAX) {
            Poll::Ready(Ok(0) | Err(_)) => {
                self.ended = true;
                Poll::Ready(false)
            }
            Poll::Ready(Ok(_)) => {
                seat.begin_work();
                Poll::Ready(true)
            }
            Poll::Pending if seat.begin_wait(SeatWait::Request) => {
                // Who has said nothing yet has nothing to read.
                self.ended = self.requests == 0;
                Poll::Ready(false)
            }
            Poll::Pending => {
                let until = earlier_of(idle_until, self.closing.idle_until(self.place));
                timer.poll_at(cx, earlier_of(until, too_old)).map(|()| false)
            }
        })
        .await
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

    /// After a response: makes the connection ready for the next request. `false` when it has to
    /// be closed. Waits at most `gap` for each part of a body nobody wanted.
    pub async fn settle(&mut self, timer: &mut Timer, gap: Option<Duration>) -> bool {
        if self.begun && !self.out.is_whole() {
            self.cut = true;
        }
        if self.cut || self.tunnel || !self.begun || !self.keep_alive || !self.out.is_empty() {
            return false;
        }
        if self.body.is_done() {
            return true;
        }
        let mut since = clock::now();
        let most = self.body.received_bytes().saturating_add(DRAIN_BYTES);
        poll_fn(|cx| {
            loop {
                match self.poll_fill(cx) {
                    Poll::Ready(Ok(Fill::End)) => return Poll::Ready(true),
                    Poll::Ready(Ok(Fill::Data)) if self.body.received_bytes() <= most => {
                        let n = self.body_data().len();
                        self.consume_body(n);
                        since = clock::now();
                    }
                    Poll::Ready(_) => return Poll::Ready(false),
                    Poll::Pending => break,
                }
            }
            ready!(timer.poll_at(cx, clock::deadline(since, gap)));
            Poll::Ready(false)
        })
        .await
    }

    /// Sends what is left and closes without destroying an answer that is still on its way.
    pub async fn close_gracefully(mut self, timer: &mut Timer, write_gap: Option<Duration>) {
        if self.cut {
            self.stream.reset_on_close();
            return;
        }
        let flush_by = clock::deadline(clock::now(), write_gap);
        let flushed = poll_fn(|cx| {
            if let Poll::Ready(result) = self.out.poll_flush(cx, &mut self.stream) {
                return Poll::Ready(result.is_ok());
            }
            ready!(timer.poll_at(cx, flush_by));
            Poll::Ready(false)
        })
        .await;
        // A tunnel has shut down its sending side already, and nothing of it is left to be read.
        if !flushed || self.ended || self.tunnel {
            return;
        }
        if self.begun && self.body.is_done() && self.inbox.is_empty() && !self.may_be_reset() {
            if self.stream.is_tls() {
                // The end of TLS: without it a body that lasts until the close looks cut.
                self.shut_down(timer, flush_by).await;
            }
            return;
        }
        if self.shut_down(timer, flush_by).await {
            self.linger_until_closed(timer).await;
        }
    }

    /// Returns whether a close may turn into a reset that destroys what the client has yet to get:
    /// because something is unread, or comes while much is on its way. What is less than the first
    /// window of a connection has left already (RFC 6928).
    fn may_be_reset(&self) -> bool {
        const FIRST_WINDOW: u64 = 10 * 1460;
        let is_long = self.out.sent_bytes() > FIRST_WINDOW;
        self.stream.has_unread()
            || is_long && self.stream.count_untaken().is_some_and(|untaken| untaken > 0)
    }

    /// Says that nothing more will be sent, which with TLS has to fit into the socket. `false` when
    /// that failed, or was not done in time.
    async fn shut_down(&mut self, timer: &mut Timer, until: Option<Instant>) -> bool {
        poll_fn(|cx| match self.stream.poll_shutdown(cx) {
            Poll::Pending => timer.poll_at(cx, until).map(|()| false),
            Poll::Ready(ended) => Poll::Ready(ended.is_ok()),
        })
        .await
    }

    /// Reads and forgets until the client has closed its side, within bounds.
    async fn linger_until_closed(&mut self, timer: &mut Timer) {
        let end = clock::deadline(clock::now(), Some(LINGER_TOTAL));
        let mut gap = clock::deadline(clock::now(), Some(LINGER_GAP));
        poll_fn(|cx| {
            loop {
                self.inbox.clear();
                match self.inbox.poll_fill(cx, &mut self.stream, usize::MAX) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                    Poll::Ready(Ok(_)) => gap = clock::deadline(clock::now(), Some(LINGER_GAP)),
                    Poll::Pending => break,
                }
                if end.is_some_and(|end| clock::now() >= end) {
                    return Poll::Ready(());
                }
            }
            timer.poll_at(cx, earlier_of(end, gap))
        })
        .await;
    }

    /// Returns whether an interim response can find out if a client that ended its sending side
    /// still listens.
    fn can_ask(&self) -> bool {
        !self.asked && !self.begun && self.version != Version::Http10
    }

    /// Returns whether a client that ended its sending side has closed the other one too.
    fn poll_departed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let since = *self.half_closed.get_or_insert_with(clock::now);
        if self.stream.has_failed() {
            return Poll::Ready(());
        }
        if self.can_ask() && since.elapsed() >= ASK_AFTER {
            self.asked = true;
            self.out.head_buffer().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            if let Poll::Ready(Err(_)) = self.out.poll_flush(cx, &mut self.stream) {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// Returns whether it has carried as many requests as it may, or is too old for another one.
    fn is_spent(&self) -> bool {
        let (most, end) = self.most;
        self.requests >= most || end.is_some_and(|end| clock::now() >= end)
    }

    /// Writes the fields that belong to the connection, and the end of the head.
    fn finish_head(&mut self, length: Length) -> BodyFraming {
        if length == Length::Unknown && self.version == Version::Http10 {
            // HTTP/1.0 has no other way to tell where such a body ends.
            self.keep_alive = false;
        }
        // Requests that came before the client ended its side are answered (RFC 9112 §9.3.2).
        let over = self.ended && self.inbox.is_empty();
        let keep_alive = self.keep_alive && !over && !self.closing.keeps_none() && !self.is_spent();
        self.keep_alive = keep_alive;
        let version = self.version;
        let out = self.out.head_buffer();
        let coding = match length {
            Length::Known(n) => {
                encode::content_length(out, n);
                BodyFraming::Exactly(n)
            }
            Length::Bodiless(told) => {
                told.iter().for_each(|n| encode::content_length(out, *n));
                BodyFraming::Exactly(0)
            }
            Length::Unknown if version != Version::Http10 => {
                out.extend_from_slice(b"transfer-encoding: chunked\r\n");
                BodyFraming::Chunked
            }
            Length::Unknown => BodyFraming::UntilClose,
        };
        match (keep_alive, version) {
            (false, _) => out.extend_from_slice(b"connection: close\r\n"),
            (true, Version::Http10) => out.extend_from_slice(b"connection: keep-alive\r\n"),
            (true, Version::Http11 | Version::Http2) => {}
        }
        out.extend_from_slice(b"\r\n");
        coding
    }
}

impl Source for H1Client {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, BodyError>> {
        self.brimful = false;
        let filled = ready!(self.body.poll_fill(cx, &mut self.inbox, &mut self.stream));
        if let Err(BodyError::Truncated) = filled {
            self.ended = true;
            self.keep_alive = false;
        }
        Poll::Ready(filled)
    }

    fn body_data(&self) -> &[u8] {
        self.body.ready_data(&self.inbox)
    }

    fn consume_body(&mut self, n: usize) {
        self.body.consume_data(&mut self.inbox, n);
    }

    fn read_trailers(&mut self) -> Result<Option<Fields>, Fault> {
        self.body.parsed_trailers()
    }
}

impl Sink for H1Client {
    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let n = ready!(self.out.poll_write(cx, &mut self.stream, data))?;
        self.sent += n as u64;
        Poll::Ready(Ok(n))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.out.poll_flush(cx, &mut self.stream)
    }

    fn poll_finish(
        &mut self,
        cx: &mut Context<'_>,
        trailers: Option<&Fields>,
    ) -> Poll<io::Result<()>> {
        ready!(self.out.poll_finish(cx, &mut self.stream, trailers))?;
        if self.tunnel { self.stream.poll_shutdown(cx) } else { Poll::Ready(Ok(())) }
    }
}

impl Client for H1Client {
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let all_here = self.body.bytes_left().is_some_and(|left| left <= self.inbox.len() as u64);
        if !self.body.is_done() && !all_here || self.tunnel {
            // Reading the body tells.
            return Poll::Pending;
        }
        while !self.ended && self.inbox.len() < PIPELINE_BYTES {
            match ready!(self.inbox.poll_fill(cx, &mut self.stream, PIPELINE_BYTES)) {
                Ok(0) => self.ended = true,
                Ok(_) => {}
                Err(_) => return Poll::Ready(()),
            }
        }
        if self.ended {
            return self.poll_departed(cx);
        }
        // An end in order would stand behind what is unread.
        self.brimful = true;
        if self.stream.has_failed() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn poll_gone_unread(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.tunnel {
            return Poll::Pending;
        }
        let ends = (&mut self.inbox, &mut self.stream);
        let ahead = ready!(self.body.poll_ahead(cx, ends, PIPELINE_BYTES));
        if ahead.is_err() {
            return Poll::Ready(());
        }
        if self.body.is_complete() {
            return self.poll_gone(cx);
        }
        // An end in order would stand behind what is unread: whether it is one is not known yet.
        self.brimful = true;
        if self.stream.has_failed() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn look_again(&self) -> Option<Instant> {
        if self.brimful {
            return Some(clock::now() + LOOK_EVERY);
        }
        let (since, now) = (self.half_closed?, clock::now());
        // A time that has passed would wake the task at once, again and again.
        let ask = Some(since + ASK_AFTER).filter(|at| self.can_ask() && *at > now);
        Some(ask.unwrap_or(now + LOOK_EVERY))
    }

    fn received_bytes(&self) -> u64 {
        self.body.received_bytes()
    }

    fn sent_bytes(&self) -> u64 {
        self.sent
    }

    fn request_done(&self) -> bool {
        self.body.is_done()
    }

    fn is_empty(&self) -> bool {
        self.body.is_done()
            && self.body.received_bytes() == 0
            && matches!(self.body.parsed_trailers(), Ok(None))
    }

    fn send_interim(&mut self, head: &ResponseHead) {
        if self.version == Version::Http10 {
            return;
        }
        self.expects &= head.status != 100;
        let out = self.out.head_buffer();
        encode::status_line(out, head.status, head.reason());
        for field in head.fields.iter().filter(|f| f.known == Known::Other) {
            encode::field(out, field.name, field.value);
        }
        out.extend_from_slice(b"\r\n");
    }

    fn begin_response(&mut self, response: &Outgoing<'_>) {
        self.begun = true;
        // A short body that is still coming will be read and dropped; a long one ends the
        // connection. Whether one that was never asked for comes, only the client knows (RFC 9110
        // §10.1.1).
        let unasked = self.expects && self.body.received_bytes() == 0;
        let long = self.body.bytes_left().is_none_or(|left| left > DRAIN_BYTES);
        if !self.body.is_done() && (long || unasked) {
            self.keep_alive = false;
        }
        let out = self.out.head_buffer();
        encode::status_line(out, response.status, response.reason);
        (response.fields)(out);
        let coding = self.finish_head(response.length);
        self.out.begin_message(coding);
    }

    fn has_begun(&self) -> bool {
        self.begun
    }

    fn close_after(&mut self) {
        self.keep_alive = false;
    }

    fn become_tunnel(&mut self, fields: &dyn Fn(&mut dyn Emit)) {
        self.begun = true;
        self.tunnel = true;
        self.keep_alive = false;
        let out = self.out.head_buffer();
        encode::status_line(out, 101, b"");
        fields(out);
        out.extend_from_slice(b"connection: upgrade\r\n\r\n");
        self.out.begin_message(BodyFraming::UntilClose);
        self.body = BodyReader::new(Framing::UntilClose, Sender::Client);
    }

    fn cut_response(&mut self) {
        self.cut = true;
        self.keep_alive = false;
    }
}

impl StallPeer for H1Client {
    fn stall_mark(&self) -> Option<StallMark> {
        // The end of a Unix socket says nothing of what is missing: such a response is not cut for
        // others.
        let may_pass_for_whole = !self.stream.can_reset() && self.out.ends_with_connection();
        let own = self.out.taken_mark().wrapping_add(self.body.received_bytes());
        (!may_pass_for_whole).then(|| StallMark { own, ..StallMark::default() })
    }

    fn count_untaken(&self) -> Option<u32> {
        self.stream.count_untaken()
    }

    fn insist_on_write(&mut self) {
        self.out.insist_on_write();
    }
}

#[cfg(test)]
mod tests;
