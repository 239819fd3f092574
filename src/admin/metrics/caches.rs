//! Metrics of caches: what they made of requests, of their tiers, and who ordered purges.

use super::text::MetricsText;
use crate::cache::purge::PurgeSource;
use crate::cache::route::CacheResult;
use crate::cache::tier::TierResult;
use crate::cache::webhook::EventResult;
use crate::snapshot::Snapshot;

/// Requests on cached routes, by what the cache made of them.
pub(super) fn cache_requests(text: &mut MetricsText, snapshot: &Snapshot) {
    let name = "tidegate_cache_requests_total";
    let mut caches = snapshot.caches().peekable();
    if caches.peek().is_some() {
        text.write_family(name, "counter", "Requests by what their route's cache made of them.");
    }
    for cache in caches {
        for (result, word) in CacheResult::ALL {
            let labels = [("cache", &*cache.store.name), ("result", word)];
            text.write_sample(name, &labels, cache.counts.times_of(result) as f64);
        }
    }
}

/// The results of reading from and writing to the tiers behind memory.
pub(super) fn cache_tiers(text: &mut MetricsText, snapshot: &Snapshot) {
    let tiered = || snapshot.caches().filter_map(|cache| Some((cache, cache.tier.as_ref()?)));
    if tiered().next().is_none() {
        return;
    }
    let name = "tidegate_cache_tier_calls_total";
    text.write_family(name, "counter", "Reads from and writes to the tier behind memory.");
    for (cache, _) in tiered() {
        for (result, word) in TierResult::ALL {
            let labels = [("cache", &*cache.store.name), ("result", word)];
            text.write_sample(name, &labels, cache.store.counts.tier.times_of(result) as f64);
        }
    }
    let name = "tidegate_cache_tier_linked";
    text.write_family(name, "gauge", "Whether all purges are known, so that the tier is used.");
    for (cache, tier) in tiered() {
        let linked = f64::from(u8::from(tier.tier.is_linked()));
        text.write_sample(name, &[("cache", &*cache.store.name)], linked);
    }
}

/// The purges by who ordered them, and the events of webhooks by what became of them.
pub(super) fn cache_purges(text: &mut MetricsText, snapshot: &Snapshot) {
    let name = "tidegate_cache_purges_total";
    let mut caches = snapshot.caches().peekable();
    if caches.peek().is_some() {
        text.write_family(name, "counter", "Purges by who ordered them.");
    }
    for cache in caches {
        for (source, word) in PurgeSource::ALL {
            let labels = [("cache", &*cache.store.name), ("source", word)];
            text.write_sample(name, &labels, cache.store.counts.purges.get(source) as f64);
        }
    }
    let name = "tidegate_cache_webhook_events_total";
    let mut hooked = snapshot.caches().filter(|cache| cache.webhook.is_some()).peekable();
    if hooked.peek().is_some() {
        text.write_family(name, "counter", "Events of webhooks by what became of them.");
    }
    for cache in hooked {
        for (result, word) in EventResult::ALL {
            let labels = [("cache", &*cache.store.name), ("result", word)];
            text.write_sample(name, &labels, cache.store.events.counts.get(result) as f64);
        }
    }
}
