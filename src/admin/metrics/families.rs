//! The numbers that each listener, upstream, server, limit, cache and route has: a row for each
//! metric.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::text::{MetricFamily, counter_family, gauge_family};
use crate::admin::stats::count_unresolved;
use crate::balance::Member;
use crate::cache::route::RouteCache;
use crate::clock;
use crate::endpoint::breaker::{Breaker, BreakerState};
use crate::endpoint::standing;
use crate::policy::limit::Limit;
use crate::snapshot::{Listener, Route};
use crate::upstream::Upstream;

pub(super) const LISTENER: &[MetricFamily<Listener>] = &[
    counter_family(
        "tidegate_connections_reclaimed_total",
        "Idle connections closed because somebody else needed their place.",
        |l| read_count(&l.counts.room.reclaimed),
    ),
    counter_family(
        "tidegate_proxy_headers_refused_total",
        "Connections closed because of their PROXY header, or for want of one.",
        |l| if l.proxy_protocol { read_count(&l.counts.proxy_headers_refused) } else { None },
    ),
    counter_family(
        "tidegate_http2_floods_total",
        "HTTP/2 connections ended because of a flood of frames.",
        |l| read_count(&l.counts.http2_floods),
    ),
    counter_family("tidegate_tls_handshakes_total", "TLS handshakes that ended well.", |l| {
        l.tls.as_ref().and_then(|_| read_count(&l.counts.handshakes))
    }),
    counter_family("tidegate_tls_handshakes_failed_total", "TLS handshakes that did not.", |l| {
        l.tls.as_ref().and_then(|_| read_count(&l.counts.handshakes_failed))
    }),
    counter_family(
        "tidegate_tls_handshakes_refused_total",
        "TLS handshakes that were not begun, because too many were under way.",
        |l| l.tls.as_ref().and_then(|_| read_count(&l.counts.handshakes_refused)),
    ),
];

pub(super) const UPSTREAM: &[MetricFamily<Upstream>] = &[
    gauge_family(
        "tidegate_upstream_fail_open",
        "1 while requests go to servers that are not healthy, for want of any.",
        |u| Some(f64::from(u8::from(u.state.failing_open.load(Relaxed)))),
    ),
    counter_family("tidegate_upstream_fail_open_total", "Requests sent that way.", |u| {
        read_count(&u.state.failed_open)
    }),
    gauge_family("tidegate_upstream_pending", "Requests that wait for a server.", |u| {
        Some(f64::from(u.state.queue.depth()))
    }),
    counter_family("tidegate_upstream_queued_total", "Requests that had to wait.", |u| {
        read_count(&u.state.queue.queued)
    }),
    counter_family(
        "tidegate_upstream_queue_full_total",
        "Requests that found the queue full.",
        |u| read_count(&u.state.queue.overflowed),
    ),
    counter_family(
        "tidegate_upstream_queue_timeouts_total",
        "Requests that waited too long.",
        |u| read_count(&u.state.queue.timed_out),
    ),
    counter_family("tidegate_upstream_retries_total", "Attempts beyond a request's first.", |u| {
        read_count(&u.state.retries)
    }),
    counter_family(
        "tidegate_upstream_retries_over_budget_total",
        "Retries that the budget did not allow.",
        |u| read_count(&u.state.over_budget),
    ),
    counter_family("tidegate_upstream_fallbacks_total", "Requests handed to the fallback.", |u| {
        read_count(&u.state.fallbacks)
    }),
    gauge_family("tidegate_upstream_ejected", "Servers that are ejected.", |u| {
        Some(f64::from(u.state.ejections.ejected_count()))
    }),
    gauge_family(
        "tidegate_upstream_names_unresolved",
        "Servers whose name gave no address when it was last looked up.",
        |u| Some(count_unresolved(u) as f64),
    ),
    counter_family(
        "tidegate_upstream_names_moved_total",
        "How often the name of a server came to lead elsewhere.",
        |u| read_count(&u.state.moves),
    ),
    gauge_family(
        "tidegate_upstream_breaker_state",
        "The circuit breaker: 0 closed, 1 half-open, 2 open.",
        |u| u.breaker.filter(|b| !b.per_server).map(|_| breaker_state(&u.state.breaker)),
    ),
    counter_family("tidegate_upstream_breaker_opened_total", "How often it opened.", |u| {
        u.breaker.filter(|b| !b.per_server).map(|_| u.state.breaker.times_opened() as f64)
    }),
    counter_family("tidegate_upstream_breaker_refused_total", "Requests it refused.", |u| {
        u.breaker.filter(|b| !b.per_server).map(|_| u.state.breaker.requests_refused() as f64)
    }),
];

pub(super) const LIMIT: &[MetricFamily<Limit>] = &[
    counter_family("tidegate_limit_refused_total", "Requests that a rate limit refused.", |l| {
        read_count(&l.state.refused)
    }),
    counter_family("tidegate_limit_delayed_total", "Requests that had to wait.", |l| {
        read_count(&l.state.delayed)
    }),
    counter_family(
        "tidegate_limit_exempt_total",
        "Requests of clients that are not counted.",
        |l| read_count(&l.state.exempt),
    ),
    gauge_family("tidegate_limit_keys", "Keys that have not been idle for long.", |l| {
        Some(l.state.table().len() as f64)
    }),
    counter_family(
        "tidegate_limit_evicted_total",
        "Keys pushed out by others although they were not idle.",
        |l| read_count(&l.state.table().evicted),
    ),
];

pub(super) const CACHE: &[MetricFamily<RouteCache>] = &[
    gauge_family("tidegate_cache_bytes", "Memory that stored responses take.", |c| {
        Some(c.store.used() as f64)
    }),
    gauge_family(
        "tidegate_cache_held_bytes",
        "Memory of bodies that have left while clients are being sent them.",
        |c| Some(c.store.held() as f64),
    ),
    gauge_family("tidegate_cache_memory_limit_bytes", "How much they may take.", |c| {
        Some(c.store.memory() as f64)
    }),
    gauge_family("tidegate_cache_entries", "Stored responses.", |c| Some(c.store.entries() as f64)),
    counter_family("tidegate_cache_evicted_total", "Responses removed to make room.", |c| {
        read_count(&c.store.counts.evicted)
    }),
    counter_family("tidegate_cache_purged_total", "Responses removed by purges.", |c| {
        read_count(&c.store.counts.purged)
    }),
    counter_family("tidegate_cache_no_room_total", "Responses not stored for want of room.", |c| {
        read_count(&c.store.counts.no_room)
    }),
];

pub(super) const ROUTE: &[MetricFamily<Route>] = &[
    counter_family(
        "tidegate_route_mirrored_total",
        "Copies of requests that were answered.",
        |r| r.mirror.as_ref().and_then(|mirror| read_count(&mirror.counts.answered)),
    ),
    counter_family("tidegate_route_mirror_failed_total", "Copies that were not.", |r| {
        r.mirror.as_ref().and_then(|mirror| read_count(&mirror.counts.failed))
    }),
    counter_family(
        "tidegate_route_mirror_dropped_total",
        "Requests not copied: too many copies under way, or a body too long or incomplete.",
        |r| r.mirror.as_ref().and_then(|mirror| read_count(&mirror.counts.dropped)),
    ),
];

pub(super) const SERVER: &[MetricFamily<Member>] = &[
    gauge_family("tidegate_server_up", "1 while the server gets requests.", |m| {
        Some(f64::from(u8::from(!m.endpoint.standing.reason_bits().has_any(u8::MAX))))
    }),
    gauge_family(
        "tidegate_server_healthy",
        "0 while active checks fail, or the name leads nowhere.",
        |m| {
            let out = standing::UNHEALTHY | standing::UNCHECKED | standing::UNRESOLVED;
            Some(f64::from(u8::from(!m.endpoint.standing.reason_bits().has_any(out))))
        },
    ),
    gauge_family("tidegate_server_in_flight", "Requests under way.", |m| {
        Some(f64::from(m.endpoint.in_flight()))
    }),
    gauge_family("tidegate_server_connections", "Open connections.", |m| {
        Some(f64::from(m.endpoint.open.open_count()))
    }),
    counter_family("tidegate_server_requests_total", "Attempts sent to the server.", |m| {
        read_count(&m.endpoint.requests)
    }),
    counter_family("tidegate_server_failures_total", "Attempts that failed.", |m| {
        read_count(&m.endpoint.failures)
    }),
    counter_family("tidegate_server_connects_total", "Connections opened.", |m| {
        read_count(&m.endpoint.connects)
    }),
    counter_family("tidegate_server_ejections_total", "How often it was ejected.", |m| {
        Some(m.endpoint.record.times_ejected() as f64)
    }),
    counter_family("tidegate_server_checks_passed_total", "Active checks it passed.", |m| {
        read_count(&m.endpoint.checks_passed)
    }),
    counter_family("tidegate_server_checks_failed_total", "Active checks it failed.", |m| {
        read_count(&m.endpoint.checks_failed)
    }),
];

#[expect(clippy::unnecessary_wraps, reason = "some families have no value for some upstreams")]
fn read_count(counter: &AtomicU64) -> Option<f64> {
    Some(counter.load(Relaxed) as f64)
}

fn breaker_state(breaker: &Breaker) -> f64 {
    match breaker.state_at(clock::now()) {
        BreakerState::Closed => 0.0,
        BreakerState::HalfOpen => 1.0,
        BreakerState::Open => 2.0,
    }
}
