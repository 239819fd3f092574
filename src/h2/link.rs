//! An HTTP/2 connection to a server, shared by the requests of a worker: a task reads and writes its frames, and
//! each request has a stream of its own.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Ping, SendStream};
use http::Request;
use tokio::task::spawn_local;

use super::origin::H2Origin;
use crate::clock::{self, Instant};
use crate::net::{MadeWith, Opened, Stream};
use crate::wire::response::HEAD_BYTES;

/// How much of one response a server may send ahead.
const STREAM_WINDOW: u32 = 128 * 1024;
/// Streams at the same time, if the server allows as many.
pub const STREAMS: u32 = 100;
/// How much a server may send ahead on all streams together: as much as all of them, so that clients that read slowly
/// never hold up those that share their connection.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS;
/// How much of a request body waits for the server, beside what its windows allow.
const SEND_BUFFER: usize = 64 * 1024;
/// How long a connection without streams is kept.
const IDLE_FOR: Duration = Duration::from_secs(30);

/// One connection, as its streams see it.
#[derive(Debug)]
pub struct Link {
    sender: RefCell<SendRequest<Bytes>>,
    opened: Rc<Opened>,
    secure: bool,
    made_with: MadeWith,
    /// Streams under way.
    streams: Cell<u32>,
    /// Streams begun.
    used: Cell<u32>,
    idle_since: Cell<Instant>,
    /// Answers that have begun.
    heard: Cell<u64>,
    /// No more streams are to begin.
    retired: Cell<bool>,
    /// The server has said what it can do; those who wait to hear it.
    settled: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
    /// Memory for the next head.
    draft: RefCell<Vec<u8>>,
}

impl Link {
    /// Starts to speak HTTP/2 on a fresh connection. What the server says to that is seen by the first request; until
    /// then it is taken to allow so many `streams`.
    ///
    /// # Errors
    /// The connection cannot be written to.
    pub async fn new(
        stream: Stream,
        opened: Opened,
        made_with: MadeWith,
        streams: usize,
    ) -> io::Result<Rc<Self>> {
        stream.send_at_once();
        let secure = stream.is_tls();
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_max_send_streams(streams.max(1))
            .max_header_list_size(u32::try_from(HEAD_BYTES).unwrap_or(u32::MAX))
            .max_send_buffer_size(SEND_BUFFER);
        let (sender, mut connection) = builder.handshake(stream).await.map_err(super::broken)?;
        let link = Rc::new(Self {
            sender: RefCell::new(sender),
            opened: Rc::new(opened),
            secure,
            made_with,
            streams: Cell::new(0),
            used: Cell::new(0),
            idle_since: Cell::new(clock::now()),
            heard: Cell::new(0),
            retired: Cell::new(false),
            settled: Cell::new(false),
            waiting: RefCell::default(),
            draft: RefCell::default(),
        });
        let weak = Rc::downgrade(&link);
        let opened = link.opened.clone();
        let mut pings = connection.ping_pong();
        if let Some(pings) = &mut pings {
            // Its settings are the first thing a server sends, so the answer comes after them.
            pings.send_ping(Ping::opaque()).map_err(super::broken)?;
        }
        spawn_local(async move {
            // It ends with the connection, or when nobody can begin a stream any more and the last one has ended.
            let ended = poll_fn(|cx| {
                let ended = Pin::new(&mut connection).poll(cx);
                if let Some(ping) = &mut pings
                    && ping.poll_pong(cx).is_ready()
                {
                    pings = None;
                    weak.upgrade().iter().for_each(|link| link.settle(true));
                }
                ended
            });
            if let Err(error) = ended.await {
                tracing::debug!(%error, "an HTTP/2 connection to a server ended");
            }
            if let Some(link) = weak.upgrade() {
                link.retire();
                link.settle(false);
            }
            drop(opened);
        });
        Ok(link)
    }

    /// Whether another stream may begin.
    #[must_use]
    pub fn has_room(&self, most: u32) -> bool {
        let allowed = self.allows();
        let streams = self.streams.get();
        !self.retired.get()
            && self.used.get() < most
            && streams < STREAMS
            && (streams as usize) < allowed
    }

    /// The streams that the server allows at the same time.
    #[must_use]
    pub fn allows(&self) -> usize {
        self.sender.borrow().current_max_send_streams()
    }

    /// Whether it is of no more use to requests that have not begun.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// What it was made with.
    #[must_use]
    pub fn made_with(&self) -> MadeWith {
        self.made_with
    }

    /// Whether it has been without streams for so long that it should be closed, or stands in somebody's way.
    #[must_use]
    pub fn is_stale(&self, now: Instant) -> bool {
        let idle = self.streams.get() == 0;
        idle && (now.saturating_duration_since(self.idle_since.get()) >= IDLE_FOR
            || self.opened.wanted())
    }

    /// Answers that have begun, over all streams.
    pub(super) fn heard(&self) -> u64 {
        self.heard.get()
    }

    /// Another one has.
    pub(super) fn hear(&self) {
        self.heard.set(self.heard.get() + 1);
    }

    /// Begins no more streams.
    pub fn retire(&self) {
        self.retired.set(true);
    }

    /// Whether requests leave it encrypted.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Whether the server takes `CONNECT` with a protocol (RFC 8441 §3).
    #[must_use]
    pub fn takes_connect(&self) -> bool {
        self.sender.borrow().is_extended_connect_protocol_enabled()
    }

    /// Nobody has to wait any more: the server has `answered`, or never will.
    fn settle(&self, answered: bool) {
        self.settled.set(self.settled.get() || answered);
        self.waiting.borrow_mut().drain(..).for_each(Waker::wake);
    }

    /// Whether the server has answered a first frame.
    #[must_use]
    pub fn has_settled(&self) -> bool {
        self.settled.get()
    }

    /// Ready once [`Link::takes_connect`] is known.
    pub(super) fn poll_settled(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.settled.get() || self.retired.get() {
            return Poll::Ready(());
        }
        self.waiting.borrow_mut().push(cx.waker().clone());
        Poll::Pending
    }

    /// Memory that a head is written to, empty.
    pub(super) fn borrow_draft(&self) -> Vec<u8> {
        self.draft.take()
    }

    /// Gives it back.
    pub(super) fn return_draft(&self, mut draft: Vec<u8>) {
        draft.clear();
        self.draft.replace(draft);
    }

    /// Takes a place for a request. It is given back when what is returned is dropped.
    #[must_use]
    pub fn open(self: &Rc<Self>) -> Box<H2Origin> {
        self.streams.set(self.streams.get() + 1);
        self.used.set(self.used.get().saturating_add(1));
        Box::new(H2Origin::new(Place(self.clone()), self.used.get()))
    }

    /// Sends the head of a request.
    pub(super) fn send(
        &self,
        request: Request<()>,
        whole: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        // A handle of its own: one handle waits for the stream before, if there was no room for that.
        let mut sender = self.sender.borrow().clone();
        let sent = sender.send_request(request, whole);
        if sent.is_err() {
            self.retire();
        }
        sent
    }
}

/// A stream's place on its connection.
#[derive(Debug)]
pub(super) struct Place(pub(super) Rc<Link>);

impl Drop for Place {
    fn drop(&mut self) {
        let left = self.0.streams.get() - 1;
        self.0.streams.set(left);
        if left == 0 {
            self.0.idle_since.set(clock::now());
        }
    }
}
