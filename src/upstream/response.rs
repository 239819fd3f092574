//! Passes a response on, and puts its connection to rest if it may be used again.

use std::future::poll_fn;
use std::task::Poll;

use super::affinity::Affinity;
use super::choose::Chosen;
use super::copy::{self, CopyLimits};
use super::exchange_io::RequestSending;
use super::outlier::OutlierVerdict;
use super::request::{ForwardOutcome, ForwardRequest};
use super::request_body::Upload;
use super::retry::Failure;
use super::{Origin, TargetMembers, UpstreamTarget, outlier};
use crate::clock;
use crate::exchange::stage::{ResponseStage as _, Substitute};
use crate::exchange::{Client, Deadline, Length, Outcome, Outgoing, Source as _, pump};
use crate::net::{Fill, Timer};
use crate::policy::stages::{ResponseStages, SetCookie};
use crate::wire::{Fields, Known, grpc};

/// The most that is read of a body that nobody will see so that its connection can be kept, in
/// bytes.
const SKIPPED: usize = 256 << 10;

/// A server that has answered.
pub struct ServedRequest<'a> {
    /// The upstream.
    pub target: TargetMembers<'a>,
    /// The server.
    pub chosen: Chosen<'a>,
    /// The connection, its response head read.
    pub origin: Origin,
    /// The rest of the request.
    pub sending: RequestSending,
}

/// Passes the response on.
pub async fn deliver_response<C: Client>(
    job: &ForwardRequest<'_>,
    served: ServedRequest<'_>,
    upload: &mut Upload<'_, C>,
    timer: &mut Timer,
) -> ForwardOutcome {
    let ServedRequest { target, mut chosen, mut origin, mut sending } = served;
    let status = origin.response_head().status;
    let mut stages = job.requester.response_stages();
    let id = chosen.member.endpoint.id;
    stages.cookie = match &target.members.sticky {
        Some(Affinity::Cookie(sticky)) if !chosen.bonded => {
            sticky.write_cookie(id, clock::unix_seconds()).map(SetCookie)
        }
        Some(Affinity::Learned(learned)) => {
            learned.learn_session(&origin.response_head().fields, id);
            None
        }
        Some(Affinity::Cookie(_)) | None => None,
    };
    let ended = job.read_status(origin.response_head());
    if status == 101 {
        outlier::note_success(&chosen.member.endpoint, chosen.permit.take());
        return switch_protocols(&stages, &target, &mut origin, upload.client, timer).await;
    }
    end_trial(job, &mut chosen, ended);
    if let Some(substitute) = stages.find_substitute(origin.response_head()) {
        let served = ServedRequest { target, chosen, origin, sending };
        // Boxed, so that other responses do not hold the memory of these.
        let delivered = deliver_substitute(job, served, &substitute, upload, &stages, timer);
        return Box::pin(delivered).await;
    }
    let head = origin.response_head();
    let length = origin.body_length(job.request.head_request);
    let announced = stages.announce_length(head, length);
    upload.client.begin_response(&Outgoing {
        status,
        reason: head.reason(),
        fields: &|out| stages.write_head(head, out),
        length: announced,
    });
    let limits = CopyLimits {
        gap: target.timeouts.gap,
        write_gap: job.request.gaps.write,
        end: job.request.end(target.timeouts.total),
    };
    let outcome =
        copy::copy_response(upload, &mut origin, &mut sending, &mut stages, timer, limits).await;
    // What is bad was noted when the head came.
    if OutlierVerdict::from_failure(ended) == OutlierVerdict::Good {
        let ended = match origin.grpc_status() {
            Some(status) if job.request.grpc && status != grpc::OK => Failure::Grpc(status),
            _ => ended,
        };
        let end = AnswerEnd { outcome, ended, broken_off: sending.broken_off };
        note_end(job, &target, &mut chosen, end);
    }
    let notes = stages.see_end(outcome);
    match outcome {
        Outcome::Whole if !sending.is_active() => put_to_rest(job, &target, &chosen, origin),
        Outcome::Whole => {}
        Outcome::ClientGone => {}
        Outcome::ServerCut(_)
        | Outcome::Timeout(_)
        | Outcome::Refused(_)
        | Outcome::ProxyCut(_) => {
            let told = match notes {
                Some(trailers) => finish_at_once(upload.client, &trailers).await,
                None => false,
            };
            if !told {
                upload.client.cut_response();
            }
        }
    }
    ForwardOutcome::Answered(status, outcome)
}

/// Passes a 101 on, and then whatever either side sends.
async fn switch_protocols<C: Client>(
    stages: &ResponseStages<'_>,
    target: &UpstreamTarget,
    origin: &mut Origin,
    client: &mut C,
    timer: &mut Timer,
) -> ForwardOutcome {
    let head = origin.response_head();
    let status = head.status;
    let protocol = head.fields.first(Known::Upgrade).unwrap_or_default();
    client.become_tunnel(&|out| {
        stages.write_head(head, out);
        out.emit_field(b"upgrade", protocol);
    });
    origin.become_tunnel();
    let outcome = copy::run_tunnel(client, origin, timer, target.timeouts.tunnel).await;
    ForwardOutcome::Answered(status, outcome)
}

/// Sends something else than the server's answer, of which the head has been read.
async fn deliver_substitute<C: Client>(
    job: &ForwardRequest<'_>,
    served: ServedRequest<'_>,
    Substitute { head, body }: &Substitute,
    upload: &mut Upload<'_, C>,
    stages: &ResponseStages<'_>,
    timer: &mut Timer,
) -> ForwardOutcome {
    let ServedRequest { target, mut chosen, mut origin, sending } = served;
    let ended = job.read_status(origin.response_head());
    let (length, sent): (_, &[u8]) = if job.request.head_request {
        (Length::Bodiless(Some(body.len() as u64)), &[])
    } else {
        (Length::Known(body.len() as u64), body)
    };
    if sending.is_active() {
        // The rest of the request is of no use to anybody.
        upload.client.close_after();
    }
    upload.client.begin_response(&Outgoing {
        status: head.status,
        reason: head.reason(),
        fields: &|out| stages.write_head(head, out),
        length,
    });
    if OutlierVerdict::from_failure(ended) == OutlierVerdict::Good {
        let broken_off = sending.broken_off;
        let end = AnswerEnd { outcome: Outcome::Whole, ended, broken_off };
        note_end(job, &target, &mut chosen, end);
    }
    if !sending.is_active() && skip_body(&mut origin).await {
        put_to_rest(job, &target, &chosen, origin);
    }
    let outcome = pump::send_bytes(upload.client, timer, sent, job.request.gaps.write).await;
    ForwardOutcome::Answered(head.status, outcome)
}

/// Forgets the body of a response as far as it is there already; whether that was all of it.
async fn skip_body(origin: &mut Origin) -> bool {
    let mut left = SKIPPED;
    poll_fn(|cx| {
        loop {
            match origin.poll_fill(cx) {
                Poll::Ready(Ok(Fill::End)) => return Poll::Ready(true),
                Poll::Ready(Ok(Fill::Data)) if left > 0 => {
                    let n = origin.body_data().len();
                    origin.consume_body(n);
                    left = left.saturating_sub(n);
                }
                Poll::Ready(_) | Poll::Pending => return Poll::Ready(false),
            }
        }
    })
    .await
}

/// Ends a response that was broken off with these trailers; `false` when they cannot be sent at
/// once.
async fn finish_at_once<C: Client>(client: &mut C, trailers: &Fields) -> bool {
    poll_fn(|cx| Poll::Ready(matches!(client.poll_finish(cx, Some(trailers)), Poll::Ready(Ok(())))))
        .await
}

/// Ends a trial of a breaker as soon as a server has answered well: it holds up others, and the
/// answer may take hours. How a call of gRPC went is known at its end only.
fn end_trial(job: &ForwardRequest<'_>, chosen: &mut Chosen<'_>, ended: Failure) {
    if !job.request.grpc
        && OutlierVerdict::from_failure(ended) == OutlierVerdict::Good
        && let Some(trial) = chosen.permit.take_if(|permit| permit.is_trial())
    {
        trial.report_success(clock::now());
    }
}

/// Keeps a connection that may carry another request.
fn put_to_rest(
    job: &ForwardRequest<'_>,
    target: &UpstreamTarget,
    chosen: &Chosen<'_>,
    origin: Origin,
) {
    let limits = &target.upstream.limits;
    if let Origin::H1(origin) = origin
        && origin.is_reusable()
        && origin.use_count() < limits.requests_per_connection
    {
        let idle = limits.idle.div_ceil(job.worker.workers);
        let mut connections = job.worker.connections.borrow_mut();
        connections.put_idle(&chosen.member.endpoint, origin, (idle, limits.kept), clock::now());
    }
}

/// The end of an answer.
struct AnswerEnd {
    outcome: Outcome,
    /// What it says of the attempt.
    ended: Failure,
    /// The client broke its request off before.
    broken_off: bool,
}

/// Notes what the end of an answer says about its server. One that breaks off has failed, unless
/// the client broke off first; whose doing it is that the time for the exchange is over, nobody
/// knows.
fn note_end(
    job: &ForwardRequest<'_>,
    target: &UpstreamTarget,
    chosen: &mut Chosen<'_>,
    end: AnswerEnd,
) {
    let AnswerEnd { outcome, ended, broken_off } = end;
    let (upstream, endpoint) = (&target.upstream, &chosen.member.endpoint);
    let permit = chosen.permit.take();
    match outcome {
        Outcome::Whole => outlier::note_end(upstream, endpoint, permit, ended),
        Outcome::ServerCut(_) | Outcome::Timeout(Deadline::Gap) if !broken_off => {
            outlier::note_failed(upstream, endpoint, permit);
        }
        // How a call would have ended is not known.
        Outcome::ClientGone if !job.request.grpc => outlier::note_success(endpoint, permit),
        Outcome::ServerCut(_)
        | Outcome::Timeout(_)
        | Outcome::ClientGone
        | Outcome::Refused(_)
        | Outcome::ProxyCut(_) => {}
    }
}
