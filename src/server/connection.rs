//! A client's connection from its first request to its last.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use super::streams;
use super::worker::Local;
use crate::clock::{self, Instant};
use crate::exchange::{
    Client, ClientPeer, Deadline, Halt, Outcome, ReceivedRequest, Refusal, RequestId,
};
use crate::h1::client::Closing;
use crate::h1::{H1Client, NextRequest};
use crate::net::seats::Seat;
use crate::net::{MemoryReservation, Stream, Timer, held};
use crate::proxy::{self, answer};
use crate::snapshot::Listener;
use crate::telemetry::access::AccessLine;
use crate::telemetry::ledger::{LedgerEntry, method_index};
use crate::telemetry::refusals::RefusedEnding;
use crate::wire::{RequestHead, encode, grpc};

/// The things that a connection is served with.
pub(super) struct ConnectionEnd<'a> {
    /// The connection's place among those of the worker.
    pub seat: &'a Seat<'a>,
    /// The listener that it came in by.
    pub listener: Arc<Listener>,
    /// The signal that it has to end.
    pub closing: Rc<Closing>,
    /// The refusal if there is no room for it: whatever it asks for, it is told that.
    pub full: Option<Refusal>,
}

/// A request that is to be handled.
pub(super) struct NewRequest<'a> {
    /// The client that it came from.
    pub(super) peer: &'a ClientPeer,
    /// The listener that it came in by.
    pub(super) listener: &'a Listener,
    /// The head, before the door.
    pub(super) head: &'a mut RequestHead,
    /// The time when the head was complete.
    pub(super) started: Instant,
}

/// The head of a request, as far as it was read, and where it came in.
#[derive(Clone, Copy)]
pub(super) struct ReadHead<'a> {
    /// The client that it came from.
    pub(super) peer: &'a ClientPeer,
    /// The listener that it came in by.
    pub(super) listener: &'a Listener,
    /// The head.
    pub(super) head: &'a RequestHead,
}

/// Serves one connection until either side ends it.
pub(super) async fn serve_connection(
    local: &Rc<Local>,
    stream: Stream,
    peer: ClientPeer,
    way: ConnectionEnd<'_>,
) {
    let ConnectionEnd { seat, listener, closing, full } = way;
    let place = seat.seat_number().to_le_bytes()[0].wrapping_mul(97);
    let mut timer = Timer::default();
    let mut client = H1Client::new(stream, clock::now(), (closing.clone(), listener.life), place);
    while client.wake(seat, &mut timer, listener.times).await {
        let mut head = local.worker.take_head();
        let waits = (seat, &mut timer);
        let next = client.next(&mut head, waits, &listener.head, listener.times).await;
        let go_on = match next {
            NextRequest::Request if full.is_some() => {
                let refusal = full.unwrap_or(Refusal::Crowded);
                let of = ReadHead { peer: &peer, listener: &listener, head: &head };
                Box::pin(refuse_head(local, of, refusal, &mut client, &mut timer)).await;
                false
            }
            NextRequest::Crowded => {
                let refusal = Refusal::Crowded;
                let of = ReadHead { peer: &peer, listener: &listener, head: &head };
                Box::pin(refuse_head(local, of, refusal, &mut client, &mut timer)).await;
                client.stop_reading();
                false
            }
            NextRequest::Request => {
                let started = client.head_at();
                let request =
                    NewRequest { peer: &peer, listener: &listener, head: &mut head, started };
                run_exchange(local, request, &mut client, &mut timer).await;
                client.settle(&mut timer, listener.body_gap).await
            }
            NextRequest::Closed => false,
            NextRequest::Http2 => {
                local.worker.put_head(head);
                let parts = client.into_parts();
                let way = ConnectionEnd { seat, listener, closing, full };
                // Boxed, so that other connections do not hold the memory of these.
                return Box::pin(streams::serve_streams(local, parts, peer, way)).await;
            }
            NextRequest::Fault(fault) => {
                let refusal = Refusal::Malformed(fault);
                let of = ReadHead { peer: &peer, listener: &listener, head: &head };
                Box::pin(refuse_head(local, of, refusal, &mut client, &mut timer)).await;
                false
            }
            NextRequest::Timeout => {
                let refusal = Refusal::RequestTimeout(Deadline::RequestHead);
                let of = ReadHead { peer: &peer, listener: &listener, head: &head };
                Box::pin(refuse_head(local, of, refusal, &mut client, &mut timer)).await;
                false
            }
        };
        local.worker.put_head(head);
        if !go_on {
            break;
        }
    }
    client.close_gracefully(&mut timer, listener.write_gap).await;
}

/// One request. A defect in the proxy costs this request and nothing else.
pub(super) async fn run_exchange<C: Client>(
    local: &Local,
    request: NewRequest<'_>,
    client: &mut C,
    timer: &mut Timer,
) {
    let NewRequest { peer, listener, head, started } = request;
    local.status.requests.fetch_add(1, Ordering::Relaxed);
    proxy::door::remove_claims(head, peer.trusted, &listener.client_field);
    let head = &*head;
    let of = ReadHead { peer, listener, head };
    let snapshot = local.current.get_snapshot();
    let request = ReceivedRequest { peer, head, started };
    // Boxed, so that a connection that waits does not hold the memory of one that works.
    // Made where it stays: it is large.
    let walk = Box::into_pin(Box::write(
        Box::new_uninit(),
        proxy::handle(&local.worker, &snapshot, listener, request, client, timer),
    ));
    let bytes = size_of_val(&*walk) + head.fields.capacity();
    held::set_limit(snapshot.request_memory);
    let most = snapshot.request_memory;
    let held = match MemoryReservation::try_new(bytes, most) {
        // Boxed, so that requests that find room do not hold the memory of those that look for it.
        None => Box::pin(local.find_memory(bytes, most)).await,
        held => held,
    };
    let handled = match held {
        Some(_held) => CaughtPanic(Some(walk)).await,
        None => {
            drop(walk);
            let refused = refuse_head(local, of, Refusal::Overloaded, client, timer);
            return Box::pin(refused).await;
        }
    };
    if handled.is_none() {
        local.status.panics.fetch_add(1, Ordering::Relaxed);
        if client.has_begun() {
            client.cut_response();
            let id = local.worker.draw_random(RequestId::new);
            let outcome = Outcome::ProxyCut(Halt::Defect);
            account_refusal(local, of, outcome, id.as_str(), client);
        } else {
            Box::pin(refuse_head(local, of, Refusal::Internal, client, timer)).await;
        }
    }
}

/// Answers a request that could not be read, or that was lost to a defect.
pub(super) async fn refuse_head<C: Client>(
    local: &Local,
    of: ReadHead<'_>,
    refusal: Refusal,
    client: &mut C,
    timer: &mut Timer,
) {
    let ReadHead { listener, head, .. } = of;
    local.status.requests.fetch_add(u64::from(refusal != Refusal::Internal), Ordering::Relaxed);
    let id = local.worker.draw_random(RequestId::new);
    client.close_after();
    let refused = answer::RefusedAnswer {
        refusal,
        request_id: id.as_str(),
        head_request: head.method() == b"HEAD",
        grpc: grpc::is_call(head),
        page: None,
        edits: None,
        added: &[],
    };
    answer::send_refusal(client, timer, &refused, listener.write_gap).await;
    let outcome = Outcome::Refused(refusal);
    account_refusal(local, of, outcome, id.as_str(), client);
}

/// The answer to somebody who speaks HTTP where TLS is expected.
pub(super) fn plain_answer() -> Vec<u8> {
    let refusal = Refusal::BadRequest("this port speaks TLS: use https");
    let body = refusal.problem_body("");
    let mut answer = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n\
        connection: close\r\n"
        .to_vec();
    encode::content_length(&mut answer, body.len() as u64);
    answer.extend_from_slice(b"\r\n");
    answer.extend_from_slice(&body);
    answer
}

/// Writes down a request whose head could not be read, or that was lost to a defect.
fn account_refusal<C: Client>(
    local: &Local,
    of: ReadHead<'_>,
    outcome: Outcome,
    request_id: &str,
    client: &C,
) {
    let ReadHead { peer, listener, head } = of;
    let (status, received, sent) =
        (outcome.http_status(), client.received_bytes(), client.sent_bytes());
    let ending = RefusedEnding {
        outcome,
        status,
        request_id,
        client: &peer.text,
        listener: &listener.name,
        head,
        route: None,
        upstream: None,
        server: None,
        cause: None,
    };
    ending.log_ending(&local.worker.quotas, &local.worker.ledger);
    local.worker.ledger.note_request(&LedgerEntry {
        route: None,
        method: method_index(head.method()),
        listener: u32::from(listener.id),
        server: None,
        status,
        outcome,
        took: Duration::ZERO,
        received,
        sent,
    });
    let snapshot = local.current.get_snapshot();
    if let Some(log) = &snapshot.access {
        let line = AccessLine {
            request_id,
            client: &peer.text,
            listener: &listener.name,
            head,
            masked: &snapshot.masked_query,
            claims: &[],
            trace_id: None,
            route: None,
            upstream: None,
            server: None,
            cache: None,
            attempts: 0,
            status,
            outcome,
            key: None,
            received,
            sent,
            queue: Duration::ZERO,
            connect: Duration::ZERO,
            first_byte: None,
            total: Duration::ZERO,
        };
        local.worker.write_access(log, &line);
    }
}

/// A future whose panic ends it with `None` instead of unwinding into the worker.
struct CaughtPanic<F>(Option<Pin<Box<F>>>);

impl<F: Future> Future for CaughtPanic<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(inner) = &mut self.0 else { return Poll::Ready(None) };
        match catch_unwind(AssertUnwindSafe(|| inner.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => {
                self.0 = None;
                Poll::Ready(Some(output))
            }
            Err(panic) => {
                let text = panic
                    .downcast_ref::<&str>()
                    .copied()
                    .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
                    .unwrap_or("unknown");
                tracing::error!(panic = text, "a request ended in a defect");
                self.0 = None;
                Poll::Ready(None)
            }
        }
    }
}

#[cfg(test)]
mod tests;
