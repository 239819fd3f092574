//! An HTTP/2 connection to a server, shared by the requests of a worker: a task reads and writes
//! its frames, and each request has a stream of its own.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::task::spawn_local;

use super::clock_seconds;
use super::drive::Socket;
use super::handle::{Handle, SharedConnection};
use super::origin::H2Origin;
use super::state::{Accept, H2Config, SLACK, State};
use super::waiters::Waiters;
use crate::clock::{self, Instant};
use crate::exchange::write_wait::WriteWait;
use crate::net::{MadeWith, Opened, Stream, Timer, count_untaken};
use crate::wire::request::{Limits, Underscores};
use crate::wire::response::HeadLimits;
use crate::wire::{Fault, RequestHead};

/// Bytes of one response that a server may send ahead.
const STREAM_WINDOW: u32 = 128 * 1024;
/// Streams at the same time, if the server allows as many.
pub const STREAMS: u32 = 100;
/// Bytes that a server may send ahead on all streams together: as much as all of them, so that
/// clients that read slowly never hold up those that share their connection.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS + SLACK;
/// Memory for a head that is kept for the next one.
const DRAFT: usize = 16 * 1024;
/// The longest time for the last word to a server.
const GOODBYE: Duration = Duration::from_secs(1);
/// The time for which a server may take nothing of what waits for it before nothing new is sent
/// there, and before the connection is taken for dead.
const STALLED: Duration = Duration::from_millis(500);
const DEAD: Duration = Duration::from_secs(10);

/// The terms on which a connection is used.
#[derive(Debug, Clone, Copy)]
pub struct LinkTerms {
    /// The streams that the server is taken to allow until it says so itself.
    pub streams: usize,
    /// The limits of the heads of responses.
    pub head: HeadLimits,
    /// The time for which it is kept without streams.
    pub kept_for: Duration,
}

/// One connection, as its streams see it.
#[derive(Debug)]
pub struct Link {
    shared: SharedConnection,
    opened: Rc<Opened>,
    secure: bool,
    made_with: MadeWith,
    /// Streams under way.
    streams: Cell<u32>,
    /// Streams begun.
    used: Cell<u32>,
    idle_since: Cell<Instant>,
    /// The time for which it is kept without streams.
    kept_for: Duration,
    /// No more streams are to begin.
    retired: Cell<bool>,
    /// Requests that wait for a place.
    waiters: Rc<Waiters>,
    /// Memory for the next head.
    draft: RefCell<Vec<u8>>,
    /// The addresses of both ends, where known.
    ends: Option<(SocketAddr, SocketAddr)>,
}

/// Servers begin no streams.
struct NoClient;

impl Accept for NoClient {
    fn head(&mut self) -> Box<RequestHead> {
        Box::default()
    }

    fn key(&mut self) -> String {
        String::new()
    }

    fn stream(&mut self, _: u32, _: Box<RequestHead>, _: Option<Fault>) {}
}

impl Link {
    /// Starts to speak HTTP/2 on a fresh connection. What the server says to that is seen by the
    /// first request.
    #[must_use]
    pub fn new(
        stream: Stream,
        opened: Opened,
        (made_with, waiters): (MadeWith, Rc<Waiters>),
        terms: LinkTerms,
    ) -> Rc<Self> {
        let LinkTerms { streams, head, kept_for } = terms;
        stream.send_at_once();
        let HeadLimits { bytes, fields } = head;
        let head = Limits { bytes, fields, underscores: Underscores::Keep };
        let terms = H2Config {
            streams: 0,
            stream_window: STREAM_WINDOW,
            stream_window_most: STREAM_WINDOW,
            growth: 0,
            connection_window: CONNECTION_WINDOW,
            head,
        };
        let secure = stream.is_tls();
        let opened = Rc::new(opened);
        let allowed = u32::try_from(streams.max(1)).unwrap_or(u32::MAX);
        let shared = SharedConnection::new(State::client(terms, allowed, clock_seconds).into());
        let link = Rc::new(Self {
            shared: shared.clone(),
            opened: opened.clone(),
            secure,
            made_with,
            streams: Cell::new(0),
            used: Cell::new(0),
            idle_since: Cell::new(clock::now()),
            kept_for,
            retired: Cell::new(false),
            waiters: waiters.clone(),
            draft: RefCell::default(),
            ends: stream.both_ends(),
        });
        spawn_local(run_link(shared, Rc::downgrade(&link), opened, waiters, stream));
        link
    }

    /// Returns whether another stream may begin.
    #[must_use]
    pub fn has_room(&self, most: u32) -> bool {
        let streams = self.streams.get();
        if self.retired.get() || self.used.get() >= most || streams >= STREAMS {
            return false;
        }
        let state = self.shared.borrow();
        state.is_open() && streams < state.allowed() && state.has_room() && !self.is_stalled()
    }

    /// Returns whether the server has taken nothing of what waits for it for some time.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        let since = self.shared.borrow().stalled().map(Instant::from_std);
        since.is_some_and(|since| clock::now().saturating_duration_since(since) >= STALLED)
    }

    /// The streams that the server allows at the same time.
    #[must_use]
    pub fn allowed_streams(&self) -> usize {
        self.shared.borrow().allowed() as usize
    }

    /// Returns whether it is of no more use to requests that have not begun.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.retired.get() || !self.shared.borrow().is_open()
    }

    /// Returns what it was made with.
    #[must_use]
    pub fn made_with(&self) -> MadeWith {
        self.made_with
    }

    /// Returns whether it has been without streams for so long that it should be closed, or stands
    /// in somebody's way.
    #[must_use]
    pub fn is_stale(&self, now: Instant) -> bool {
        self.is_idle()
            && (now.saturating_duration_since(self.idle_since.get()) >= self.kept_for
                || self.opened.is_wanted())
    }

    /// Returns whether its server is no longer one of its upstream's.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.opened.is_retired()
    }

    /// Returns whether it does nothing while somebody waits for a connection to be closed.
    #[must_use]
    pub fn is_in_the_way(&self) -> bool {
        self.is_idle() && self.opened.is_wanted()
    }

    /// Returns whether it has no streams.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }

    /// Counts the bytes that were sent and that the server's system has not acknowledged. `None`
    /// where nobody tells.
    pub(super) fn count_untaken(&self) -> Option<u32> {
        let (local, remote) = self.ends?;
        count_untaken(local, remote)
    }

    /// Counts the bytes that all streams have sent or are about to send.
    pub(super) fn queued_bytes(&self) -> u64 {
        let state = self.shared.borrow();
        state.bytes_left() + state.unsent().len() as u64
    }

    /// Counts the bytes of all streams that the server's system has acknowledged; `None` where
    /// nobody tells.
    pub(super) fn acknowledged_bytes(&self) -> Option<u64> {
        let untaken = u64::from(self.count_untaken()?);
        Some(self.shared.borrow().bytes_left().saturating_sub(untaken))
    }

    /// Answers that have begun, over all streams.
    pub(super) fn answers_heard(&self) -> u64 {
        self.shared.borrow().heard()
    }

    /// Lets the next one that waits take a place too if there is one, and anyway if it may `dial`.
    pub fn wake_next(&self, dial: bool) {
        if !self.waiters.is_empty() && (dial || self.has_room(u32::MAX)) {
            self.waiters.wake_one();
        }
    }

    /// Begins no more streams.
    pub fn retire(&self) {
        self.retired.set(true);
    }

    /// Returns whether requests leave it encrypted.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Returns whether the server takes `CONNECT` with a protocol (RFC 8441 §3).
    #[must_use]
    pub fn takes_connect(&self) -> bool {
        self.shared.borrow().takes_tunnels()
    }

    /// Returns whether the server has said what it can do.
    #[must_use]
    pub fn has_settled(&self) -> bool {
        self.shared.borrow().has_settled()
    }

    /// Ready once [`Link::takes_connect`] is known, or never will be.
    pub(super) fn poll_settled(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.shared.borrow_mut();
        if state.has_settled() || !state.is_open() {
            return Poll::Ready(());
        }
        state.await_settled(cx);
        Poll::Pending
    }

    /// Memory that a head is written to, empty.
    pub(super) fn borrow_draft(&self) -> Vec<u8> {
        self.draft.take()
    }

    /// Gives it back.
    pub(super) fn return_draft(&self, mut draft: Vec<u8>) {
        if draft.capacity() <= DRAFT {
            draft.clear();
            self.draft.replace(draft);
        }
    }

    /// Takes a place for a request. It is given back when what is returned is dropped.
    #[must_use]
    pub fn take_place(self: &Rc<Self>) -> Box<H2Origin> {
        self.streams.set(self.streams.get() + 1);
        self.used.set(self.used.get().saturating_add(1));
        Box::new(H2Origin::new(StreamPlace(self.clone()), self.used.get()))
    }

    /// Begins a stream; `None` if none can begin any more.
    pub(super) fn begin_stream(&self) -> Option<Handle> {
        let slot = self.shared.borrow_mut().open();
        if slot.is_none() {
            self.retire();
        }
        Some(Handle::new(self.shared.clone(), slot?))
    }
}

/// Moves the frames of a connection. It ends with the connection, or when nobody can begin a stream
/// any more and the last one has ended.
async fn run_link(
    shared: SharedConnection,
    link: Weak<Link>,
    opened: Rc<Opened>,
    waiters: Rc<Waiters>,
    stream: Stream,
) {
    let mut socket = Socket::new(stream, &[]);
    let (mut timer, mut until, mut wait) = (Timer::default(), None, WriteWait::default());
    poll_fn(|cx| {
        if socket.poll(cx, &shared, &mut NoClient).is_ready() {
            return Poll::Ready(());
        }
        // The server may allow more streams now, or have read what was in their way.
        if !waiters.is_empty() && link.upgrade().is_some_and(|link| link.has_room(u32::MAX)) {
            waiters.wake_one();
        }
        let (over, stalled) = {
            let state = shared.borrow();
            (state.is_over(), state.stalled())
        };
        if !over {
            let Some(since) = stalled.map(Instant::from_std) else { return Poll::Pending };
            let look = || Some(socket.stall_mark());
            ready!(wait.poll_over(cx, &mut timer, look, (since, Some(DEAD))));
            tracing::debug!("a server takes nothing of what is sent to it over HTTP/2");
            return Poll::Ready(());
        }
        // A server that reads nothing is not waited for to hear the last word.
        let until = until.get_or_insert_with(|| clock::now() + GOODBYE);
        timer.poll_at(cx, Some(*until))
    })
    .await;
    let ended = shared.borrow().ended();
    tracing::debug!(?ended, "an HTTP/2 connection to a server ended");
    shared.borrow_mut().lose();
    // What counts it goes before it is closed: its place may be needed.
    drop(opened);
    waiters.wake_one();
    socket.close_socket(ended, &mut timer).await;
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.borrow_mut().announce_end();
    }
}

/// A stream's place on its connection.
#[derive(Debug)]
pub(super) struct StreamPlace(pub(super) Rc<Link>);

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let left = self.0.streams.get() - 1;
        self.0.streams.set(left);
        if left == 0 {
            self.0.idle_since.set(clock::now());
            if self.0.waiters.is_empty() && self.0.is_in_the_way() {
                // Another worker has nothing, and here nobody needs it.
                self.0.retire();
                self.0.shared.borrow_mut().announce_end();
            }
        }
        self.0.waiters.wake_one();
    }
}
