//! What is written down about a request when it has ended: counters, times, a line of the access log.

use std::net::IpAddr;

use super::request_id::RequestId;
use super::{End, Exchange};
use crate::clock;
use crate::exchange::{Client, Refusal};
use crate::snapshot::Route;
use crate::telemetry::access;
use crate::telemetry::ledger::{Entry, method_index};
use crate::upstream::trail::Trail;

/// What becomes known of a request on its way.
#[derive(Debug, Default)]
pub(super) struct Story<'a> {
    /// The route that matched.
    pub(super) route: Option<&'a Route>,
    /// The real client, when it is not the other end of the connection.
    pub(super) client: Option<IpAddr>,
    /// What upstreams had to do with it.
    pub(super) trail: Trail<'a>,
    /// Why the proxy answered itself.
    pub(super) refusal: Option<Refusal>,
}

/// Writes it down.
pub(super) fn settle<C: Client>(
    ex: &Exchange<'_>,
    id: &RequestId<'_>,
    story: &Story<'_>,
    end: End,
    client: &C,
) {
    let Story { route, client: real_client, trail, refusal } = story;
    let took = clock::now().saturating_duration_since(ex.started);
    let (received, sent) = (client.received(), client.sent());
    let member = trail.member;
    ex.worker.ledger.request(&Entry {
        route: route.map(|r| r.counts.id),
        method: method_index(ex.head.method()),
        listener: u32::from(ex.listener.id),
        server: member.map(|m| m.endpoint.id),
        status: end.status,
        took,
        received,
        sent,
    });
    let Some(log) = &ex.snapshot.access else { return };
    if route.is_some_and(|route| !route.access_log) {
        return;
    }
    let real_client = real_client.map(|ip| ip.to_string());
    ex.worker.access.write(
        ex.worker,
        log,
        &access::Line {
            request_id: id.as_str(),
            client: real_client.as_deref().unwrap_or(&ex.peer.text),
            listener: &ex.listener.name,
            head: Some(ex.head),
            route: route.map(|r| &*r.name),
            upstream: trail.upstream.map(|u| &*u.name),
            server: member.map(|m| &*m.endpoint.name),
            attempts: trail.attempts,
            status: end.status,
            code: refusal.map(|refusal| refusal.row().code),
            received,
            sent,
            queue: trail.queue,
            connect: trail.connect,
            first_byte: trail.first_byte,
            total: took,
        },
    );
}
