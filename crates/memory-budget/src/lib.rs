//! What requests under way hold together, in the whole process: their heads, what walks them, what
//! is kept of their bodies, and what waits in buffers because somebody sends faster than somebody
//! else reads. One bound for all of it keeps many small requests from doing what no single one may.
//!
//! Buffers come and go with every read, so each thread counts them for itself and tells the others
//! in steps.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// The sum; it wraps below zero for the moment in which one thread gives back what another has not
/// told yet.
static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(usize::MAX);
static REFUSED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The bytes that this thread has not told yet.
    static UNTOLD: Cell<isize> = const { Cell::new(0) };
}

/// Sets how much may be taken.
pub fn set_limit(most: usize) {
    // Each request does so, and hardly one of them changes it.
    if MOST.load(Relaxed) != most {
        MOST.store(most, Relaxed);
    }
}

/// Returns how much may be taken.
#[must_use]
pub fn limit() -> usize {
    MOST.load(Relaxed)
}

/// A thread tells at the latest when it has changed by so much.
fn report_step() -> usize {
    (MOST.load(Relaxed) / 32).clamp(16 << 10, 1 << 20)
}

/// Tells what this thread has not told yet.
pub fn tell_changes() {
    let untold = UNTOLD.replace(0);
    NOW.fetch_add(untold.cast_unsigned(), Relaxed);
}

fn change_untold(by: isize) {
    let untold = UNTOLD.get() + by;
    UNTOLD.set(untold);
    if untold.unsigned_abs() >= report_step() {
        tell_changes();
    }
}

/// Returns whether more than one of so many parts would be taken with so many bytes more.
#[must_use]
pub fn exceeds(parts: usize, bytes: usize) -> bool {
    bytes_taken().saturating_add(bytes) > MOST.load(Relaxed) / parts
}

/// Bytes in buffers: taken whether there is room for them or not, and given back when this is
/// dropped. Whoever takes them holds a bounded number of them, and asks [`exceeds`] how large they
/// may be.
#[derive(Debug, Default)]
pub struct Weight(usize);

impl Weight {
    /// So many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let mut weight = Self(0);
        weight.set_bytes(bytes);
        weight
    }

    /// So many from now on.
    #[inline]
    pub fn set_bytes(&mut self, bytes: usize) {
        if self.0 != bytes {
            change_untold(bytes.cast_signed().wrapping_sub(self.0.cast_signed()));
            self.0 = bytes;
        }
    }

    /// So many more.
    pub fn add_bytes(&mut self, bytes: usize) {
        self.set_bytes(self.0.saturating_add(bytes));
    }

    /// So many less.
    pub fn subtract_bytes(&mut self, bytes: usize) {
        self.set_bytes(self.0.saturating_sub(bytes));
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        if self.0 > 0 {
            // A thread that is going away tells nothing any more.
            let by = 0_isize.wrapping_sub(self.0.cast_signed());
            let _gone = UNTOLD.try_with(|_| change_untold(by));
        }
    }
}

/// A part of it, given back when it is dropped.
#[derive(Debug, Default)]
pub struct MemoryReservation(usize);

impl MemoryReservation {
    /// Takes so many bytes if no more than `most` are taken then; counts that there was no room
    /// otherwise.
    #[must_use]
    pub fn new(bytes: usize, most: usize) -> Option<Self> {
        let mut held = Self(0);
        held.grow_by(bytes, most).then_some(held)
    }

    /// The same, for those who can wait and try again: nothing is counted.
    #[must_use]
    pub fn try_new(bytes: usize, most: usize) -> Option<Self> {
        let mut held = Self(0);
        held.take_bytes(bytes, most).then_some(held)
    }

    /// Takes so many more. `false`, and counted, when there is no room for them; it is as it was
    /// then.
    #[must_use]
    pub fn grow_by(&mut self, bytes: usize, most: usize) -> bool {
        let taken = self.take_bytes(bytes, most);
        if !taken {
            REFUSED.fetch_add(1, Relaxed);
        }
        taken
    }

    fn take_bytes(&mut self, bytes: usize, most: usize) -> bool {
        let before = NOW.fetch_add(bytes, Relaxed).cast_signed().max(0).cast_unsigned();
        if before.saturating_add(bytes) > most {
            NOW.fetch_sub(bytes, Relaxed);
            return false;
        }
        self.0 += bytes;
        true
    }

    /// Gives all of it back.
    pub fn release_all(&mut self) {
        NOW.fetch_sub(std::mem::take(&mut self.0), Relaxed);
    }
}

impl Drop for MemoryReservation {
    fn drop(&mut self) {
        self.release_all();
    }
}

/// Bytes that are taken now.
#[must_use]
pub fn bytes_taken() -> usize {
    NOW.load(Relaxed).cast_signed().max(0).cast_unsigned()
}

/// Returns how often there was no room.
#[must_use]
pub fn times_refused() -> u64 {
    REFUSED.load(Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is counted is the process's: one after the other.
    #[test]
    fn w15_what_is_held_is_told_and_given_back_and_what_has_no_room_is_not_taken() {
        tell_in_steps_what_threads_hold();
        refuse_what_has_no_room();
    }

    fn tell_in_steps_what_threads_hold() {
        let most = 1 << 46;
        let mut weights: Vec<Weight> = (0..64).map(|_| Weight::new(1 << 36)).collect();
        assert!(bytes_taken() >= 1 << 42);
        assert!(MemoryReservation::new(1, 1 << 41).is_none());
        weights.iter_mut().for_each(|weight| weight.subtract_bytes(1 << 35));
        weights.iter_mut().for_each(|weight| weight.add_bytes(1 << 34));
        drop(weights);
        tell_changes();
        assert!(MemoryReservation::new(1, most).is_some() && bytes_taken() < 1 << 41);
    }

    fn refuse_what_has_no_room() {
        let most = 1 << 40;
        let mut held = MemoryReservation::new(1 << 39, most).unwrap();
        assert!(MemoryReservation::try_new(1 << 40, most).is_none());
        assert!(MemoryReservation::new(1 << 40, most).is_none());
        assert!(!held.grow_by(1 << 40, most));
        assert!(held.grow_by(1 << 38, most));
        assert!(bytes_taken() >= 3 << 38);
        drop(held);
        assert!(bytes_taken() < 1 << 38);
        assert!(times_refused() >= 2);
    }
}
