//! A circuit breaker: after too many failures nothing is sent for a while, then a few requests find
//! out whether that has changed.
//!
//! Closed, open, half-open, as described by Nygard ("Release It!", 2007). It opens by failures in a
//! row or by their rate over a sliding window. While half-open it lets through at most as many
//! requests at a time as it wants to see succeed: a herd would be the next failure. All of its
//! state but the window is one word, so that no two workers can disagree about it.

#[cfg(test)]
mod tests;
mod window;
mod word;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use self::window::FailureWindow;
use self::word::BreakerWord;
use crate::clock::{self, Instant};

/// The rules for opening and closing a breaker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerSettings {
    /// The condition that opens it.
    pub trip: Trip,
    /// Successes in a row that close it again, at least 1; also how many may try at a time.
    pub successes: u16,
    /// The time for which it stays open.
    pub open_for: Duration,
}

/// The condition that opens a breaker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Trip {
    /// Failures in a row.
    Failures(u16),
    /// A rate of failures.
    Rate {
        /// 0 to 1.
        rate: f64,
        /// The time over which it is measured.
        window: Duration,
        /// Fewer requests prove nothing.
        min_requests: u32,
    },
}

/// The state of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Everything passes.
    Closed,
    /// Nothing passes.
    Open,
    /// A few requests pass.
    HalfOpen,
}

/// A breaker. Shared by all workers.
#[derive(Debug, Default)]
pub struct Breaker {
    word: AtomicU64,
    /// The end of being open, in milliseconds.
    until: AtomicU64,
    window: FailureWindow,
    opened: AtomicU64,
    refused: AtomicU64,
}

/// The breaker is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenBreaker;

/// The right to send one request, and the duty to say how that ended. Dropping it says nothing.
#[derive(Debug)]
pub struct Permit<'a> {
    breaker: &'a Breaker,
    settings: &'a BreakerSettings,
    epoch: u32,
    trial: bool,
}

impl Breaker {
    /// Asks for one request to pass.
    ///
    /// # Errors
    /// [`OpenBreaker`].
    #[inline]
    pub fn admit_request<'a>(
        &'a self,
        settings: &'a BreakerSettings,
        now: Instant,
    ) -> Result<Permit<'a>, OpenBreaker> {
        let word = BreakerWord::from_bits(self.word.load(Ordering::Acquire));
        if word.state == BreakerState::Closed {
            return Ok(Permit { breaker: self, settings, epoch: word.epoch, trial: false });
        }
        self.try_out(settings, now)
    }

    #[cold]
    fn try_out<'a>(
        &'a self,
        settings: &'a BreakerSettings,
        now: Instant,
    ) -> Result<Permit<'a>, OpenBreaker> {
        let passed = self.change_word(|word| match word.state {
            BreakerState::Closed => Some(word),
            BreakerState::Open if clock::millis(now) < self.until.load(Ordering::Acquire) => None,
            BreakerState::Open => {
                Some(BreakerWord { trials: 1, ..word.next(BreakerState::HalfOpen) })
            }
            BreakerState::HalfOpen if word.trials >= settings.successes => None,
            BreakerState::HalfOpen => Some(BreakerWord { trials: word.trials + 1, ..word }),
        });
        match passed {
            Some((_, word)) => {
                let trial = word.state == BreakerState::HalfOpen;
                Ok(Permit { breaker: self, settings, epoch: word.epoch, trial })
            }
            None => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                Err(OpenBreaker)
            }
        }
    }

    /// Returns its state now. A breaker that was open for long enough counts as half-open.
    #[must_use]
    pub fn state_at(&self, now: Instant) -> BreakerState {
        let word = BreakerWord::from_bits(self.word.load(Ordering::Acquire));
        match word.state {
            BreakerState::Open if clock::millis(now) >= self.until.load(Ordering::Acquire) => {
                BreakerState::HalfOpen
            }
            state => state,
        }
    }

    /// Returns how often it opened.
    #[must_use]
    pub fn times_opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Returns how many requests it refused.
    #[must_use]
    pub fn requests_refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Replaces the word unless `by` declines; returns it before and after.
    fn change_word(
        &self,
        by: impl Fn(BreakerWord) -> Option<BreakerWord>,
    ) -> Option<(BreakerWord, BreakerWord)> {
        let mut after = None;
        let before = self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            after = by(BreakerWord::from_bits(word));
            after.map(BreakerWord::to_bits)
        });
        Some((BreakerWord::from_bits(before.ok()?), after?))
    }

    fn open_circuit(&self, epoch: u32, settings: &BreakerSettings, now: Instant) {
        if !self.is_current(epoch) {
            return;
        }
        let until = clock::deadline(now, Some(settings.open_for)).map_or(u64::MAX, clock::millis);
        // Before the word, so that nobody sees an open breaker with an old end.
        self.until.store(until, Ordering::Release);
        // The epoch changes with the state: nobody is admitted in that of an open breaker.
        let opened =
            self.change_word(|word| (word.epoch == epoch).then(|| word.next(BreakerState::Open)));
        if opened.is_some() {
            self.opened.fetch_add(1, Ordering::Relaxed);
            self.window.clear_counts();
        }
    }

    /// Returns whether a request of this epoch still has a say. A late result must not move the end
    /// of being open, nor count towards the rate of the time after it.
    fn is_current(&self, epoch: u32) -> bool {
        BreakerWord::from_bits(self.word.load(Ordering::Acquire)).epoch == epoch
    }

    fn record_success(&self, settings: &BreakerSettings, epoch: u32, trial: bool, now: Instant) {
        if trial {
            self.change_word(|word| {
                let more = BreakerWord {
                    trials: word.trials.saturating_sub(1),
                    count: word.count + 1,
                    ..word
                };
                let enough = more.count >= settings.successes;
                let after = if enough { more.next(BreakerState::Closed) } else { more };
                (word.epoch == epoch).then_some(after)
            });
            return;
        }
        match settings.trip {
            Trip::Failures(_) => {
                let word = BreakerWord::from_bits(self.word.load(Ordering::Relaxed));
                if word.count != 0 {
                    self.change_word(|word| {
                        (word.epoch == epoch).then_some(BreakerWord { count: 0, ..word })
                    });
                }
            }
            Trip::Rate { window, .. } => {
                if self.is_current(epoch) {
                    self.window.add_counts((window, now), 1, 0);
                }
            }
        }
    }

    fn record_failure(&self, settings: &BreakerSettings, epoch: u32, trial: bool, now: Instant) {
        let trips = trial
            || match settings.trip {
                Trip::Failures(most) => {
                    let counted = self.change_word(|word| {
                        let count = word.count.saturating_add(1);
                        (word.epoch == epoch).then_some(BreakerWord { count, ..word })
                    });
                    counted.is_some_and(|(_, word)| word.count >= most)
                }
                Trip::Rate { .. } if !self.is_current(epoch) => false,
                Trip::Rate { rate, window, min_requests } => {
                    self.window.add_counts((window, now), 1, 1);
                    let (requests, failures) = self.window.sum_counts(window, now);
                    requests >= min_requests && f64::from(failures) >= rate * f64::from(requests)
                }
            };
        if trips {
            self.open_circuit(epoch, settings, now);
        }
    }
}

impl Permit<'_> {
    /// Returns whether few others may pass until this one has ended.
    #[must_use]
    pub fn is_trial(&self) -> bool {
        self.trial
    }

    /// The request succeeded.
    pub fn report_success(self, now: Instant) {
        let Self { breaker, settings, epoch, trial } = self;
        std::mem::forget(self);
        breaker.record_success(settings, epoch, trial, now);
    }

    /// The request failed.
    pub fn report_failure(self, now: Instant) {
        let Self { breaker, settings, epoch, trial } = self;
        std::mem::forget(self);
        breaker.record_failure(settings, epoch, trial, now);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.trial {
            self.breaker.change_word(|word| {
                let trials = word.trials.saturating_sub(1);
                (word.epoch == self.epoch).then_some(BreakerWord { trials, ..word })
            });
        }
    }
}
