//! Responses looked up in Redis, and held against the purges since they were fetched.

use std::sync::atomic::Ordering::Relaxed;

use redis::Pipeline;

use super::{StoreTier, TierResult};
use crate::cache::history::{self, PurgeVerdict};
use crate::cache::key::{self, StoreKey};
use crate::cache::object;
use crate::cache::policy::Millis;
use crate::cache::search::SearchRule;
use crate::cache::store::CacheStore;
use crate::cache::stored::{StoredResponse, StoredValue};
use crate::clock;
use crate::policy::shared::RedisConnections;
use crate::wire::head::Fields;

/// How far the clocks of two instances may differ, in milliseconds.
const SKEW: Millis = 10_000;

/// A response out of the tier.
#[derive(Debug)]
pub struct Restored {
    /// The response.
    pub stored: StoredResponse,
    /// A soft purge has made it stale.
    pub stale: bool,
}

impl StoreTier {
    /// Looks for a response.
    pub async fn find_response(
        &self,
        connections: &RedisConnections,
        store: &CacheStore,
        key: &StoreKey,
        request: &Fields,
    ) -> Option<Restored> {
        let found = self.look_up(connections, key, request).await;
        if let Err(why) = found {
            store.counts.tier.count_result(why);
        }
        found.ok()
    }

    async fn look_up(
        &self,
        connections: &RedisConnections,
        key: &StoreKey,
        request: &Fields,
    ) -> Result<Restored, TierResult> {
        let unsure = || !self.tier.is_linked() || self.tier.behind.load(Relaxed);
        if unsure() {
            return Err(TierResult::Unanswered);
        }
        let lineage = self.tier.news.load().lineage;
        let mut value = self.get_value(connections, &self.redis_key(lineage, key, None)).await?;
        if let StoredValue::Variants(of, names) = &value {
            if of != key {
                return Err(TierResult::Foreign);
            }
            let selecting = key::selecting_bytes(names, request);
            let place = self.redis_key(lineage, key, Some(&selecting));
            value = self.get_value(connections, &place).await?;
        }
        let StoredValue::Response(stored) = value else { return Err(TierResult::Foreign) };
        let now = clock::unix_millis();
        let rule = SearchRule::read_rule(&stored.head.fields);
        let rule = rule.as_ref();
        if !history::is_for(key, &stored.key, rule)
            || stored.timing.received > now.saturating_add(SKEW)
        {
            return Err(TierResult::Foreign);
        }
        let tags = object::read_tags(&stored.head.fields);
        // What this instance has purged counts at once, before it has come back by the stream.
        let key = &stored.key;
        if self.tier.awaits_purge((&self.cache, key), &tags, rule) || unsure() {
            return Err(TierResult::Purged);
        }
        let news = self.tier.news.load();
        let verdict = news.history.judge_response(stored.epoch, (&self.cache, key), &tags, rule);
        if verdict == PurgeVerdict::Gone || news.lineage != lineage {
            return Err(TierResult::Purged);
        }
        Ok(Restored { stored: *stored, stale: verdict == PurgeVerdict::Stale })
    }

    async fn get_value(
        &self,
        connections: &RedisConnections,
        place: &str,
    ) -> Result<StoredValue, TierResult> {
        let mut call = Pipeline::new();
        call.cmd("GET").arg(place);
        let redis = &self.tier.redis;
        let (value,) = redis
            .make_calls::<(Option<Vec<u8>>,)>(connections, &call)
            .await
            .map_err(|_| TierResult::Unanswered)?;
        let value = value.ok_or(TierResult::Miss)?;
        StoredValue::read(&value).ok_or(TierResult::Foreign)
    }

    /// Counts what became of a response that was found.
    pub fn count_found(&self, store: &CacheStore, result: TierResult) {
        store.counts.tier.count_result(result);
    }
}
