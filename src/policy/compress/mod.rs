//! `compress`: how responses are compressed on the way to the client (RFC 9110 §8.4, §12.5.3).
//!
//! Only what shrinks, is whole, and is not compressed already; never what the server forbids to
//! transform, and not event streams, whose events would wait for each other.

mod body;
mod coding;
mod eligible;
mod encoder;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use schemars::JsonSchema;
use serde::Serialize;

use self::body::{BodyReader, CompressedBody};
use self::coding::{ContentCoding, best_accepted};
use self::eligible::{forbids_transform, is_compressible};
use self::encoder::is_at_limit;
pub use self::encoder::{CompressionCounts, Compressor};
use super::{Policies, PolicyMetric};
use crate::exchange::stage::{BodyStage, ResponseStage, SentShare};
use crate::exchange::{Emit, Length, Source};
use crate::wire::ResponseHead;
use crate::wire::head::{Fields, list_items};

/// `compress` of a route.
#[derive(Debug, Default)]
pub struct Compress {
    /// The counts of what it has done.
    pub counts: Arc<CompressionCounts>,
}

/// The encodings that a client accepts on a route that compresses.
#[derive(Debug, Clone, Copy)]
struct Acceptance<'a> {
    coding: Option<ContentCoding>,
    counts: &'a CompressionCounts,
    request: &'a Fields,
}

impl Compress {
    /// The stage for the response of a request with these fields.
    #[must_use]
    pub fn stage_for<'a>(&'a self, request: &'a Fields) -> CompressStage<'a> {
        let coding = best_accepted(request).filter(|_| !forbids_transform(request));
        let wanted = Acceptance { coding, counts: &self.counts, request };
        CompressStage { wanted, plan: None, body: None }
    }

    /// Begins to compress the body of one response apart from any exchange; `None` if it is to go
    /// out as it is.
    #[must_use]
    pub fn begin_detached<'a>(
        &'a self,
        request: &'a Fields,
        head: &ResponseHead,
        length: Length,
    ) -> Option<Compressor<'a>> {
        self.stage_for(request)
            .wanted
            .plan_response(head, length, SentShare::of(head.status))?
            .begin_compressor()
    }

    /// The counts, for `/stats`.
    pub(super) fn read_stats(&self) -> CompressionStats {
        let CompressionCounts { responses, skipped, taken, made } = &*self.counts;
        CompressionStats {
            responses: responses.load(Relaxed),
            skipped: skipped.load(Relaxed),
            bytes_in: taken.load(Relaxed),
            bytes_out: made.load(Relaxed),
        }
    }
}

/// The counts of a route's compression, as `/stats` shows them.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct CompressionStats {
    responses: u64,
    /// Not compressed, because too many were under way.
    skipped: u64,
    bytes_in: u64,
    bytes_out: u64,
}

fn counts_of(policies: &Policies) -> Option<&CompressionCounts> {
    policies.compress.as_ref().map(|compress| &*compress.counts)
}

/// The counters for `/metrics`.
pub(super) const METRICS: &[PolicyMetric] = &[
    PolicyMetric::counter_row(
        "tidegate_route_compressed_total",
        "Responses that were compressed.",
        |policies| Some(counts_of(policies)?.responses.load(Relaxed) as f64),
    ),
    PolicyMetric::counter_row(
        "tidegate_route_compression_skipped_total",
        "Responses that were not, because too many were under way.",
        |policies| Some(counts_of(policies)?.skipped.load(Relaxed) as f64),
    ),
    PolicyMetric::counter_row(
        "tidegate_route_compression_in_bytes_total",
        "Bytes before compression.",
        |policies| Some(counts_of(policies)?.taken.load(Relaxed) as f64),
    ),
    PolicyMetric::counter_row(
        "tidegate_route_compression_out_bytes_total",
        "Bytes after compression.",
        |policies| Some(counts_of(policies)?.made.load(Relaxed) as f64),
    ),
];

/// Compression of one response.
#[derive(Debug)]
pub struct CompressStage<'a> {
    wanted: Acceptance<'a>,
    plan: Option<CompressPlan<'a>>,
    body: Option<CompressedBody<'a>>,
}

impl ResponseStage for CompressStage<'_> {
    fn announce_length(&mut self, head: &ResponseHead, length: Length) -> Length {
        self.plan_share(head, length, SentShare::of(head.status))
    }

    fn announce_share(&mut self, head: &ResponseHead, whole: Length, share: SentShare) {
        self.plan_share(head, whole, share);
    }

    fn write_fields(&self, out: &mut dyn Emit, inner: &dyn Fn(&mut dyn Emit)) {
        match &self.plan {
            Some(plan) => plan.write_changed(out, inner),
            None => inner(out),
        }
    }
}

impl CompressStage<'_> {
    /// Decides what is done to a response that brings this share of a representation, whose head is
    /// `head`. `length` is that of the whole. Returns the length that is announced for the whole.
    fn plan_share(&mut self, head: &ResponseHead, length: Length, share: SentShare) -> Length {
        let Some(plan) = self.wanted.plan_response(head, length, share) else { return length };
        if !matches!(length, Length::Bodiless(_)) {
            self.body = plan.begin_compressor().map(CompressedBody::new);
        }
        self.plan = Some(plan);
        plan.sent_length(length)
    }
}

impl<'a> BodyStage for CompressStage<'a> {
    type Body<'s, S: Source + 's>
        = BodyReader<'s, 'a, S>
    where
        Self: 's;

    fn wrap_body<'s, S: Source>(&'s mut self, source: &'s mut S) -> Option<Self::Body<'s, S>> {
        self.body.as_mut().map(|body| body.reader_of(source))
    }
}

impl<'a> Acceptance<'a> {
    /// Decides how a response is to be passed on; `None` is as it is.
    fn plan_response(
        &self,
        head: &ResponseHead,
        length: Length,
        share: SentShare,
    ) -> Option<CompressPlan<'a>> {
        if !is_compressible(head, length, share) {
            return None;
        }
        if share != SentShare::Whole {
            // RFC 9110 §15.3.7, §15.4.5: both have the `Vary` of the 200. A part is one of what the
            // server sent, and so is its validator.
            let weak = share == SentShare::Unmodified && self.has_weak(head);
            return Some(CompressPlan { coding: None, weak, counts: self.counts });
        }
        let coding = match length {
            Length::Known(_) | Length::Unknown if self.coding.is_some() && is_at_limit() => {
                self.counts.skipped.fetch_add(1, Relaxed);
                None
            }
            _ => self.coding,
        };
        Some(CompressPlan { coding, weak: coding.is_some(), counts: self.counts })
    }

    /// Returns whether the client has what a 304 is about in the form that it got when it was
    /// compressed, with a weak validator (RFC 9110 §15.4.5: a 304 has the `ETag` that the 200 would
    /// have had). Where it does not say which it has, it has what it would get now.
    fn has_weak(&self, head: &ResponseHead) -> bool {
        let Some(etag) = head.fields.named(b"etag").next().filter(|etag| etag.starts_with(b"\""))
        else {
            return false;
        };
        let named = |tag: &[u8]| {
            let mut held = self.request.named(b"if-none-match");
            held.any(|held| memchr::memmem::find(held, tag).is_some())
        };
        named(&[b"W/", etag].concat()) || self.coding.is_some() && !named(etag)
    }
}

/// A response that may be compressed, whether this client wants it or not.
#[derive(Debug, Clone, Copy)]
struct CompressPlan<'a> {
    coding: Option<ContentCoding>,
    /// The validator is weakened: what the client gets, or has from before, is not byte for byte
    /// what the server sent.
    weak: bool,
    counts: &'a CompressionCounts,
}

impl<'a> CompressPlan<'a> {
    /// The length of what is sent instead.
    fn sent_length(&self, length: Length) -> Length {
        match (self.coding, length) {
            (None, length) => length,
            // RFC 9110 §8.6: what `GET` would send is not known.
            (Some(_), Length::Bodiless(_)) => Length::Bodiless(None),
            (Some(_), Length::Known(_) | Length::Unknown) => Length::Unknown,
        }
    }

    /// Begins to compress a body, if this one is to be.
    fn begin_compressor(&self) -> Option<Compressor<'a>> {
        Some(Compressor::begin_body(self.coding?, self.counts))
    }

    /// Writes the fields of the response through `write` with what compression changes about them.
    fn write_changed(&self, out: &mut dyn Emit, write: impl FnOnce(&mut dyn Emit)) {
        let mut recoded = Recoded { out, coding: self.coding, weak: self.weak, varies: false };
        write(&mut recoded);
        let Recoded { out, varies, .. } = recoded;
        if !varies {
            out.emit_field(b"vary", b"accept-encoding");
        }
        if let Some(coding) = self.coding {
            out.emit_field(b"content-encoding", coding.name());
        }
    }
}

/// `If-Match` with the validators that the server itself gave out: weakened ones are turned back,
/// because none of them would match (RFC 9110 §8.8.3.2, §13.1.1). `None` when there is nothing to
/// turn back.
#[must_use]
pub fn turned_back(request: &Fields) -> Option<Vec<u8>> {
    let weak = |value: &[u8]| memchr::memmem::find(value, b"W/\"").is_some();
    if !request.named(b"if-match").any(weak) {
        return None;
    }
    let mut out = Vec::new();
    for value in request.named(b"if-match") {
        if !out.is_empty() {
            out.extend_from_slice(b", ");
        }
        let (mut quoted, mut rest) = (false, value);
        while let Some((byte, after)) = rest.split_first() {
            rest = match rest.strip_prefix(b"W/").filter(|tag| !quoted && tag.starts_with(b"\"")) {
                Some(tag) => tag,
                None => {
                    quoted ^= *byte == b'"';
                    out.push(*byte);
                    after
                }
            };
        }
    }
    Some(out)
}

/// Fields on their way to a client that gets another representation than the server sent.
struct Recoded<'o> {
    out: &'o mut dyn Emit,
    coding: Option<ContentCoding>,
    weak: bool,
    varies: bool,
}

impl Emit for Recoded<'_> {
    fn emit_field(&mut self, name: &[u8], value: &[u8]) {
        if name.eq_ignore_ascii_case(b"vary") {
            let named = |item: &[u8]| item == b"*" || item.eq_ignore_ascii_case(b"accept-encoding");
            self.varies |= list_items(value).any(named);
        }
        if self.coding.is_some() && name.eq_ignore_ascii_case(b"accept-ranges") {
            return;
        }
        if self.weak && name.eq_ignore_ascii_case(b"etag") && value.starts_with(b"\"") {
            // RFC 9110 §8.8.1: the same content, but not byte for byte.
            return self.out.emit_field(name, &[b"W/", value].concat());
        }
        self.out.emit_field(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn fields(all: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        all.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
        fields
    }

    #[test]
    fn p18_weakened_validators_are_turned_back() {
        let back = |all: &[(&str, &str)]| {
            turned_back(&fields(all)).map(|value| String::from_utf8(value).unwrap())
        };
        assert_eq!(back(&[("If-Match", "W/\"a\"")]).as_deref(), Some("\"a\""));
        let several = [("If-Match", "\"x\", W/\"W/,b\""), ("if-match", "W/\"c\"")];
        assert_eq!(back(&several).as_deref(), Some("\"x\", \"W/,b\", \"c\""));
        assert_eq!(back(&[("If-Match", "\"a\"")]), None);
        assert_eq!(back(&[("If-Match", "*")]), None);
        assert_eq!(back(&[("If-None-Match", "W/\"a\"")]), None);
    }
}
