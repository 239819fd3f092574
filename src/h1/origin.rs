//! A connection to a server that speaks HTTP/1: writes requests, reads responses strictly, and
//! knows whether it may carry another one.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::clock::Instant;
use crate::exchange::{HeadError, Length, Sink, Source};
use crate::net::stalls::StallMark;
use crate::net::{
    BodyError, BodyFraming, BodyReader, Fill, Inbox, MadeWith, Opened, Outbox, Stream,
};
use crate::wire::head::{Fields, list_items};
use crate::wire::response::{self, HeadLimits, ResponseParser};
use crate::wire::{Fault, Framing, Known, ResponseHead, Sender, Version, framing};

/// One connection to a server.
#[derive(Debug)]
pub struct H1Origin {
    stream: Stream,
    opened: Opened,
    inbox: Inbox,
    out: Outbox,
    parser: ResponseParser,
    /// The limits of the head of a response.
    pub limits: HeadLimits,
    body: BodyReader,
    framing: Framing,
    head: ResponseHead,
    /// A byte of the current answer has arrived.
    answered: bool,
    /// The whole request has been handed to the socket.
    sent: bool,
    keep_alive: bool,
    tunnel: bool,
    /// The server has reset the connection, and a write was told so. The system says it once: reads
    /// end from then on as if the server had.
    reset: bool,
    uses: u32,
    /// The moment at which the last answer was complete.
    idle_since: Instant,
    /// The time for which it is kept from then on.
    kept_for: Duration,
    /// The time for which the server said that it keeps an idle connection.
    advertised: Option<Duration>,
    /// The terms that it was made with.
    pub made_with: MadeWith,
}

impl H1Origin {
    /// Takes over a connected socket.
    #[must_use]
    pub fn new(stream: Stream, opened: Opened, now: Instant) -> Self {
        Self {
            stream,
            opened,
            inbox: Inbox::default(),
            out: Outbox::default(),
            parser: ResponseParser::default(),
            limits: HeadLimits::default(),
            body: BodyReader::default(),
            framing: Framing::None,
            head: ResponseHead::default(),
            answered: false,
            sent: false,
            keep_alive: true,
            tunnel: false,
            reset: false,
            uses: 0,
            idle_since: now,
            kept_for: Duration::ZERO,
            advertised: None,
            made_with: MadeWith::default(),
        }
    }

    /// Starts a request; its head is written to what is returned, and leaves with its first body
    /// bytes or at the next flush.
    pub fn begin_request(&mut self) -> &mut Vec<u8> {
        self.uses = self.uses.saturating_add(1);
        self.answered = false;
        self.sent = false;
        self.keep_alive = true;
        self.out.head_buffer()
    }

    /// The head has been written, and has announced a body like this.
    pub fn send_head(&mut self, coding: BodyFraming) {
        self.out.begin_message(coding);
    }

    /// Returns whether somebody waits for it to be closed.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.opened.is_wanted()
    }

    /// Returns whether its server is no longer one of its upstream's.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.opened.is_retired()
    }

    /// Returns how many requests were started on this connection.
    #[must_use]
    pub fn use_count(&self) -> u32 {
        self.uses
    }

    /// Returns when the last answer was complete.
    #[must_use]
    pub fn idle_since(&self) -> Instant {
        self.idle_since
    }

    /// Returns how long it is kept at rest, unless its server says less.
    #[must_use]
    pub fn kept_for(&self) -> Duration {
        self.kept_for
    }

    /// Returns how long the server said that it keeps an idle connection (`Keep-Alive: timeout=`).
    #[must_use]
    pub fn advertised_timeout(&self) -> Option<Duration> {
        self.advertised
    }

    /// The last head that [`H1Origin::poll_head`] stored.
    #[must_use]
    pub fn response_head(&self) -> &ResponseHead {
        &self.head
    }

    /// Waits for the next head, informational ones included.
    ///
    /// # Errors
    /// [`HeadError`]; the connection is of no use afterwards.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head_request: bool,
    ) -> Poll<Result<(), HeadError>> {
        loop {
            if !self.inbox.is_empty() {
                self.answered = true;
                let (data, limits) = (self.inbox.data(), self.limits);
                if let Some(used) = self.parser.parse_within(data, limits, &mut self.head)? {
                    // What is at fault stays unread: it has begun as a response does.
                    self.framing = framing::of_response(&self.head, head_request)?;
                    self.inbox.consume(used);
                    self.body = BodyReader::new(self.framing, Sender::Server);
                    self.note_persistence();
                    return Poll::Ready(Ok(()));
                }
            }
            match ready!(self.inbox.poll_fill(cx, &mut self.stream, self.limits.bytes + 1)) {
                Ok(0) | Err(_) => {
                    return Poll::Ready(Err(HeadError::Closed { any: self.answered }));
                }
                Ok(_) => {}
            }
        }
    }

    /// Returns whether what is unread begins no response at all.
    #[must_use]
    pub fn is_astray(&self) -> bool {
        !response::may_begin(self.inbox.data())
    }

    /// Returns whether the start of the body may be none. What is there of one without chunks
    /// cannot be wrong.
    #[must_use]
    pub fn may_be_broken(&self) -> bool {
        self.framing == Framing::Chunked || self.inbox.is_empty() && !self.body.is_done()
    }

    /// Reads from the head whether and for how long the connection stays open (RFC 9112 §9.3).
    fn note_persistence(&mut self) {
        let fields = &self.head.fields;
        self.keep_alive = match self.head.version {
            Version::Http10 => fields.lists(Known::Connection, b"keep-alive"),
            Version::Http11 | Version::Http2 => {
                !fields.has(Known::Connection) || !fields.lists(Known::Connection, b"close")
            }
        };
        // A body after one of these would be taken for the next response.
        if self.head.status == 204
            && (fields.has(Known::ContentLength) || fields.has(Known::TransferEncoding))
        {
            self.keep_alive = false;
        }
        if fields.has(Known::KeepAlive) {
            self.advertised = fields.first(Known::KeepAlive).and_then(advertised_timeout);
        }
    }

    /// The length of the response body as it can be told to a client.
    #[must_use]
    pub fn body_length(&self, head_request: bool) -> Length {
        Length::from_head(&self.head, self.framing, head_request)
    }

    /// After the answer: whether the connection may carry another request.
    #[must_use]
    pub fn is_reusable(&self) -> bool {
        self.keep_alive
            && self.sent
            && self.out.is_whole()
            && !self.tunnel
            && self.body.is_done()
            && self.framing != Framing::UntilClose
            && self.inbox.is_empty()
            && self.out.is_empty()
    }

    /// Puts the connection to rest.
    pub fn put_to_rest(&mut self, now: Instant, kept_for: Duration) {
        self.idle_since = now;
        self.kept_for = kept_for;
        self.parser = ResponseParser::default();
        self.out.release_memory();
    }

    /// Returns whether a connection at rest still is open with nothing unasked for on it.
    pub fn is_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        self.stream.is_quiet(cx)
    }

    /// Turns the connection into a tunnel after a 101.
    pub fn become_tunnel(&mut self) {
        self.tunnel = true;
        self.keep_alive = false;
        self.framing = Framing::UntilClose;
        self.body = BodyReader::new(Framing::UntilClose, Sender::Server);
        self.out.begin_message(BodyFraming::UntilClose);
    }

    /// Returns how far the server has come with what is sent to it.
    #[must_use]
    pub fn stall_mark(&self) -> StallMark {
        StallMark { untaken: self.stream.count_untaken(), ..StallMark::default() }
    }

    /// Counts the bytes that were sent.
    #[must_use]
    pub fn queued_bytes(&self) -> u64 {
        self.out.sent_bytes()
    }

    /// Counts those of them that the server's system has acknowledged; `None` where nobody tells.
    #[must_use]
    pub fn acknowledged_bytes(&self) -> Option<u64> {
        Some(self.queued_bytes().saturating_sub(u64::from(self.stream.count_untaken()?)))
    }

    /// Makes the coming close a reset: an upload that was cut short must not look complete.
    pub fn cut_request(&self) {
        self.stream.reset_on_close();
    }
}

impl H1Origin {
    /// Notes why a write failed. After an orderly end it would be a broken pipe.
    fn note_error(&mut self, error: &io::Error) {
        self.reset |= error.kind() == io::ErrorKind::ConnectionReset;
    }
}

/// The seconds of `timeout=` in a `Keep-Alive` field.
fn advertised_timeout(value: &[u8]) -> Option<Duration> {
    list_items(value).find_map(|item| {
        let seconds = item.strip_prefix(b"timeout=")?;
        let seconds: u64 = std::str::from_utf8(seconds).ok()?.parse().ok()?;
        Some(Duration::from_secs(seconds))
    })
}

impl Source for H1Origin {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, BodyError>> {
        let filled = ready!(self.body.poll_fill(cx, &mut self.inbox, &mut self.stream));
        if self.reset && self.framing == Framing::UntilClose && matches!(filled, Ok(Fill::End)) {
            return Poll::Ready(Err(BodyError::Truncated));
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

impl Sink for H1Origin {
    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(self.out.poll_write(cx, &mut self.stream, data));
        Poll::Ready(written.inspect_err(|error| self.note_error(error)))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(self.out.poll_flush(cx, &mut self.stream));
        Poll::Ready(flushed.inspect_err(|error| self.note_error(error)))
    }

    fn poll_finish(
        &mut self,
        cx: &mut Context<'_>,
        trailers: Option<&Fields>,
    ) -> Poll<io::Result<()>> {
        let finished = ready!(self.out.poll_finish(cx, &mut self.stream, trailers));
        finished.inspect_err(|error| self.note_error(error))?;
        self.sent = true;
        if self.tunnel { self.stream.poll_shutdown(cx) } else { Poll::Ready(Ok(())) }
    }
}

#[cfg(test)]
mod tests;
