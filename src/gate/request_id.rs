//! The id by which one request can be found in every log: the client's, if it sent a reasonable one,
//! or a random one.

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
        match head.fields.first(Known::XRequestId).and_then(acceptable) {
            Some(kept) => Self { kept: Some(kept), own: [0; 32] },
            None => Self::new(random),
        }
    }

    /// 128 random bits in hex.
    #[must_use]
    pub fn new(random: &mut Random) -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut own = [0; 32];
        let mut bits = 0;
        for (at, digit) in own.iter_mut().enumerate() {
            if at % 16 == 0 {
                bits = random.next_u64();
            }
            *digit = HEX.get((bits & 15) as usize).copied().unwrap_or(b'0');
            bits >>= 4;
        }
        Self { kept: None, own }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.kept.unwrap_or_else(|| std::str::from_utf8(&self.own).unwrap_or_default())
    }
}

/// Letters, digits and a few marks: nothing that means something to a shell, a log or a browser.
fn acceptable(value: &[u8]) -> Option<&str> {
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
