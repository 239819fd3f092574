//! One stream of a client's HTTP/2 connection.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{HeaderMap, Response, StatusCode};

use super::body::{Incoming, Sending};
use super::broken;
use super::fields::Map;
use crate::clock::{self, Instant};
use crate::exchange::{Client, Emit, Length, Outgoing, Sink, Source};
use crate::net::{BodyError, Fill, Timer};
use crate::wire::head::Fields;
use crate::wire::{Fault, ResponseHead};

/// How much is read of a body that nobody wants, and for how long.
const SETTLE_BYTES: u64 = 256 * 1024;
const SETTLE_FOR: Duration = Duration::from_millis(500);

/// A stream: a request that is being read and a response that is being written.
#[derive(Debug)]
pub struct H2Client {
    body: Incoming,
    respond: SendResponse<Bytes>,
    out: Sending,
    /// The head of the response, until its first body bytes, and whether it is all of it.
    head: Option<(Response<()>, bool)>,
    begun: bool,
    /// The stream is to become a tunnel (RFC 8441): what it carries is no body.
    tunnel: bool,
}

impl H2Client {
    /// Takes over a stream whose request head has been read; `tunnel` when it asks for another protocol.
    #[must_use]
    pub fn new(body: Option<RecvStream>, respond: SendResponse<Bytes>, tunnel: bool) -> Self {
        let (body, out) = (Incoming::new(body), Sending::default());
        Self { body, respond, out, head: None, begun: false, tunnel }
    }

    /// From here on, what the client has no room for is left out: a flood of bad requests must not pile up answers.
    pub fn hurry(&mut self) {
        self.out.impatient = true;
    }

    /// After the answer: reads what is left of an unwanted body, within bounds. A client that is told to stop while it
    /// sends may never look at the answer that came before.
    pub async fn settle(&mut self, timer: &mut Timer) {
        if !self.out.is_done() || self.body.is_done() {
            return;
        }
        let until = clock::deadline(clock::now(), Some(SETTLE_FOR));
        poll_fn(|cx| {
            while self.body.received() < SETTLE_BYTES {
                match self.body.poll_fill(cx) {
                    Poll::Ready(Ok(Fill::Data)) => {
                        let n = self.body.data().len();
                        self.body.consume(n);
                    }
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return timer.poll_at(cx, until),
                }
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Sends the head of the response, if it waits.
    fn open(&mut self) -> io::Result<()> {
        if let Some((response, whole)) = self.head.take() {
            let stream = self.respond.send_response(response, whole).map_err(broken)?;
            self.out.begin(stream, whole);
        }
        Ok(())
    }
}

impl Source for H2Client {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, BodyError>> {
        if self.tunnel { Poll::Ready(Ok(Fill::End)) } else { self.body.poll_fill(cx) }
    }

    fn data(&self) -> &[u8] {
        self.body.data()
    }

    fn consume(&mut self, n: usize) {
        self.body.consume(n);
    }

    fn trailers(&mut self) -> Result<Option<Fields>, Fault> {
        self.body.trailers()
    }
}

impl Sink for H2Client {
    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.open()?;
        self.out.poll_write(cx, data)
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection's own task writes what all of its streams have.
        Poll::Ready(self.open())
    }

    fn poll_finish(
        &mut self,
        _: &mut Context<'_>,
        trailers: Option<&Fields>,
    ) -> Poll<io::Result<()>> {
        self.open()?;
        Poll::Ready(self.out.finish(trailers))
    }
}

impl Client for H2Client {
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.out.is_done() {
            return Poll::Pending;
        }
        let reset = self.out.poll_reset(cx);
        reset.unwrap_or_else(|| self.respond.poll_reset(cx).map(|_| ()))
    }

    fn look_again(&self) -> Option<Instant> {
        None
    }

    fn received(&self) -> u64 {
        self.body.received()
    }

    fn sent(&self) -> u64 {
        self.out.sent()
    }

    fn request_done(&self) -> bool {
        self.tunnel || self.body.is_done()
    }

    fn interim(&mut self, head: &ResponseHead) {
        if self.begun {
            return;
        }
        let mut map = Map(HeaderMap::new());
        crate::exchange::forward::response_fields(
            head,
            &crate::policy::HeaderEdits::default(),
            &mut map,
        );
        if let Ok(status) = StatusCode::from_u16(head.status) {
            let mut response = Response::new(());
            *response.status_mut() = status;
            *response.headers_mut() = map.0;
            // Nobody has to see it.
            let _unseen = self.respond.send_informational(response);
        }
    }

    fn begin(&mut self, outgoing: &Outgoing<'_>) {
        let mut map = Map(HeaderMap::with_capacity(16));
        (outgoing.fields)(&mut map);
        let Map(mut headers) = map;
        if let Length::Known(n) | Length::Bodiless(Some(n)) = outgoing.length
            && !self.out.impatient
        {
            // A call of gRPC that ends with its head has no body that could be long.
            if n > 0 || !headers.contains_key("grpc-status") {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(n));
            }
        }
        let whole = matches!(outgoing.length, Length::Bodiless(_) | Length::Known(0));
        let mut response = Response::new(());
        let status = StatusCode::from_u16(outgoing.status).unwrap_or(StatusCode::BAD_GATEWAY);
        *response.status_mut() = match status {
            // It would say that the tunnel is there (RFC 8441 §5), but the server has only answered.
            status if self.tunnel && status.is_success() => StatusCode::BAD_GATEWAY,
            status => status,
        };
        *response.headers_mut() = headers;
        self.head = Some((response, whole));
        self.begun = true;
    }

    fn begun(&self) -> bool {
        self.begun
    }

    fn close_after(&mut self) {
        // Other streams go on.
    }

    fn upgrade(&mut self, fields: &dyn Fn(&mut dyn Emit)) {
        if !self.tunnel {
            // Only a stream that asked for it becomes one, so no server can have been asked.
            self.cut();
            return;
        }
        self.tunnel = false;
        let mut map = Map(HeaderMap::new());
        fields(&mut map);
        // RFC 8441 §5: 200 says it all; the key was the proxy's own.
        for name in ["upgrade", "connection", "sec-websocket-accept"] {
            map.0.remove(name);
        }
        let mut response = Response::new(());
        *response.headers_mut() = map.0;
        self.head = Some((response, false));
        self.begun = true;
    }

    fn cut(&mut self) {
        if !self.out.is_done() && !self.out.reset(Reason::INTERNAL_ERROR) {
            self.respond.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}
