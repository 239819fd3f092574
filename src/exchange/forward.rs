//! Heads as the other side must see them: hop-by-hop fields removed, the client's identity told,
//! edits applied, framing and connection fields written anew.

use std::time::Duration;

use super::identity::Identity;
use super::sides::Emit;
use crate::clock;
use crate::exchange::edits::FieldFacts;
use crate::exchange::{FieldPair, HeaderEdits};
use crate::net::BodyFraming;
use crate::tls::Certificate;
use crate::wire::head::{FieldRef, Fields, list_items};
use crate::wire::{Known, RequestHead, ResponseHead, encode, grpc};

/// Fields that concern one connection only (RFC 9110 §7.6.1), and those the proxy writes itself.
pub(crate) fn is_hop_by_hop(known: Known) -> bool {
    matches!(
        known,
        Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::ProxyAuthenticate
            | Known::Te
            | Known::TransferEncoding
            | Known::ContentLength
            | Known::Upgrade
            | Known::Http2Settings
    )
}

/// `Max-Forwards` as the next server must see it (RFC 9110 §7.6.2). What is no number is passed on.
fn one_less<'b>(value: &'b [u8], buffer: &'b mut itoa::Buffer) -> &'b [u8] {
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u32>().ok());
    match number {
        Some(n) => buffer.format(n.saturating_sub(1)).as_bytes(),
        None => value,
    }
}

/// Fields that `Connection` must not nominate: removing them would change what the message is
/// (RFC 9110 §7.6.1 forbids it to senders; some proxies obey anyway).
const PROTECTED: [Known; 7] = [
    Known::Host,
    Known::ContentLength,
    Known::TransferEncoding,
    Known::Cookie,
    Known::Authorization,
    Known::Expect,
    Known::Date,
];

/// The field that tells what was taken off the start of the path, for servers that write URLs.
const PREFIX: &[u8] = b"x-forwarded-prefix";

/// Options of `Connection` that are no field names to be removed.
pub(crate) fn is_option(item: &[u8]) -> bool {
    [&b"close"[..], b"keep-alive", b"upgrade", b"te"].iter().any(|o| item.eq_ignore_ascii_case(o))
}

/// Returns whether `Connection` nominates a field that is protected.
#[must_use]
pub fn nominates_protected(fields: &Fields) -> bool {
    fields.values(Known::Connection).flat_map(list_items).any(is_protected)
}

/// Returns whether a field is one that `Connection` must not nominate.
pub(crate) fn is_protected(name: &[u8]) -> bool {
    let known = crate::wire::known::lookup(name);
    PROTECTED.contains(&known) || name.eq_ignore_ascii_case(b"content-type")
}

/// Returns whether `Connection` nominates any field for removal. Usually it does not, and no field has to be
/// compared with it.
fn nominates_any(fields: &Fields) -> bool {
    fields.has(Known::Connection)
        && fields.values(Known::Connection).flat_map(list_items).any(|item| !is_option(item))
}

fn is_nominated(fields: &Fields, name: &[u8]) -> bool {
    fields
        .values(Known::Connection)
        .flat_map(list_items)
        .any(|item| !is_option(item) && item.eq_ignore_ascii_case(name))
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
    /// Returns whether policies or the route keep a received field from the server. `_` counts as `-` in what policies
    /// answer for: servers that hand fields on as variables do not tell the two apart.
    #[must_use]
    pub fn leaves_out(&self, name: &[u8]) -> bool {
        leaves_out(self.edits, self.hidden, name)
    }
}

/// Returns the same as [`RequestForm::leaves_out`], of what a route edits and what policies have hidden.
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

/// Returns whether servers are told of another trace than the client's `traceparent`: what `tracestate` says is of that one
/// (Trace Context, "Processing Model for Working with Trace Context").
fn begins_trace(form: &RequestForm<'_>) -> bool {
    let Some(told) = &form.traceparent else { return false };
    let mut received = form.head.fields.values(Known::Traceparent);
    match (received.next(), received.next()) {
        (Some(one), None) => one.get(3..35) != told.get(3..35),
        _ => true,
    }
}

/// Returns whether the client accepts trailer fields. Everything else in `TE` concerns its connection only.
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

/// `X-Forwarded-*`, `X-Real-IP` and `X-Client-Cert-*`: what is known of who sent the request.
fn identity_fields(form: &RequestForm<'_>, out: &mut impl Emit) {
    let RequestForm { head, edits, identity, .. } = form;
    if !edits.replaces_field(Known::XForwardedFor) {
        forwarded_for(&head.fields, identity, out);
    }
    if !edits.replaces_field(Known::XForwardedProto) {
        out.emit_field(b"x-forwarded-proto", identity.scheme.as_bytes());
    }
    let host = identity.host.unwrap_or(form.original_host);
    if !edits.replaces_field(Known::XForwardedHost) && !host.is_empty() {
        out.emit_field(b"x-forwarded-host", host);
    }
    if let Some(port) = identity.port
        && !edits.replaces_field(Known::XForwardedPort)
    {
        out.emit_field(b"x-forwarded-port", port);
    }
    if let Some(prefix) = form.prefix.filter(|_| !edits.hides_field(PREFIX)) {
        // Trusted proxies before this one may have taken off a prefix of their own.
        let before = head.fields.named(PREFIX).next().filter(|_| !form.leaves_out(PREFIX));
        let before = before.unwrap_or_default().strip_suffix(b"/").or(before).unwrap_or_default();
        out.emit_field(PREFIX, &[before, prefix].concat());
    }
    if let Some(client) = identity.client_text()
        && !edits.replaces_field(Known::XRealIp)
    {
        out.emit_field(b"x-real-ip", client.as_bytes());
    }
    if let Some(certificate) = identity.peer.certificate {
        certificate_fields(certificate, |name, value| {
            if !edits.hides_field(name) {
                out.emit_field(name, value);
            }
        });
    }
}

/// The chain of addresses with the other end's at its end: continued when that is trusted and names clients by it, and
/// otherwise begun with the client. Nobody is nothing in it.
fn forwarded_for(fields: &Fields, identity: &Identity<'_>, out: &mut impl Emit) {
    let peer = identity.peer.text.map(str::as_bytes);
    let client = identity.client_text().map(str::as_bytes).filter(|client| Some(*client) != peer);
    let received = identity.continues_chain && fields.has(Known::XForwardedFor);
    if !received && client.is_none() {
        if let Some(peer) = peer {
            out.emit_field(b"x-forwarded-for", peer);
        }
        return;
    }
    let mut chain = Vec::new();
    let received = received.then(|| fields.values(Known::XForwardedFor).flat_map(list_items));
    let begun = received.is_none().then_some(client).flatten();
    for item in received.into_iter().flatten().chain(begun).chain(peer) {
        if !chain.is_empty() {
            chain.extend_from_slice(b", ");
        }
        chain.extend_from_slice(item);
    }
    if !chain.is_empty() {
        out.emit_field(b"x-forwarded-for", &chain);
    }
}

/// Returns whether a field belongs to B3.
fn is_b3(name: &[u8]) -> bool {
    let start = name.get(..5).unwrap_or(name);
    name.eq_ignore_ascii_case(b"b3") || start.eq_ignore_ascii_case(b"x-b3-")
}

/// The place in a trace as the single field of B3 and, for servers that know no other, as several.
fn b3_fields(b3: &[u8; 68], edits: &HeaderEdits, out: &mut impl Emit) {
    let part = |from: usize, to: usize| b3.get(from..to).unwrap_or_default();
    let (flag, decision): (&[u8], &[u8]) = match part(50, 51) {
        b"d" => (b"x-b3-flags", b"1"),
        b"1" => (b"x-b3-sampled", b"1"),
        _ => (b"x-b3-sampled", b"0"),
    };
    let fields = [
        (&b"b3"[..], &b3[..]),
        (b"x-b3-traceid", part(0, 32)),
        (b"x-b3-spanid", part(33, 49)),
        (b"x-b3-parentspanid", part(52, 68)),
        (flag, decision),
    ];
    for (name, value) in fields.into_iter().filter(|(name, _)| !edits.hides_field(name)) {
        out.emit_field(name, value);
    }
}

/// Writes what servers are told of a client's certificate.
pub fn certificate_fields(certificate: &Certificate, mut out: impl FnMut(&[u8], &[u8])) {
    let Certificate { subject, names, fingerprint } = certificate;
    out(b"x-client-cert-subject", subject.as_bytes());
    for name in names {
        out(b"x-client-cert-san", name.as_bytes());
    }
    out(b"x-client-cert-fingerprint", fingerprint.as_bytes());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::identity::ClientField;
    use crate::exchange::identity::OtherEnd;
    use crate::wire::Version;

    fn head(fields: &[(&str, &str)]) -> RequestHead {
        let mut head = RequestHead::default();
        head.set(b"GET", b"/", Version::Http11);
        for (name, value) in fields {
            head.fields.push(name.as_bytes(), value.as_bytes());
        }
        head
    }

    fn written(head: &RequestHead, trusted: bool, edits: &HeaderEdits) -> String {
        written_in_trace(head, trusted, edits, None)
    }

    fn written_in_trace(
        head: &RequestHead,
        trusted: bool,
        edits: &HeaderEdits,
        traceparent: Option<[u8; 55]>,
    ) -> String {
        let peer = OtherEnd {
            ip: Some([192, 0, 2, 1].into()),
            text: Some("192.0.2.1"),
            trusted,
            scheme: "http",
            certificate: None,
        };
        let identity =
            Identity::new(peer, &head.fields, &ClientField::ForwardedFor, |_| false, |_| true);
        let form = RequestForm {
            head,
            path: b"/p",
            query: Some(b"q"),
            host: b"a.test",
            original_host: b"a.test",
            prefix: None,
            request_id: b"id",
            hidden: &[],
            added: &[],
            if_match: None,
            traceparent,
            b3: None,
            left: None,
            identity: &identity,
            edits,
            facts: None,
            upgrade: None,
            expects_continue: false,
            length: Some(0),
            attempt: 1,
        };
        let mut out = Vec::new();
        write_request(&mut out, &form);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn hop_by_hop_and_nominated_fields_are_removed() {
        let head = head(&[
            ("Host", "a.test"),
            ("Connection", "keep-alive, X-Secret"),
            ("X-Secret", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "close"),
            ("Proxy-Authorization", "x"),
            ("TE", "gzip"),
            ("Upgrade", "h2c"),
            ("HTTP2-Settings", "AAA"),
            ("X-Kept", "2"),
        ]);
        assert_eq!(
            written(&head, false, &HeaderEdits::default()),
            "GET /p?q HTTP/1.1\r\nhost: a.test\r\nProxy-Authorization: x\r\nX-Kept: 2\r\nx-forwarded-for: 192.0.2.1\r\n\
             x-forwarded-proto: http\r\nx-forwarded-host: a.test\r\nx-real-ip: 192.0.2.1\r\n\
             x-request-id: id\r\n\r\n"
        );
    }

    #[test]
    fn identity_from_strangers_is_replaced_and_from_trusted_proxies_continued() {
        let head = head(&[
            ("X-Forwarded-For", "1.1.1.1"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "b.test"),
            ("X-Real-IP", "1.1.1.1"),
        ]);
        let stranger = written(&head, false, &HeaderEdits::default());
        assert!(!stranger.contains("1.1.1.1") && !stranger.contains("https"), "{stranger}");
        let trusted = written(&head, true, &HeaderEdits::default());
        for line in [
            "x-forwarded-for: 1.1.1.1, 192.0.2.1\r\n",
            "x-forwarded-proto: https\r\n",
            "x-forwarded-host: b.test\r\n",
            "x-real-ip: 1.1.1.1\r\n",
        ] {
            assert!(trusted.contains(line), "{trusted}");
        }
    }

    #[test]
    fn edits_replace_what_the_proxy_would_write() {
        let set = [("host", "internal"), ("x-real-ip", "0.0.0.0")];
        let edits =
            HeaderEdits::new(set.into_iter(), [].into_iter(), ["x-forwarded-for"].into_iter());
        let out = written(&head(&[("Host", "a.test")]), false, &edits);
        assert!(
            out.contains("\r\nhost: internal\r\n") && !out.contains("\r\nhost: a.test"),
            "{out}"
        );
        assert!(!out.contains("x-forwarded-for"), "{out}");
        assert!(
            out.contains("x-real-ip: 0.0.0.0\r\n") && !out.contains("x-real-ip: 192.0.2.1"),
            "{out}"
        );
    }

    #[test]
    fn the_state_of_a_trace_goes_with_that_trace_alone() {
        let of = |trace: &str, id: &str| format!("00-{}-{}-01", trace.repeat(32), id.repeat(16));
        let (client, other) = (of("a", "1"), of("b", "1"));
        let told = |told: Option<&str>, received: &[&str]| {
            let mut fields: Vec<_> = received.iter().map(|one| ("traceparent", *one)).collect();
            fields.push(("TraceState", "k=v"));
            let told = told.map(|told| told.as_bytes().try_into().unwrap());
            written_in_trace(&head(&fields), true, &HeaderEdits::default(), told)
                .contains("TraceState: k=v\r\n")
        };
        let next = of("a", "2");
        assert!(told(Some(&next), &[&client]), "the trace goes on");
        assert!(told(None, &[]) && told(None, &[&client]), "nobody traces here");
        assert!(!told(Some(&next), &[&other]));
        assert!(!told(Some(&next), &[]), "there was none");
        assert!(!told(Some(&next), &["x"]) && !told(Some(&next), &[&client, &client]));
    }

    #[test]
    fn protected_fields_cannot_be_nominated() {
        assert!(nominates_protected(&head(&[("Connection", "close, Host")]).fields));
        assert!(nominates_protected(&head(&[("Connection", "content-length")]).fields));
        assert!(!nominates_protected(&head(&[("Connection", "X-Forwarded-For, te")]).fields));
    }
}
