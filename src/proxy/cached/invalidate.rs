//! What answers to unsafe requests make invalid.

use crate::cache::history::Invalid;
use crate::cache::key::StoreKey;
use crate::cache::purge::PurgeSource;
use crate::cache::route::RouteCache;
use crate::clock;
use crate::policy::effects::PolicyEffects;
use crate::proxy::MatchedRoute;
use crate::wire::ResponseHead;

impl MatchedRoute<'_, '_> {
    /// Makes invalid what a successful answer to an unsafe request says is (RFC 9111 §4.4).
    pub(in crate::proxy) fn invalidate_stored(
        &self,
        cache: &RouteCache,
        effects: &PolicyEffects<'_>,
        head: &ResponseHead,
    ) {
        if !(200..=399).contains(&head.status) {
            return;
        }
        let now = clock::unix_millis();
        let drop_key = |key: StoreKey| {
            cache.store.invalidate_key(&key, now, PurgeSource::Method);
            if let Some(tier) = &cache.tier {
                tier.announce_purge(Invalid::Key(key));
            }
        };
        drop_key(self.cache_key(cache, effects));
        for name in [&b"location"[..], b"content-location"] {
            for value in head.fields.named(name) {
                if let Some((path, query)) = self.own_path(value) {
                    let key = self.sibling_key(cache, effects, path, query);
                    drop_key(key);
                }
            }
        }
        if let Some(name) = &cache.invalidate_header {
            let host = Some(self.public_host.as_bytes()).filter(|_| cache.key.host);
            let named = head.fields.named(name);
            cache.store.invalidate_named(named, host.unwrap_or_default(), |purge| {
                if let Some(tier) = &cache.tier {
                    tier.announce_purge(Invalid::Matching(purge.clone()));
                }
            });
        }
    }

    /// The path and query of a reference to the request's own host.
    fn own_path<'v>(&self, value: &'v [u8]) -> Option<(&'v [u8], Option<&'v [u8]>)> {
        let rest = match value.strip_prefix(b"http://").or_else(|| value.strip_prefix(b"https://"))
        {
            Some(rest) => {
                let end = rest.iter().position(|byte| *byte == b'/')?;
                let (host, path) = rest.split_at_checked(end)?;
                if !host.eq_ignore_ascii_case(self.public_host.as_bytes())
                    && !host.eq_ignore_ascii_case(self.target.sent_host())
                {
                    return None;
                }
                path
            }
            None => value,
        };
        if !rest.starts_with(b"/") || rest.starts_with(b"//") {
            return None;
        }
        let mut parts = rest.splitn(2, |byte| *byte == b'?');
        Some((parts.next()?, parts.next()))
    }

    fn sibling_key(
        &self,
        cache: &RouteCache,
        effects: &PolicyEffects<'_>,
        path: &[u8],
        query: Option<&[u8]>,
    ) -> StoreKey {
        let path = if cache.key.path { path } else { b"" };
        self.cache_key(cache, effects).with_path(path, query.filter(|_| cache.key.query))
    }
}
