//! A client's HTTP/2 connection: one task reads and writes its frames, and each stream has one that walks its request.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::{spawn_local, yield_now};
use tokio::time::timeout;

use super::connection;
use super::worker::Local;
use crate::clock;
use crate::exchange::{Client as _, Refusal};
use crate::gate::Peer;
use crate::h1::client::Closing;
use crate::h2::guard::{Alarm, Guard};
use crate::h2::{H2Client, head};
use crate::net::Timer;
use crate::snapshot::Listener;
use crate::wire::{Fault, RequestHead};

/// How much a client may send ahead on one stream, and on all of a connection together.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// How much of a response waits for the client, beside what its windows allow.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams that may be reset before they have been looked at; more is an attack (CVE-2023-44487).
const RESETS: usize = 32;
/// How long a connection that was told to end may take to close its side.
const GOODBYE: Duration = Duration::from_secs(5);

/// Everything that the streams of a connection share.
struct Shared {
    local: Rc<Local>,
    peer: Peer,
    listener: Arc<Listener>,
    /// Streams under way.
    open: Cell<u32>,
}

/// Serves one connection until either side ends it.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    local: &Rc<Local>,
    stream: S,
    peer: Peer,
    listener: Arc<Listener>,
    closing: Rc<Closing>,
) {
    let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    let _registered = local.worker.register(waker);
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(u32::from(listener.streams))
        .max_header_list_size(u32::try_from(listener.head.bytes).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(RESETS)
        .enable_connect_protocol();
    let within = listener.times.headers.unwrap_or(listener.handshake);
    let (stream, alarm) = Guard::new(stream, listener.head.fields);
    let Ok(Ok(mut connection)) = timeout(within, builder.handshake(stream)).await else { return };
    let shared = Rc::new(Shared { local: local.clone(), peer, listener, open: Cell::new(0) });
    let mut timer = Timer::default();
    let mut phase = Phase::Fresh;
    let mut since = clock::now();
    loop {
        match next(&mut connection, (&shared, &alarm), &mut timer, &closing, phase, since).await {
            Next::Stream(request, respond) => {
                if phase == Phase::Fresh {
                    phase = Phase::Used;
                }
                let large = head::is_too_large(&request, &shared.listener.head);
                let request = Some(request).filter(|_| !large);
                spawn_local(begin(&shared, request, respond).walk());
                if large {
                    // It is answered and gone before the next frame is read.
                    yield_now().await;
                }
            }
            Next::Abuse if phase != Phase::Ending => {
                let listener = &shared.listener;
                listener.counts.http2_floods.fetch_add(1, Relaxed);
                tracing::debug!(listen = %listener.name, client = %shared.peer.text, "too many frames that ask for nothing");
                phase = Phase::Ending;
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            }
            Next::End if phase != Phase::Ending => {
                // What has begun goes on; the client is told to send nothing new (RFC 9113 §6.8).
                phase = Phase::Ending;
                connection.graceful_shutdown();
            }
            Next::Abuse | Next::End | Next::Closed => return,
        }
        since = clock::now();
    }
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It has had no request yet, which is waited for as long as for the first one of HTTP/1.
    Fresh,
    /// It has.
    Used,
    /// It was told to end.
    Ending,
}

/// What comes next on a connection.
#[expect(clippy::large_enum_variant, reason = "taken apart where it is made, never stored")]
enum Next {
    Stream(Request<RecvStream>, SendResponse<Bytes>),
    /// The client went too far.
    Abuse,
    /// It is to end.
    End,
    /// It is over.
    Closed,
}

async fn next<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<Guard<S>, Bytes>,
    (shared, alarm): (&Shared, &Alarm),
    timer: &mut Timer,
    closing: &Closing,
    phase: Phase,
    since: clock::Instant,
) -> Next {
    let mut idle_since = since;
    poll_fn(|cx| {
        match connection.poll_accept(cx) {
            Poll::Ready(Some(Ok((request, respond)))) => {
                return Poll::Ready(Next::Stream(request, respond));
            }
            Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Next::Closed),
            Poll::Pending => {}
        }
        if alarm.is_raised() && phase != Phase::Ending {
            return Poll::Ready(Next::Abuse);
        }
        if shared.open.get() > 0 || connection.has_streams() {
            idle_since = clock::now();
        }
        if phase != Phase::Ending && closing.has_begun() {
            return Poll::Ready(Next::End);
        }
        let times = shared.listener.times;
        let allowed = match phase {
            Phase::Fresh => times.headers,
            Phase::Used => times.idle,
            Phase::Ending => Some(GOODBYE),
        };
        let idle = clock::deadline(idle_since, allowed);
        if timer.poll_at(cx, idle).is_pending() {
            return Poll::Pending;
        }
        if idle.is_some_and(|idle| clock::now() < idle) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Next::End)
    })
    .await
}

/// Counts a stream as under way until it is dropped.
struct Open(Rc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}

/// A stream whose head has been read, well or not.
struct Begun {
    of: Open,
    head: Box<RequestHead>,
    fault: Option<Fault>,
    client: H2Client,
}

/// Reads the head of a stream; there is none where it had too many fields.
fn begin(
    shared: &Rc<Shared>,
    request: Option<Request<RecvStream>>,
    respond: SendResponse<Bytes>,
) -> Begun {
    shared.open.set(shared.open.get() + 1);
    let worker = &shared.local.worker;
    let mut head = worker.take_head();
    let key = || {
        worker.draw(|random| {
            let (a, b) = (random.next_u64().to_be_bytes(), random.next_u64().to_be_bytes());
            BASE64_STANDARD.encode([a, b].concat())
        })
    };
    let read = match request {
        Some(request) => head::read(request, &shared.listener.head, &mut head, key),
        None => Err(Fault::TooManyFields),
    };
    let (body, fault) = match read {
        Ok(body) => (Some(body), None),
        Err(fault) => (None, Some(fault)),
    };
    let tunnel = fault.is_none() && head::asks_for_tunnel(&head);
    let client = H2Client::new(body, respond, tunnel);
    Begun { of: Open(shared.clone()), head, fault, client }
}

impl Begun {
    /// One request.
    async fn walk(mut self) {
        let started = clock::now();
        let Shared { local, peer, listener, .. } = &*self.of.0;
        let mut timer = local.worker.take_timer();
        let of = (peer, &**listener);
        let client = &mut self.client;
        match self.fault {
            None => {
                connection::exchange(local, of, (&self.head, started), client, &mut timer).await;
                client.settle(&mut timer).await;
            }
            Some(fault) => {
                // Its fields are freed already, and its answer waits for nobody: a flood of them piles up nothing.
                client.hurry();
                let refusal = Refusal::Malformed(fault);
                // Boxed, so that other requests do not hold the memory of this.
                Box::pin(connection::refuse(local, of, refusal, client, &mut timer)).await;
                client.cut();
            }
        }
        local.worker.put_head(self.head);
        local.worker.put_timer(timer);
    }
}
