//! The lists of servers that sources have told, as far as they are believed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::guard::{Bounds, Guarded, Note};
use super::source::{Origin, UpstreamSources};
use super::updates::TakenUpdates;
use super::{Entry, Updates};
use crate::clock::{self, Instant};

/// The servers of an upstream that were found by a source.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct List {
    /// All of them, as far as the source is believed.
    pub entries: Arc<[Entry]>,
    /// The fault of the source, or of some of what it says.
    pub fault: Option<Arc<str>>,
    /// The time for which the source says that this may be believed.
    pub ttl: Option<Duration>,
    /// The moment at which the source last named other servers, or said something else of them.
    pub since: Option<SystemTime>,
}

/// Lists by the upstream and the source that they come from.
pub type FoundLists = BTreeMap<(Arc<str>, Origin), List>;

/// What has become of the list of an upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// The upstream.
    pub upstream: Arc<str>,
    /// The source.
    pub origin: Origin,
    /// What there is to say about it, if that is new.
    pub note: Option<Note>,
    /// Servers that wait because there are too many at once.
    pub waiting: usize,
}

/// The lists of all upstreams that find their servers elsewhere.
#[derive(Debug, Default)]
pub struct Lists {
    updates: Updates,
    guarded: BTreeMap<(Arc<str>, Origin), Guarded>,
    used: Arc<FoundLists>,
}

impl Lists {
    /// Returns where sources send what they find.
    #[must_use]
    pub fn updates(&self) -> &Updates {
        &self.updates
    }

    /// The servers of each upstream that are to be used.
    #[must_use]
    pub fn used(&self) -> &Arc<FoundLists> {
        &self.used
    }

    /// Takes in what sources have sent. `answers` says whether a server of an upstream does.
    pub fn hear_sources(
        &mut self,
        bounds: Bounds,
        now: Instant,
        answers: impl Fn(&str, &str) -> bool,
    ) -> Vec<Heard> {
        self.take_in(self.updates.take_all(), bounds, now, answers)
    }

    /// Takes in what sources have sent of which nothing was known yet. Nothing is compared with
    /// what was there before.
    pub fn hear_new(&mut self, bounds: Bounds, now: Instant) {
        let known = &self.guarded;
        let taken = self.updates.take_chosen(|upstream, origin| {
            !known.keys().any(|known| &*known.0 == upstream && known.1 == *origin)
        });
        self.take_in(taken, bounds, now, |_, _| true);
    }

    fn take_in(
        &mut self,
        taken: TakenUpdates,
        bounds: Bounds,
        now: Instant,
        answers: impl Fn(&str, &str) -> bool,
    ) -> Vec<Heard> {
        let mut all = Vec::new();
        for ((upstream, origin), update) in taken {
            let key = (upstream, origin);
            let list = Arc::make_mut(&mut self.used).entry(key.clone()).or_default();
            (list.fault, list.ttl) = (update.fault.clone(), update.ttl);
            let guarded = self.guarded.entry(key.clone()).or_default();
            if update.entries.as_ref().is_some_and(|entries| entries != guarded.said()) {
                list.since = Some(clock::wall());
            }
            let note = guarded.hear_update(update, bounds, now, |id| answers(&key.0, id));
            let (upstream, origin) = key;
            all.push(Heard { upstream, origin, note, waiting: guarded.waiting() });
        }
        self.use_these(&all);
        all
    }

    /// Looks after what is held back: time has passed, or servers no longer answer.
    pub fn look_after(
        &mut self,
        bounds: Bounds,
        now: Instant,
        answers: impl Fn(&str, &str) -> bool,
    ) -> Vec<Heard> {
        let waiting = self.guarded.iter_mut().filter(|(_, guarded)| guarded.is_waiting());
        let decided = waiting.map(|((upstream, origin), guarded)| {
            let note = guarded.decide_again(bounds, now, |id| answers(upstream, id));
            let (upstream, origin) = (upstream.clone(), origin.clone());
            Heard { upstream, origin, note, waiting: guarded.waiting() }
        });
        let all: Vec<Heard> = decided.collect();
        self.use_these(&all);
        all
    }

    /// Believes all sources, because somebody says so.
    pub fn believe_all(&mut self) -> Vec<Heard> {
        let released = self.guarded.iter_mut().filter_map(|((upstream, origin), guarded)| {
            let note = Some(guarded.believe_source()?);
            let (upstream, origin) = (upstream.clone(), origin.clone());
            Some(Heard { upstream, origin, note, waiting: 0 })
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
        for Heard { upstream, origin, .. } in heard {
            let key = (upstream.clone(), origin.clone());
            if let Some(guarded) = self.guarded.get(&key) {
                used.entry(key).or_default().entries = guarded.used().clone();
            }
        }
    }

    /// Keeps the lists of these sources and forgets all others.
    pub fn retain_sources(&mut self, sources: &UpstreamSources) {
        let stays = |(upstream, origin): &(Arc<str>, Origin)| {
            sources.get(upstream).is_some_and(|source| Origin::from_source(source) == *origin)
        };
        self.guarded.retain(|key, _| stays(key));
        Arc::make_mut(&mut self.used).retain(|key, _| stays(key));
    }
}
