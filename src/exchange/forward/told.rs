//! What servers are told of the client and of the trace.

use super::RequestForm;
use crate::exchange::HeaderEdits;
use crate::exchange::identity::Identity;
use crate::exchange::sides::Emit;
use crate::tls::Certificate;
use crate::wire::Known;
use crate::wire::head::{Fields, list_items};

/// The field that tells what was taken off the start of the path, for servers that write URLs.
pub(super) const PREFIX: &[u8] = b"x-forwarded-prefix";

/// `X-Forwarded-*`, `X-Real-IP` and `X-Client-Cert-*`: what is known of who sent the request.
pub(super) fn identity_fields(form: &RequestForm<'_>, out: &mut impl Emit) {
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

/// The chain of addresses with the other end's at its end: continued when that is trusted and names
/// clients by it, and otherwise begun with the client. Nobody is nothing in it.
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
pub(super) fn is_b3(name: &[u8]) -> bool {
    let start = name.get(..5).unwrap_or(name);
    name.eq_ignore_ascii_case(b"b3") || start.eq_ignore_ascii_case(b"x-b3-")
}

/// The place in a trace as the single field of B3 and, for servers that know no other, as several.
pub(super) fn b3_fields(b3: &[u8; 68], edits: &HeaderEdits, out: &mut impl Emit) {
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
