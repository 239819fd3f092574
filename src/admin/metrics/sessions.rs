//! Metrics of sessions that are learned from what servers answer. The only label is the upstream.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::MetricsText;
use crate::snapshot::Snapshot;
use crate::upstream::affinity::{Affinity, LearnedAffinity};
use crate::upstream::{Membership, Upstream};

/// Kind, name, help and reader of a family.
type SessionFamily = (&'static str, &'static str, &'static str, fn(&LearnedAffinity) -> u64);

const FAMILIES: &[SessionFamily] = &[
    ("gauge", "tidegate_upstream_sessions", "Sessions that are known.", |of| {
        of.table().len() as u64
    }),
    ("gauge", "tidegate_upstream_sessions_limit", "The most that can be known.", |of| {
        of.table().capacity() as u64
    }),
    (
        "counter",
        "tidegate_upstream_sessions_learned_total",
        "Sessions that an answer named for the first time.",
        |of| of.counts().learned.load(Relaxed),
    ),
    (
        "counter",
        "tidegate_upstream_sessions_expired_total",
        "Sessions that nobody used for their ttl.",
        |of| of.counts().expired.load(Relaxed),
    ),
    (
        "counter",
        "tidegate_upstream_sessions_evicted_total",
        "Sessions that others pushed out.",
        |of| of.table().evicted.load(Relaxed),
    ),
    (
        "counter",
        "tidegate_upstream_sessions_unknown_total",
        "Requests that named a session which is not known, or whose server is gone.",
        |of| of.counts().unknown.load(Relaxed),
    ),
];

/// Writes them, if sessions are learned anywhere.
pub(super) fn write(text: &mut MetricsText, snapshot: &Snapshot) {
    let members = snapshot.upstreams.iter().map(|upstream| (&**upstream, upstream.members()));
    let members: Vec<(&Upstream, Arc<Membership>)> =
        members.filter(|(_, all)| learned(all).is_some()).collect();
    if members.is_empty() {
        return;
    }
    for (kind, name, help, read) in FAMILIES {
        text.write_family(name, kind, help);
        for (upstream, all) in &members {
            if let Some(learned) = learned(all) {
                text.write_sample(name, &[("upstream", &upstream.name)], read(learned) as f64);
            }
        }
    }
}

fn learned(all: &Membership) -> Option<&LearnedAffinity> {
    all.sticky.as_ref().and_then(Affinity::as_learned)
}
