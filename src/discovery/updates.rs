//! What sources tell about the servers of upstreams, until somebody takes it.
//!
//! A source (records of a name server, a file, a registry) runs on a thread of its own and knows of
//! nobody: it sends the whole list of an upstream whenever that has changed. What was sent for an
//! upstream and was not taken yet is replaced by what is sent next, so a source that changes its
//! mind a thousand times a second costs no more than the lists that are made use of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::Entry;
use super::source::Origin;
use crate::machine::bell::Bell;

/// The word of a source on the servers of an upstream.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Update {
    /// All servers that there are; `None` if the source could not tell yet.
    pub entries: Option<Arc<[Entry]>>,
    /// The fault of the source, or of some of what it says.
    pub fault: Option<Arc<str>>,
    /// The time for which the source says that this may be believed.
    pub ttl: Option<Duration>,
    /// The ids of those that left on purpose since the update before: no guard keeps them.
    pub dismissed: BTreeSet<Arc<str>>,
}

impl Update {
    /// The update that says what both say, one after the other.
    fn merged_after(mut self, before: &Self) -> Self {
        if self.entries.is_none() {
            self.entries.clone_from(&before.entries);
        }
        self.dismissed.extend(before.dismissed.iter().cloned());
        if self.dismissed.is_empty() {
            return self;
        }
        let listed = self.entries.iter().flat_map(|entries| entries.iter());
        let listed: BTreeSet<&str> = listed.map(|entry| &*entry.id).collect();
        self.dismissed.retain(|id| !listed.contains(&**id));
        self
    }
}

/// Updates by the upstream and the source that they come from.
pub(super) type TakenUpdates = BTreeMap<(Arc<str>, Origin), Update>;

/// The updates that nobody has taken yet, by upstream. A clone is the same place.
#[derive(Clone, Default)]
pub struct Updates(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: ArcSwap<TakenUpdates>,
    bell: Bell,
}

impl std::fmt::Debug for Updates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.waiting.load().fmt(f)
    }
}

impl Updates {
    /// Sends what a source says of an upstream's servers now.
    pub fn send_update(&self, upstream: &Arc<str>, origin: &Origin, update: &Update) {
        let key = (upstream.clone(), origin.clone());
        self.0.waiting.rcu(|waiting| {
            let mut waiting = BTreeMap::clone(waiting);
            let update = match waiting.get(&key) {
                Some(before) => update.clone().merged_after(before),
                None => update.clone(),
            };
            waiting.insert(key.clone(), update);
            waiting
        });
        self.0.bell.ring();
    }

    /// The bell that rings after each update.
    #[must_use]
    pub fn bell(&self) -> &Bell {
        &self.0.bell
    }

    /// Returns whether something waits to be taken.
    #[must_use]
    pub fn has_any(&self) -> bool {
        !self.0.waiting.load().is_empty()
    }

    /// Takes all of them.
    #[must_use]
    pub fn take_all(&self) -> TakenUpdates {
        let taken = self.0.waiting.swap(Arc::default());
        Arc::try_unwrap(taken).unwrap_or_else(|shared| BTreeMap::clone(&shared))
    }

    /// Takes those of sources that are chosen; the others wait on.
    pub fn take_chosen(&self, is_chosen: impl Fn(&str, &Origin) -> bool) -> TakenUpdates {
        let before = self.0.waiting.rcu(|waiting| {
            let mut waiting = BTreeMap::clone(waiting);
            waiting.retain(|(upstream, origin), _| !is_chosen(upstream, origin));
            waiting
        });
        let mut taken = BTreeMap::clone(&before);
        taken.retain(|(upstream, origin), _| is_chosen(upstream, origin));
        taken
    }
}

#[cfg(test)]
mod tests;
