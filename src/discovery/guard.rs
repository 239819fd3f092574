//! What is believed of a list of servers that shrinks or grows at once.
//!
//! A source may be wrong: a name server that answers with nothing, a registry whose services cannot
//! reach it, a file that was cut. So an update that would take away more than a share of an
//! upstream's servers is believed for those that no longer answer anyway; those that do stay, until
//! the source has not had them for a while. An empty list is treated so however few there were, and
//! one that is many times as long as before is taken in as far as the bound. What is replaced does
//! not count, and who leaves on purpose goes.
//!
//! Servers that leave one by one are no better than those that leave at once: what counts is how
//! many there were within the last minute.
//!
//! Plain and synchronous: the time and who answers are arguments.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::{Entry, Update};
use crate::clock::Instant;
use crate::config::schema::words::ServerAddress;

/// How long a number of servers counts as what there was.
const WINDOW: Duration = Duration::from_secs(60);
/// Numbers that are remembered; when they change more often, the newest of them is another.
const COUNTS: usize = 64;
/// Servers that may always be added at once.
const FEW: usize = 1000;

/// How much an update may change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// The share of the servers that may go.
    pub shrink: f64,
    /// How many times as many there may be.
    pub growth: usize,
    /// How long a source has to say the same to be believed.
    pub hold: Duration,
}

/// The servers of one upstream as far as its source is believed.
#[derive(Debug, Clone, Default)]
pub struct Guarded {
    /// All that the source has.
    said: Arc<[Entry]>,
    /// All that are used, those included that the source has no longer.
    used: Arc<[Entry]>,
    /// The servers that the source has no longer, and since when.
    held: BTreeMap<Arc<str>, Instant>,
    /// Servers wait because there are too many.
    waiting: Option<Waiting>,
    /// How many there were, and when; the numbers go down, the newest is the last.
    counts: VecDeque<(Instant, usize)>,
}

/// Servers that wait because there are too many.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    /// Their number.
    servers: usize,
    since: Instant,
    /// As many servers are used meanwhile; they do not count as what there was.
    most: usize,
}

/// What there is to say about an upstream's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// Servers are kept that the source has no longer.
    Holds(usize),
    /// Servers wait because there are too many at once.
    Waits(usize),
    /// All is as the source says, again.
    Believes,
}

impl Guarded {
    /// All servers that the source has, believed or not.
    #[must_use]
    pub fn said(&self) -> &Arc<[Entry]> {
        &self.said
    }

    /// The servers to be used.
    #[must_use]
    pub fn used(&self) -> &Arc<[Entry]> {
        &self.used
    }

    /// Servers that wait because there are too many at once.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.map_or(0, |waiting| waiting.servers)
    }

    /// Returns whether time alone may change what is used.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.held.is_empty() || self.waiting.is_some()
    }

    /// Takes in an update of the source.
    pub fn hear_update(
        &mut self,
        update: Update,
        bounds: Bounds,
        now: Instant,
        answers: impl Fn(&str) -> bool,
    ) -> Option<Note> {
        if let Some(entries) = update.entries {
            self.said = entries;
        }
        let before = self.used.len();
        if !update.dismissed.is_empty() {
            let goes = |entry: &Entry| update.dismissed.contains(&entry.id);
            self.used = self.used.iter().filter(|entry| !goes(entry)).cloned().collect();
            self.held.retain(|id, _| !update.dismissed.contains(id));
        }
        // Who left on purpose is not missed.
        let left = before - self.used.len();
        for (_, count) in &mut self.counts {
            *count = count.saturating_sub(left);
        }
        self.decide_again(bounds, now, answers)
    }

    /// Decides again, when time has passed or servers may have stopped answering.
    pub fn decide_again(
        &mut self,
        bounds: Bounds,
        now: Instant,
        answers: impl Fn(&str) -> bool,
    ) -> Option<Note> {
        let before = self.current_note();
        self.remember_count(now);
        let first = self.used.is_empty() && self.counts.iter().all(|(_, count)| *count == 0);
        let most = match self.waiting {
            Some(waiting) => waiting.most,
            None if first => usize::MAX,
            None => self.used.len().saturating_mul(bounds.growth).max(FEW),
        };
        let taken = self.take_in(most, bounds.hold, now);
        self.keep_missed(taken, bounds, now, answers);
        self.remember_count(now);
        Some(self.current_note()).filter(|note| *note != before)
    }

    /// The servers of the source, as many as are believed.
    fn take_in(&mut self, most: usize, hold: Duration, now: Instant) -> Vec<Entry> {
        if self.said.len() <= most {
            self.waiting = None;
            return self.said.to_vec();
        }
        let since = self.waiting.map_or(now, |waiting| waiting.since);
        if now.saturating_duration_since(since) >= hold {
            self.waiting = None;
            return self.said.to_vec();
        }
        let known: BTreeSet<&str> = self.used.iter().map(|entry| &*entry.id).collect();
        let there = self.said.iter().filter(|entry| known.contains(&*entry.id)).count();
        // As many new ones as there is room for, in the order of the source.
        let mut room = most.saturating_sub(there);
        let taken: Vec<Entry> = self
            .said
            .iter()
            .filter(|entry| {
                known.contains(&*entry.id) || {
                    let fits = room > 0;
                    room = room.saturating_sub(1);
                    fits
                }
            })
            .cloned()
            .collect();
        self.waiting = Some(Waiting { servers: self.said.len() - taken.len(), since, most });
        taken
    }

    /// Uses what was taken in, and keeps those beside it that must not go yet.
    fn keep_missed(
        &mut self,
        taken: Vec<Entry>,
        bounds: Bounds,
        now: Instant,
        answers: impl Fn(&str) -> bool,
    ) {
        let listed: BTreeSet<Arc<str>> = taken.iter().map(|entry| entry.id.clone()).collect();
        let missed = self.used.iter().filter(|entry| !listed.contains(&entry.id));
        let missed: Vec<Entry> = missed.cloned().collect();
        if missed.is_empty() {
            self.held.clear();
            self.used = taken.into();
            return;
        }
        let had = self.counts.iter().map(|(_, count)| *count).max().unwrap_or(0);
        let gone = had.saturating_sub(taken.len()) as f64;
        let too_many = taken.is_empty() || gone > bounds.shrink * had as f64;
        let places: BTreeSet<ServerAddress> =
            taken.iter().map(|entry| entry.address.clone()).collect();
        let mut all = taken;
        let before = std::mem::take(&mut self.held);
        for entry in missed {
            let held = before.get(&entry.id).copied();
            // Those that are held already are not let go because the number of those before them is
            // forgotten.
            let since = match (held, too_many) {
                (Some(since), _) => since,
                (None, true) => now,
                (None, false) => continue,
            };
            // Where another one is at its address by now, it is not missed.
            let replaced = places.contains(&entry.address);
            let old = now.saturating_duration_since(since) >= bounds.hold;
            if !old && !replaced && answers(&entry.id) {
                self.held.insert(entry.id.clone(), since);
                all.push(Entry { held: true, ..entry });
            }
        }
        self.used = all.into();
    }

    /// Believes the source from now on, because somebody says so.
    pub fn believe_source(&mut self) -> Option<Note> {
        if !self.is_waiting() {
            return None;
        }
        self.held.clear();
        self.waiting = None;
        self.counts.clear();
        self.used = self.said.clone();
        Some(Note::Believes)
    }

    /// Notes how many servers there are, and forgets how many there were long ago.
    fn remember_count(&mut self, now: Instant) {
        let count = self.used.len() - self.held.len();
        // Beside a larger number of later, a smaller one makes no difference.
        while self.counts.back().is_some_and(|(_, before)| *before <= count) {
            self.counts.pop_back();
        }
        if self.counts.len() >= COUNTS {
            self.counts.pop_back();
        }
        self.counts.push_back((now, count));
        let old = |at: Instant| now.saturating_duration_since(at) > WINDOW;
        while self.counts.len() > 1 && self.counts.front().is_some_and(|(at, _)| old(*at)) {
            self.counts.pop_front();
        }
    }

    fn current_note(&self) -> Note {
        match (self.held.len(), self.waiting()) {
            (0, 0) => Note::Believes,
            (0, waiting) => Note::Waits(waiting),
            (held, _) => Note::Holds(held),
        }
    }
}

#[cfg(test)]
mod tests;
