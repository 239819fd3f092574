//! A request that waits for the fetch that another one caused.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use super::{CacheScope, CacheStep, Serving, WantedFetch};
use crate::cache::flight::{Flight, Landing};
use crate::cache::key;
use crate::cache::object::Object;
use crate::cache::policy::Usability;
use crate::cache::route::CacheResult;
use crate::cache::status::{CacheStatus, Forwarded};
use crate::clock;
use crate::exchange::{Client, Refusal};
use crate::net::Timer;
use crate::proxy::{MatchedRoute, WalkEnd};

impl<'a> MatchedRoute<'a, '_> {
    /// Waits for a fetch of somebody else's, and uses what it brings if that answers this request.
    pub(super) async fn join_fetch<C: Client>(
        &self,
        on: CacheScope<'_, 'a, '_>,
        mut wanted: WantedFetch,
        other: Arc<Flight>,
        client: &mut C,
        timer: &mut Timer,
    ) -> Result<CacheStep, Refusal> {
        let why = wanted.why;
        let CacheScope { cache, effects, .. } = on;
        // What is replaced meanwhile must not be kept by those who are sent what replaces it.
        wanted.stale = None;
        let landing = tokio::select! {
            biased;
            landing = other.wait_landed() => Some(landing),
            () = poll_fn(|cx| client.poll_gone(cx)) => {
                on.note_result(CacheResult::Coalesced);
                client.cut_response();
                return Ok(CacheStep::Answered(WalkEnd::client_gone()));
            }
            () = wait_for(timer, cache.lock_timeout) => None,
        };
        // What is not stored in the end must not be kept by those who no longer wait for it.
        drop(other);
        let (object, status, result) = match landing {
            Some(Landing::Shared(object)) if self.is_answered_by(&wanted, &object) => {
                (object, None, CacheResult::Coalesced)
            }
            Some(Landing::Restored(object)) if self.is_answered_by(&wanted, &object) => {
                let status = CacheStatus::Hit("redis");
                let serving = Serving::of_others(status, CacheResult::Coalesced, true, effects);
                return Ok(CacheStep::Answered(
                    self.serve_object(on, object, serving, client, timer).await,
                ));
            }
            Some(Landing::Stale(object, status))
                if wanted.on_error && self.is_selected_by(&wanted, &object) =>
            {
                (object, status, CacheResult::Stale)
            }
            Some(Landing::Refused(refusal)) => {
                on.note_result(CacheResult::Coalesced);
                return Err(refusal);
            }
            Some(
                Landing::Shared(_) | Landing::Restored(_) | Landing::Stale(..) | Landing::NotShared,
            )
            | None => {
                let detail = if landing.is_some() { "not-shared" } else { "lock-timeout" };
                on.note_result(CacheResult::Bypass);
                return Ok(CacheStep::Forward(CacheStatus::asked(Forwarded::Bypass(detail))));
            }
        };
        let (stored, collapsed, unstorable) = (false, true, None);
        let status = CacheStatus::Asked { why, status, stored, collapsed, unstorable };
        let serving = Serving::of_others(status, result, false, effects);
        Ok(CacheStep::Answered(self.serve_object(on, object, serving, client, timer).await))
    }

    /// Returns whether a response that another request fetched answers this one too.
    fn is_answered_by(&self, wanted: &WantedFetch, object: &Object) -> bool {
        let usable = object.timing().usability_for(&wanted.asked, clock::unix_millis());
        self.is_selected_by(wanted, object) && usable == Usability::Fresh
    }

    /// Returns whether a response is of this request's URL and variant.
    fn is_selected_by(&self, wanted: &WantedFetch, object: &Object) -> bool {
        let names = key::vary_names(&object.head.fields);
        let fields = &self.ex.head.fields;
        let selected = names.is_empty() || key::variant_hash(&names, fields) == object.variant;
        // Places are found by hashes, answers by what was hashed.
        object.answers_key(&wanted.exact) && selected
    }
}

async fn wait_for(timer: &mut Timer, how_long: Duration) {
    let until = clock::deadline(clock::now(), Some(how_long));
    poll_fn(|cx| timer.poll_at(cx, until)).await;
}
