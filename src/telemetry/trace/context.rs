//! `traceparent`: W3C Trace Context, level 1, §3.2.

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

/// The meaning of the fields of B3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum B3 {
    /// The trace goes on, sampled or not, if that was decided.
    Goes(TraceContext, Option<bool>),
    /// No trace yet, but whether it is to be sampled was decided.
    Decided(bool),
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

impl B3 {
    /// Reads the single field: `TRACE-SPAN`, `TRACE-SPAN-DECISION`, `TRACE-SPAN-DECISION-PARENT`, or the decision alone.
    /// `None` when it is malformed.
    #[must_use]
    pub fn parse_single(field: &[u8]) -> Option<Self> {
        let mut parts = field.split(|byte| *byte == b'-');
        let first = parts.next()?;
        let Some(span) = parts.next() else {
            return parse_decision(first).map(|(sampled, _)| Self::Decided(sampled));
        };
        let decided = parts.next().map(|part| parse_decision(part).ok_or(())).transpose().ok()?;
        if let Some(parent) = parts.next() {
            parse_hex::<8>(parent)?;
        }
        if parts.next().is_some() {
            return None;
        }
        Self::continue_trace(first, span, decided)
    }

    /// Reads the fields `X-B3-TraceId`, `-SpanId`, `-ParentSpanId`, `-Sampled` and `-Flags`. `None` when there are none, or
    /// one of them is malformed.
    #[must_use]
    pub fn of_fields(parts: [Option<&[u8]>; 5]) -> Option<Self> {
        let [trace, span, parent, sampled, flags] = parts;
        if let Some(parent) = parent {
            parse_hex::<8>(parent)?;
        }
        let decided = match (flags, sampled) {
            (Some(b"1"), _) => Some((true, true)),
            (Some(b"0") | None, None) => None,
            (Some(b"0") | None, Some(b"1" | b"true")) => Some((true, false)),
            (Some(b"0") | None, Some(b"0" | b"false")) => Some((false, false)),
            _ => return None,
        };
        match (trace, span) {
            (Some(trace), Some(span)) => Self::continue_trace(trace, span, decided),
            (None, None) => decided.map(|(sampled, _)| Self::Decided(sampled)),
            _ => None,
        }
    }

    fn continue_trace(trace: &[u8], span: &[u8], decided: Option<(bool, bool)>) -> Option<Self> {
        let id = parse_hex::<8>(span)?;
        // The short form is the lower half of the long one.
        let trace = parse_hex::<16>(trace).or_else(|| {
            let mut long = [0; 16];
            long.get_mut(8..)?.copy_from_slice(&parse_hex::<8>(trace)?);
            Some(long)
        })?;
        if trace == [0; 16] || id == [0; 8] {
            return None;
        }
        let (sampled, debug) = decided.unwrap_or_default();
        let context = TraceContext { trace, id, parent: None, sampled, debug };
        Some(Self::Goes(context, decided.map(|(sampled, _)| sampled)))
    }
}

/// A decision of the single field: whether to sample, and whether that is for debugging.
fn parse_decision(text: &[u8]) -> Option<(bool, bool)> {
    match text {
        b"0" => Some((false, false)),
        b"1" => Some((true, false)),
        b"d" => Some((true, true)),
        _ => None,
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
    use proptest::prelude::*;

    use super::*;

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

    const TRACE: &str = "80f198ee56343ba864fe8b2a57d3eff7";
    const SPAN: &str = "e457b5a2e4d86bd1";

    fn b3(field: &str) -> Option<B3> {
        B3::parse_single(field.as_bytes())
    }

    #[test]
    fn the_single_field_of_b3_is_read() {
        let Some(B3::Goes(context, Some(true))) = b3(&format!("{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90"))
        else {
            panic!("not continued")
        };
        assert_eq!(&context.trace_text(), TRACE.as_bytes());
        assert!(context.sampled && !context.debug);
        let Some(B3::Goes(short, None)) = b3(&format!("64fe8b2a57d3eff7-{SPAN}")) else {
            panic!("not continued")
        };
        assert_eq!(&short.trace_text(), b"000000000000000064fe8b2a57d3eff7");
        let Some(B3::Goes(debug, Some(true))) = b3(&format!("{TRACE}-{SPAN}-d")) else {
            panic!("not continued")
        };
        assert!(debug.debug);
        assert_eq!(
            (b3("0"), b3("1"), b3("d")),
            (Some(B3::Decided(false)), Some(B3::Decided(true)), Some(B3::Decided(true)))
        );
        for bad in [
            String::new(),
            "-".into(),
            "2".into(),
            TRACE.into(),
            format!("{TRACE}-"),
            format!("{}-{SPAN}-1", TRACE.to_uppercase()),
            format!("{TRACE}-{SPAN}-2"),
            format!("{TRACE}-{SPAN}-"),
            format!("{TRACE}-{SPAN}-1-"),
            format!("{TRACE}-{SPAN}-1-{SPAN}-x"),
            format!("{TRACE}0-{SPAN}-1"),
            format!("{TRACE}-0000000000000000-1"),
            format!("00000000000000000000000000000000-{SPAN}-1"),
            format!(" {TRACE}-{SPAN}-1"),
        ] {
            assert_eq!(b3(&bad), None, "{bad}");
        }
    }

    #[test]
    fn several_fields_of_b3_are_read() {
        let of = |parts: [&'static str; 5]| {
            B3::of_fields(parts.map(|part| (part != "-").then_some(part.as_bytes())))
        };
        let decided = |parts| match of(parts) {
            Some(B3::Goes(context, decided)) => Some((context.debug, decided)),
            Some(B3::Decided(_)) | None => None,
        };
        assert_eq!(decided([TRACE, SPAN, "-", "1", "-"]), Some((false, Some(true))));
        assert_eq!(decided([TRACE, SPAN, SPAN, "false", "0"]), Some((false, Some(false))));
        assert_eq!(decided([&TRACE[16..], SPAN, "-", "-", "-"]), Some((false, None)));
        assert_eq!(decided([TRACE, SPAN, "-", "0", "1"]), Some((true, Some(true))));
        assert_eq!(of(["-", "-", "-", "0", "-"]), Some(B3::Decided(false)));
        for bad in [
            ["-"; 5],
            [TRACE, "-", "-", "1", "-"],
            ["-", SPAN, "-", "1", "-"],
            [TRACE, SPAN, "x", "1", "-"],
            [TRACE, SPAN, "-", "yes", "-"],
            [TRACE, SPAN, "-", "1", "7"],
            ["", SPAN, "-", "1", "-"],
        ] {
            assert_eq!(of(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn what_is_sent_as_b3_can_be_read_again() {
        let Some(B3::Goes(context, _)) = b3(&format!("{TRACE}-{SPAN}-d")) else {
            panic!("not continued")
        };
        let own = context.child_span(&mut Random::seeded(3));
        let field = own.b3_field(2);
        let Some(B3::Goes(sent, Some(true))) = B3::parse_single(&field) else {
            panic!("not continued")
        };
        assert_eq!((sent.trace, sent.id, sent.debug), (own.trace, own.attempt_id(2), true));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(field: Vec<u8>) {
            let _parsed = TraceContext::parse_field(&field);
            let _parsed = B3::parse_single(&field);
        }
    }
}
