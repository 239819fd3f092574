//! Distributed tracing: which requests are traced, and what a trace says of them.
//!
//! A request that carries a valid `traceparent` (W3C Trace Context, level 1) continues that trace,
//! and where a trusted proxy sent it, its sampling decision too: strangers do not decide what is
//! exported. Without a `traceparent`, a trusted proxy's B3 does the same. Any other request starts
//! a trace. Each attempt at a server is a span of its own, and what the server is sent as parent.

pub mod context;
pub mod encode;
pub mod exporter;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

pub use self::context::{B3, TraceContext};
use self::exporter::Exporter;
use crate::clock::{self, Random};
use crate::wire::{Known, RequestHead};

/// `log.trace`.
#[derive(Debug)]
pub struct Tracing {
    /// The share of traces started here that are exported, from 0 to 1.
    pub share: f64,
    /// The exporter of the spans.
    pub exporter: Arc<Exporter>,
    /// The formats that servers are sent.
    pub propagate: Propagate,
}

/// The forms in which servers are told their place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Propagate {
    /// `traceparent`.
    pub w3c: bool,
    /// `b3` and `X-B3-*`.
    pub b3: bool,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum AttributeValue {
    /// Text.
    Text(String),
    /// A number.
    Number(u64),
}

/// The side of a call that a span is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// A request of a client.
    Server,
    /// An attempt at a server.
    Client,
}

/// Something that took some time.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The trace it belongs to.
    pub trace: [u8; 16],
    /// The span's own id.
    pub id: [u8; 8],
    /// The span that caused it.
    pub parent: Option<[u8; 8]>,
    /// The side of the call.
    pub kind: SpanKind,
    /// The name of the span, without anything that clients can make up.
    pub name: String,
    /// The beginning, in nanoseconds since 1970.
    pub start: u64,
    /// The end, in nanoseconds since 1970.
    pub end: u64,
    /// Named by OpenTelemetry's conventions for HTTP, where they have a name.
    pub attributes: Vec<(&'static str, AttributeValue)>,
    /// True if it failed.
    pub failed: bool,
}

/// One request's trace.
#[derive(Debug)]
pub struct Trace {
    /// The place in its trace.
    pub context: TraceContext,
    propagate: Propagate,
    spans: RefCell<Vec<Span>>,
}

impl Trace {
    /// Continues the client's trace or starts one.
    pub fn begin_trace(
        tracing: &Tracing,
        head: &RequestHead,
        trusted: bool,
        random: &mut Random,
    ) -> Self {
        // Several of them are none (§3.2.1).
        let mut fields = head.fields.values(Known::Traceparent);
        let continued = match (fields.next(), fields.next()) {
            (Some(field), None) => TraceContext::parse_field(field),
            _ => None,
        };
        let b3 = if trusted && !head.fields.has(Known::Traceparent) { read_b3(head) } else { None };
        let context = match continued {
            None if b3.is_some() => b3_context(b3, tracing.share, random),
            Some(context) if trusted => context.child_span(random),
            Some(context) => {
                let sampled = random.unit() < tracing.share;
                TraceContext { sampled, ..context }.child_span(random)
            }
            None => TraceContext::start_trace(tracing.share, random),
        };
        Self { context, propagate: tracing.propagate, spans: RefCell::default() }
    }

    /// The `traceparent` of an attempt, where servers are sent one.
    #[must_use]
    pub fn traceparent(&self, attempt: u32) -> Option<[u8; context::LENGTH]> {
        self.propagate.w3c.then(|| self.context.field_for(attempt))
    }

    /// The `b3` of an attempt, where servers are sent one.
    #[must_use]
    pub fn b3(&self, attempt: u32) -> Option<[u8; 68]> {
        self.propagate.b3.then(|| self.context.b3_field(attempt))
    }

    /// Notes an attempt at a server.
    pub fn note_attempt(&self, number: u32, took: Duration, of: AttemptSpan<'_>) {
        let TraceContext { trace, id, .. } = self.context;
        let (start, end) = ended_now(took);
        let mut attributes = vec![
            ("server.address", AttributeValue::Text(of.server.to_owned())),
            ("tidegate.upstream", AttributeValue::Text(of.upstream.to_owned())),
        ];
        if number > 1 {
            let resent = u64::from(number - 1);
            attributes.push(("http.request.resend_count", AttributeValue::Number(resent)));
        }
        let failed = match of.outcome {
            Ok(status) => {
                attributes
                    .push(("http.response.status_code", AttributeValue::Number(u64::from(status))));
                status >= 400
            }
            Err(code) => {
                attributes.push(("error.type", AttributeValue::Text(code.to_owned())));
                true
            }
        };
        self.spans.borrow_mut().push(Span {
            trace,
            id: self.context.attempt_id(number),
            parent: Some(id),
            kind: SpanKind::Client,
            name: of.upstream.to_owned(),
            start,
            end,
            attributes,
            failed,
        });
    }

    /// Ends the request's own span and hands all of them on.
    pub fn end_request(self, tracing: &Tracing, took: Duration, root: Root) {
        let TraceContext { trace, id, parent, .. } = self.context;
        let (start, end) = ended_now(took);
        let mut spans = self.spans.into_inner();
        spans.push(Span {
            trace,
            id,
            parent,
            kind: SpanKind::Server,
            name: root.name,
            start,
            end,
            attributes: root.attributes,
            failed: root.failed,
        });
        tracing.exporter.offer_spans(spans);
    }
}

/// Returns what a request says in the fields of B3: the single one if it makes sense, or else the
/// others.
fn read_b3(head: &RequestHead) -> Option<B3> {
    let only = |name: &[u8]| {
        let mut all = head.fields.named(name);
        match (all.next(), all.next()) {
            (one, None) => Some(one),
            (_, Some(_)) => None,
        }
    };
    let single = only(b"b3").flatten().and_then(B3::parse_single);
    single.or_else(|| {
        let [trace, span] = [only(b"x-b3-traceid")?, only(b"x-b3-spanid")?];
        let [sampled, flags] = [only(b"x-b3-sampled")?, only(b"x-b3-flags")?];
        B3::of_fields([trace, span, only(b"x-b3-parentspanid")?, sampled, flags])
    })
}

/// The place of a request in the trace that B3 names, or in a new one.
fn b3_context(b3: Option<B3>, share: f64, random: &mut Random) -> TraceContext {
    match b3 {
        Some(B3::Goes(context, decided)) => {
            let sampled = decided.unwrap_or_else(|| random.unit() < share);
            TraceContext { sampled, ..context }.child_span(random)
        }
        Some(B3::Decided(sampled)) => {
            TraceContext { sampled, ..TraceContext::start_trace(share, random) }
        }
        None => TraceContext::start_trace(share, random),
    }
}

/// One attempt at a server.
#[derive(Debug, Clone, Copy)]
pub struct AttemptSpan<'a> {
    /// The upstream's name.
    pub upstream: &'a str,
    /// The server's name.
    pub server: &'a str,
    /// The status, or the code of the failure.
    pub outcome: Result<u16, &'static str>,
}

/// The facts about a request at its end.
#[derive(Debug)]
pub struct Root {
    /// Method and route.
    pub name: String,
    /// Further attributes.
    pub attributes: Vec<(&'static str, AttributeValue)>,
    /// The proxy or the server failed.
    pub failed: bool,
}

fn ended_now(took: Duration) -> (u64, u64) {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let end = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    (nanos(end.saturating_sub(took)), nanos(end))
}
