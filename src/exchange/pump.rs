//! Moves one body from its source to its sink without ever holding more than one read of it.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use thiserror::Error;

use super::Deadline;
use super::outcome::Outcome;
use super::sides::{Client, Sink, Source};
use super::stall::poll_give_way;
use super::write_wait::{WriteWait, mark_client};
use crate::clock;
use crate::net::stalls::Stall;
use crate::net::{BodyError, Fill, Mismatch, Timer};
use crate::wire::head::Fields;

/// The side that stopped a body.
#[derive(Debug, Error)]
pub enum PumpError {
    /// The side that sends it.
    #[error("{0}")]
    Source(#[from] BodyError),
    /// The side that receives it.
    #[error("{0}")]
    Sink(io::Error),
    /// The body is another one than its head announced. What was sent must not pass for whole.
    #[error("{0}")]
    Announced(Mismatch),
}

impl PumpError {
    fn of_sink(error: io::Error) -> Self {
        if Mismatch::is_cause_of(&error) { Self::Announced(Mismatch) } else { Self::Sink(error) }
    }
}

/// The side that a body waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Waiting {
    /// More has to be received.
    #[default]
    Source,
    /// The sink has to send what was received.
    Sink,
}

/// The progress of one body.
#[derive(Debug, Default)]
pub struct Pump {
    ended: bool,
    done: bool,
    trailers: Option<Fields>,
    waiting: Waiting,
    moved: u64,
}

impl Pump {
    /// Moves as much as both sides allow. Ready once the sink has everything.
    ///
    /// # Errors
    /// [`PumpError`] says which side failed; the other one may still be of use.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut (impl Source + ?Sized),
        sink: &mut (impl Sink + ?Sized),
    ) -> Poll<Result<(), PumpError>> {
        self.poll_with(cx, source, sink, &|_| true)
    }

    /// The same, with those of its trailers alone whose names pass `trailer`.
    ///
    /// # Errors
    /// As [`Pump::poll`].
    pub fn poll_with(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut (impl Source + ?Sized),
        sink: &mut (impl Sink + ?Sized),
        trailer: &dyn Fn(&[u8]) -> bool,
    ) -> Poll<Result<(), PumpError>> {
        while !self.ended {
            match source.poll_fill(cx) {
                Poll::Ready(Ok(Fill::Data)) => match sink.poll_write(cx, source.body_data()) {
                    Poll::Ready(Ok(n)) => {
                        self.moved += n as u64;
                        source.consume_body(n);
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(PumpError::of_sink(error))),
                    Poll::Pending => {
                        self.waiting = Waiting::Sink;
                        return Poll::Pending;
                    }
                },
                Poll::Ready(Ok(Fill::End)) => {
                    self.trailers = source.read_trailers().map_err(BodyError::Framing)?;
                    if let Some(fields) = &mut self.trailers {
                        fields.retain(|field| trailer(field.name));
                    }
                    self.ended = true;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => {
                    // Whatever was taken must not wait for what has not come.
                    self.waiting = match sink.poll_flush(cx) {
                        Poll::Ready(Ok(())) => Waiting::Source,
                        Poll::Ready(Err(error)) => {
                            return Poll::Ready(Err(PumpError::of_sink(error)));
                        }
                        Poll::Pending => Waiting::Sink,
                    };
                    return Poll::Pending;
                }
            }
        }
        match sink.poll_finish(cx, self.trailers.as_ref()) {
            Poll::Ready(Ok(())) => {
                self.done = true;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(PumpError::of_sink(error))),
            Poll::Pending => {
                self.waiting = Waiting::Sink;
                Poll::Pending
            }
        }
    }

    /// Returns whether the sink has everything.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Returns which side the last poll left this waiting for.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        self.waiting
    }

    /// Body bytes moved so far.
    #[must_use]
    pub fn bytes_moved(&self) -> u64 {
        self.moved
    }
}

/// Hands over as much of a body as is taken.
fn hand_over_body<C: Client>(
    client: &mut C,
    cx: &mut Context<'_>,
    body: &mut &[u8],
    since: &mut clock::Instant,
) -> Poll<Result<(), Outcome>> {
    while !body.is_empty() {
        match ready!(client.poll_write(cx, body)) {
            Ok(n) => {
                *body = body.get(n..).unwrap_or_default();
                *since = clock::now();
            }
            Err(_) => return Poll::Ready(Err(Outcome::ClientGone)),
        }
    }
    Poll::Ready(Ok(()))
}

/// Sends a part of a body, which more will follow; `stall` is the same for all parts.
///
/// # Errors
/// [`Outcome::ClientGone`], [`Outcome::Timeout`] or [`Outcome::ProxyCut`]: nothing more can be
/// sent.
pub async fn write_bytes<C: Client>(
    client: &mut C,
    stall: &mut Stall,
    timer: &mut Timer,
    mut part: &[u8],
    write_gap: Option<Duration>,
) -> Result<(), Outcome> {
    let mut since = clock::now();
    let mut wait = WriteWait::default();
    poll_fn(|cx| {
        if let Poll::Ready(taken) = hand_over_body(client, cx, &mut part, &mut since) {
            stall.end_wait();
            return Poll::Ready(taken);
        }
        if let Poll::Ready(cut) = poll_give_way(stall, client, 0, cx) {
            return Poll::Ready(Err(cut));
        }
        ready!(wait.poll_over(cx, timer, || mark_client(client), (since, write_gap)));
        Poll::Ready(Err(Outcome::Timeout(Deadline::ClientWrite)))
    })
    .await
}

/// Sends a body that is known as a whole and ends the response: [`Outcome::Whole`],
/// [`Outcome::ClientGone`], [`Outcome::Timeout`] or [`Outcome::ProxyCut`]. `write_gap` is the time
/// between two movements of the client ([`super::write_wait`]).
pub async fn send_bytes<C: Client>(
    client: &mut C,
    timer: &mut Timer,
    mut body: &[u8],
    write_gap: Option<Duration>,
) -> Outcome {
    let mut since = clock::now();
    let mut stall = Stall::default();
    let mut wait = WriteWait::default();
    poll_fn(|cx| {
        match hand_over_body(client, cx, &mut body, &mut since) {
            Poll::Ready(Err(outcome)) => return Poll::Ready(outcome),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        if body.is_empty()
            && let Poll::Ready(finished) = client.poll_finish(cx, None)
        {
            let whole = finished.is_ok();
            return Poll::Ready(if whole { Outcome::Whole } else { Outcome::ClientGone });
        }
        if let Poll::Ready(cut) = poll_give_way(&mut stall, client, 0, cx) {
            return Poll::Ready(cut);
        }
        ready!(wait.poll_over(cx, timer, || mark_client(client), (since, write_gap)));
        client.cut_response();
        Poll::Ready(Outcome::Timeout(Deadline::ClientWrite))
    })
    .await
}
