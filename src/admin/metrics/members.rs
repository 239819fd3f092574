//! Metrics of who the servers of upstreams are: where they come from, and what became of
//! registrations.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::MetricsText;
use crate::admin::stats::held_servers;
use crate::discovery::registry::{Registry, View};
use crate::snapshot::Snapshot;

/// Writes them.
pub(super) fn write_members(text: &mut MetricsText, snapshot: &Snapshot, registry: &Registry) {
    let name = "tidegate_upstream_members";
    text.write_family(name, "gauge", "Servers by where they come from.");
    for upstream in &snapshot.upstreams {
        let labels = [("upstream", &*upstream.name), ("source", upstream.source)];
        text.write_sample(name, &labels, upstream.members().members().len() as f64);
    }
    let name = "tidegate_upstream_members_held";
    let help = "Servers that are kept though their source has them no longer.";
    text.write_family(name, "gauge", help);
    for upstream in &snapshot.upstreams {
        text.write_sample(name, &[("upstream", &upstream.name)], held_servers(upstream) as f64);
    }
    let name = "tidegate_upstream_members_waiting";
    let help = "Servers that wait because their source has too many at once.";
    text.write_family(name, "gauge", help);
    for upstream in &snapshot.upstreams {
        let waiting = upstream.state.waiting.load(Relaxed);
        text.write_sample(name, &[("upstream", &upstream.name)], waiting as f64);
    }
    let name = "tidegate_upstream_source_fault";
    let help = "1 while the source of an upstream's servers has a fault, and what it told last stays in use.";
    text.write_family(name, "gauge", help);
    for upstream in &snapshot.upstreams {
        if let Some(supply) = &*upstream.state.supply.load() {
            let labels = [("upstream", &*upstream.name), ("source", upstream.source)];
            text.write_sample(name, &labels, f64::from(u8::from(supply.fault.is_some())));
        }
    }
    let views = snapshot.upstreams.iter().filter_map(|upstream| {
        let view = registry.view(&upstream.name)?;
        Some((&*upstream.name, view))
    });
    let views: Vec<(&str, Arc<View>)> = views.collect();
    if !views.is_empty() {
        write_registrations(text, &views);
    }
}

fn write_registrations(text: &mut MetricsText, views: &[(&str, Arc<View>)]) {
    let name = "tidegate_registry_events_total";
    text.write_family(name, "counter", "What became of registrations, renewals and leases.");
    for (upstream, view) in views {
        let counts = &view.counts;
        for (event, count) in [
            ("registered", &counts.registered),
            ("renewed", &counts.renewed),
            ("refused", &counts.refused),
            ("expired", &counts.expired),
            ("removed", &counts.removed),
        ] {
            let labels = [("upstream", *upstream), ("event", event)];
            text.write_sample(name, &labels, count.load(Relaxed) as f64);
        }
    }
    let name = "tidegate_registry_leases";
    text.write_family(name, "gauge", "Servers that are registered.");
    for (upstream, view) in views {
        text.write_sample(name, &[("upstream", upstream)], view.leases.len() as f64);
    }
    let name = "tidegate_registry_alone";
    let help = "1 while other instances cannot be heard, and no lease runs out.";
    text.write_family(name, "gauge", help);
    for (upstream, view) in views.iter().filter(|(_, view)| view.settings.shared) {
        let alone = u8::from(view.counts.alone.load(Relaxed));
        text.write_sample(name, &[("upstream", upstream)], f64::from(alone));
    }
}
