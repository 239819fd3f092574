//! After the response head: the body on its way to the client, what is left of the upload
//! meanwhile, and tunnels.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use super::Origin;
use super::exchange_io::RequestSending;
use super::request_body::Upload;
use crate::clock::{self, Instant};
use crate::exchange::pump::Waiting;
use crate::exchange::stage::BodyStage;
use crate::exchange::stall::poll_give_way;
use crate::exchange::write_wait::{WriteWait, mark_client};
use crate::exchange::{Client, Cut, Deadline, Outcome, Pump, PumpError, Source};
use crate::net::stalls::Stall;
use crate::net::timer::earlier_of;
use crate::net::{BodyError, Timer};
use crate::policy::stages::ResponseStages;

/// The deadlines while a response is passed on.
#[derive(Debug, Clone, Copy)]
pub struct CopyLimits {
    /// Between two parts of the response body.
    pub gap: Option<Duration>,
    /// Between two movements of the client ([`crate::exchange::write_wait`]).
    pub write_gap: Option<Duration>,
    /// The end of the whole exchange, and what sets it.
    pub end: (Option<Instant>, Deadline),
}

/// Passes on the response whose head is already queued at the client, through the stages that wrap
/// it, and goes on sending the request for as long as the server takes it. How that ended is never
/// [`Outcome::Refused`].
///
/// Cancel safety: dropping the future leaves both connections in an unknown state; they must be
/// closed.
pub async fn copy_response<C: Client>(
    upload: &mut Upload<'_, C>,
    origin: &mut Origin,
    sending: &mut RequestSending,
    stages: &mut ResponseStages<'_>,
    timer: &mut Timer,
    limits: CopyLimits,
) -> Outcome {
    let trailer = stages.trailer_filter();
    let mut download = Pump::default();
    let mut progress = CopyProgress::default();
    let mut stall = Stall::default();
    let mut wait = WriteWait::default();
    poll_fn(|cx| {
        let polled = match stages.wrap_body(origin) {
            Some(mut body) => download.poll_with(cx, &mut body, upload.client, &trailer),
            None => download.poll_with(cx, origin, upload.client, &trailer),
        };
        if let Poll::Ready(ended) = polled {
            flush_before_cut(&ended, upload.client, cx);
            return Poll::Ready(copy_outcome(ended));
        }
        if sending.is_active() {
            poll_upload(cx, upload, origin, sending);
        }
        if download.waiting() == Waiting::Source && upload.client.poll_gone(cx).is_ready() {
            return Poll::Ready(Outcome::ClientGone);
        }
        let moved = download.bytes_moved() + sending.pump.bytes_moved();
        let waiting = download.waiting();
        if let Poll::Ready(cut) = poll_stall(&mut stall, waiting, upload.client, moved, cx) {
            return Poll::Ready(cut);
        }
        let since = progress.waiting_since(moved, waiting);
        let (look, deadline) = match waiting {
            Waiting::Source => (clock::deadline(since, limits.gap), Deadline::Gap),
            Waiting::Sink => (wait.next_look(since, limits.write_gap), Deadline::ClientWrite),
        };
        let (end, overall_deadline) = limits.end;
        let at = earlier_of(look, end);
        if timer.poll_at(cx, earlier_of(at, upload.client.look_again())).is_pending() {
            return Poll::Pending;
        }
        if at.is_none_or(|at| clock::now() < at) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let overall = end.is_some_and(|end| clock::now() >= end);
        if !overall && waiting == Waiting::Sink && !wait.is_over(since, mark_client(upload.client))
        {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Outcome::Timeout(if overall { overall_deadline } else { deadline }))
    })
    .await
}

/// Copies a body that is kept, or on its way into a store, to a client, with those of its trailers
/// whose names pass `trailer`. The source's own side has its deadlines where it is fetched.
///
/// Cancel safety: the client's connection must be closed.
pub async fn copy_stored<C: Client>(
    source: &mut impl Source,
    trailer: &dyn Fn(&[u8]) -> bool,
    (client, timer): (&mut C, &mut Timer),
    write_gap: Option<Duration>,
) -> Outcome {
    let mut pump = Pump::default();
    let mut progress = CopyProgress::default();
    let mut stall = Stall::default();
    let mut wait = WriteWait::default();
    poll_fn(|cx| {
        if let Poll::Ready(ended) = pump.poll_with(cx, source, client, trailer) {
            flush_before_cut(&ended, client, cx);
            return Poll::Ready(copy_outcome(ended));
        }
        if let Poll::Ready(cut) = poll_stall(&mut stall, pump.waiting(), client, 0, cx) {
            return Poll::Ready(cut);
        }
        if pump.waiting() == Waiting::Source {
            return client.poll_gone(cx).map(|()| Outcome::ClientGone);
        }
        let since = progress.waiting_since(pump.bytes_moved(), Waiting::Sink);
        let gone = Outcome::Timeout(Deadline::ClientWrite);
        let over = wait.poll_over(cx, timer, || mark_client(client), (since, write_gap));
        over.map(|()| gone)
    })
    .await
}

/// Ready when a response has waited for its client for so long that it makes room for others. So
/// many bytes have been moved, in either direction: who goes on sending does not stand still.
fn poll_stall<C: Client>(
    stall: &mut Stall,
    waiting: Waiting,
    client: &mut C,
    moved: u64,
    cx: &Context<'_>,
) -> Poll<Outcome> {
    match waiting {
        Waiting::Source => {
            stall.end_wait();
            Poll::Pending
        }
        Waiting::Sink => poll_give_way(stall, client, moved, cx),
    }
}

/// Sends what came of a response before its source broke off, as far as it goes without a wait: a
/// response that is cut has begun for whoever reads it. That it was cut is known already, so
/// nothing that happens here changes the outcome.
fn flush_before_cut<C: Client>(
    ended: &Result<(), PumpError>,
    client: &mut C,
    cx: &mut Context<'_>,
) {
    if let Err(PumpError::Source(_)) = ended {
        let _as_far_as_it_goes = client.poll_flush(cx);
    }
}

/// Returns how the exchange ended by how the copying of its body did.
fn copy_outcome(ended: Result<(), PumpError>) -> Outcome {
    match ended {
        Ok(()) => Outcome::Whole,
        Err(PumpError::Source(error)) => Outcome::ServerCut(classify_cut(&error)),
        Err(PumpError::Announced(_)) => Outcome::ServerCut(Cut::Invalid),
        Err(PumpError::Sink(_)) => Outcome::ClientGone,
    }
}

/// Reads how a server ended a body that could not be read to its end.
fn classify_cut(error: &BodyError) -> Cut {
    match error {
        BodyError::Truncated => Cut::Closed,
        BodyError::Io(_) => Cut::Reset,
        BodyError::Framing(_) | BodyError::TooLarge => Cut::Invalid,
    }
}

/// The rest of an upload whose answer is already on its way. Its failures only end it: the answer
/// is what counts now.
fn poll_upload<C: Client>(
    cx: &mut Context<'_>,
    upload: &mut Upload<'_, C>,
    origin: &mut Origin,
    sending: &mut RequestSending,
) {
    if let Poll::Ready(Err(error)) = sending.pump.poll(cx, upload, origin) {
        sending.refused = true;
        sending.broken_off = !matches!(error, PumpError::Sink(_));
        if let PumpError::Announced(_) | PumpError::Source(_) = error {
            // What the server got so far must not look like a whole request.
            origin.cut_request();
        }
        upload.client.close_after();
    }
}

/// Copies both directions of a tunnel until both have ended or nothing has moved for `idle`.
///
/// Cancel safety: as for [`copy_response`].
pub async fn run_tunnel<C: Client>(
    client: &mut C,
    origin: &mut Origin,
    timer: &mut Timer,
    idle: Option<Duration>,
) -> Outcome {
    let mut up = Pump::default();
    let mut down = Pump::default();
    let mut progress = CopyProgress::default();
    let mut stall = Stall::default();
    let outcome = poll_fn(|cx| {
        for (pump, from_client) in [(&mut up, true), (&mut down, false)] {
            if pump.is_done() {
                continue;
            }
            let polled = if from_client {
                pump.poll(cx, client, origin)
            } else {
                pump.poll(cx, origin, client)
            };
            if let Poll::Ready(Err(error)) = polled {
                // What is sent by one side fails when the other one is gone.
                return Poll::Ready(match (error, from_client) {
                    (PumpError::Source(error), false) => Outcome::ServerCut(classify_cut(&error)),
                    (PumpError::Sink(_), true) => Outcome::ServerCut(Cut::Reset),
                    (PumpError::Announced(_), _) => Outcome::ServerCut(Cut::Invalid),
                    (PumpError::Source(_), true) | (PumpError::Sink(_), false) => {
                        Outcome::ClientGone
                    }
                });
            }
        }
        if up.is_done() && down.is_done() {
            return Poll::Ready(Outcome::Whole);
        }
        let moved = up.bytes_moved() + down.bytes_moved();
        if !down.is_done()
            && let Poll::Ready(cut) = poll_stall(&mut stall, down.waiting(), client, moved, cx)
        {
            return Poll::Ready(cut);
        }
        let since = progress.waiting_since(moved, Waiting::Source);
        if timer.poll_at(cx, clock::deadline(since, idle)).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(Outcome::Timeout(Deadline::Tunnel))
    });
    let outcome = outcome.await;
    if outcome != Outcome::Whole {
        // Where one side broke off, the other must not see an orderly end.
        client.cut_response();
        origin.cut_request();
    }
    outcome
}

/// The moment at which a body last made progress.
#[derive(Debug, Default)]
struct CopyProgress {
    moved: u64,
    waiting: Waiting,
    since: Option<Instant>,
}

impl CopyProgress {
    fn waiting_since(&mut self, moved: u64, waiting: Waiting) -> Instant {
        match self.since {
            Some(since) if self.moved == moved && self.waiting == waiting => since,
            _ => {
                self.moved = moved;
                self.waiting = waiting;
                let now = clock::now();
                self.since = Some(now);
                now
            }
        }
    }
}
