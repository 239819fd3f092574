//! The tier behind memory: looked into before a server is asked, and told of what is stored.

use std::sync::Arc;

use super::{Answer, FillOrder, FillState, Filling};
use crate::cache::body::CachedBody;
use crate::cache::flight::Landing;
use crate::cache::key;
use crate::cache::object::{Object, ObjectParts};
use crate::cache::policy::{Millis, Usability};
use crate::cache::stored::StoredResponse;
use crate::cache::tier::{Restored, TierResult};
use crate::clock;
use crate::policy::shared::RedisConnections;

impl Filling {
    /// Looks into the tier behind memory. `true` when what is there answers; when it has to be
    /// asked about first, [`Filling::stale`] is that.
    pub async fn restore_from_tier(&mut self, connections: &RedisConnections) -> bool {
        let Some((tier, _)) = self.order.tier.clone() else { return false };
        // Who wants a server's word need not wait for anybody else's.
        if self.order.asked.directives.no_cache {
            return false;
        }
        let FillOrder { store, exact, request, .. } = &self.order;
        let asked_at = store.time_request(clock::unix_millis());
        let Some(found) = tier.find_response(connections, store, exact, request).await else {
            return false;
        };
        let Some(object) = self.adopt_restored(found, asked_at) else { return false };
        let usability = object.timing().usability_for(&self.order.asked, clock::unix_millis());
        match usability {
            Usability::Fresh | Usability::StaleAccepted => {
                tier.count_found(&self.order.store, TierResult::Hit);
                self.order.store.insert_object(object.clone());
                self.tell_answer(Answer::Restored(object.clone()), Landing::Restored(object));
                self.order.lead.end_mark();
                self.order.lead.give_place_back();
                self.state = FillState::Ended;
                true
            }
            Usability::StaleWhileRevalidate | Usability::Validate { .. } => {
                tier.count_found(&self.order.store, TierResult::Stale);
                let on_error = usability != Usability::Validate { on_error: false };
                let newer = |known: &Arc<Object>| known.timing.received < object.timing.received;
                if self.order.stale.as_ref().is_none_or(newer) {
                    self.order.stale = Some(object);
                    self.order.on_error = on_error;
                }
                false
            }
            Usability::Forbidden => false,
        }
    }

    /// Makes a response of this store's out of one of the tier; `None` where there is no memory.
    fn adopt_restored(&self, found: Restored, asked_at: Millis) -> Option<Arc<Object>> {
        let Restored { stored, stale } = found;
        let names = key::vary_names(&stored.head.fields);
        let variant =
            if names.is_empty() { 0 } else { key::variant_hash(&names, &self.order.request) };
        let length = stored.body.len() as u64;
        let body = CachedBody::whole_with(stored.body, stored.trailers.as_ref());
        let told = stored.trailers.is_none().then_some(length);
        let StoredResponse { head, timing, .. } = stored;
        let asked = self.order.exact.clone();
        let parts = ObjectParts { asked, variant, head, timing, body, length: told, asked_at };
        // What is larger than an entry may be finds no room either.
        let object = self.reserve_object(parts).ok()?;
        if stale {
            object.purge_softly();
        }
        Some(object)
    }

    /// Has what was stored written to the tier behind memory.
    pub(super) fn keep_behind(&self, object: &Arc<Object>) {
        if let Some((tier, Some(known))) = &self.order.tier {
            let FillOrder { store, exact, request, .. } = &self.order;
            tier.keep_response(store, object, (exact, request), *known);
        }
    }
}
