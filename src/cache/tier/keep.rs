//! Responses that were stored in memory, written to Redis behind those who are sent them.

use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::{Pipeline, Value as Reply};
use tokio::sync::mpsc;

use super::{KnownPurges, PATIENCE, StoreTier, Tier, TierResult};
use crate::cache::body::BodyPart;
use crate::cache::history::Epoch;
use crate::cache::key::{self, StoreKey};
use crate::cache::object::Object;
use crate::cache::store::CacheStore;
use crate::cache::stored::{self, StoredParts};
use crate::clock;
use crate::policy::shared::RedisConnections;
use crate::wire::head::Fields;

/// Responses that are written at a time.
const AT_A_TIME: usize = 16;

/// A response to be written.
#[derive(Debug)]
pub(super) struct KeptResponse {
    object: Arc<Object>,
    /// The key of the request that it was fetched for: whoever does not know yet which queries it
    /// answers asks for that.
    asked: Arc<StoreKey>,
    names: Box<[Box<[u8]>]>,
    place: String,
    variant_place: Option<String>,
    epoch: Epoch,
    ttl: Duration,
    store: Arc<CacheStore>,
}

impl StoreTier {
    /// Has a response written that was just stored in memory.
    pub fn keep_response(
        &self,
        store: &Arc<CacheStore>,
        object: &Arc<Object>,
        (asked, request): (&Arc<StoreKey>, &Fields),
        known: KnownPurges,
    ) {
        let now = clock::unix_millis();
        let useful = Duration::from_millis(object.timing.useful_until().saturating_sub(now));
        let ttl = if object.timing.has_validator { self.ttl } else { self.ttl.min(useful) };
        if ttl < Duration::from_millis(1) {
            return;
        }
        let names = key::vary_names(&object.head.fields);
        let variant_place = (!names.is_empty()).then(|| {
            let selecting = key::selecting_bytes(&names, request);
            self.redis_key(known.lineage, asked, Some(&selecting))
        });
        let kept = KeptResponse {
            object: object.clone(),
            asked: asked.clone(),
            names,
            place: self.redis_key(known.lineage, asked, None),
            variant_place,
            epoch: known.epoch,
            ttl,
            store: store.clone(),
        };
        if self.tier.redis.is_down() || self.tier.values.try_send(kept).is_err() {
            store.counts.tier.count_result(TierResult::Skipped);
        }
    }
}

impl KeptResponse {
    /// Adds what writes it to a call; `false` when it cannot be written.
    fn add_to_call(&self, call: &mut Pipeline) -> bool {
        let Object { key, timing, head, body, .. } = &*self.object;
        let parts = StoredParts { epoch: self.epoch, key, timing, head, trailers: body.trailers() };
        let mut reader = body.new_reader();
        let chunks = std::iter::from_fn(|| match reader.take_part() {
            BodyPart::Data(data) => Some(data),
            BodyPart::End | BodyPart::Cut | BodyPart::Later => None,
        });
        let Some(value) = parts.write_response(body.written(), chunks) else { return false };
        let ms = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX);
        let mut set = |place: &str, value: Vec<u8>| {
            call.cmd("SET").arg(place).arg(value).arg("PX").arg(ms);
        };
        match &self.variant_place {
            None => set(&self.place, value),
            Some(place) => {
                let Some(variants) = stored::write_variants(&self.asked, &self.names) else {
                    return false;
                };
                set(place, value);
                set(&self.place, variants);
            }
        }
        true
    }
}

/// Writes responses.
pub(super) async fn keep_responses(tier: Weak<Tier>, mut kept: mpsc::Receiver<KeptResponse>) {
    let connections = RedisConnections::default();
    let mut batch = Vec::with_capacity(AT_A_TIME);
    while kept.recv_many(&mut batch, AT_A_TIME).await > 0 {
        let Some(tier) = tier.upgrade() else { return };
        let mut call = Pipeline::new();
        let written: Vec<bool> = batch.iter().map(|kept| kept.add_to_call(&mut call)).collect();
        let called = !call.is_empty()
            && tier.redis.query_patiently::<Reply>(&connections, &call, PATIENCE).await.is_ok();
        for (kept, written) in batch.drain(..).zip(written) {
            let stored = written && called;
            let result = if stored { TierResult::Stored } else { TierResult::Skipped };
            kept.store.counts.tier.count_result(result);
        }
    }
}
