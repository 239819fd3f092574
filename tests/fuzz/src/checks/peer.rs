//! hyper, driven over memory: what it understands from the same bytes, as server and as client.
//!
//! No runtime and no clock: the transport never waits, so a future that is pending and was not
//! woken will stay so. That makes every run end, and end the same way.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};

/// More fields than the codec ever lets through.
const MAX_FIELDS: usize = 1000;

/// A message as hyper understood it.
#[derive(Debug)]
pub struct Seen<Head> {
    pub head: Head,
    /// The body; `None` when hyper found it broken or cut short.
    pub body: Option<Bytes>,
    pub trailers: http::HeaderMap,
}

/// What hyper's server makes of a connection's bytes.
pub fn server(wire: &[u8], piece: usize) -> Vec<Seen<http::request::Parts>> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let service = hyper::service::service_fn(|request: hyper::Request<Incoming>| {
        let seen = Rc::clone(&seen);
        async move {
            let (head, body) = request.into_parts();
            let (body, trailers) = collect(body).await;
            seen.borrow_mut().push(Seen { head, body, trailers });
            Ok::<_, Infallible>(hyper::Response::new(Empty::<Bytes>::new()))
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .max_headers(MAX_FIELDS)
        .serve_connection(Memory::new(wire, piece, true), service);
    // Whether hyper ended the connection with an error shows in what it has seen.
    let _ended: Option<Result<(), hyper::Error>> = run(connection);
    seen.take()
}

/// What hyper's client makes of the answer to a GET or HEAD request.
pub fn client(wire: &[u8], piece: usize, head: bool) -> Option<Seen<http::response::Parts>> {
    run(exchange(Memory::new(wire, piece, false), head)).flatten()
}

async fn exchange(transport: Memory, head: bool) -> Option<Seen<http::response::Parts>> {
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_headers(MAX_FIELDS)
        .handshake::<_, Empty<Bytes>>(transport)
        .await
        .ok()?;
    let mut request = hyper::Request::new(Empty::new());
    *request.method_mut() = if head { http::Method::HEAD } else { http::Method::GET };
    let mut answer = pin!(async move {
        let (head, body) = sender.send_request(request).await.ok()?.into_parts();
        let (body, trailers) = collect(body).await;
        Some(Seen { head, body, trailers })
    });
    let mut connection = pin!(connection);
    let mut open = true;
    std::future::poll_fn(move |context| {
        if open {
            open = connection.as_mut().poll(context).is_pending();
        }
        answer.as_mut().poll(context)
    })
    .await
}

async fn collect(body: Incoming) -> (Option<Bytes>, http::HeaderMap) {
    match body.collect().await {
        Ok(collected) => {
            let trailers = collected.trailers().cloned().unwrap_or_default();
            (Some(collected.to_bytes()), trailers)
        }
        Err(_) => (None, http::HeaderMap::new()),
    }
}

/// Polls until the future is ready, or is pending with nobody left to wake it.
fn run<F: Future>(future: F) -> Option<F::Output> {
    let flag = Arc::new(Flag::default());
    let waker = Waker::from(Arc::clone(&flag));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        if !flag.0.swap(false, Ordering::Relaxed) {
            return None;
        }
    }
}

/// Remembers that it was woken.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A transport: reads give the wire's bytes and then the end, writes vanish.
struct Memory {
    wire: Vec<u8>,
    at: usize,
    piece: usize,
    /// Whether reads may begin. A client must have sent its request first.
    open: bool,
    reader: Option<Waker>,
}

impl Memory {
    fn new(wire: &[u8], piece: usize, open: bool) -> Self {
        Self { wire: wire.to_vec(), at: 0, piece, open, reader: None }
    }
}

impl Read for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        if !self.open {
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let n = self.piece.min(self.wire.len() - self.at).min(buf.remaining());
        buf.put_slice(&self.wire[self.at..self.at + n]);
        self.at += n;
        Poll::Ready(Ok(()))
    }
}

impl Write for Memory {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.open = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
