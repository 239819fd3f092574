//! What a purge removes, and who ordered it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::key::StoreKey;
use super::object::{ANY_TAG, Object};
use super::policy::Millis;
use super::search::SearchRule;

/// Who ordered that responses go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum PurgeSource {
    /// A call of the admin endpoint.
    Admin,
    /// An event of the cache's webhook.
    Webhook,
    /// A successful request of an unsafe method: its URL, `Location` and `Content-Location`.
    Method,
    /// A name in the field of `invalidate_header`.
    Header,
    /// Another instance, by way of Redis.
    Instance,
    /// More names in the field of `invalidate_header` than can be told apart: everything goes.
    Overrun,
}

impl PurgeSource {
    /// All of them, with their words in metrics.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Admin, "admin"),
        (Self::Webhook, "webhook"),
        (Self::Method, "method"),
        (Self::Header, "header"),
        (Self::Instance, "instance"),
        (Self::Overrun, "overrun"),
    ];
}

/// How many purges each of them ordered.
#[derive(Debug, Default)]
pub struct PurgeCounts([AtomicU64; PurgeSource::ALL.len()]);

impl PurgeCounts {
    /// Counts one.
    pub fn count(&self, source: PurgeSource) {
        if let Some(counter) = self.0.get(source as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns how many it ordered.
    #[must_use]
    pub fn get(&self, source: PurgeSource) -> u64 {
        self.0.get(source as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}

/// Which responses go. All parts that are given must match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Purge {
    /// Of this host.
    pub host: Option<Box<[u8]>>,
    /// Of this path; with `*` at its end of all paths that begin so.
    pub path: Option<Box<[u8]>>,
    /// Of this query; only where a URL named one or said there is none.
    pub query: Option<Option<Box<[u8]>>>,
    /// With this tag.
    pub tag: Option<Box<[u8]>>,
    /// They stay, as stale ones.
    pub soft: bool,
}

/// A purge, and when it was recorded: it concerns what was there by then, and what was asked for
/// until then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedPurge {
    /// The moment, by the store's clock.
    pub at: Millis,
    /// The number of the first response that was not there yet.
    pub before: u64,
    /// What goes.
    pub purge: Purge,
}

impl RecordedPurge {
    /// Returns whether a response goes, or has to be asked about.
    #[must_use]
    pub fn concerns_object(&self, object: &Object) -> bool {
        (object.number < self.before || object.asked_at <= self.at)
            && self.purge.matches_object(object)
    }
}

impl Purge {
    /// A purge of everything.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    /// The one path that it concerns; `None` where it concerns several.
    #[must_use]
    pub fn exact_path(&self) -> Option<&[u8]> {
        self.path.as_deref().filter(|path| !path.ends_with(b"*"))
    }

    /// Returns whether a response of this key may be among them: tags and the query are left out.
    #[must_use]
    pub fn may_match_key(&self, key: &StoreKey) -> bool {
        let host = self.host.as_deref().is_none_or(|host| key.host().eq_ignore_ascii_case(host));
        let path = self.path.as_deref().is_none_or(|path| match path.strip_suffix(b"*") {
            Some(prefix) => key.path().starts_with(prefix),
            None => key.path() == path,
        });
        host && path
    }

    /// Returns whether a response of this key is of the query: also by what it says of equivalent
    /// ones.
    fn is_of_query(&self, key: &StoreKey, rule: Option<&SearchRule>) -> bool {
        let Some(query) = &self.query else { return true };
        let same = key.query() == query.as_deref();
        let canonical = rule.and_then(|rule| rule.canonical_query(query.as_deref()));
        same || canonical.is_some_and(|canonical| canonical.as_deref() == key.query())
    }

    /// Returns whether a response of this key with these tags and this rule about its query is
    /// among them.
    #[must_use]
    pub fn concerns_key(
        &self,
        key: &StoreKey,
        tags: &[Box<[u8]>],
        rule: Option<&SearchRule>,
    ) -> bool {
        let is_it = |known: &[u8], tag: &[u8]| known == tag || known == ANY_TAG;
        let tagged = |tag: &[u8]| tags.iter().any(|known| is_it(known, tag));
        self.tag.as_deref().is_none_or(tagged)
            && self.may_match_key(key)
            && self.is_of_query(key, rule)
    }

    /// Returns whether a response is among them.
    #[must_use]
    pub fn matches_object(&self, object: &Object) -> bool {
        self.concerns_key(&object.key, &object.tags, object.search.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::head::Fields;

    #[test]
    fn all_given_parts_must_match() {
        let key = StoreKey::new("c", b"http", b"a.test", b"/lookup/1", Some(b"q=1"), &[]);
        let some = |text: &str| Some(Box::from(text.as_bytes()));
        let purge = |host: Option<&str>, path: Option<&str>| Purge {
            host: host.and_then(some),
            path: path.and_then(some),
            ..Purge::default()
        };
        assert!(Purge::everything().may_match_key(&key));
        assert!(purge(Some("A.test"), Some("/lookup/*")).may_match_key(&key));
        assert!(purge(None, Some("/lookup/1")).may_match_key(&key));
        assert!(!purge(None, Some("/lookup")).may_match_key(&key));
        assert!(!purge(Some("b.test"), Some("/lookup/*")).may_match_key(&key));
        let with_query =
            |query: Option<&str>| Purge { query: Some(query.and_then(some)), ..Purge::default() };
        assert!(with_query(Some("q=1")).concerns_key(&key, &[], None));
        assert!(!with_query(None).concerns_key(&key, &[], None));
        let mut fields = Fields::default();
        fields.push(b"no-vary-search", b"params=(\"utm\")");
        let rule = SearchRule::read_rule(&fields);
        let equivalent = with_query(Some("utm=2&q=%31"));
        assert!(equivalent.concerns_key(&key, &[], rule.as_ref()));
        assert!(!equivalent.concerns_key(&key, &[], None));
        assert!(!with_query(Some("utm=2")).concerns_key(&key, &[], rule.as_ref()));
    }
}
