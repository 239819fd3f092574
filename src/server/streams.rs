//! A client's HTTP/2 connection: one task reads and writes its frames, and each stream has one that
//! walks its request.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio::task::spawn_local;

use super::connection::{self, NewRequest, ReadHead};
use super::worker::Local;
use crate::clock::{self, Instant};
use crate::exchange::ClientPeer;
use crate::exchange::{Client as _, Refusal};
use crate::h1::client::Closing;
use crate::h2::connection::Streams;
use crate::h2::state::{Accept, Ended, H2Config, SLACK};
use crate::h2::{Connection, H2Client};
use crate::net::seats::{Seat, SeatWait};
use crate::net::stalls::Stall;
use crate::net::timer::earlier_of;
use crate::net::{Stream, Timer};
use crate::snapshot::Listener;
use crate::wire::frames::{self, ErrorCode};
use crate::wire::{Fault, RequestHead};

/// Bytes that a client may send ahead on one stream that has begun, and while it is taken: the
/// first is what RFC 9113 §6.5.2 begins with, so that no client has to be told.
const STREAM_WINDOW: u32 = frames::WINDOW;
const STREAM_WINDOW_MOST: u32 = 256 * 1024;
/// Bytes that the windows of a connection's streams may grow by together.
const GROWTH: u32 = 1024 * 1024;
/// The longest time for a connection that was told to end to close its side.
const GOODBYE: Duration = Duration::from_secs(1);

/// Everything that the streams of a connection share.
struct SharedStreams {
    local: Rc<Local>,
    peer: ClientPeer,
    listener: Arc<Listener>,
    /// The refusal if there is no room for it.
    full: Option<Refusal>,
    /// Streams under way.
    open: Cell<u32>,
}

impl SharedStreams {
    /// Says in the log that the client made room for others.
    #[cold]
    fn tell_stalled(&self) {
        if let Some(left_out) = self.local.worker.quotas.take_line("stalled", clock::now()) {
            let (listen, client) = (&self.listener.name, &self.peer.text);
            let key = "runtime.request_memory";
            tracing::warn!(%listen, %client, key, left_out, "connection cut: the client took nothing while others needed the memory");
        }
    }
}

/// Serves one connection, of which something may have been read already, until either side ends it.
pub(super) async fn serve_streams(
    local: &Rc<Local>,
    (read, stream): (Vec<u8>, Stream),
    peer: ClientPeer,
    connection::ConnectionEnd { seat, listener, closing, full }: connection::ConnectionEnd<'_>,
) {
    let mut connection = Connection::new(stream, &read, stream_terms(&listener));
    drop(read);
    let shared =
        Rc::new(SharedStreams { local: local.clone(), peer, listener, full, open: Cell::new(0) });
    let mut life = StreamsLife {
        taker: Taker { shared: shared.clone(), streams: connection.shared_streams(), any: 0 },
        phase: StreamPhase::Fresh,
        end: shared
            .listener
            .life
            .end_of_life(clock::now(), seat.seat_number().to_le_bytes()[0].wrapping_mul(97)),
        idle_since: clock::now(),
        timer: Timer::default(),
        stall: Stall::default(),
    };
    poll_fn(|cx| life.poll(cx, &mut connection, &closing, seat)).await;
    if connection.end_cause() == Some(Ended::Failed(ErrorCode::ENHANCE_YOUR_CALM)) {
        let listener = &shared.listener;
        listener.counts.http2_floods.fetch_add(1, Relaxed);
        tracing::debug!(listen = %listener.name, client = %shared.peer.text, "too many frames that ask for nothing");
    }
    connection.close_connection(&mut life.timer).await;
}

/// Returns what a client may do: its streams never take each other's windows away, so that one
/// whose server does not read holds up no other. With a hundred streams that is 7.4 MiB.
fn stream_terms(listener: &Listener) -> H2Config {
    let streams = u32::from(listener.streams);
    let all = streams.saturating_mul(STREAM_WINDOW).saturating_add(GROWTH + SLACK);
    H2Config {
        streams,
        stream_window: STREAM_WINDOW,
        stream_window_most: STREAM_WINDOW_MOST,
        growth: GROWTH,
        connection_window: all.min(frames::LARGEST),
        head: listener.head,
    }
}

/// The progress of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StreamPhase {
    /// A connection without a request yet, which is waited for as long as for the first one of
    /// HTTP/1.
    Fresh,
    /// A connection that had one.
    Used,
    /// A connection that was told to end.
    Ending,
    /// A connection that takes no more streams.
    Ended,
}

/// A connection from its first frame to its last.
struct StreamsLife {
    taker: Taker,
    phase: StreamPhase,
    /// The moment at which it is too old for more.
    end: Option<Instant>,
    idle_since: Instant,
    timer: Timer,
    /// The wait for a client that takes nothing of what its streams left to be sent.
    stall: Stall,
}

impl StreamsLife {
    /// Ready when it is over.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
        closing: &Closing,
        seat: &Seat<'_>,
    ) -> Poll<()> {
        loop {
            if connection.poll(cx, &mut self.taker).is_ready() {
                return Poll::Ready(());
            }
            let SharedStreams { open, listener, .. } = &*self.taker.shared;
            if self.phase == StreamPhase::Fresh && self.taker.any > 0 {
                self.phase = StreamPhase::Used;
            }
            let mut asked = false;
            if open.get() > 0 || connection.has_streams() {
                // Whoever was told to end has a moment for it, whatever it has open and goes on
                // opening.
                if self.phase != StreamPhase::Ending {
                    self.idle_since = clock::now();
                }
                seat.begin_work();
                self.stall.end_wait();
            } else {
                asked = seat.begin_wait(SeatWait::Request);
                if connection.poll_give_way(cx, &mut self.stall).is_ready() {
                    self.taker.shared.tell_stalled();
                    return Poll::Ready(());
                }
            }
            let allowed = match self.phase {
                StreamPhase::Fresh => listener.times.headers,
                StreamPhase::Used => listener.times.idle,
                StreamPhase::Ending | StreamPhase::Ended => Some(GOODBYE),
            };
            let idle = clock::deadline(self.idle_since, allowed);
            let mut until = idle;
            let mut spent = false;
            if self.phase == StreamPhase::Used {
                until = earlier_of(idle, self.end);
                spent = self.taker.any >= listener.life.requests
                    || self.end.is_some_and(|end| clock::now() >= end);
            }
            let told = match self.phase {
                StreamPhase::Fresh => closing.has_begun() || asked,
                StreamPhase::Used => {
                    closing.keeps_none() || self.taker.shared.full.is_some() || asked || spent
                }
                StreamPhase::Ending => asked,
                StreamPhase::Ended => false,
            };
            if !told {
                if self.timer.poll_at(cx, until).is_pending() {
                    return Poll::Pending;
                }
                if idle.is_none_or(|idle| clock::now() < idle) {
                    continue;
                }
            }
            self.idle_since = clock::now();
            self.phase = match self.phase {
                StreamPhase::Fresh | StreamPhase::Used => {
                    // What has begun goes on; the client is told to send nothing new (RFC 9113
                    // §6.8).
                    connection.announce_end();
                    StreamPhase::Ending
                }
                StreamPhase::Ending => {
                    connection.stop_accepting();
                    StreamPhase::Ended
                }
                StreamPhase::Ended => return Poll::Ready(()),
            };
        }
    }
}

/// Takes the streams that the client begins.
struct Taker {
    shared: Rc<SharedStreams>,
    streams: Streams,
    /// The number of requests so far.
    any: u32,
}

impl Accept for Taker {
    fn head(&mut self) -> Box<RequestHead> {
        self.shared.local.worker.take_head()
    }

    fn key(&mut self) -> String {
        self.shared.local.worker.draw_random(|random| {
            let (a, b) = (random.next_u64().to_be_bytes(), random.next_u64().to_be_bytes());
            BASE64_STANDARD.encode([a, b].concat())
        })
    }

    fn stream(&mut self, slot: u32, head: Box<RequestHead>, fault: Option<Fault>) {
        self.any = self.any.saturating_add(1);
        let client = self.streams.client_stream(slot, Some(&*head).filter(|_| fault.is_none()));
        self.shared.open.set(self.shared.open.get() + 1);
        let begun = BegunStream { of: OpenStream(self.shared.clone()), head, fault, client };
        // Boxed, because tasks are moved several times. Made where it stays: it is large.
        spawn_local(Box::into_pin(Box::write(Box::new_uninit(), begun.walk())));
    }
}

/// Counts a stream as under way until it is dropped.
struct OpenStream(Rc<SharedStreams>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}

/// A stream whose head has been read, well or not.
struct BegunStream {
    of: OpenStream,
    head: Box<RequestHead>,
    fault: Option<Fault>,
    client: H2Client,
}

impl BegunStream {
    /// One request.
    async fn walk(mut self) {
        let started = clock::now();
        let SharedStreams { local, peer, listener, .. } = &*self.of.0;
        let mut timer = local.worker.take_timer();
        let client = &mut self.client;
        match self.fault {
            None if self.of.0.full.is_some() => {
                let refusal = self.of.0.full.unwrap_or(Refusal::Crowded);
                let of = ReadHead { peer, listener, head: &self.head };
                Box::pin(connection::refuse_head(local, of, refusal, client, &mut timer)).await;
                client.settle(&mut timer).await;
            }
            None => {
                let request = NewRequest { peer, listener, head: &mut self.head, started };
                connection::run_exchange(local, request, client, &mut timer).await;
                client.settle(&mut timer).await;
            }
            Some(fault) => {
                // Its fields are freed already, and its answer waits for nobody: a flood of them
                // piles up nothing.
                client.become_impatient();
                let refusal = Refusal::Malformed(fault);
                // Boxed, so that other requests do not hold the memory of this.
                let of = ReadHead { peer, listener, head: &self.head };
                Box::pin(connection::refuse_head(local, of, refusal, client, &mut timer)).await;
                client.cut_response();
            }
        }
        local.worker.put_head(self.head);
        local.worker.put_timer(timer);
    }
}
