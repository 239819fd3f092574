//! Passwords that were right lately, by fingerprint.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::{SETS, WAYS};

/// Passwords that were right lately. Never grows; a new one takes the place of the one that would
/// be forgotten first.
pub(super) struct KnownPasswords(Box<[[VerifierPlace; WAYS]]>);

/// The memory of one: 64 bits of its fingerprint, and until when, with 24 more bits. A reader that
/// comes between the two writes finds that they do not fit together.
#[derive(Default)]
struct VerifierPlace {
    tag: AtomicU64,
    until: AtomicU64,
}

impl KnownPasswords {
    pub(super) fn new() -> Self {
        Self((0..SETS).map(|_| std::array::from_fn(|_| VerifierPlace::default())).collect())
    }

    /// Set, tag and the bits beside the time.
    fn split_fingerprint(&self, fingerprint: &[u8; 32]) -> (&[VerifierPlace], u64, u64) {
        let word = |at: usize| {
            let bytes = fingerprint.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
            u64::from_le_bytes(bytes.unwrap_or_default())
        };
        let set = self.0.get(word(16) as usize % SETS).map_or(&[][..], |set| &set[..]);
        (set, word(0).max(1), word(8) & 0xff_ffff)
    }

    pub(super) fn has_fingerprint(&self, fingerprint: &[u8; 32], now: u64) -> bool {
        let (set, tag, check) = self.split_fingerprint(fingerprint);
        set.iter().filter(|place| place.tag.load(Acquire) == tag).any(|place| {
            let until = place.until.load(Acquire);
            until & 0xff_ffff == check && until >> 24 > now
        })
    }

    pub(super) fn put_fingerprint(&self, fingerprint: &[u8; 32], until: u64) {
        let (set, tag, check) = self.split_fingerprint(fingerprint);
        let own = set.iter().find(|place| place.tag.load(Relaxed) == tag);
        let oldest = || set.iter().min_by_key(|place| place.until.load(Relaxed));
        let Some(place) = own.or_else(oldest) else { return };
        place.until.store(0, Release);
        place.tag.store(tag, Release);
        place.until.store(until << 24 | check, Release);
    }
}
