//! The lists of servers that sources have told, as far as they are believed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::guard::{Bounds, Guarded, Note};
use super::{Entry, Updates};
use crate::clock::Instant;

/// The servers of an upstream that were found by a source.
#[derive(Debug, Clone, PartialEq)]
pub struct List {
    /// The word for the source.
    pub source: &'static str,
    /// All of them.
    pub entries: Arc<[Entry]>,
}

/// What has become of the list of an upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// The upstream.
    pub upstream: Arc<str>,
    /// What there is to say about it, if that is new.
    pub note: Option<Note>,
    /// Servers that wait because there are too many at once.
    pub waiting: usize,
}

/// The lists of all upstreams that find their servers elsewhere.
#[derive(Debug, Default)]
pub struct Lists {
    updates: Updates,
    guarded: BTreeMap<Arc<str>, (&'static str, Guarded)>,
    used: Arc<BTreeMap<Arc<str>, List>>,
}

impl Lists {
    /// Returns where sources send what they find.
    #[must_use]
    pub fn updates(&self) -> &Updates {
        &self.updates
    }

    /// The servers of each upstream that are to be used.
    #[must_use]
    pub fn used(&self) -> &Arc<BTreeMap<Arc<str>, List>> {
        &self.used
    }

    /// Takes in what sources have sent. `answers` says whether a server of an upstream does.
    pub fn hear(
        &mut self,
        bounds: Bounds,
        now: Instant,
        answers: impl Fn(&str, &str) -> bool,
    ) -> Vec<Heard> {
        let mut all = Vec::new();
        for (upstream, update) in self.updates.take() {
            let (source, guarded) = self.guarded.entry(upstream.clone()).or_default();
            if *source != update.source {
                (*source, *guarded) = (update.source, Guarded::default());
            }
            let note = guarded.hear(update, bounds, now, |id| answers(&upstream, id));
            all.push(Heard { upstream, note, waiting: guarded.waiting() });
        }
        self.use_these(&all);
        all
    }

    /// Looks after what is held back: time has passed, or servers no longer answer.
    pub fn look(
        &mut self,
        bounds: Bounds,
        now: Instant,
        answers: impl Fn(&str, &str) -> bool,
    ) -> Vec<Heard> {
        let waiting = self.guarded.iter_mut().filter(|(_, (_, guarded))| guarded.is_waiting());
        let decided = waiting.map(|(upstream, (_, guarded))| {
            let note = guarded.decide(bounds, now, |id| answers(upstream, id));
            Heard { upstream: upstream.clone(), note, waiting: guarded.waiting() }
        });
        let all: Vec<Heard> = decided.collect();
        self.use_these(&all);
        all
    }

    /// Believes all sources, because somebody says so.
    pub fn release(&mut self) -> Vec<Heard> {
        let released = self.guarded.iter_mut().filter_map(|(upstream, (_, guarded))| {
            let note = guarded.release()?;
            Some(Heard { upstream: upstream.clone(), note: Some(note), waiting: 0 })
        });
        let all: Vec<Heard> = released.collect();
        self.use_these(&all);
        all
    }

    fn use_these(&mut self, heard: &[Heard]) {
        if heard.is_empty() {
            return;
        }
        let used = Arc::make_mut(&mut self.used);
        for Heard { upstream, .. } in heard {
            if let Some((source, guarded)) = self.guarded.get(upstream) {
                let list = List { source, entries: guarded.used().clone() };
                used.insert(upstream.clone(), list);
            }
        }
    }

    /// Forgets the lists of upstreams whose servers come from elsewhere now. `source` is the word for where.
    pub fn retain<'a>(&mut self, source: impl Fn(&str) -> Option<&'a str>) {
        self.guarded.retain(|upstream, (known, _)| source(upstream) == Some(*known));
        Arc::make_mut(&mut self.used)
            .retain(|upstream, list| source(upstream) == Some(list.source));
    }
}
