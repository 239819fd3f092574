//! The checkers of servers, one each, on the thread of the supervisor.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::{AT_ONCE, CheckSubject, JITTER};
use crate::clock::{self, Random};
use crate::endpoint::{Checked, standing};
use crate::health::probe::{ProbeError, probe_server};
use crate::health::tally::{HealthChange, Tally};
use crate::upstream::Check;

pub(super) struct Checkers {
    running: HashMap<u32, RunningCheck>,
    places: Arc<Semaphore>,
    unchecked: Arc<AtomicUsize>,
    random: Random,
    /// The first configuration has been taken over: servers that are new now join others at work.
    started: bool,
}

struct RunningCheck {
    subject: CheckSubject,
    task: AbortHandle,
}

impl Checkers {
    pub(super) fn new(unchecked: Arc<AtomicUsize>) -> Self {
        Self {
            running: HashMap::new(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            unchecked,
            random: Random::from_entropy(),
            started: false,
        }
    }

    pub(super) fn follow_subjects(&mut self, subjects: Vec<CheckSubject>) {
        let mut before = std::mem::take(&mut self.running);
        for subject in subjects {
            let id = subject.endpoint.id;
            let same = before.remove(&id).filter(|old| old.subject.check == subject.check);
            let running = same.unwrap_or_else(|| self.begin_check(subject));
            // The same server twice in a list is one server.
            if let Some(twice) = self.running.insert(id, running) {
                twice.task.abort();
            }
        }
        for old in before.into_values() {
            old.task.abort();
            if !self.running.contains_key(&old.subject.endpoint.id) {
                old.subject
                    .endpoint
                    .standing
                    .admit_at_once(standing::UNCHECKED | standing::UNHEALTHY);
            }
        }
        self.started = true;
    }

    pub(super) fn change_subjects(&mut self, joined: Vec<CheckSubject>, left: &[u32]) {
        for id in left {
            if let Some(gone) = self.running.remove(id) {
                gone.task.abort();
            }
        }
        for subject in joined {
            let id = subject.endpoint.id;
            let running = self.begin_check(subject);
            if let Some(before) = self.running.insert(id, running) {
                before.task.abort();
            }
        }
    }

    fn begin_check(&mut self, subject: CheckSubject) -> RunningCheck {
        let checker = Checker {
            subject: subject.clone(),
            places: self.places.clone(),
            unchecked: self.unchecked.clone(),
            random: Random::seeded(self.random.next_u64()),
            joins: self.started,
        };
        let task = tokio::spawn(checker.run_checks()).abort_handle();
        RunningCheck { subject, task }
    }
}

impl Drop for Checkers {
    fn drop(&mut self) {
        for running in self.running.values() {
            running.task.abort();
        }
    }
}

struct Checker {
    subject: CheckSubject,
    places: Arc<Semaphore>,
    unchecked: Arc<AtomicUsize>,
    random: Random,
    joins: bool,
}

impl Checker {
    async fn run_checks(mut self) {
        let Check { fall, rise, every, .. } = *self.subject.check;
        let mut tally = Tally::new(fall, rise);
        loop {
            let result = {
                // The semaphore is never closed.
                let _place = self.places.acquire().await;
                probe_server(&self.subject.check, &self.subject.endpoint.addresses).await
            };
            let endpoint = &self.subject.endpoint;
            let counter =
                if result.is_ok() { &endpoint.checks_passed } else { &endpoint.checks_failed };
            counter.fetch_add(1, Ordering::Relaxed);
            let fault = result.as_ref().err().map(ToString::to_string);
            endpoint.checked.store(Some(Arc::new(Checked { at: clock::unix_seconds(), fault })));
            if let Some(change) = tally.record_answer(result.is_ok()) {
                self.apply_change(change, result.err().as_ref());
            }
            tokio::time::sleep(next_pause(every, &mut self.random)).await;
        }
    }

    fn apply_change(&self, change: HealthChange, error: Option<&ProbeError>) {
        let CheckSubject { endpoint, state, .. } = &self.subject;
        let first = endpoint.standing.reason_bits().has_any(standing::UNCHECKED);
        let (upstream, server) = (&endpoint.upstream, &endpoint.name);
        match change {
            HealthChange::Down => {
                endpoint.standing.take_out(standing::UNHEALTHY);
                let why = error.map(ToString::to_string).unwrap_or_default();
                tracing::warn!(%upstream, %server, why, key = "upstream.health", "server unhealthy");
            }
            HealthChange::Up => {
                let now = clock::now();
                endpoint.standing.bring_back(standing::UNHEALTHY, now);
                // Several good answers after bad ones say more than failures from before them.
                if !first && endpoint.record.end_early(&state.ejections) {
                    endpoint.standing.bring_back(standing::EJECTED, now);
                }
                if first && self.joins {
                    endpoint.standing.bring_back(standing::UNCHECKED, now);
                }
                if !first || self.joins {
                    tracing::info!(%upstream, %server, "server healthy");
                }
            }
        }
        if first {
            endpoint.standing.admit_at_once(standing::UNCHECKED);
            let one = |n: usize| n.checked_sub(1);
            // An error means that nobody counts any more.
            let _none = self.unchecked.fetch_update(Ordering::AcqRel, Ordering::Acquire, one);
        }
        state.queue.release_all();
    }
}

/// The pause before the next check, a little different each time: checkers that start together
/// must not stay together.
fn next_pause(every: Duration, random: &mut Random) -> Duration {
    every.mul_f64(1.0 - JITTER + 2.0 * JITTER * random.unit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_strays_by_a_tenth_at_most() {
        let mut random = Random::seeded(1);
        let pauses: Vec<u128> = (0..1000)
            .map(|_| next_pause(Duration::from_secs(5), &mut random).as_millis())
            .collect();
        assert!(pauses.iter().all(|p| (4500..=5500).contains(p)));
        assert!(pauses.iter().any(|p| *p < 4600) && pauses.iter().any(|p| *p > 5400));
    }
}
