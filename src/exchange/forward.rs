//! Heads as the other side must see them: hop-by-hop fields removed, the client's identity told,
//! edits applied, framing and connection fields written anew.

mod hop_by_hop;
#[cfg(test)]
mod tests;
mod told;

use std::time::Duration;

pub use self::hop_by_hop::nominates_protected;
pub(crate) use self::hop_by_hop::{is_hop_by_hop, is_option, is_protected};
use self::hop_by_hop::{is_nominated, nominates_any};
pub use self::told::certificate_fields;
use self::told::{PREFIX, b3_fields, identity_fields, is_b3};
use crate::clock;
use crate::exchange::edits::FieldFacts;
use crate::exchange::identity::Identity;
use crate::exchange::sides::Emit;
use crate::exchange::{FieldPair, HeaderEdits};
use crate::net::BodyFraming;
use crate::wire::head::FieldRef;
use crate::wire::{Known, RequestHead, ResponseHead, encode, grpc};

/// `Max-Forwards` as the next server must see it (RFC 9110 §7.6.2). What is no number is passed on.
fn one_less<'b>(value: &'b [u8], buffer: &'b mut itoa::Buffer) -> &'b [u8] {
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u32>().ok());
    match number {
        Some(n) => buffer.format(n.saturating_sub(1)).as_bytes(),
        None => value,
    }
}

/// A request on its way to a server.
#[derive(Debug, Clone, Copy)]
pub struct RequestForm<'a> {
    /// As received.
    pub head: &'a RequestHead,
    /// The normal form of the path, or what it was rewritten to.
    pub path: &'a [u8],
    /// As received, without `?`.
    pub query: Option<&'a [u8]>,
    /// The `Host` to send.
    pub host: &'a [u8],
    /// The `Host` the client sent.
    pub original_host: &'a [u8],
    /// The part that was taken off the start of the path, where servers are told.
    pub prefix: Option<&'a [u8]>,
    /// The id of the request.
    pub request_id: &'a [u8],
    /// Received fields that are left out, in lower case.
    pub hidden: &'a [&'a [u8]],
    /// Fields that policies add.
    pub added: &'a [FieldPair],
    /// `If-Match` in the stead of the client's.
    pub if_match: Option<&'a [u8]>,
    /// The place in a trace, in the stead of the client's.
    pub traceparent: Option<[u8; 55]>,
    /// The same in the form of B3: trace, span, decision and parent.
    pub b3: Option<[u8; 68]>,
    /// The rest of a call's `grpc-timeout`.
    pub left: Option<Duration>,
    /// The sender of the request.
    pub identity: &'a Identity<'a>,
    /// The changes that the route makes.
    pub edits: &'a HeaderEdits,
    /// The facts about the request, where `edits` ask for them.
    pub facts: Option<&'a dyn FieldFacts>,
    /// The protocol asked for, if any.
    pub upgrade: Option<&'a [u8]>,
    /// The client waits for 100 before it sends the body.
    pub expects_continue: bool,
    /// The length of the body; `None` when only its end will tell, 0 without `Content-Length` when
    /// there is no body.
    pub length: Option<u64>,
    /// The number of the attempt, from 1 on. Told to servers from the second on.
    pub attempt: u32,
}

impl RequestForm<'_> {
    /// Returns whether policies or the route keep a received field from the server. `_` counts as
    /// `-` in what policies answer for: servers that hand fields on as variables do not tell the
    /// two apart.
    #[must_use]
    pub fn leaves_out(&self, name: &[u8]) -> bool {
        leaves_out(self.edits, self.hidden, name)
    }
}

/// Returns the same as [`RequestForm::leaves_out`], of what a route edits and what policies have
/// hidden.
#[must_use]
pub fn leaves_out(edits: &HeaderEdits, hidden: &[&[u8]], name: &[u8]) -> bool {
    let fold = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    let same = |a: &u8, b: &u8| fold(*a) == fold(*b);
    let is = |known: &&[u8]| {
        known.len() == name.len() && name.iter().zip(*known).all(|(a, b)| same(a, b))
    };
    edits.hides_field(name) || hidden.iter().any(is)
}

/// Writes a whole HTTP/1.1 request head. Returns how the body must follow.
pub fn write_request(out: &mut Vec<u8>, form: &RequestForm<'_>) -> BodyFraming {
    out.extend_from_slice(form.head.method());
    out.push(b' ');
    out.extend_from_slice(form.path);
    if let Some(query) = form.query {
        out.push(b'?');
        out.extend_from_slice(query);
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    request_fields(form, out);
    let had_length = form.head.fields.has(Known::ContentLength);
    let coding = match form.length {
        Some(0) if !had_length => BodyFraming::Exactly(0),
        Some(n) => {
            encode::content_length(out, n);
            BodyFraming::Exactly(n)
        }
        None => {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
            BodyFraming::Chunked
        }
    };
    let te = wants_trailers(form.head);
    if let Some(protocol) = form.upgrade {
        encode::field(out, b"connection", b"upgrade");
        encode::field(out, b"upgrade", protocol);
    } else if te {
        out.extend_from_slice(b"connection: te\r\n");
    }
    if te {
        out.extend_from_slice(b"te: trailers\r\n");
    }
    out.extend_from_slice(b"\r\n");
    coding
}

/// Returns whether servers are told of another trace than the client's `traceparent`: what
/// `tracestate` says is of that one (Trace Context, "Processing Model for Working with Trace
/// Context").
fn begins_trace(form: &RequestForm<'_>) -> bool {
    let Some(told) = &form.traceparent else { return false };
    let mut received = form.head.fields.values(Known::Traceparent);
    match (received.next(), received.next()) {
        (Some(one), None) => one.get(3..35) != told.get(3..35),
        _ => true,
    }
}

/// Returns whether the client accepts trailer fields. Everything else in `TE` concerns its
/// connection only.
fn wants_trailers(head: &RequestHead) -> bool {
    head.fields.has(Known::Te) && head.fields.lists(Known::Te, b"trailers")
}

/// Writes every field of the request except for framing and connection fields.
pub fn request_fields(form: &RequestForm<'_>, out: &mut impl Emit) {
    let RequestForm { head, edits, .. } = form;
    let fields = &head.fields;
    let nominates = nominates_any(fields);
    let counted = head.method() == b"OPTIONS" && fields.has(Known::MaxForwards);
    if !edits.replaces_field(Known::Host) {
        out.emit_field(b"host", form.host);
    }
    out.emit_received(fields, &mut |FieldRef { name, known, .. }| {
        let own = matches!(known, Known::Host | Known::XRequestId | Known::Expect)
            || is_hop_by_hop(known)
            || is_written_anew(known)
            || known == Known::MaxForwards && counted
            || known == Known::Traceparent && form.traceparent.is_some()
            || known == Known::Other
                && name.eq_ignore_ascii_case(b"tracestate")
                && begins_trace(form)
            || known == Known::Other && form.b3.is_some() && is_b3(name)
            || known == Known::Other && form.left.is_some() && name == b"grpc-timeout"
            || form.if_match.is_some() && name.eq_ignore_ascii_case(b"if-match")
            || form.prefix.is_some() && name.eq_ignore_ascii_case(PREFIX);
        let left_out = own || nominates && is_nominated(fields, name) || form.leaves_out(name);
        !left_out
    });
    if let Some(left) = form.left.filter(|_| !edits.hides_field(b"grpc-timeout")) {
        out.emit_field(b"grpc-timeout", grpc::timeout_value(left).as_bytes());
    }
    if counted
        && !edits.replaces_field(Known::MaxForwards)
        && let Some(value) = fields.first(Known::MaxForwards)
    {
        out.emit_field(b"max-forwards", one_less(value, &mut itoa::Buffer::new()));
    }
    if let Some(if_match) = form.if_match.filter(|_| !edits.hides_field(b"if-match")) {
        out.emit_field(b"if-match", if_match);
    }
    if form.expects_continue {
        out.emit_field(b"expect", b"100-continue");
    }
    identity_fields(form, out);
    if !edits.replaces_field(Known::XRequestId) {
        out.emit_field(b"x-request-id", form.request_id);
    }
    if let Some(traceparent) = &form.traceparent
        && !edits.replaces_field(Known::Traceparent)
    {
        out.emit_field(b"traceparent", traceparent);
    }
    if let Some(b3) = &form.b3 {
        b3_fields(b3, edits, out);
    }
    if form.attempt > 1 && !edits.hides_field(b"x-tidegate-attempt") {
        out.emit_field(b"x-tidegate-attempt", itoa::Buffer::new().format(form.attempt).as_bytes());
    }
    form.added.iter().for_each(|(name, value)| out.emit_field(name, value));
    edits.written_fields().for_each(|(name, value)| out.emit_field(name, value));
    if let Some(facts) = form.facts {
        let mut value = Vec::new();
        for field in edits.filled() {
            if field.fill_value(facts, &mut value) {
                out.emit_field(&field.name, &value);
            }
        }
    }
}

/// Fields that [`identity_fields`] writes; what a trusted proxy said is in there.
fn is_written_anew(known: Known) -> bool {
    matches!(
        known,
        Known::XForwardedFor
            | Known::XForwardedProto
            | Known::XForwardedHost
            | Known::XForwardedPort
            | Known::XRealIp
    )
}

/// Writes every field of a response as a client must see it, except for framing and connection
/// fields. One without a date gets that of its arrival (RFC 9110 §6.6.1).
pub fn response_fields(head: &ResponseHead, out: &mut dyn Emit) {
    received_fields(head, out);
    if !head.fields.has(Known::Date) {
        clock::with_http_date(|date| out.emit_field(b"date", date));
    }
}

/// Writes every field of an informational response as a client must see it.
pub fn interim_fields(head: &ResponseHead, out: &mut dyn Emit) {
    received_fields(head, out);
}

fn received_fields(head: &ResponseHead, out: &mut dyn Emit) {
    let nominates = nominates_any(&head.fields);
    out.emit_received(&head.fields, &mut |FieldRef { name, known, .. }| {
        let left_out = is_hop_by_hop(known) && known != Known::ProxyAuthenticate
            || nominates && is_nominated(&head.fields, name);
        !left_out
    });
}
