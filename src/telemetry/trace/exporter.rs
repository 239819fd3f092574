//! The thread that sends spans and counters to an OTLP receiver over HTTP (OTLP 1, "OTLP/HTTP").
//!
//! Spans wait in a bounded queue and go out in batches. What the receiver does not take in time is
//! dropped and counted: it must not hold up requests, nor fill the memory.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use tokio::runtime::Builder;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{Span, encode};
use crate::clock::{self, Instant, Random};
use crate::net::fetch::{FetchError, Remote, RequestBody};
use crate::pace;

/// Requests whose spans may wait.
const QUEUE: usize = 2048;
/// Spans of one batch.
const BATCH: usize = 512;
/// The longest wait of a batch that is not full.
const DELAY: Duration = Duration::from_secs(1);
/// The longest time for the receiver.
const PATIENCE: Duration = Duration::from_secs(10);
/// Times that a batch is sent when the receiver asks for that, and the wait in between.
const TRIES: u32 = 3;
const AGAIN: Duration = Duration::from_secs(1);
/// The pause between two complaints about a receiver that does not answer.
const COMPLAIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
enum ExporterMessage {
    Spans(Vec<Span>),
    /// An encoded request for `/v1/metrics`.
    Metrics(Vec<u8>),
    /// Send what there is, then answer.
    Flush(SyncSender<()>),
}

/// The exporting thread's end of the queue. The thread ends when this is dropped.
#[derive(Debug)]
pub struct Exporter {
    /// The URL of the receiver, as configured.
    pub url: String,
    /// Tells this process from others in what is exported.
    pub instance: String,
    queue: Sender<ExporterMessage>,
    counts: Arc<ExportCounts>,
}

#[derive(Debug, Default)]
struct ExportCounts {
    sent: AtomicU64,
    dropped: AtomicU64,
}

impl Exporter {
    /// Starts the thread.
    ///
    /// # Errors
    /// When it or its runtime cannot be made.
    pub fn start_thread(url: &str, receiver: Remote) -> io::Result<Self> {
        let (queue, received) = channel(QUEUE);
        let counts = Arc::new(ExportCounts::default());
        let instance = format!("{:016x}", Random::from_entropy().next_u64());
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let sending = SpanSending {
            receiver,
            instance: instance.clone(),
            counts: counts.clone(),
            complained: None,
        };
        thread::Builder::new().name("otlp".into()).spawn(move || {
            pace::stand_back();
            runtime.block_on(sending.run_sending(received));
        })?;
        Ok(Self { url: url.to_owned(), instance, queue, counts })
    }

    /// Offers the spans of a request.
    pub fn offer_spans(&self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        if self.queue.try_send(ExporterMessage::Spans(spans)).is_err() {
            self.counts.dropped.fetch_add(count, Relaxed);
        }
    }

    /// Offers counters; those of later include them, so dropping some loses nothing.
    pub fn offer_metrics(&self, encoded: Vec<u8>) {
        let _full = self.queue.try_send(ExporterMessage::Metrics(encoded));
    }

    /// Waits until everything offered so far is sent, but not longer than `patience`.
    pub fn flush_spans(&self, patience: Duration) {
        let (done, wait) = sync_channel(1);
        if self.queue.try_send(ExporterMessage::Flush(done)).is_ok() {
            let _late = wait.recv_timeout(patience);
        }
    }

    /// Spans that the receiver has taken.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.counts.sent.load(Relaxed)
    }

    /// Spans that it has not.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.counts.dropped.load(Relaxed)
    }
}

struct SpanSending {
    receiver: Remote,
    instance: String,
    counts: Arc<ExportCounts>,
    complained: Option<Instant>,
}

impl SpanSending {
    async fn run_sending(mut self, mut queue: Receiver<ExporterMessage>) {
        let mut batch = Vec::new();
        let mut due = None;
        loop {
            let next = match due {
                Some(due) => tokio::time::timeout_at(due, queue.recv()).await,
                None => Ok(queue.recv().await),
            };
            match next {
                Ok(Some(ExporterMessage::Spans(spans))) => {
                    batch.extend(spans);
                    due = due.or_else(|| Some(clock::now() + DELAY));
                    if batch.len() < BATCH {
                        continue;
                    }
                }
                Ok(Some(ExporterMessage::Metrics(encoded))) => {
                    let _counted_by_nobody = self.deliver_body("v1/metrics", encoded.into()).await;
                    continue;
                }
                Ok(Some(ExporterMessage::Flush(done))) => {
                    self.send_batch(&mut batch).await;
                    // Who waits may have lost patience.
                    let _gone = done.send(());
                }
                Ok(None) if batch.is_empty() => return,
                Ok(None) | Err(_) => {}
            }
            due = None;
            self.send_batch(&mut batch).await;
        }
    }

    async fn send_batch(&mut self, batch: &mut Vec<Span>) {
        if batch.is_empty() {
            return;
        }
        let count = batch.len() as u64;
        let encoded = encode::encode_spans(&self.instance, std::mem::take(batch));
        let delivered = self.deliver_body("v1/traces", encoded.into()).await;
        let counter = if delivered { &self.counts.sent } else { &self.counts.dropped };
        counter.fetch_add(count, Relaxed);
    }

    /// Sends until it is taken, or refused for good, or all tries are used up.
    async fn deliver_body(&mut self, path: &str, body: Bytes) -> bool {
        for attempt in 1..=TRIES {
            let sent =
                tokio::time::timeout(PATIENCE, post_encoded(&self.receiver, path, body.clone()))
                    .await;
            let error = match sent {
                Ok(Ok(status)) if status.is_success() => return true,
                Ok(Ok(status)) if !is_retryable(status) => {
                    self.complain_once(&format!("the receiver answered {status}"));
                    return false;
                }
                Ok(Ok(status)) => format!("the receiver answered {status}"),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {PATIENCE:?}"),
            };
            self.complain_once(&error);
            if attempt < TRIES {
                tokio::time::sleep(AGAIN * attempt).await;
            }
        }
        false
    }

    fn complain_once(&mut self, error: &str) {
        if self.complained.is_none_or(|at| at.elapsed() >= COMPLAIN) {
            self.complained = Some(clock::now());
            let dropped = self.counts.dropped.load(Relaxed);
            tracing::warn!(error, dropped, key = "log.trace.otlp", "traces cannot be exported");
        }
    }
}

/// The statuses after which OTLP asks for another try ("Retryable Response Codes").
pub(crate) fn is_retryable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

/// Posts an encoded request to a path below the receiver's URL.
pub(crate) async fn post_encoded(
    receiver: &Remote,
    path: &str,
    body: Bytes,
) -> Result<StatusCode, FetchError> {
    let request = Request::builder()
        .method(Method::POST)
        .header(header::CONTENT_TYPE, "application/x-protobuf")
        .body(RequestBody::new(body))?;
    let response = receiver.at_path(path)?.send_request(request).await?;
    let status = response.status();
    // A short answer is read, so that the receiver does not see a reset; a long one is its own
    // fault.
    let _read = Limited::new(response.into_body(), 64 * 1024).collect().await;
    Ok(status)
}
