//! The id by which one request can be found in every log: the client's, if it sent a reasonable
//! one, or a random one.

use std::fmt;

use crate::clock::Random;
use crate::wire::{Known, RequestHead};

/// Longer ids are replaced: they end up in logs and in headers of other systems.
const MAX_LENGTH: usize = 128;

/// A request's id.
#[derive(Debug, Clone, Copy)]
pub struct RequestId<'a> {
    kept: Option<&'a str>,
    own: [u8; 32],
}

impl<'a> RequestId<'a> {
    /// The client's id or a new one.
    #[must_use]
    pub fn of(head: &'a RequestHead, random: &mut Random) -> Self {
        match head.fields.first(Known::XRequestId).and_then(acceptable_id) {
            Some(kept) => Self::from_text(kept),
            None => Self::new(random),
        }
    }

    /// An id that was given before, to another request that this one belongs to.
    #[must_use]
    pub fn from_text(id: &'a str) -> Self {
        Self { kept: Some(id), own: [0; 32] }
    }

    /// 128 random bits in hex.
    #[must_use]
    pub fn new(random: &mut Random) -> Self {
        let mut own = [0; 32];
        for half in own.as_chunks_mut::<16>().0 {
            let [high, low] = split_bits(random.next_u64()).map(hex_digits);
            let (first, second) = half.split_at_mut(8);
            first.copy_from_slice(&high.to_le_bytes());
            second.copy_from_slice(&low.to_le_bytes());
        }
        Self { kept: None, own }
    }

    /// The bytes of the id, which are ASCII.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.kept.map_or(&self.own, str::as_bytes)
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.kept.unwrap_or_else(|| std::str::from_utf8(&self.own).unwrap_or_default())
    }
}

impl fmt::Display for RequestId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn split_bits(bits: u64) -> [u32; 2] {
    [(bits >> 32) as u32, bits as u32]
}

/// Eight hexadecimal digits, a byte each, all at once: the bits are spread out, and `a` to `f` are
/// as far behind `9` as they have to be.
fn hex_digits(bits: u32) -> u64 {
    let mut spread = u64::from(bits);
    spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
    spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    spread = (spread | spread << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = (spread + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    spread + 0x3030_3030_3030_3030 + letters * 0x27
}

/// Letters, digits and a few marks: nothing that means something to a shell, a log or a browser.
fn acceptable_id(value: &[u8]) -> Option<&str> {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.:/+=@".contains(b);
    let fits = !value.is_empty() && value.len() <= MAX_LENGTH && value.iter().all(plain);
    if fits { std::str::from_utf8(value).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Version;

    fn id_for(sent: &str) -> String {
        let mut head = RequestHead::default();
        head.set(b"GET", b"/", Version::Http11);
        head.fields.push(b"X-Request-ID", sent.as_bytes());
        RequestId::of(&head, &mut Random::seeded(1)).as_str().to_owned()
    }

    #[test]
    fn digits_are_hexadecimal() {
        assert_eq!(&hex_digits(0x0123_4567).to_be_bytes(), b"01234567");
        assert_eq!(&hex_digits(0x89ab_cdef).to_be_bytes(), b"89abcdef");
    }

    #[test]
    fn a_reasonable_id_is_kept() {
        assert_eq!(id_for("Root=1-67891233-abcdef"), "Root=1-67891233-abcdef");
    }

    #[test]
    fn an_unreasonable_id_is_replaced_by_a_random_one() {
        for bad in ["", "a b", "x\"y", "<script>", &"a".repeat(129)] {
            let id = id_for(bad);
            assert_eq!(id.len(), 32, "{bad}");
            assert!(id.bytes().all(|b| b.is_ascii_hexdigit()));
        }
    }
}
