//! The part of a request that a balancing strategy goes by.

use super::MatchedRoute;
use crate::balance::BalanceKey;
use crate::policy::effects::PolicyEffects;
use crate::policy::jwt::Verified;
use crate::route::condition::{cookies, parameters};
use crate::upstream::KeySource;
use crate::wire::Known;

impl MatchedRoute<'_, '_> {
    /// The first field of a name as the server will see it: what an authentication says stands in
    /// the place of what the client says.
    pub(super) fn seen_header<'w>(
        &'w self,
        name: &[u8],
        verified: Option<&'w Verified>,
    ) -> Option<&'w [u8]> {
        let mut said = verified.iter().flat_map(|verified| &verified.fields);
        let said =
            said.find(|(said, _)| said.eq_ignore_ascii_case(name)).map(|(_, value)| &**value);
        let replaced =
            self.route.policies.as_ref().is_some_and(|policies| policies.replaces_field(name));
        if replaced { said } else { self.ex.head.fields.named(name).next() }
    }

    /// The part of the request that `source` names; `None` when the request has no such part.
    pub(super) fn balance_key<'g>(
        &'g self,
        source: &KeySource,
        effects: &'g PolicyEffects<'_>,
    ) -> Option<BalanceKey<'g>> {
        let fields = &self.ex.head.fields;
        match source {
            KeySource::Uri => {
                let query = self.target.query().unwrap_or_default();
                Some(BalanceKey::from_parts(self.target.path(), query))
            }
            KeySource::Path => Some(BalanceKey::new(self.target.path())),
            KeySource::ClientIp => self.client_bytes.as_ref().map(|bytes| BalanceKey::new(bytes)),
            KeySource::Header(name) => {
                self.seen_header(name, effects.verified.as_deref()).map(BalanceKey::new)
            }
            KeySource::Cookie(name) => {
                let mut all = fields.values(Known::Cookie).flat_map(cookies);
                all.find(|(n, _)| **n == **name).map(|(_, value)| BalanceKey::new(value))
            }
            KeySource::Query(name) => {
                let mut all = parameters(self.target.query().unwrap_or_default());
                all.find(|(n, _)| **n == **name).map(|(_, value)| BalanceKey::new(value))
            }
            KeySource::Capture(n) => {
                Some(self.capture_text(*n)).filter(|value| !value.is_empty()).map(BalanceKey::new)
            }
        }
    }
}
