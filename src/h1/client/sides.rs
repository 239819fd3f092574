//! A client's connection as a source of its request's body and as a sink of its response.

use std::io;
use std::task::{Context, Poll, ready};

use super::{DRAIN_BYTES, H1Client};
use crate::clock::{self, Instant};
use crate::exchange::{Client, Emit, Length, Outgoing, Sink, Source};
use crate::net::stalls::{StallMark, StallPeer};
use crate::net::{BodyError, BodyFraming, BodyReader, Fill};
use crate::wire::head::Fields;
use crate::wire::{Fault, Framing, Known, ResponseHead, Sender, Version, encode};

impl H1Client {
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
        if coding == BodyFraming::UntilClose {
            // However this process ends: what it has yet to send is missed.
            self.resets = true;
            self.stream.reset_on_close();
        }
        let out = self.out.head_buffer();
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
        if self.resets {
            self.resets = false;
            self.stream.close_in_order();
        }
        if self.tunnel { self.stream.poll_shutdown(cx) } else { Poll::Ready(Ok(())) }
    }
}

impl Client for H1Client {
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_departure(cx)
    }

    fn poll_gone_unread(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_departure_unread(cx)
    }

    fn look_again(&self) -> Option<Instant> {
        self.next_look()
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
