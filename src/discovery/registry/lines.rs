//! The log lines about registrations. Whoever may register can cause any number of them, so each
//! kind has a quota: ten lines a second are written, and the next one tells how many were left out.

use std::sync::Arc;

use super::book::Refused;
use super::lease::Lease;
use crate::clock;
use crate::quota::LineQuota;

/// A thing that became of a server, with a log line of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServerNews {
    /// It was not there before.
    Registered,
    /// Something about it is another than before.
    Changed,
    /// Another instance has it.
    RegisteredElsewhere,
    /// It left on purpose.
    Deregistered,
    /// It left on purpose, as another instance says.
    DeregisteredElsewhere,
    /// Nobody renewed its lease.
    RanOut,
    /// The configuration does not allow it any more.
    Disallowed,
}

/// Logs what became of a server.
pub(super) fn tell_news(news: ServerNews, upstream: &str, id: &str, lease: Option<&Arc<Lease>>) {
    static JOINS: LineQuota = LineQuota::ten_a_second();
    static CHANGES: LineQuota = LineQuota::ten_a_second();
    static LEAVES: LineQuota = LineQuota::ten_a_second();
    static EXPIRIES: LineQuota = LineQuota::ten_a_second();
    let quota = match news {
        ServerNews::Registered | ServerNews::RegisteredElsewhere => &JOINS,
        ServerNews::Changed => &CHANGES,
        ServerNews::Deregistered | ServerNews::DeregisteredElsewhere => &LEAVES,
        ServerNews::RanOut | ServerNews::Disallowed => &EXPIRIES,
    };
    let Some(left_out) = quota.take(clock::now()) else { return };
    let address = lease.map(|lease| lease.known.address.to_string());
    let ttl = lease.map(|lease| format!("{:?}", lease.known.ttl()));
    macro_rules! line {
        ($level:ident, $what:literal) => {
            tracing::$level!(upstream, server = id, address, ttl, left_out, $what)
        };
    }
    match news {
        ServerNews::Registered => line!(info, "server registered"),
        ServerNews::Changed => line!(info, "registration changed"),
        ServerNews::RegisteredElsewhere => line!(info, "server registered elsewhere"),
        ServerNews::Deregistered => line!(info, "server deregistered"),
        ServerNews::DeregisteredElsewhere => line!(info, "server deregistered elsewhere"),
        ServerNews::RanOut => line!(warn, "the lease of a server ran out"),
        ServerNews::Disallowed => {
            let (server, key) = (id, "upstream.servers.allow");
            let what = "a registered server is no longer allowed and leaves";
            tracing::warn!(upstream, server, key, left_out, "{what}");
        }
    }
}

/// Logs that a registration does not count, and why.
pub(super) fn tell_refused(upstream: &str, id: &str, refused: &Refused) {
    static REFUSALS: LineQuota = LineQuota::ten_a_second();
    // Somebody who changes what is not there has an answer, and nothing went wrong here.
    if *refused == Refused::Unknown {
        return;
    }
    let Some(left_out) = REFUSALS.take(clock::now()) else { return };
    let key = refused.key();
    tracing::warn!(upstream, server = id, why = %refused, key, left_out, "registration refused");
}

/// Logs whether the registrations of an upstream are shared.
pub(super) fn tell_link(upstream: &str, is_linked: bool) {
    static LINKS: LineQuota = LineQuota::ten_a_second();
    let Some(left_out) = LINKS.take(clock::now()) else { return };
    if is_linked {
        tracing::info!(upstream, left_out, "registrations are shared through Redis");
    } else {
        let what =
            "registrations are not shared: Redis does not answer, and no lease runs out meanwhile";
        tracing::warn!(upstream, key = "redis", left_out, "{what}");
    }
}
