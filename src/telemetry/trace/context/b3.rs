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
    /// Reads the single field: `TRACE-SPAN`, `TRACE-SPAN-DECISION`, `TRACE-SPAN-DECISION-PARENT`,
    /// or the decision alone. `None` when it is malformed.
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

    /// Reads the fields `X-B3-TraceId`, `-SpanId`, `-ParentSpanId`, `-Sampled` and `-Flags`. `None`
    /// when there are none, or one of them is malformed.
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
mod tests;
