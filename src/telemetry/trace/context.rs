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
    /// Reads a field. `None` when it is not valid, so that the trace starts anew (§3.2.4, "a vendor
    /// that cannot parse it").
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
mod tests;
