//! What the end of an attempt says about its server: nothing, that it works, or that it fails.
//!
//! A failure is an attempt without a usable response, or a response of 500 to 599 other than 501
//! and 505, which depend on the request alone (HAProxy's `observe layer7` draws the same line), and
//! 508, which tells of the way that it took.

use std::sync::atomic::Ordering;

use super::Upstream;
use super::retry::Failure;
use crate::clock;
use crate::endpoint::breaker::Permit;
use crate::endpoint::ejection::{EjectionSettings, GroupSize};
use crate::endpoint::{Endpoint, standing};
use crate::exchange::Deadline;
use crate::wire::grpc;

/// The lesson of an attempt's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutlierVerdict {
    /// The server works.
    Good,
    /// The server fails.
    Bad,
    /// A kept-alive connection had been closed meanwhile, as it may be; the request was not looked
    /// at; the proxy could not ask; or the client waited no longer.
    Neutral,
}

impl OutlierVerdict {
    /// Reads the end of an attempt.
    #[must_use]
    pub fn from_failure(failure: Failure) -> Self {
        match failure {
            Failure::Status(501 | 505 | 508) => Self::Good,
            Failure::Status(500..=599) => Self::Bad,
            Failure::Grpc(status) if grpc::is_failure(status) => Self::Bad,
            Failure::Status(_) | Failure::Grpc(_) => Self::Good,
            Failure::Stale { .. }
            | Failure::Unprocessed
            | Failure::Unasked
            | Failure::NoSocket
            | Failure::Rejected => Self::Neutral,
            // Or clients in a hurry could have any server ejected.
            Failure::Timeout(Deadline::Client) => Self::Neutral,
            Failure::Connect
            | Failure::ConnectTimeout
            | Failure::Closed
            | Failure::Timeout(_)
            | Failure::Invalid => Self::Bad,
        }
    }
}

/// Notes how an attempt at a server ended, for which `permit` was given.
#[inline]
pub fn note_end(
    upstream: &Upstream,
    endpoint: &Endpoint,
    permit: Option<Permit<'_>>,
    failure: Failure,
) {
    match OutlierVerdict::from_failure(failure) {
        OutlierVerdict::Good => note_success(endpoint, permit),
        OutlierVerdict::Bad => note_failed(upstream, endpoint, permit),
        OutlierVerdict::Neutral => {
            endpoint.failures.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Notes that a server works.
#[inline]
pub fn note_success(endpoint: &Endpoint, permit: Option<Permit<'_>>) {
    endpoint.record.record_success();
    if let Some(permit) = permit {
        permit.report_success(clock::now());
    }
}

/// Notes that a server fails.
#[cold]
pub fn note_failed(upstream: &Upstream, endpoint: &Endpoint, permit: Option<Permit<'_>>) {
    endpoint.failures.fetch_add(1, Ordering::Relaxed);
    if let Some(permit) = permit {
        permit.report_failure(clock::now());
    }
    let streak = endpoint.record.record_failure();
    if let Some(settings) = upstream.eject.as_ref().filter(|settings| streak >= settings.failures) {
        eject_server(upstream, endpoint, settings, "failures in a row");
    }
}

/// Leaves a server out for a while, if the others can carry on without it. When all places are
/// taken, the server that has been out for longest and takes connections gives way.
pub(super) fn eject_server(
    upstream: &Upstream,
    endpoint: &Endpoint,
    settings: &EjectionSettings,
    why: &str,
) {
    if endpoint.record.is_ejected() || try_eject(upstream, endpoint, settings, why) {
        return;
    }
    let now = clock::now();
    let all = upstream.members();
    let waiting = all.members().iter().map(|member| &*member.endpoint).filter_map(|e| {
        let out_for = e.record.out_for(now)?;
        let gives_way = out_for >= settings.keeps_place_for()
            && !e.standing.reason_bits().has_any(!standing::EJECTED);
        gives_way.then_some((out_for, e))
    });
    if let Some((_, longest)) = waiting.max_by_key(|(out_for, _)| *out_for)
        && readmit_server(upstream, longest, "another one needs its place")
    {
        try_eject(upstream, endpoint, settings, why);
    }
}

/// Ends an ejection early; true if there was one.
pub fn readmit_server(upstream: &Upstream, endpoint: &Endpoint, why: &str) -> bool {
    if !endpoint.record.end_early(&upstream.state.ejections) {
        return false;
    }
    endpoint.standing.bring_back(standing::EJECTED, clock::now());
    upstream.state.queue.release_all();
    tracing::info!(upstream = %upstream.name, server = %endpoint.name, why, "server readmitted early");
    true
}

fn try_eject(
    upstream: &Upstream,
    endpoint: &Endpoint,
    settings: &EjectionSettings,
    why: &str,
) -> bool {
    let size = || {
        let all = upstream.members();
        let members = all.members();
        // It counts itself although it may not take connections just now.
        let usable = members.iter().filter(|m| {
            m.endpoint.id == endpoint.id || !m.endpoint.standing.reason_bits().has_any(u8::MAX)
        });
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        GroupSize { total: count(members.len()), usable: count(usable.count()) }
    };
    let group = &upstream.state.ejections;
    let Some(lasts) = endpoint.record.eject_server(group, settings, clock::now(), size) else {
        return false;
    };
    endpoint.standing.take_out(standing::EJECTED);
    if !endpoint.record.is_ejected() {
        // Somebody ended it between the two steps and found no bit to clear.
        endpoint.standing.bring_back(standing::EJECTED, clock::now());
    }
    tracing::warn!(
        upstream = %upstream.name,
        server = %endpoint.name,
        why,
        ?lasts,
        key = "upstream.eject",
        "server ejected"
    );
    true
}
