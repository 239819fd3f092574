//! The part of a request that decides where it goes, for strategies that go by one.

use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

/// Up to two pieces of a request that count as one, so that nothing has to be put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BalanceKey<'a> {
    parts: [&'a [u8]; 2],
}

impl<'a> BalanceKey<'a> {
    /// A key in one piece.
    #[must_use]
    pub fn new(whole: &'a [u8]) -> Self {
        Self { parts: [whole, b""] }
    }

    /// A key in two pieces, hashed as if they followed each other.
    #[must_use]
    pub fn from_parts(first: &'a [u8], second: &'a [u8]) -> Self {
        Self { parts: [first, second] }
    }

    /// The key in one piece; `None` when it has two.
    #[must_use]
    pub fn as_whole(&self) -> Option<&'a [u8]> {
        let [first, second] = self.parts;
        second.is_empty().then_some(first)
    }

    /// A copy of it in one piece.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.parts.concat()
    }

    /// Returns the XXH3 hash of the key, the same in every process and version.
    #[must_use]
    pub fn hash(&self) -> u64 {
        match self.parts {
            [whole, b""] => xxh3_64(whole),
            [first, second] => {
                let mut state = Xxh3Default::new();
                state.update(first);
                state.update(second);
                state.digest()
            }
        }
    }
}

/// The n-th pseudo-random number of a server. The number is hashed with the name: as a seed it
/// would only shift the sequence, and short names would share most of theirs.
pub(super) fn server_place(name: &str, n: u64) -> u64 {
    let mut state = Xxh3Default::new();
    state.update(name.as_bytes());
    state.update(b"-");
    state.update(&n.to_le_bytes());
    state.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_two_pieces_hashes_like_the_whole() {
        assert_eq!(
            BalanceKey::from_parts(b"/a?", b"x=1").hash(),
            BalanceKey::new(b"/a?x=1").hash()
        );
        assert_ne!(BalanceKey::new(b"/a").hash(), BalanceKey::new(b"/b").hash());
    }

    #[test]
    fn the_hash_never_changes() {
        assert_eq!(BalanceKey::new(b"tidegate").hash(), xxh3_64(b"tidegate"));
        assert_eq!(BalanceKey::new(b"").hash(), 0x2d06_8005_38d3_94c2);
    }

    #[test]
    fn a_key_in_two_pieces_is_put_together_where_that_is_needed() {
        assert_eq!(BalanceKey::from_parts(b"/a?", b"x=1").to_vec(), b"/a?x=1");
        assert_eq!(BalanceKey::from_parts(b"/a?", b"x=1").as_whole(), None);
        assert_eq!(BalanceKey::new(b"/a").as_whole(), Some(&b"/a"[..]));
    }

    #[test]
    fn the_places_of_a_server_never_change() {
        assert_eq!(server_place("a", 0), xxh3_64(b"a-\0\0\0\0\0\0\0\0"));
        assert_eq!(server_place("a", 258), xxh3_64(b"a-\x02\x01\0\0\0\0\0\0"));
    }
}
