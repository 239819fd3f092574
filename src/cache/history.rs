//! Which purges there were, in the order that all instances agree on.
//!
//! The order is that of one stream outside the processes. A response that is kept there carries the
//! last purge that its fetch knew of, and only later ones count for it. So a purge costs the same
//! however much it removes, and whoever was away finds out what it missed.

use std::collections::VecDeque;
use std::sync::Arc;

use super::key::StoreKey;
use super::purge::Purge;
use super::search::SearchRule;

/// The most purges that are remembered; what knows none of the last so many is not used.
pub const MOST: usize = 10_000;

/// A place in the order: milliseconds and a number within them, as Redis counts entries of a
/// stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(pub u64, pub u64);

impl Epoch {
    /// The last place that there is: nothing can be added behind it.
    pub const HIGHEST: Self = Self(u64::MAX, u64::MAX);

    /// Reads `1526919030474-55`.
    #[must_use]
    pub fn parse_epoch(text: &[u8]) -> Option<Self> {
        let (ms, seq) = std::str::from_utf8(text).ok()?.split_once('-')?;
        Some(Self(ms.parse().ok()?, seq.parse().ok()?))
    }
}

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

/// What is no longer valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invalid {
    /// Everything of one key.
    Key(StoreKey),
    /// The responses that a purge matches.
    Matching(Purge),
}

/// One purge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgeEntry {
    /// The place in the order.
    pub at: Epoch,
    /// Who announced it, and which of theirs it is.
    pub id: (u64, u64),
    /// The cache.
    pub cache: Box<str>,
    /// What is no longer valid.
    pub invalid: Invalid,
}

/// What the purges since its fetch say of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PurgeVerdict {
    /// Nothing.
    Valid,
    /// It was purged softly: stale, whatever its timing says.
    Stale,
    /// It was purged, or may have been.
    Gone,
}

/// The purges that an instance knows of, oldest first.
#[derive(Debug, Clone, Default)]
pub struct PurgeHistory {
    entries: VecDeque<Arc<PurgeEntry>>,
    /// Purges up to here may have been forgotten.
    floor: Epoch,
    /// The newest that is known.
    last: Epoch,
}

impl PurgeHistory {
    /// The newest purge that is known.
    #[must_use]
    pub fn last_epoch(&self) -> Epoch {
        self.last
    }

    /// Returns how many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Those after a place in the order, oldest first.
    pub fn entries_since(&self, epoch: Epoch) -> impl Iterator<Item = &Arc<PurgeEntry>> {
        let from = self.entries.partition_point(|entry| entry.at <= epoch);
        self.entries.range(from..)
    }

    /// Adds a purge that came after all others; one that did not is known already.
    pub fn add_purge(&mut self, entry: PurgeEntry) {
        if entry.at <= self.last {
            return;
        }
        self.last = entry.at;
        self.entries.push_back(Arc::new(entry));
        while self.entries.len() > MOST {
            let forgotten = self.entries.pop_front();
            self.floor = forgotten.map_or(self.floor, |forgotten| forgotten.at);
        }
    }

    /// Passes over what stands up to a place in the order and is no purge.
    pub fn pass_over(&mut self, at: Epoch) {
        self.last = self.last.max(at);
    }

    /// Whether entries before the oldest one may be missing: what knows only of older ones is not
    /// used.
    pub fn begin_at_oldest(&mut self) {
        self.floor = self.entries.front().map_or(self.floor, |oldest| oldest.at);
    }

    /// Returns what is to be thought of a response whose fetch knew of purges up to `epoch`.
    #[must_use]
    pub fn judge_response(
        &self,
        epoch: Epoch,
        (cache, key): (&str, &StoreKey),
        tags: &[Box<[u8]>],
        rule: Option<&SearchRule>,
    ) -> PurgeVerdict {
        if epoch < self.floor {
            return PurgeVerdict::Gone;
        }
        let mut verdict = PurgeVerdict::Valid;
        for entry in self.entries_since(epoch).filter(|entry| *entry.cache == *cache) {
            match &entry.invalid {
                Invalid::Key(known) if is_for(known, key, rule) => return PurgeVerdict::Gone,
                Invalid::Matching(purge) if purge.concerns_key(key, tags, rule) => {
                    if !purge.soft {
                        return PurgeVerdict::Gone;
                    }
                    verdict = PurgeVerdict::Stale;
                }
                Invalid::Key(_) | Invalid::Matching(_) => {}
            }
        }
        verdict
    }
}

/// Returns whether a request of this key is answered by what is stored under another one by a rule.
pub(super) fn is_for(asked: &StoreKey, stored: &StoreKey, rule: Option<&SearchRule>) -> bool {
    let canonical = || asked.to_canonical(rule?);
    asked == stored || canonical().is_some_and(|canonical| canonical == *stored)
}

impl PurgeEntry {
    /// The fields, as the stream has them.
    #[must_use]
    pub fn fields(cache: &str, id: (u64, u64), invalid: &Invalid) -> Vec<(&'static str, Vec<u8>)> {
        let mut fields = vec![
            ("cache", cache.as_bytes().to_vec()),
            ("id", format!("{}-{}", id.0, id.1).into_bytes()),
        ];
        match invalid {
            Invalid::Key(key) => fields.push(("key", key.as_bytes().to_vec())),
            Invalid::Matching(purge) => {
                let Purge { host, path, query, tag, soft } = purge;
                let mut add = |name, value: &Option<Box<[u8]>>| {
                    fields.extend(value.as_ref().map(|value| (name, value.to_vec())));
                };
                add("host", host);
                add("path", path);
                add("tag", tag);
                match query {
                    Some(Some(query)) => fields.push(("query", query.to_vec())),
                    Some(None) => fields.push(("no-query", Vec::new())),
                    None => {}
                }
                if *soft {
                    fields.push(("soft", Vec::new()));
                }
            }
        }
        fields
    }

    /// Reads the fields of an entry. One that is not understood, because a later version or
    /// somebody else wrote it, counts as a purge of everything: too much is fetched anew rather
    /// than too little.
    #[must_use]
    pub fn read<'f>(at: Epoch, fields: impl Iterator<Item = (&'f [u8], &'f [u8])>) -> Option<Self> {
        let mut purge = Purge::everything();
        let (mut cache, mut id, mut key, mut understood) = (None, (0, 0), None, true);
        for (name, value) in fields {
            match name {
                b"cache" => cache = std::str::from_utf8(value).ok(),
                b"id" => match Epoch::parse_epoch(value) {
                    Some(Epoch(who, which)) => id = (who, which),
                    None => understood = false,
                },
                b"key" => match StoreKey::from_bytes(value) {
                    Some(known) => key = Some(known),
                    None => understood = false,
                },
                b"host" => purge.host = Some(value.into()),
                b"path" => purge.path = Some(value.into()),
                b"tag" => purge.tag = Some(value.into()),
                b"query" => purge.query = Some(Some(value.into())),
                b"no-query" => purge.query = Some(None),
                b"soft" => purge.soft = true,
                _ => understood = false,
            }
        }
        let cache = cache?.into();
        let invalid = match key {
            _ if !understood => Invalid::Matching(Purge::everything()),
            Some(key) => Invalid::Key(key),
            None => Invalid::Matching(purge),
        };
        Some(Self { at, id, cache, invalid })
    }
}

#[cfg(test)]
mod tests;
