//! `route.mirror`: copies of requests for another upstream. They are sent when the client has its answer, by tasks
//! of their own, and what comes back is thrown away, so they neither delay nor fail anything.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use super::Target;
use super::send::{self, Job, Sent};
use super::trail::Trail;
use crate::balance::Key;
use crate::clock::{self, Instant};
use crate::exchange::outcome::Note;
use crate::exchange::{Client, Emit, Outcome, Outgoing, Sink, Source};
use crate::net::{BodyError, Coding, Fill, Timer};
use crate::wire::head::Fields;
use crate::wire::{Fault, ResponseHead, encode};
use crate::worker::Worker;

/// Requests with longer bodies are not copied.
const BODY: usize = 64 * 1024;
/// Copies that a worker has under way; further requests are not copied.
const MOST: u32 = 64;
/// How long a copy may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much of an answer is read, so that its connection can be used again.
const ANSWER: usize = 1 << 20;

/// The `mirror` of a route.
#[derive(Debug)]
pub struct Mirror {
    /// Who gets the copies. Without retries and fallback.
    pub target: Target,
    /// The share of requests, from 0 to 1.
    pub share: f64,
    /// What became of them.
    pub counts: Arc<Counts>,
}

/// What became of a route's copies. It survives reloads.
#[derive(Debug, Default)]
pub struct Counts {
    /// Copies that were answered.
    pub answered: AtomicU64,
    /// Copies that were not.
    pub failed: AtomicU64,
    /// Requests that were not copied: too many copies were under way, or the body was too long or incomplete.
    pub dropped: AtomicU64,
}

/// A request body as it goes by.
#[derive(Debug, Default)]
pub struct Seen {
    bytes: Vec<u8>,
    lost: bool,
}

impl Seen {
    /// Keeps what a server has been sent.
    pub fn add(&mut self, data: &[u8]) {
        if self.bytes.len() + data.len() > BODY {
            self.lost = true;
            self.bytes = Vec::new();
        }
        if !self.lost {
            self.bytes.extend_from_slice(data);
        }
    }

    /// The body and what came behind it and may be sent on, if it was kept to its end.
    pub fn whole<C: Client>(
        self,
        client: &mut C,
        trailer: &dyn Fn(&[u8]) -> bool,
    ) -> Option<(Vec<u8>, Option<Fields>)> {
        let all =
            !self.lost && client.request_done() && client.received() == self.bytes.len() as u64;
        let mut trailers = if all { client.trailers().ok()? } else { None };
        trailers.iter_mut().for_each(|fields| fields.retain(|field| trailer(field.name)));
        all.then_some((self.bytes, trailers))
    }
}

/// A copy of a request.
#[derive(Debug)]
pub struct Copy {
    /// Its head without the empty line at its end.
    pub head: Vec<u8>,
    /// Its body.
    pub body: Vec<u8>,
    /// What comes behind the body. The head announces chunks then.
    pub trailers: Option<Fields>,
    /// What the upstream's strategy goes by.
    pub key: Option<Vec<u8>>,
    /// The id of the request.
    pub request_id: String,
    /// The method is `HEAD`.
    pub head_request: bool,
    /// Sending it twice does no harm.
    pub repeatable: bool,
}

impl Mirror {
    /// Sends a copy, unless too many are under way.
    pub fn send(self: &Arc<Self>, worker: &Rc<Worker>, copy: Copy) {
        if worker.mirrored.get() >= MOST {
            return self.skip();
        }
        let under_way = UnderWay::new(worker);
        let mirror = self.clone();
        tokio::task::spawn_local(async move {
            let answered =
                tokio::time::timeout(PATIENCE, mirror.exchange(&under_way.0, &copy)).await;
            let counts = &mirror.counts;
            let counter = if answered == Ok(true) { &counts.answered } else { &counts.failed };
            counter.fetch_add(1, Relaxed);
        });
    }

    /// A request that cannot be copied.
    pub fn skip(&self) {
        self.counts.dropped.fetch_add(1, Relaxed);
    }

    async fn exchange(&self, worker: &Worker, copy: &Copy) -> bool {
        let job = Job {
            worker,
            received: None,
            head: &|out, opening| {
                out.extend_from_slice(&copy.head);
                if opening.ask {
                    encode::field(out, b"expect", b"100-continue");
                }
                out.extend_from_slice(b"\r\n");
                match copy.trailers {
                    Some(_) => Coding::Chunked,
                    None => Coding::Exactly(copy.body.len() as u64),
                }
            },
            // What may not be sent on is not in the copy.
            trailer: &|_| true,
            fields: &|_, _| {},
            compress: None,
            instead: None,
            key: &|_| copy.key.as_deref().map(Key::new),
            attempted: None,
            cause: &Note::default(),
            request_id: &copy.request_id,
            ends: None,
            head_request: copy.head_request,
            safe: false,
            repeatable: copy.repeatable,
            expects_continue: false,
            upgrade: None,
            seen: None,
            body_limit: (u64::MAX, "route.mirror"),
            body_gap: None,
            write_gap: None,
            started: clock::now(),
            // Copies are few, and what they hold is theirs already.
            memory: usize::MAX,
            grpc: false,
            deadline: None,
        };
        let mut nobody = Nobody { of: copy, at: 0, read: 0, begun: false };
        let (mut timer, mut trail) = (Timer::default(), Trail::default());
        let sent = send::send(&job, &self.target, &mut nobody, &mut timer, &mut trail).await;
        matches!(sent, Sent::Answered(_, Outcome::Whole))
    }
}

/// Counts a copy as under way until it is dropped.
struct UnderWay(Rc<Worker>);

impl UnderWay {
    fn new(worker: &Rc<Worker>) -> Self {
        worker.mirrored.set(worker.mirrored.get() + 1);
        Self(worker.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.mirrored.set(self.0.mirrored.get() - 1);
    }
}

/// The client of a copy: it has a body to send and no use for an answer.
struct Nobody<'a> {
    of: &'a Copy,
    at: usize,
    read: usize,
    begun: bool,
}

impl Source for Nobody<'_> {
    fn poll_fill(&mut self, _: &mut Context<'_>) -> Poll<Result<Fill, BodyError>> {
        let fill = if self.data().is_empty() { Fill::End } else { Fill::Data };
        Poll::Ready(Ok(fill))
    }

    fn data(&self) -> &[u8] {
        self.of.body.get(self.at..).unwrap_or_default()
    }

    fn consume(&mut self, n: usize) {
        self.at += n;
    }

    fn trailers(&mut self) -> Result<Option<Fields>, Fault> {
        Ok(self.of.trailers.clone())
    }
}

impl Sink for Nobody<'_> {
    fn poll_write(&mut self, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.read += data.len();
        if self.read > ANSWER {
            return Poll::Ready(Err(io::ErrorKind::FileTooLarge.into()));
        }
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, _: &mut Context<'_>, _: Option<&Fields>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Client for Nobody<'_> {
    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn look_again(&self) -> Option<Instant> {
        None
    }

    fn received(&self) -> u64 {
        self.at as u64
    }

    fn sent(&self) -> u64 {
        self.read as u64
    }

    fn request_done(&self) -> bool {
        self.data().is_empty()
    }

    fn is_empty(&self) -> bool {
        self.of.body.is_empty() && self.of.trailers.is_none()
    }

    fn interim(&mut self, _: &ResponseHead) {}

    fn begin(&mut self, _: &Outgoing<'_>) {
        self.begun = true;
    }

    fn begun(&self) -> bool {
        self.begun
    }

    fn close_after(&mut self) {}

    fn upgrade(&mut self, _: &dyn Fn(&mut dyn Emit)) {}

    fn cut(&mut self) {}
}

/// Where a request body is kept while it goes by.
pub type Keeper = RefCell<Seen>;
