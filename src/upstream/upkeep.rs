//! What has to happen to an upstream without a request: ejections end, intervals end.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Upstream, outlier};
use crate::clock::{self, Instant};
use crate::endpoint::standing;

/// Returns how long an upstream can be left alone from `now` on, if not for ever. An ejection that
/// begins meanwhile lasts at least as long.
pub fn time_left(upstream: &Upstream, now: Instant) -> Option<Duration> {
    let state = &upstream.state;
    if state.ejections.ejected_count() > 0 {
        return Some(Duration::ZERO);
    }
    let settings = upstream.eject.as_ref()?;
    let began = state.interval.load(Ordering::Relaxed);
    let gone = Duration::from_millis(clock::millis(now).saturating_sub(began));
    Some(settings.every.saturating_sub(gone).min(settings.base))
}

/// Looks after an upstream: by one thread for the whole process, as soon as [`time_left`] is over
/// and several times a second while servers are ejected.
pub fn end_ejections(upstream: &Upstream, now: Instant) {
    let state = &upstream.state;
    let all = upstream.members();
    let members = all.members();
    if state.ejections.ejected_count() > 0 {
        state.ejections.recount_ejected(|| {
            let ejected = members.iter().filter(|member| member.endpoint.record.is_ejected());
            u32::try_from(ejected.count()).unwrap_or(u32::MAX)
        });
        for member in members {
            let endpoint = &member.endpoint;
            if endpoint.record.readmit_if_due(&state.ejections, now) {
                endpoint.standing.bring_back(standing::EJECTED, now);
                state.queue.release_all();
                tracing::info!(
                    upstream = %upstream.name,
                    server = %endpoint.name,
                    "server readmitted after its ejection"
                );
            }
        }
    }
    let Some(settings) = &upstream.eject else { return };
    let began = state.interval.load(Ordering::Relaxed);
    let millis = clock::millis(now);
    if millis.saturating_sub(began) < u64::try_from(settings.every.as_millis()).unwrap_or(u64::MAX)
    {
        return;
    }
    state.interval.store(millis, Ordering::Relaxed);
    for member in members {
        let endpoint = &member.endpoint;
        if endpoint.record.end_interval(endpoint.requests.load(Ordering::Relaxed), settings) {
            outlier::eject_server(upstream, endpoint, settings, "rate of failures");
        }
    }
}
