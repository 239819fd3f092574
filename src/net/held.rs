//! What requests under way hold together, in the whole process: their heads, what walks them, and what is kept of their
//! bodies. One bound for all of it keeps many small requests from doing what no single one may.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

static NOW: AtomicUsize = AtomicUsize::new(0);
static REFUSED: AtomicU64 = AtomicU64::new(0);

/// A part of it, given back when it is dropped.
#[derive(Debug, Default)]
pub struct Held(usize);

impl Held {
    /// Takes so many bytes if no more than `most` are taken then.
    #[must_use]
    pub fn new(bytes: usize, most: usize) -> Option<Self> {
        let mut held = Self(0);
        held.grow(bytes, most).then_some(held)
    }

    /// Takes so many more. `false` when there is no room for them; it is as it was then.
    #[must_use]
    pub fn grow(&mut self, bytes: usize, most: usize) -> bool {
        if NOW.fetch_add(bytes, Relaxed).saturating_add(bytes) > most {
            NOW.fetch_sub(bytes, Relaxed);
            REFUSED.fetch_add(1, Relaxed);
            return false;
        }
        self.0 += bytes;
        true
    }

    /// Gives all of it back.
    pub fn clear(&mut self) {
        NOW.fetch_sub(std::mem::take(&mut self.0), Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Bytes that are taken now.
#[must_use]
pub fn now() -> usize {
    NOW.load(Relaxed)
}

/// How often there was no room.
#[must_use]
pub fn refused() -> u64 {
    REFUSED.load(Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_given_back_and_what_has_no_room_is_not_taken() {
        // Other tests of this process hold a little.
        let most = 1 << 40;
        let mut held = Held::new(1 << 39, most).unwrap();
        assert!(Held::new(1 << 40, most).is_none());
        assert!(!held.grow(1 << 40, most));
        assert!(held.grow(1 << 38, most));
        assert!(now() >= 3 << 38);
        drop(held);
        assert!(now() < 1 << 38);
        assert!(refused() >= 2);
    }
}
