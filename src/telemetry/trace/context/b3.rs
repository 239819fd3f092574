//! The headers of B3, single and several (Zipkin).

use super::{TraceContext, parse_hex};

/// The meaning of the fields of B3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum B3 {
    /// The trace goes on, sampled or not, if that was decided.
    Goes(TraceContext, Option<bool>),
    /// No trace yet, but whether it is to be sampled was decided.
    Decided(bool),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Random;

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
}
