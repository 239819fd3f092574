//! `route.mirror`: copies of requests for another upstream. They are sent when the client has its
//! answer, by tasks of their own, and what comes back is thrown away, so they neither delay nor
//! fail anything.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use super::attempt_summary::AttemptSummary;
use super::detached::{DetachedClient, Receiver};
use super::forward::forward_request;
use super::request::{ForwardOutcome, ForwardRequest};
use super::requester::{AttemptHead, Requester};
use super::{KeySource, UpstreamTarget};
use crate::balance::BalanceKey;
use crate::exchange::outcome::Note;
use crate::exchange::{Outcome, Outgoing, RequestId, RequestTraits};
use crate::net::{BodyFraming, Timer};
use crate::wire::encode;
use crate::wire::head::Fields;
use crate::worker::Worker;

/// Copies that a worker has under way; further requests are not copied.
const MOST: u32 = 64;
/// The longest time for a copy.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most that is read of an answer, so that its connection can be used again, in bytes.
const ANSWER: usize = 1 << 20;

/// The `mirror` of a route.
#[derive(Debug)]
pub struct Mirror {
    /// The upstream that gets the copies. Without retries and fallback.
    pub target: UpstreamTarget,
    /// The share of requests, from 0 to 1.
    pub share: f64,
    /// The counters of copies by their end.
    pub counts: Arc<MirrorCounts>,
}

/// The ends of a route's copies. They survive reloads.
#[derive(Debug, Default)]
pub struct MirrorCounts {
    /// Copies that were answered.
    pub answered: AtomicU64,
    /// Copies that were not.
    pub failed: AtomicU64,
    /// Requests that were not copied: too many copies were under way, or the body was too long or
    /// incomplete.
    pub dropped: AtomicU64,
}

/// A copy of a request.
#[derive(Debug)]
pub struct MirrorCopy {
    /// The head of the copy without the empty line at its end.
    pub head: Vec<u8>,
    /// The body of the copy.
    pub body: Vec<u8>,
    /// The fields behind the body. The head announces chunks then.
    pub trailers: Option<Fields>,
    /// The key that the upstream's strategy goes by.
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
    pub fn send_copy(self: &Arc<Self>, worker: &Rc<Worker>, copy: MirrorCopy) {
        if worker.mirrored.get() >= MOST {
            return self.count_skipped();
        }
        let under_way = MirrorUnderWay::new(worker);
        let mirror = self.clone();
        tokio::task::spawn_local(async move {
            let answered =
                tokio::time::timeout(PATIENCE, mirror.exchange_copy(&under_way.0, &copy)).await;
            let counts = &mirror.counts;
            let counter = if answered == Ok(true) { &counts.answered } else { &counts.failed };
            counter.fetch_add(1, Relaxed);
        });
    }

    /// A request that cannot be copied.
    pub fn count_skipped(&self) {
        self.counts.dropped.fetch_add(1, Relaxed);
    }

    async fn exchange_copy(&self, worker: &Worker, copy: &MirrorCopy) -> bool {
        let (id, cause) = (RequestId::from_text(&copy.request_id), Note::default());
        let request = RequestTraits {
            head_request: copy.head_request,
            repeatable: copy.repeatable,
            ..RequestTraits::detached(&id, "route.mirror", &cause)
        };
        // Copies are few, and what they hold is theirs already.
        let memory = usize::MAX;
        let job = ForwardRequest { worker, memory, request: &request, requester: copy, seen: None };
        let mut sink = DiscardSink::default();
        let mut client =
            DetachedClient::new(&copy.body, &mut sink).with_trailers(copy.trailers.as_ref());
        let (mut timer, mut trail) = (Timer::default(), AttemptSummary::default());
        let sent = forward_request(&job, &self.target, &mut client, &mut timer, &mut trail).await;
        matches!(sent, ForwardOutcome::Answered(_, Outcome::Whole))
    }
}

impl Requester for MirrorCopy {
    fn write_head(&self, out: &mut Vec<u8>, attempt: &AttemptHead<'_>) -> BodyFraming {
        out.extend_from_slice(&self.head);
        if attempt.ask {
            encode::field(out, b"expect", b"100-continue");
        }
        out.extend_from_slice(b"\r\n");
        match self.trailers {
            Some(_) => BodyFraming::Chunked,
            None => BodyFraming::Exactly(self.body.len() as u64),
        }
    }

    fn allows_trailer(&self, _: &[u8]) -> bool {
        // What may not be sent on is not in the copy.
        true
    }

    fn balance_key(&self, _: &KeySource) -> Option<BalanceKey<'_>> {
        self.key.as_deref().map(BalanceKey::new)
    }
}

/// Counts a copy as under way until it is dropped.
struct MirrorUnderWay(Rc<Worker>);

impl MirrorUnderWay {
    fn new(worker: &Rc<Worker>) -> Self {
        worker.mirrored.set(worker.mirrored.get() + 1);
        Self(worker.clone())
    }
}

impl Drop for MirrorUnderWay {
    fn drop(&mut self) {
        self.0.mirrored.set(self.0.mirrored.get() - 1);
    }
}

/// Reads an answer and keeps nothing of it.
#[derive(Debug, Default)]
struct DiscardSink {
    read: usize,
}

impl Receiver for DiscardSink {
    fn begin_response(&mut self, _: &Outgoing<'_>) {}

    fn poll_take(&mut self, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.read += data.len();
        if self.read > ANSWER {
            return Poll::Ready(Err(io::ErrorKind::FileTooLarge.into()));
        }
        Poll::Ready(Ok(data.len()))
    }

    fn flush_body(&mut self) {}

    fn finish_response(&mut self, _: Option<&Fields>) {}

    fn cut_response(&mut self) {}

    fn poll_unwanted(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}
