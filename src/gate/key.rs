//! The part of a request that a balancing strategy goes by.

use super::Matched;
use crate::balance::Key;
use crate::route::condition::{cookies, parameters};
use crate::upstream::KeySource;
use crate::wire::Known;

impl Matched<'_, '_> {
    /// The part of the request that `source` names; `None` when the request has no such part.
    pub(super) fn key(&self, source: &KeySource) -> Option<Key<'_>> {
        let fields = &self.ex.head.fields;
        match source {
            KeySource::Uri => {
                let query = self.target.query().unwrap_or_default();
                Some(Key::joined(self.target.path(), query))
            }
            KeySource::Path => Some(Key::new(self.target.path())),
            KeySource::ClientIp => Some(Key::new(&self.client_bytes)),
            KeySource::Header(name) => fields.named(name).next().map(Key::new),
            KeySource::Cookie(name) => {
                let mut all = fields.values(Known::Cookie).flat_map(cookies);
                all.find(|(n, _)| **n == **name).map(|(_, value)| Key::new(value))
            }
            KeySource::Query(name) => {
                let mut all = parameters(self.target.query().unwrap_or_default());
                all.find(|(n, _)| **n == **name).map(|(_, value)| Key::new(value))
            }
            KeySource::Capture(n) => {
                Some(self.capture(*n)).filter(|value| !value.is_empty()).map(Key::new)
            }
        }
    }
}
