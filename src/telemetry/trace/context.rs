//! `traceparent`: W3C Trace Context, level 1, §3.2.

mod b3;

pub use self::b3::B3;
use crate::clock::Random;

/// The length of a version 00 value.
pub const LENGTH: usize = 55;

/// A place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace's id.
    pub trace: [u8; 16],
    /// The id of the span that is at work.
    pub id: [u8; 8],
    /// The span that caused it.
    pub parent: Option<[u8; 8]>,
    /// The trace is exported.
    pub sampled: bool,
    /// Whoever began it wants all of it, whatever is sampled (B3's debug flag).
    pub debug: bool,
}

impl TraceContext {
    /// Reads a field. `None` when it is not valid, so that the trace starts anew (§3.2.4, "a vendor that
    /// cannot parse it").
    #[must_use]
    pub fn parse_field(field: &[u8]) -> Option<Self> {
        let (version, rest) = field.split_at_checked(2)?;
        let [version] = parse_hex::<1>(version)?;
        // Later versions may have more at the end, but not less before it (§3.2.4).
        let fits = match version {
            0 => field.len() == LENGTH,
            0xff => false,
            _ => field.len() == LENGTH || field.get(LENGTH) == Some(&b'-'),
        };
        let rest = rest.get(..LENGTH - 2).filter(|_| fits)?;
        let mut parts = rest.strip_prefix(b"-")?.split(|byte| *byte == b'-');
        let (trace, id) = (parse_hex::<16>(parts.next()?)?, parse_hex::<8>(parts.next()?)?);
        let [flags] = parse_hex::<1>(parts.next()?)?;
        let zero = trace == [0; 16] || id == [0; 8] || parts.next().is_some();
        let sampled = flags & 1 == 1;
        (!zero).then_some(Self { trace, id, parent: None, sampled, debug: false })
    }

    /// A span caused by this one.
    #[must_use]
    pub fn child_span(self, random: &mut Random) -> Self {
        Self { id: not_zero(random).to_be_bytes(), parent: Some(self.id), ..self }
    }

    /// A new trace, sampled with this probability.
    #[must_use]
    pub fn start_trace(share: f64, random: &mut Random) -> Self {
        let (high, low) = (random.next_u64(), not_zero(random));
        let mut trace = [0; 16];
        let (first, second) = trace.split_at_mut(8);
        first.copy_from_slice(&high.to_be_bytes());
        second.copy_from_slice(&low.to_be_bytes());
        let sampled = random.unit() < share;
        Self { trace, id: not_zero(random).to_be_bytes(), parent: None, sampled, debug: false }
    }

    /// The id of the span of an attempt, counted from 1.
    #[must_use]
    pub fn attempt_id(&self, number: u32) -> [u8; 8] {
        let id = u64::from_be_bytes(self.id).wrapping_add(u64::from(number));
        // Zero is no id.
        id.max(1).to_be_bytes()
    }

    /// Returns the field that a server is sent with an attempt.
    #[must_use]
    pub fn field_for(&self, attempt: u32) -> [u8; LENGTH] {
        let mut field = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let id = self.attempt_id(attempt);
        let flags = [u8::from(self.sampled)];
        for (at, bytes) in [(3, &self.trace[..]), (36, &id), (53, &flags)] {
            if let Some(place) = field.get_mut(at..at + bytes.len() * 2) {
                write_hex(place, bytes);
            }
        }
        field
    }

    /// Returns what a server is sent with an attempt, in the single field of B3.
    #[must_use]
    pub fn b3_field(&self, attempt: u32) -> [u8; 68] {
        let mut field = *b"00000000000000000000000000000000-0000000000000000-0-0000000000000000";
        let id = self.attempt_id(attempt);
        for (at, bytes) in [(0, &self.trace[..]), (33, &id), (52, &self.id)] {
            if let Some(place) = field.get_mut(at..at + bytes.len() * 2) {
                write_hex(place, bytes);
            }
        }
        field[50] = match (self.debug, self.sampled) {
            (true, _) => b'd',
            (false, true) => b'1',
            (false, false) => b'0',
        };
        field
    }

    /// The trace's id as text.
    #[must_use]
    pub fn trace_text(&self) -> [u8; 32] {
        let mut text = [0; 32];
        write_hex(&mut text, &self.trace);
        text
    }
}

fn not_zero(random: &mut Random) -> u64 {
    random.next_u64().max(1)
}

fn write_hex(place: &mut [u8], bytes: &[u8]) {
    let digit = |n: u8| if n < 10 { b'0' + n } else { b'a' + n - 10 };
    for (pair, byte) in place.chunks_exact_mut(2).zip(bytes) {
        if let [high, low] = pair {
            (*high, *low) = (digit(byte >> 4), digit(byte & 15));
        }
    }
}

/// Lower-case hex digits, exactly as many as there have to be.
fn parse_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (pair, byte) in text.chunks_exact(2).zip(&mut bytes) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_trace_is_continued() {
        let mut random = Random::seeded(1);
        let parent = TraceContext::parse_field(GOOD).unwrap();
        let own = parent.child_span(&mut random);
        assert_eq!((own.trace, own.parent, own.sampled), (parent.trace, Some(parent.id), true));
        assert_ne!(own.id, parent.id);
        let sent = TraceContext::parse_field(&own.field_for(2)).unwrap();
        assert_eq!((sent.trace, sent.id, sent.sampled), (own.trace, own.attempt_id(2), true));
        assert_eq!(&own.trace_text(), b"0af7651916cd43dd8448eb211c80319c");
    }

    #[test]
    fn what_is_not_valid_is_not_continued() {
        let changed = |at: usize, byte: u8| {
            let mut field = GOOD.to_vec();
            field[at] = byte;
            field
        };
        let bad: [Vec<u8>; 10] = [
            b"".to_vec(),
            b"00".to_vec(),
            GOOD[..54].to_vec(),
            [GOOD, b"-"].concat(),
            changed(0, b'f')
                .into_iter()
                .enumerate()
                .map(|(i, b)| if i == 1 { b'f' } else { b })
                .collect(),
            changed(5, b'A'),
            changed(2, b'_'),
            changed(35, b'0'),
            b"00-00000000000000000000000000000000-b7ad6b7169203331-01".to_vec(),
            b"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01".to_vec(),
        ];
        for field in bad {
            assert_eq!(
                TraceContext::parse_field(&field),
                None,
                "{}",
                String::from_utf8_lossy(&field)
            );
        }
    }

    #[test]
    fn later_versions_are_read_as_far_as_they_are_known() {
        let later = [b"01", &GOOD[2..], b"-what-the-future-brings"].concat();
        assert_eq!(TraceContext::parse_field(&later), TraceContext::parse_field(GOOD));
        assert_eq!(TraceContext::parse_field(&[b"01", &GOOD[2..], b"x"].concat()), None);
    }

    #[test]
    fn as_many_traces_are_sampled_as_the_share_says() {
        let mut random = Random::seeded(7);
        let sampled =
            (0..10_000).filter(|_| TraceContext::start_trace(0.1, &mut random).sampled).count();
        assert!((850..1150).contains(&sampled), "{sampled}");
        assert!((0..100).all(|_| TraceContext::start_trace(1.0, &mut random).sampled));
        assert!(!(0..100).any(|_| TraceContext::start_trace(0.0, &mut random).sampled));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(field: Vec<u8>) {
            let _parsed = TraceContext::parse_field(&field);
            let _parsed = B3::parse_single(&field);
        }
    }
}
