//! The key that a request's response is stored under, and what of the client is in it.

use crate::cache::key::{KeyRef, StoreKey};
use crate::cache::route::{KeyInput, RouteCache};
use crate::policy::effects::PolicyEffects;
use crate::proxy::{MatchedRoute, keyed};

impl MatchedRoute<'_, '_> {
    /// The key of this request.
    pub(super) fn cache_key(&self, cache: &RouteCache, effects: &PolicyEffects<'_>) -> StoreKey {
        self.write_key(&mut Vec::new(), cache, effects).to_key()
    }

    /// The part of the request that a route adds to the key.
    fn key_input<'g>(
        &'g self,
        input: &KeyInput,
        effects: &'g PolicyEffects<'_>,
    ) -> Option<&'g [u8]> {
        match input {
            KeyInput::Header(name) => self.seen_header(name, effects.verified.as_deref()),
            KeyInput::Cookie(name) => keyed::cookie_value(&self.ex.head.fields, name),
            KeyInput::Claim(name) => {
                let claims = effects.verified.as_ref().map(|verified| verified.claims.iter());
                let mut claims = claims.into_iter().flatten();
                claims.find(|(claim, _)| **claim == **name).map(|(_, value)| value.as_bytes())
            }
        }
    }

    /// Returns whether the key says who the client is, so that nobody else has the same one.
    pub(super) fn is_told_apart(&self, cache: &RouteCache, effects: &PolicyEffects<'_>) -> bool {
        let said = |input| self.key_input(input, effects).is_some_and(|value| !value.is_empty());
        cache.tells_apart.iter().any(said)
    }

    /// Returns whether the request has a part of the key more than once: servers may go by another
    /// one than the key.
    pub(super) fn is_ambiguous(&self, cache: &RouteCache) -> bool {
        let fields = &self.ex.head.fields;
        cache.vary_on.iter().any(|input| match input {
            KeyInput::Header(name) => {
                let policies = self.route.policies.as_ref();
                let replaced = policies.is_some_and(|policies| policies.replaces_field(name));
                !replaced && fields.named(name).nth(1).is_some()
            }
            KeyInput::Cookie(name) => keyed::cookies_named(fields, name).nth(1).is_some(),
            KeyInput::Claim(_) => false,
        })
    }

    /// Writes the key of this request into a buffer.
    pub(super) fn write_key<'b>(
        &self,
        buffer: &'b mut Vec<u8>,
        cache: &RouteCache,
        effects: &PolicyEffects<'_>,
    ) -> KeyRef<'b> {
        let input = |input: &KeyInput| self.key_input(input, effects);
        let url = keyed::Url {
            route: &self.route.name,
            scheme: self.identity.scheme,
            public_host: self.public_host,
            target: self.target,
            identity: self.identity,
        };
        keyed::write_key(buffer, cache, &url, input)
    }
}
