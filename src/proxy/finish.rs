//! What is written down about a request when it has ended: counters, times, a line of the access
//! log.

use super::cached::CacheNote;
use super::{WalkContext, WalkEnd};
use crate::cache::route::CacheResult;
use crate::clock;
use crate::exchange::outcome::OutcomeRow;
use crate::exchange::{Client, Exchange, Halt, Outcome};
use crate::policy::effects::PolicyEffects;
use crate::snapshot::Route;
use crate::telemetry::access;
use crate::telemetry::ledger::{LedgerEntry, METHODS, method_index};
use crate::telemetry::refusals::RefusedEnding;
use crate::telemetry::trace::{AttemptSpan, AttributeValue, Root, Trace};
use crate::upstream::attempt_summary::AttemptSummary;
use crate::upstream::requester::AttemptReport;
use crate::upstream::retry::Failure;
use crate::wire::Known;
use crate::wire::pairs::mask_target;

/// The facts that become known about a request on its way.
#[derive(Debug, Default)]
pub(super) struct RequestLog<'a> {
    /// The route that matched.
    pub(super) route: Option<&'a Route>,
    /// The summary of its attempts.
    pub(super) trail: AttemptSummary<'a>,
    /// The fields that the route's policies added.
    pub(super) effects: PolicyEffects<'a>,
    /// The part that a cache had in it.
    pub(super) cache: CacheNote<'a>,
    /// The trace it belongs to, when requests are traced.
    pub(super) trace: Option<Trace>,
}

/// An exchange under way. It is written down when this is dropped, however that comes about: each
/// one exactly once.
pub(super) struct ExchangeAccount<'a, 's, C: Client> {
    pub(super) ex: WalkContext<'a>,
    pub(super) log: &'s mut RequestLog<'a>,
    pub(super) client: &'s mut C,
    /// The end of the exchange; `None` while it goes on.
    pub(super) end: Option<WalkEnd>,
}

impl<C: Client> Drop for ExchangeAccount<'_, '_, C> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Whoever catches that writes it down.
            return;
        }
        // Nothing but the end of the process ends an exchange from outside.
        let end = self.end.unwrap_or_else(|| {
            let outcome = Outcome::ProxyCut(Halt::Drain);
            WalkEnd::from_outcome(outcome, self.log.trail.status.unwrap_or(outcome.http_status()))
        });
        finish_exchange(&self.ex, self.log, end, self.client);
    }
}

/// Writes it down.
fn finish_exchange<C: Client>(
    ex: &WalkContext<'_>,
    log: &mut RequestLog<'_>,
    end: WalkEnd,
    client: &C,
) {
    let RequestLog { route, trail, trace, effects, cache } = log;
    let Exchange { id, identity, cause, .. } = ex.exchange;
    let route = *route;
    let took = clock::now().saturating_duration_since(ex.started);
    let (received, sent) = (client.received_bytes(), client.sent_bytes());
    let asked = trail.server();
    ex.worker.ledger.note_request(&LedgerEntry {
        route: route.map(|r| r.counts.id),
        method: method_index(ex.head.method()),
        listener: u32::from(ex.listener.id),
        server: asked.map(|endpoint| endpoint.id),
        status: end.status,
        outcome: end.outcome,
        took,
        received,
        sent,
    });
    // A fetch has been counted where it ended: its server may have sent more, or less, than this
    // client got.
    let fetched = cache.asked.take();
    let fetched = fetched.as_ref();
    let upstream = trail.upstream.or(fetched.map(|(upstream, ..)| *upstream));
    let server = asked.or(fetched.map(|(_, endpoint, _)| endpoint));
    let cause = if end.outcome == Outcome::Whole {
        None
    } else {
        cause.take_cause().or_else(|| effects.cause.take_cause())
    };
    if end.outcome != Outcome::Whole {
        let ending = RefusedEnding {
            outcome: end.outcome,
            status: end.status,
            request_id: id.as_str(),
            client: identity.shown_client(),
            listener: &ex.listener.name,
            head: ex.head,
            route: route.map(|r| &*r.name),
            upstream: upstream.map(|u| &*u.name),
            server: server.map(|endpoint| &**endpoint),
            cause: cause.as_ref(),
        };
        ending.log_ending(&ex.worker.quotas, &ex.worker.ledger);
    }
    let trace_id = trace.as_ref().map(|trace| trace.context.trace_text());
    if let (Some(tracing), Some(trace)) = (&ex.snapshot.trace, trace.take())
        && trace.context.sampled
    {
        trace.end_request(tracing, took, root_span(ex, route, end));
    }
    let Some(log) = &ex.snapshot.access else { return };
    if route.is_some_and(|route| !route.access_log) {
        return;
    }
    ex.worker.write_access(
        log,
        &access::AccessLine {
            request_id: id.as_str(),
            trace_id: trace_id.as_ref().map(|id| &id[..]),
            client: identity.shown_client(),
            listener: &ex.listener.name,
            head: ex.head,
            masked: &ex.snapshot.masked_query,
            claims: effects.verified.as_ref().map_or(&[], |verified| &verified.claims),
            route: route.map(|r| &*r.name),
            upstream: upstream.map(|u| &*u.name),
            server: server.map(|endpoint| &*endpoint.name),
            cache: cache.result.get().map(CacheResult::word),
            attempts: trail.attempts + fetched.map_or(0, |(.., attempts)| *attempts),
            status: end.status,
            outcome: end.outcome,
            key: cause.and_then(|cause| cause.key),
            received,
            sent,
            queue: trail.queue,
            connect: trail.connect,
            first_byte: trail.first_byte,
            total: took,
        },
    );
}

/// Notes an attempt in the trace.
pub(super) fn trace_attempt(trace: Option<&Trace>, of: &AttemptReport<'_>) {
    let Some(trace) = trace else { return };
    let outcome = match of.ended {
        Failure::Status(status) => Ok(status),
        Failure::Grpc(_) => Ok(200),
        other => Err(other.to_refusal().map_or("upstream_failed", |refusal| refusal.row().code)),
    };
    let AttemptReport { number, upstream, took, .. } = *of;
    let server = &*of.server.name;
    trace.note_attempt(number, took, AttemptSpan { upstream, server, outcome });
}

/// Returns what the request's own span says. Its name is from the configuration and a fixed set of
/// methods, so that clients cannot make new ones.
fn root_span(ex: &WalkContext<'_>, route: Option<&Route>, end: WalkEnd) -> Root {
    let text = |bytes: &[u8]| AttributeValue::Text(String::from_utf8_lossy(bytes).into_owned());
    let (head, identity) = (ex.head, &ex.identity);
    let method = METHODS.get(method_index(head.method())).copied().unwrap_or("other");
    let target = mask_target(head.target(), &ex.snapshot.masked_query);
    let mut target = target.splitn(2, |byte| *byte == b'?');
    let mut attributes = vec![
        ("http.request.method", AttributeValue::Text(method.to_owned())),
        ("url.scheme", AttributeValue::Text(identity.scheme.to_owned())),
        ("url.path", text(target.next().unwrap_or_default())),
        ("client.address", AttributeValue::Text(identity.shown_client().to_owned())),
        ("http.response.status_code", AttributeValue::Number(u64::from(end.status))),
    ];
    if let Some(query) = target.next() {
        attributes.push(("url.query", text(query)));
    }
    if let Some(host) = identity.host.or_else(|| head.fields.first(Known::Host)) {
        attributes.push(("server.address", text(host)));
    }
    if let Some(agent) = head.fields.named(b"user-agent").next() {
        attributes.push(("user_agent.original", text(agent)));
    }
    if let Some(route) = route {
        attributes.push(("tidegate.route", AttributeValue::Text(route.name.to_string())));
    }
    let OutcomeRow { outcome, code, .. } = end.outcome.outcome_row();
    attributes.push(("tidegate.outcome", AttributeValue::Text(outcome.to_owned())));
    if let Some(code) = code {
        attributes.push(("error.type", AttributeValue::Text(code.to_owned())));
    }
    let name = route.map_or_else(|| method.to_owned(), |route| format!("{method} {}", route.name));
    // A client that leaves is no error of the service (OpenTelemetry, "Semantic conventions for
    // HTTP spans").
    let cut = match end.outcome {
        Outcome::ServerCut(_) | Outcome::Timeout(_) | Outcome::ProxyCut(_) => true,
        Outcome::Whole | Outcome::ClientGone | Outcome::Refused(_) => false,
    };
    Root { name, attributes, failed: cut || end.status >= 500 }
}
