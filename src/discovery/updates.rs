//! What sources tell about the servers of upstreams, until somebody takes it.
//!
//! A source (records of a name server, a file, a registry) runs on a thread of its own and knows of nobody: it
//! sends the whole list of an upstream whenever that has changed. What was sent for an upstream and was not
//! taken yet is replaced by what is sent next, so a source that changes its mind a thousand times a
//! second costs no more than the lists that are made use of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

use super::Entry;

/// The servers of an upstream as a source has them.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// The word for the source, which is the key of `servers` that it is written with.
    pub source: &'static str,
    /// All servers that there are.
    pub entries: Arc<[Entry]>,
    /// The ids of those that left on purpose since the update before: no guard keeps them.
    pub dismissed: BTreeSet<Arc<str>>,
}

impl Update {
    /// The update that says what both say, one after the other.
    fn after(mut self, before: &Self) -> Self {
        if before.source == self.source {
            self.dismissed.extend(before.dismissed.iter().cloned());
        }
        let listed: BTreeSet<&str> = self.entries.iter().map(|entry| &*entry.id).collect();
        self.dismissed.retain(|id| !listed.contains(&**id));
        self
    }
}

/// Something to call when there is an update.
type Wake = Box<dyn Fn() + Send + Sync>;

/// The updates that nobody has taken yet, by upstream. A clone is the same place.
#[derive(Clone, Default)]
pub struct Updates(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: ArcSwap<BTreeMap<Arc<str>, Update>>,
    wake: OnceLock<Wake>,
}

impl std::fmt::Debug for Updates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.waiting.load().fmt(f)
    }
}

impl Updates {
    /// Sends what an upstream's servers are now.
    pub fn send(&self, upstream: &Arc<str>, update: &Update) {
        self.0.waiting.rcu(|waiting| {
            let mut waiting = BTreeMap::clone(waiting);
            let update = match waiting.get(upstream) {
                Some(before) => update.clone().after(before),
                None => update.clone(),
            };
            waiting.insert(upstream.clone(), update);
            waiting
        });
        if let Some(wake) = self.0.wake.get() {
            wake();
        }
    }

    /// Calls `wake` after each update that is sent from now on. Only the first one counts. It must not block.
    pub fn wake_by(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _first = self.0.wake.set(Box::new(wake));
    }

    /// Returns whether something waits to be taken.
    #[must_use]
    pub fn any(&self) -> bool {
        !self.0.waiting.load().is_empty()
    }

    /// Takes all of them.
    #[must_use]
    pub fn take(&self) -> BTreeMap<Arc<str>, Update> {
        let taken = self.0.waiting.swap(Arc::default());
        Arc::try_unwrap(taken).unwrap_or_else(|shared| BTreeMap::clone(&shared))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn update(ids: &[&str], dismissed: &[&str]) -> Update {
        let entry = |id: &&str| Entry {
            id: (*id).into(),
            ..Entry::new(
                "10.0.0.1:80".parse().map(crate::config::schema::words::ServerAddress::Ip).unwrap(),
            )
        };
        Update {
            source: "registry",
            entries: ids.iter().map(entry).collect(),
            dismissed: dismissed.iter().map(|id| Arc::from(*id)).collect(),
        }
    }

    #[test]
    fn the_newest_list_counts_and_no_goodbye_is_lost() {
        let (updates, woken) = (Updates::default(), Arc::new(AtomicU32::new(0)));
        let count = woken.clone();
        updates.wake_by(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert!(!updates.any());
        let app = Arc::from("app");
        updates.send(&app, &update(&["a", "b", "c"], &["x", "y"]));
        updates.send(&Arc::from("other"), &update(&["z"], &[]));
        updates.send(&app, &update(&["a", "x"], &["b"]));
        assert_eq!(woken.load(Ordering::Relaxed), 3);
        assert!(updates.any());
        let taken = updates.take();
        assert_eq!(taken.len(), 2);
        // Who said goodbye and is back is not dismissed.
        assert_eq!(taken["app"], update(&["a", "x"], &["b", "y"]));
        assert!(!updates.any() && updates.take().is_empty());
    }

    #[test]
    fn goodbyes_to_another_source_do_not_count() {
        let (updates, app) = (Updates::default(), Arc::from("app"));
        updates.send(&app, &update(&["a"], &["x"]));
        updates.send(&app, &Update { source: "dns", ..update(&["x2"], &[]) });
        assert_eq!(updates.take()["app"].dismissed, BTreeSet::new());
    }
}
