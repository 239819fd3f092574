//! One stream of a client's HTTP/2 connection.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::handle::{Handle, SharedConnection};
use crate::clock::{self, Instant};
use crate::exchange::{Client, Emit, Length, Outgoing, Sink, Source};
use crate::net::stalls::{StallMark, StallPeer};
use crate::net::{BodyError, BodyFraming, Fill, Timer, count_untaken};
use crate::wire::frames::ErrorCode;
use crate::wire::head::{FieldRef, Fields};
use crate::wire::{Fault, Known, RequestHead, ResponseHead};

/// Bytes that are read of a body that nobody wants, and for how long.
const SETTLE_BYTES: u64 = 256 * 1024;
const SETTLE_FOR: Duration = Duration::from_millis(500);

/// Returns whether a stream is to become a tunnel: what is made of `CONNECT` with a protocol, and
/// of nothing else.
fn asks_for_tunnel(head: &RequestHead) -> bool {
    head.fields.has(Known::Upgrade)
}

/// A stream: a request that is being read and a response that is being written.
#[derive(Debug)]
pub struct H2Client {
    stream: Handle,
    /// A head that has to wait until there is room: its status, its fields, the body it announces,
    /// and whether it is all of the response.
    late: Option<Box<(u16, Fields, BodyFraming, bool)>>,
    begun: bool,
    /// The stream is to become a tunnel (RFC 8441): what it carries is no body.
    tunnel: bool,
    /// Nothing waits for the client to make room; the head has found none, so nothing follows it.
    impatient: bool,
    unheard: bool,
    /// The addresses of both ends of the connection, where known.
    ends: Option<Rc<(SocketAddr, SocketAddr)>>,
}

impl H2Client {
    /// Takes over a stream on which `head` has been read; there is none where it had a fault.
    pub(super) fn new(shared: SharedConnection, slot: u32, head: Option<&RequestHead>) -> Self {
        let stream = Handle::new(shared, slot);
        let tunnel = head.is_some_and(asks_for_tunnel);
        let (late, ends) = (None, None);
        Self { stream, late, begun: false, tunnel, impatient: false, unheard: false, ends }
    }

    /// The same on a connection between these addresses.
    pub(super) fn between(self, ends: Option<Rc<(SocketAddr, SocketAddr)>>) -> Self {
        Self { ends, ..self }
    }

    /// From here on, what the client has no room for is left out: a flood of bad requests must not
    /// pile up answers.
    pub fn become_impatient(&mut self) {
        self.impatient = true;
    }

    /// After the answer: reads what is left of an unwanted body, within bounds. A client that is
    /// told to stop while it sends may never look at the answer that came before.
    pub async fn settle(&mut self, timer: &mut Timer) {
        if self.stream.is_received() || !self.stream.is_sent() {
            return;
        }
        let until = clock::deadline(clock::now(), Some(SETTLE_FOR));
        poll_fn(|cx| {
            while self.stream.received_bytes() < SETTLE_BYTES {
                match self.stream.poll_fill(cx) {
                    Poll::Ready(Ok(Fill::Data)) => {
                        let n = self.stream.body_data().len();
                        self.stream.consume_body(n);
                    }
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return timer.poll_at(cx, until),
                }
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Sends the head of the response: now, or once there is room.
    fn open_response(
        &mut self,
        status: u16,
        (coding, whole): (BodyFraming, bool),
        fields: &dyn Fn(&mut dyn Emit),
    ) {
        self.begun = true;
        let has_room = self.stream.connection_state().has_room();
        if has_room {
            self.stream.send_head(coding, whole, &mut |block| {
                block.encoder.status(block.out, status);
                fields(block);
            });
        } else if self.impatient {
            self.unheard = true;
        } else {
            let mut kept = Fields::default();
            fields(&mut kept);
            self.late = Some(Box::new((status, kept, coding, whole)));
        }
    }

    /// Sends the head of the response if it waits and there is room.
    fn poll_open(&mut self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        if self.late.is_none() {
            return Poll::Ready(Ok(()));
        }
        if self.stream.poll_over(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        ready!(self.stream.poll_room(cx));
        if let Some(late) = self.late.take() {
            let (status, fields, coding, whole) = *late;
            self.stream.send_head(coding, whole, &mut |block| {
                block.encoder.status(block.out, status);
                block.emit_received(&fields, &mut |_| true);
            });
        }
        Poll::Ready(Ok(()))
    }
}

impl Source for H2Client {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, BodyError>> {
        if self.tunnel { Poll::Ready(Ok(Fill::End)) } else { self.stream.poll_fill(cx) }
    }

    fn body_data(&self) -> &[u8] {
        self.stream.body_data()
    }

    fn consume_body(&mut self, n: usize) {
        self.stream.consume_body(n);
    }

    fn read_trailers(&mut self) -> Result<Option<Fields>, Fault> {
        Ok(self.stream.body_trailers().cloned())
    }
}

impl Sink for H2Client {
    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(cx))?;
        if self.unheard {
            return Poll::Ready(Ok(data.len()));
        }
        match self.stream.poll_write(cx, data) {
            // The rest is not said.
            Poll::Pending if self.impatient => Poll::Ready(Ok(data.len())),
            written => written,
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection's own task writes what all of its streams have.
        self.poll_open(cx)
    }

    fn poll_finish(
        &mut self,
        cx: &mut Context<'_>,
        trailers: Option<&Fields>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_open(cx))?;
        Poll::Ready(if self.unheard { Ok(()) } else { self.stream.finish_message(trailers) })
    }
}

impl Client for H2Client {
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.stream.is_sent() {
            return Poll::Pending;
        }
        self.stream.poll_over(cx).map(|_| ())
    }

    fn look_again(&self) -> Option<Instant> {
        None
    }

    fn received_bytes(&self) -> u64 {
        self.stream.received_bytes()
    }

    fn sent_bytes(&self) -> u64 {
        self.stream.sent_bytes()
    }

    fn request_done(&self) -> bool {
        self.tunnel || self.stream.is_received()
    }

    fn is_empty(&self) -> bool {
        self.tunnel || self.stream.is_empty()
    }

    fn send_interim(&mut self, head: &ResponseHead) {
        // Nobody has to see it.
        if !self.begun && self.stream.connection_state().has_room() {
            self.stream.send_interim(&mut |block| {
                block.encoder.status(block.out, head.status);
                crate::exchange::forward::interim_fields(head, block);
            });
        }
    }

    fn begin_response(&mut self, outgoing: &Outgoing<'_>) {
        let status = match outgoing.status {
            // It would say that the tunnel is there (RFC 8441 §5), but the server has only
            // answered.
            200..=299 if self.tunnel => 502,
            status => status,
        };
        let whole = matches!(outgoing.length, Length::Bodiless(_) | Length::Known(0));
        let length = match outgoing.length {
            Length::Known(n) | Length::Bodiless(Some(n)) if !self.impatient => Some(n),
            _ => None,
        };
        let coding = match outgoing.length {
            Length::Known(n) if !self.impatient => BodyFraming::Exactly(n),
            Length::Known(_) | Length::Unknown => BodyFraming::UntilClose,
            Length::Bodiless(_) => BodyFraming::Exactly(0),
        };
        self.open_response(status, (coding, whole), &|out| {
            let mut seen = SeenFields { out, grpc: false };
            (outgoing.fields)(&mut seen);
            let SeenFields { out, grpc } = seen;
            // A call of gRPC that ends with its head has no body that could be long.
            if let Some(n) = length.filter(|n| *n > 0 || !grpc) {
                out.emit_field(b"content-length", itoa::Buffer::new().format(n).as_bytes());
            }
        });
    }

    fn has_begun(&self) -> bool {
        self.begun
    }

    fn close_after(&mut self) {
        // Other streams go on.
    }

    fn become_tunnel(&mut self, fields: &dyn Fn(&mut dyn Emit)) {
        if !self.tunnel {
            // Only a stream that asked for it becomes one, so no server can have been asked.
            self.cut_response();
            return;
        }
        self.tunnel = false;
        // RFC 8441 §5: 200 says it all; the key was the proxy's own.
        self.open_response(200, (BodyFraming::UntilClose, false), &|out| fields(&mut Tunnel(out)));
    }

    fn cut_response(&mut self) {
        if !self.stream.is_sent() {
            self.stream.reset_stream(ErrorCode::INTERNAL_ERROR);
        }
    }

    fn cut_stalled(&mut self) {
        if !self.stream.is_sent() {
            self.stream.reset_stream(ErrorCode::ENHANCE_YOUR_CALM);
        }
    }
}

impl StallPeer for H2Client {
    fn stall_mark(&self) -> Option<StallMark> {
        Some(self.stream.stall_mark())
    }

    fn count_untaken(&self) -> Option<u32> {
        let (local, remote) = self.ends.as_deref()?;
        count_untaken(*local, *remote)
    }

    fn insist_on_write(&mut self) {
        self.stream.connection_state().insist_on_write();
    }

    fn is_insisting(&self) -> bool {
        self.stream.connection_state().is_insisting()
    }
}

/// Passes fields on and notes how a call of gRPC ended.
struct SeenFields<'a> {
    out: &'a mut dyn Emit,
    grpc: bool,
}

impl Emit for SeenFields<'_> {
    fn emit_field(&mut self, name: &[u8], value: &[u8]) {
        self.grpc |= name.eq_ignore_ascii_case(b"grpc-status");
        self.out.emit_field(name, value);
    }

    fn emit_received(&mut self, fields: &Fields, keep: &mut dyn FnMut(FieldRef<'_>) -> bool) {
        let grpc = &mut self.grpc;
        self.out.emit_received(fields, &mut |field| {
            let kept = keep(field);
            *grpc |= kept && field.name.eq_ignore_ascii_case(b"grpc-status");
            kept
        });
    }
}

/// Passes on what belongs to a tunnel of HTTP/2.
struct Tunnel<'a>(&'a mut dyn Emit);

impl Emit for Tunnel<'_> {
    fn emit_field(&mut self, name: &[u8], value: &[u8]) {
        if !name.eq_ignore_ascii_case(b"sec-websocket-accept") {
            self.0.emit_field(name, value);
        }
    }
}
