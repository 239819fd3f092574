//! `compress`: which responses are compressed on the way to the client, and how (RFC 9110 §8.4, §12.5.3).
//!
//! Only what shrinks, is whole, and is not compressed already; never what the server forbids to transform, and
//! not event streams, whose events would wait for each other.

mod body;

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use compression_codecs::brotli::params::EncoderParams;
use compression_codecs::flate::params::FlateEncoderParams;
use compression_codecs::zstd::params::CParameter;
use compression_codecs::{BrotliEncoder, EncodeV2, GzipEncoder, ZstdEncoder};
use compression_core::Level;
use compression_core::util::{PartialBuffer, WriteBuffer};
use schemars::JsonSchema;
use serde::Serialize;

use self::body::{BodyReader, CompressedBody};
use super::{Policies, PolicyMetric};
use crate::exchange::accept::parse_weight;
use crate::exchange::stage::{BodyStage, ResponseStage};
use crate::exchange::{Emit, Length, Source};
use crate::wire::ResponseHead;
use crate::wire::head::{Fields, list_items};

/// Shorter bodies gain less than their framing costs.
const SMALLEST: u64 = 1024;
/// Bodies that a worker compresses at a time; each holds 0.3 MiB (gzip) to 2.4 MiB (br). Beyond them responses go out
/// as they are.
const MOST: u32 = 64;
/// A window of 256 KiB: what a body holds in memory, here and at the client, depends on it.
const WINDOW: u32 = 18;

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentCoding {
    /// RFC 8878.
    Zstd,
    /// RFC 7932.
    Brotli,
    /// RFC 1952.
    Gzip,
}

impl ContentCoding {
    /// From the best to the least.
    const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    fn name(self) -> &'static [u8] {
        match self {
            Self::Zstd => b"zstd",
            Self::Brotli => b"br",
            Self::Gzip => b"gzip",
        }
    }

    fn is_named(self, name: &[u8]) -> bool {
        // RFC 9110 §8.4.1.3: `x-gzip` is the same.
        name.eq_ignore_ascii_case(self.name())
            || self == Self::Gzip && name.eq_ignore_ascii_case(b"x-gzip")
    }

    /// Levels that a proxy can afford at line speed.
    fn new_encoder(self) -> Box<dyn EncodeV2> {
        match self {
            Self::Zstd => {
                Box::new(ZstdEncoder::new_with_params(3, &[CParameter::window_log(WINDOW)]))
            }
            Self::Brotli => {
                let parameters = EncoderParams::default().quality(Level::Precise(4));
                Box::new(BrotliEncoder::new(parameters.window_size(WINDOW as i32)))
            }
            Self::Gzip => {
                let level = flate2::Compression::new(5);
                Box::new(GzipEncoder::new(FlateEncoderParams::from(level)))
            }
        }
    }
}

/// The counts of a route's compression. They survive reloads.
#[derive(Debug, Default)]
pub struct CompressionCounts {
    /// Responses that were compressed.
    pub responses: AtomicU64,
    /// Responses that were not, because too many were under way.
    pub skipped: AtomicU64,
    /// Bytes before,
    pub taken: AtomicU64,
    /// and after.
    pub made: AtomicU64,
}

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

    /// Begins to compress the body of one response apart from any exchange; `None` if it is to go out as it is.
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

/// The share of a representation that a response brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SentShare {
    /// All of it, or to `HEAD` its fields.
    Whole,
    /// A part of it as the server has it, which is never compressed.
    Part,
    /// Nothing: the client has it.
    Unmodified,
}

impl SentShare {
    fn of(status: u16) -> Self {
        match status {
            304 => Self::Unmodified,
            206 => Self::Part,
            _ => Self::Whole,
        }
    }
}

/// Compression of one response.
#[derive(Debug)]
pub struct CompressStage<'a> {
    wanted: Acceptance<'a>,
    plan: Option<CompressPlan<'a>>,
    body: Option<CompressedBody<'a>>,
}

impl ResponseStage for CompressStage<'_> {
    fn announce_length(&mut self, head: &ResponseHead, length: Length) -> Length {
        self.announce_share(head, length, SentShare::of(head.status))
    }

    fn write_fields(&self, out: &mut dyn Emit, inner: &dyn Fn(&mut dyn Emit)) {
        match &self.plan {
            Some(plan) => plan.write_changed(out, inner),
            None => inner(out),
        }
    }
}

impl CompressStage<'_> {
    /// Decides what is done to a response that brings this share of a representation, whose head is `head`. `length` is
    /// that of the whole. Returns the length that is announced for the whole.
    pub fn announce_share(
        &mut self,
        head: &ResponseHead,
        length: Length,
        share: SentShare,
    ) -> Length {
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
            // RFC 9110 §15.3.7, §15.4.5: both have the `Vary` of the 200. A part is one of what the server sent, and so is
            // its validator.
            let weak = share == SentShare::Unmodified && self.has_weak(head);
            return Some(CompressPlan { coding: None, weak, counts: self.counts });
        }
        let under_way = UNDER_WAY.get();
        let coding = match length {
            Length::Known(_) | Length::Unknown if under_way >= MOST && self.coding.is_some() => {
                self.counts.skipped.fetch_add(1, Relaxed);
                None
            }
            _ => self.coding,
        };
        Some(CompressPlan { coding, weak: coding.is_some(), counts: self.counts })
    }

    /// Returns whether the client has what a 304 is about in the form that it got when it was compressed, with a weak
    /// validator (RFC 9110 §15.4.5: a 304 has the `ETag` that the 200 would have had). Where it does not say which it has,
    /// it has what it would get now.
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
    /// The validator is weakened: what the client gets, or has from before, is not byte for byte what the server sent.
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
        let coding = self.coding?;
        self.counts.responses.fetch_add(1, Relaxed);
        UNDER_WAY.set(UNDER_WAY.get() + 1);
        Some(Compressor { encoder: coding.new_encoder(), counts: self.counts })
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

thread_local! {
    static UNDER_WAY: Cell<u32> = const { Cell::new(0) };
}

/// A body that is being compressed.
pub struct Compressor<'a> {
    encoder: Box<dyn EncodeV2>,
    counts: &'a CompressionCounts,
}

impl fmt::Debug for Compressor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

impl Compressor<'_> {
    /// Takes from `input` and adds to `output`; how much of each.
    ///
    /// # Errors
    /// Those of the encoder.
    pub fn encode_piece(
        &mut self,
        input: &[u8],
        output: &mut [u8],
    ) -> std::io::Result<(usize, usize)> {
        let mut input = PartialBuffer::new(input);
        let mut output = WriteBuffer::new_initialized(output);
        self.encoder.encode(&mut input, &mut output)?;
        let (taken, made) = (input.written_len(), output.written_len());
        self.counts.taken.fetch_add(taken as u64, Relaxed);
        self.counts.made.fetch_add(made as u64, Relaxed);
        Ok((taken, made))
    }

    /// Adds what has been taken but not given yet, and with `end` the end; how much, and whether that is all.
    ///
    /// # Errors
    /// Those of the encoder.
    pub fn flush_encoder(
        &mut self,
        output: &mut [u8],
        end: bool,
    ) -> std::io::Result<(usize, bool)> {
        let mut output = WriteBuffer::new_initialized(output);
        let encoder = &mut self.encoder;
        let all = if end { encoder.finish(&mut output) } else { encoder.flush(&mut output) }?;
        self.counts.made.fetch_add(output.written_len() as u64, Relaxed);
        Ok((output.written_len(), all))
    }
}

impl Drop for Compressor<'_> {
    fn drop(&mut self) {
        UNDER_WAY.set(UNDER_WAY.get().saturating_sub(1));
    }
}

/// The best coding that a request accepts; `None` when it accepts none, or prefers none.
fn best_accepted(request: &Fields) -> Option<ContentCoding> {
    let mut weights = [None; 3];
    let (mut any, mut identity) = (None, None);
    for item in request.named(b"accept-encoding").flat_map(list_items) {
        let mut parts = item.split(|byte| *byte == b';');
        let name = parts.next().unwrap_or_default().trim_ascii();
        let weight = parse_weight(parts);
        for (coding, known) in ContentCoding::ALL.iter().zip(&mut weights) {
            if coding.is_named(name) {
                *known = Some(weight);
            }
        }
        match name {
            b"*" => any = Some(weight),
            name if name.eq_ignore_ascii_case(b"identity") => identity = Some(weight),
            _ => {}
        }
    }
    let weighted = ContentCoding::ALL.into_iter().zip(weights.map(|known| known.or(any)));
    let usable = weighted.filter_map(|(coding, weight)| Some((coding, weight.filter(|w| *w > 0)?)));
    // The first of those with the highest weight.
    let best = usable.reduce(|best, next| if next.1 > best.1 { next } else { best })?;
    (identity.unwrap_or(0) <= best.1).then_some(best.0)
}

/// `If-Match` with the validators that the server itself gave out: weakened ones are turned back, because none of them
/// would match (RFC 9110 §8.8.3.2, §13.1.1). `None` when there is nothing to turn back.
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

/// Returns whether a message may not be transformed (RFC 9110 §7.7).
fn forbids_transform(fields: &Fields) -> bool {
    let mut directives = fields.named(b"cache-control").flat_map(list_items);
    directives.any(|directive| directive.eq_ignore_ascii_case(b"no-transform"))
}

/// Returns whether a whole response, of which one with this head is a share, may be compressed as far as its fields tell.
fn is_compressible(head: &ResponseHead, length: Length, share: SentShare) -> bool {
    let fields = &head.fields;
    let long_enough = match length {
        // What a server says of a part, or with a 304, is not the length of the whole.
        _ if matches!(head.status, 206 | 304) => true,
        Length::Known(n) | Length::Bodiless(Some(n)) => n >= SMALLEST,
        // An answer to `HEAD` without a length is what `GET` would get in chunks.
        Length::Unknown | Length::Bodiless(None) => true,
    };
    let kind = fields.named(b"content-type").next();
    let shrinks = match share {
        SentShare::Whole => kind.is_some_and(is_text_type),
        SentShare::Part => kind.is_none_or(|kind| is_text_type(kind) || is_multipart(kind)),
        SentShare::Unmodified => kind.is_none_or(is_text_type),
    };
    // Encoded already, a part of something, or sealed by a digest of the bytes as they are (RFC 9530 §2, §3; RFC 3230;
    // RFC 1864).
    let untouchable =
        [&b"content-encoding"[..], b"content-digest", b"repr-digest", b"digest", b"content-md5"];
    let part = share != SentShare::Part && fields.named(b"content-range").next().is_some();
    long_enough
        && shrinks
        && !part
        && !matches!(head.status, 100..=199 | 204 | 205)
        && !untouchable.iter().any(|name| fields.named(name).next().is_some())
        && !forbids_transform(fields)
}

/// Returns whether a media type is that of several parts (RFC 9110 §14.6), which hides the one of the whole.
fn is_multipart(media_type: &[u8]) -> bool {
    const PARTS: &[u8] = b"multipart/byteranges";
    media_type.get(..PARTS.len()).is_some_and(|start| start.eq_ignore_ascii_case(PARTS))
}

/// Returns whether a media type is text in one form or another.
fn is_text_type(media_type: &[u8]) -> bool {
    const TYPES: [&[u8]; 14] = [
        b"application/json",
        b"application/javascript",
        b"application/x-javascript",
        b"application/xml",
        b"application/x-ndjson",
        b"application/wasm",
        b"application/graphql",
        b"application/vnd.ms-fontobject",
        b"application/x-yaml",
        b"application/yaml",
        b"application/toml",
        b"font/ttf",
        b"font/otf",
        b"image/bmp",
    ];
    let essence = media_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let lower = essence.to_ascii_lowercase();
    let text = lower.starts_with(b"text/") && lower != b"text/event-stream";
    text || TYPES.contains(&&*lower) || lower.ends_with(b"+json") || lower.ends_with(b"+xml")
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
    use proptest::prelude::*;

    use super::*;

    fn fields(all: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        all.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
        fields
    }

    #[test]
    fn the_best_of_what_is_accepted_is_chosen() {
        use ContentCoding::{Brotli, Gzip, Zstd};
        for (accept, coding) in [
            ("gzip, deflate, br, zstd", Some(Zstd)),
            ("gzip, deflate, br", Some(Brotli)),
            ("gzip, deflate", Some(Gzip)),
            ("X-GZIP", Some(Gzip)),
            ("br;q=0.5, gzip;q=0.8", Some(Gzip)),
            ("zstd;q=0, *", Some(Brotli)),
            ("*;q=0.1", Some(Zstd)),
            ("gzip; Q=1.000", Some(Gzip)),
            ("gzip;q=0.5, identity", None),
            ("identity", None),
            ("gzip;q=0", None),
            ("gzip;q=-1", None),
            ("gzip;q=x", None),
            ("gzip;q=NaN", None),
            ("", None),
        ] {
            assert_eq!(best_accepted(&fields(&[("Accept-Encoding", accept)])), coding, "{accept}");
        }
        assert_eq!(best_accepted(&fields(&[])), None);
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

    #[test]
    fn text_shrinks_and_events_do_not_wait() {
        for yes in ["text/html", "Application/JSON; charset=utf-8", "image/svg+xml", "a/b+json"] {
            assert!(is_text_type(yes.as_bytes()), "{yes}");
        }
        for no in ["text/event-stream", "image/png", "application/grpc", "", "application/zip"] {
            assert!(!is_text_type(no.as_bytes()), "{no}");
        }
    }

    fn decoded(coding: ContentCoding, mut rest: &[u8], step: usize, room: usize) -> Vec<u8> {
        let counts = CompressionCounts::default();
        let mut compressor = CompressPlan { coding: Some(coding), weak: true, counts: &counts }
            .begin_compressor()
            .expect("a coding");
        let mut out = vec![0; room];
        let mut all = Vec::new();
        while !rest.is_empty() {
            let piece = &rest[..step.min(rest.len())];
            let (taken, made) = compressor.encode_piece(piece, &mut out).unwrap();
            all.extend_from_slice(&out[..made]);
            rest = &rest[taken..];
        }
        loop {
            let (made, done) = compressor.flush_encoder(&mut out, true).unwrap();
            all.extend_from_slice(&out[..made]);
            if done {
                break;
            }
        }
        drop(compressor);
        assert_eq!(UNDER_WAY.get(), 0);
        assert_eq!(counts.made.load(Relaxed), all.len() as u64);
        expanded(coding, &all)
    }

    fn expanded(coding: ContentCoding, compressed: &[u8]) -> Vec<u8> {
        use compression_codecs::{BrotliDecoder, DecodeV2, GzipDecoder, ZstdDecoder};
        let mut decoder: Box<dyn DecodeV2> = match coding {
            ContentCoding::Zstd => Box::new(ZstdDecoder::new()),
            ContentCoding::Brotli => Box::new(BrotliDecoder::new()),
            ContentCoding::Gzip => Box::new(GzipDecoder::new()),
        };
        let mut room = vec![0; 1 << 20];
        let mut input = PartialBuffer::new(compressed);
        let mut output = WriteBuffer::new_initialized(&mut room);
        assert!(decoder.decode(&mut input, &mut output).unwrap(), "the end is missing");
        let length = output.written_len();
        room.truncate(length);
        room
    }

    proptest! {
        #[test]
        fn what_is_compressed_comes_back(
            seed: u64, length in 0_usize..100_000, step in 1_usize..70_000, room in 64_usize..20_000,
        ) {
            let mut random = crate::clock::Random::seeded(seed);
            let body: Vec<u8> = (0..length).map(|_| b'a' + random.below(5) as u8).collect();
            for coding in ContentCoding::ALL {
                prop_assert!(decoded(coding, &body, step, room) == body, "{coding:?}");
            }
        }
    }
}
