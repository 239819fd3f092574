//! Small numbers for what comes and goes, so that workers can keep things about it in a vector.
//!
//! A number is given back when its owner is dropped and handed out again, the lowest first: a
//! million servers that join and leave one after the other need no longer a vector than one server
//! does. What a worker still has under a number may belong to whoever had it before, so it is kept
//! with the owner's id, which is never used again.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Numbers that can be in use at a time. Owners beyond that get none, and workers keep nothing for
/// them.
const MOST: usize = 1 << 20;
const WORDS: usize = MOST / 64;

/// Numbers from 0, each in use or free.
#[derive(Debug)]
pub struct Slots {
    /// One bit for each; set while it is in use.
    words: [AtomicU64; WORDS],
    /// No word before this one is known to have a free number.
    first: AtomicUsize,
}

/// A number in use, until it is dropped.
#[derive(Debug)]
pub struct EndpointSlot {
    number: u32,
    of: &'static Slots,
}

impl Slots {
    /// All of them free.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "for statics, which need a constant")]
    pub const fn new() -> Self {
        Self { words: [const { AtomicU64::new(0) }; WORDS], first: AtomicUsize::new(0) }
    }

    /// Takes the lowest free number.
    #[must_use]
    pub fn take_lowest(&'static self) -> EndpointSlot {
        let from = self.first.load(Ordering::Relaxed);
        let number = self.take_from(from).or_else(|| self.take_from(0));
        EndpointSlot { number: number.unwrap_or(u32::MAX), of: self }
    }

    fn take_from(&self, from: usize) -> Option<u32> {
        for (at, word) in self.words.iter().enumerate().skip(from) {
            let mut bits = word.load(Ordering::Relaxed);
            while bits != u64::MAX {
                let bit = (!bits).trailing_zeros();
                let taken = bits | 1 << bit;
                match word.compare_exchange(bits, taken, Ordering::AcqRel, Ordering::Relaxed) {
                    Ok(_) => {
                        // An error means that a lower one was given back meanwhile.
                        let _moved = self.first.compare_exchange(
                            from,
                            at,
                            Ordering::AcqRel,
                            Ordering::Relaxed,
                        );
                        return u32::try_from(at * 64).ok().map(|first| first + bit);
                    }
                    Err(now) => bits = now,
                }
            }
        }
        None
    }

    fn give_back(&self, number: u32) {
        let at = number as usize / 64;
        if let Some(word) = self.words.get(at) {
            word.fetch_and(!(1 << (number % 64)), Ordering::AcqRel);
            self.first.fetch_min(at, Ordering::AcqRel);
        }
    }
}

impl EndpointSlot {
    /// The number as an index; `None` when there were too many owners.
    #[inline]
    #[must_use]
    pub fn index(&self) -> Option<usize> {
        (self.number != u32::MAX).then_some(self.number as usize)
    }
}

impl Drop for EndpointSlot {
    fn drop(&mut self) {
        self.of.give_back(self.number);
    }
}

#[cfg(test)]
mod tests;
