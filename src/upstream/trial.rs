//! One attempt: a connection, the request on it, the response head, and what that says about the
//! server's connections.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use rustix::io::Errno;

use super::attempt::{self, Ended, Plan, Sending};
use super::choose::Chosen;
use super::observe::Verdict;
use super::replay::Upload;
use super::retry::Failure;
use super::send::{Job, Opening, Progress};
use super::{Origin, Target};
use crate::clock::{self, Instant};
use crate::endpoint::Endpoint;
use crate::endpoint::connect::{self, ConnectError, Connected, Way};
use crate::endpoint::connections::Demand;
use crate::endpoint::links::{Dialing, Turn};
use crate::exchange::{Client, Source};
use crate::h2::H2Origin;
use crate::net::timer::earlier;
use crate::net::{Ends, Timer};
use crate::tls::client::Offer;
use crate::wire::{Known, ResponseHead};

/// Sends the request to a server and waits for the head of its response.
///
/// # Errors
/// [`Ended`].
pub async fn try_once<C: Client>(
    job: &Job<'_>,
    target: &Target,
    chosen: &Chosen<'_>,
    (upload, sending): (&mut Upload<'_, C>, &mut Sending),
    timer: &mut Timer,
    progress: &mut Progress<'_, '_>,
) -> Result<Origin, Ended> {
    // The first attempt begins with the exchange, for all that a deadline can tell.
    let now = if progress.attempt == 1 { job.started } else { clock::now() };
    let endpoint = &chosen.member.endpoint;
    progress.trail.first_byte = None;
    job.cause.clear();
    let body = !upload.is_empty();
    let connected = connection(job, target, chosen, timer, (progress, now, body)).await;
    let (mut origin, probation) = connected.inspect_err(|_| {
        progress.trail.connect = clock::now().saturating_duration_since(now);
        job.worker.ledger.attempt(endpoint.id, 0, None);
    })?;
    origin.bound(target.upstream.limits.response_head);
    let reused = origin.is_reused();
    let begun = if reused { now } else { clock::now() };
    progress.trail.connect = begun.saturating_duration_since(now);
    // The end of an HTTP/2 stream may have come in a frame of its own, or while a connection was made.
    let empty = !body || !probation && upload.is_empty();
    let opening = Opening {
        upstream: &target.upstream.name,
        server: &endpoint.name,
        attempt: progress.attempt,
        ask: probation,
        empty,
    };
    let coding = (job.head)(origin.begin(), opening);
    origin.send(coding, job.received);
    let plan = Plan {
        end: job.end(target.timeouts.total),
        begun,
        timeouts: target.timeouts,
        per_try: target.retry.per_try,
        body_gap: job.body_gap,
        body_key: job.body_limit.1,
        cause: job.cause,
        head_request: job.head_request,
        upgrade: job.upgrade.is_some(),
        expects_continue: job.expects_continue,
        reused,
        probation,
    };
    let mut ended = attempt::attempt(upload, &mut origin, sending, timer, &plan).await;
    if ended.is_ok() && is_broken(&mut origin).await {
        ended = Err(Ended::Failed(Failure::Invalid));
    }
    let took = clock::now().saturating_duration_since(begun);
    if target.upstream.timed {
        time(endpoint, &ended, &origin, begun + took, took);
    }
    note(job, endpoint, &ended, &origin, now, begun + took);
    progress.trail.first_byte = ended.is_ok().then_some(took);
    match ended {
        Ok(()) if origin.head().status == 101 && !accepts(origin.head(), job.upgrade) => {
            job.cause.set("101 to a protocol that was not asked for", None);
            Err(Ended::Failed(Failure::Invalid))
        }
        Ok(()) => {
            if reused && origin.is_own() {
                endpoint.reuse.answered();
            }
            Ok(origin)
        }
        Err(ended) => {
            if !origin.has_settled() {
                strange(job, endpoint);
            }
            match ended {
                Ended::Failed(Failure::Stale { .. }) if origin.is_own() => {
                    endpoint.reuse.broken(clock::now());
                }
                Ended::Failed(Failure::Unasked) => endpoint.reuse.silent(),
                Ended::Failed(Failure::Timeout(_)) => origin.doubt(),
                _ => {}
            }
            Err(ended)
        }
    }
}

/// Whether the start of a response's body, as far as it came with the head, is none. The client has been sent nothing
/// yet, so that it gets an answer; and another server may do better.
async fn is_broken(origin: &mut Origin) -> bool {
    // What follows 101 is no body.
    origin.head().status != 101
        && poll_fn(|cx| Poll::Ready(matches!(origin.poll_fill(cx), Poll::Ready(Err(_))))).await
}

/// Counts the attempt, connecting included, unless the client ended it.
fn note(
    job: &Job<'_>,
    endpoint: &Endpoint,
    ended: &Result<(), Ended>,
    origin: &Origin,
    from: Instant,
    now: Instant,
) {
    let (status, took) = match ended {
        Ok(()) => (origin.head().status, Some(now.saturating_duration_since(from))),
        Err(Ended::Failed(_)) => (0, None),
        Err(Ended::Refused(_) | Ended::Gone) => return,
    };
    job.worker.ledger.attempt(endpoint.id, status, took);
}

/// Notes how long the response took. A server that fails quickly must not look fast.
fn time(
    endpoint: &Endpoint,
    ended: &Result<(), Ended>,
    origin: &Origin,
    now: Instant,
    took: Duration,
) {
    match ended {
        Ok(()) if matches!(origin.head().status, 429 | 503) => {
            let asked = origin.head().fields.named(b"retry-after").next();
            let seconds = asked.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
            endpoint.latency.penalize(now, seconds.map(Duration::from_secs));
        }
        Ok(()) => endpoint.latency.observe(now, took),
        Err(Ended::Failed(failure)) if Verdict::of(*failure) == Verdict::Bad => {
            endpoint.latency.penalize(now, None);
        }
        Err(Ended::Failed(_) | Ended::Refused(_) | Ended::Gone) => {}
    }
}

/// Whether a 101 switches to the protocol that was asked for (RFC 9110 §7.8).
fn accepts(head: &ResponseHead, asked: Option<&[u8]>) -> bool {
    asked.is_some_and(|protocol| head.fields.lists(Known::Upgrade, protocol))
}

/// A connection at rest that suits the request, a stream of a shared one, or a fresh connection.
async fn connection(
    job: &Job<'_>,
    target: &Target,
    chosen: &Chosen<'_>,
    timer: &mut Timer,
    (progress, now, body): (&Progress<'_, '_>, Instant, bool),
) -> Result<(Origin, bool), Ended> {
    let endpoint = &chosen.member.endpoint;
    let upstream = &target.upstream;
    let secured = upstream.secured(endpoint.id);
    let offer = match upstream.offer {
        // Every server can switch protocols with HTTP/1, few with HTTP/2.
        Offer::Either if job.upgrade.is_some() => Offer::Http1,
        offer => offer,
    };
    let ends = job.ends.filter(|_| upstream.announce.is_some());
    let header = upstream.announce.map(|form| match ends {
        Some(ends) => ends.header(form),
        None => Ends::nobody(form),
    });
    let ends = ends.map_or(0, |ends| ends.id);
    let head = upstream.limits.response_head;
    let mut way = Way { streams: 0, secured, offer, header, ends, head };
    let made_with = way.made_with();
    if offer != Offer::Http2 && !progress.repaired {
        // A server that is to switch protocols need not ask for the body first.
        let body = body && job.upgrade.is_none();
        let demand = if job.repeatable { Demand::Any } else { Demand::Proven { body } };
        let taken = poll_fn(|cx| {
            let mut connections = job.worker.connections.borrow_mut();
            Poll::Ready(connections.take(cx, endpoint, demand, made_with, now))
        })
        .await;
        if let Some(taken) = taken {
            return Ok((Origin::H1(taken.origin), taken.probation));
        }
    }
    let (end, end_key) = job.end(target.timeouts.total);
    let deadline = earlier(clock::deadline(now, target.timeouts.connect), end);
    let late = || match end {
        Some(end) if clock::now() >= end => Ended::Failed(Failure::Timeout(end_key)),
        _ => Ended::Failed(Failure::ConnectTimeout),
    };
    let connections = &job.worker.connections;
    let mut dialing = None;
    if offer != Offer::Http1 {
        let most = upstream.limits.requests_per_connection;
        let turn = poll_fn(|cx| {
            let links = &mut connections.borrow_mut().links;
            if let Poll::Ready(turn) = links.poll_turn(cx, endpoint.id, made_with, most) {
                return Poll::Ready(Some(turn));
            }
            timer.poll_at(cx, deadline).map(|()| None)
        });
        match turn.await {
            Some(Turn::Stream(stream)) => {
                return stream_of(stream, job, timer, deadline, late).await;
            }
            Some(Turn::Dial(streams)) => {
                way.streams = streams;
                dialing = Some(Dialing::new(connections, endpoint.id));
            }
            None => return Err(late()),
        }
    }
    let room = (upstream.limits.connections, || job.worker.reclaim());
    let connected = connect::connect(endpoint, way, room, timer, deadline).await;
    match connected.map_err(|error| failed(job, endpoint, &error, late))? {
        Connected::Own(origin) => {
            dialing.iter().for_each(Dialing::declined);
            Ok((Origin::H1(origin), false))
        }
        Connected::Shared(link) => {
            let stream = link.open();
            dialing.iter().for_each(|dialing| dialing.connected(&link));
            drop(dialing);
            stream_of(stream, job, timer, deadline, late).await
        }
    }
}

/// A stream that a request can begin on.
async fn stream_of(
    stream: Box<H2Origin>,
    job: &Job<'_>,
    timer: &mut Timer,
    deadline: Option<Instant>,
    late: impl Fn() -> Ended,
) -> Result<(Origin, bool), Ended> {
    if job.upgrade.is_some() {
        // Whether the server takes such requests is known once it has said what it can do.
        let settled = poll_fn(|cx| match stream.poll_settled(cx) {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending => timer.poll_at(cx, deadline).map(|()| false),
        });
        if !settled.await {
            return Err(late());
        }
    }
    Ok((Origin::H2(stream), false))
}

/// A server that has not said a word of HTTP/2.
#[cold]
fn strange(job: &Job<'_>, endpoint: &Endpoint) {
    let told = "the server does not seem to speak HTTP/2";
    job.cause.set(told, Some("upstream.protocol"));
    if let Some(left_out) = job.worker.quotas.take("no_http2", clock::now()) {
        let (upstream, server) = (&*endpoint.upstream, &*endpoint.name);
        let address = endpoint.where_it_is();
        tracing::warn!(upstream, server, address, key = "upstream.protocol", left_out, "{told}");
    }
}

/// What a connection that did not come about means. A server that is down, and a proxy that has run out of something,
/// look alike to clients: the log tells them apart.
#[cold]
fn failed(
    job: &Job<'_>,
    endpoint: &Endpoint,
    error: &ConnectError,
    late: impl Fn() -> Ended,
) -> Ended {
    let (ended, key) = match error {
        ConnectError::Refused(error) => (Ended::Failed(Failure::Connect), connect_key(error)),
        ConnectError::NoSocket(error) => (Ended::Failed(Failure::NoSocket), connect_key(error)),
        ConnectError::Timeout { taken } => {
            let late = late();
            // A client in a hurry says nothing about the server.
            if !matches!(late, Ended::Failed(Failure::ConnectTimeout)) {
                return late;
            }
            if !taken {
                endpoint.standing.lose(clock::now());
            }
            (late, "upstream.timeout.connect")
        }
    };
    let cause = match error {
        ConnectError::NoSocket(error) if key == "upstream.limits.idle" => {
            format!("{error}: no local port is free (net.ipv4.ip_local_port_range)")
        }
        ConnectError::NoSocket(error) if key == "listen.limits.connections" => {
            format!("{error}: the process has no descriptor left (ulimit -n)")
        }
        error => error.to_string(),
    };
    job.cause.set(&cause, Some(key));
    if let Some(left_out) = job.worker.quotas.take(key, clock::now()) {
        let errno = match error {
            ConnectError::Refused(error) | ConnectError::NoSocket(error) => error.raw_os_error(),
            ConnectError::Timeout { .. } => None,
        };
        let (upstream, server) = (&*endpoint.upstream, &*endpoint.name);
        let address = endpoint.where_it_is();
        tracing::warn!(
            upstream,
            server,
            address,
            cause,
            errno,
            key,
            left_out,
            "no connection to a server"
        );
    }
    ended
}

/// What would have let a server be connected to.
fn connect_key(error: &std::io::Error) -> &'static str {
    match (error.raw_os_error().map(Errno::from_raw_os_error), error.kind()) {
        // Fewer connections would come and go if more were kept.
        (Some(Errno::ADDRNOTAVAIL | Errno::ADDRINUSE), _) => "upstream.limits.idle",
        (Some(Errno::MFILE | Errno::NFILE), _) => "listen.limits.connections",
        (_, std::io::ErrorKind::InvalidData) => "upstream.tls",
        _ => "upstream.servers",
    }
}
