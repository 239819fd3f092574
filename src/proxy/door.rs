//! The door: what a client says about itself is removed here, before anything can look at the head.
//!
//! Routes, conditions, keys, policies, authentication servers, mirrors, logs and traces come after
//! it, so none of them has to know which fields may be forged. What is left of the families below
//! came from a trusted proxy.

use smallvec::SmallVec;

use crate::exchange::ClientPeer;
use crate::exchange::forward::{is_option, is_protected};
use crate::exchange::identity::{ClientField, Identity, OtherEnd};
use crate::route::authority::is_host;
use crate::snapshot::Listener;
use crate::wire::head::{FieldRef, Fields, list_items};
use crate::wire::{Known, RequestHead};

/// Families of fields by which proxies tell servers about clients, and tools about requests. `-`
/// stands for `_` too: servers that hand fields on as variables do not tell the two apart.
const CLAIMS: [&[u8]; 6] = [
    b"x-forwarded",
    b"x-original-",
    // CVE-2018-14773: what `X-Original-URL` is elsewhere.
    b"x-rewrite-url",
    b"x-real-ip",
    b"x-b3-",
    b"b3",
];

/// Fields that only the proxy itself writes: a trusted proxy may have passed on what its client
/// made up. `Proxy` becomes a variable that some programs take for their own proxy's address
/// (httpoxy, CVE-2016-5385).
const OWN: [&[u8]; 3] = [b"x-client-cert", b"x-tidegate-", b"proxy"];

/// Removes what only the proxy may say, what `Connection` nominates and, unless the other end is
/// trusted, all that it says about its client, by the listener's own field for that too.
pub fn remove_claims(head: &mut RequestHead, trusted: bool, named_by: &ClientField) {
    let fields = &mut head.fields;
    if fields.has(Known::Connection) {
        remove_nominated(fields);
    }
    let is_removed = |field: FieldRef<'_>| match field.known {
        Known::Forwarded
        | Known::XForwardedFor
        | Known::XForwardedProto
        | Known::XForwardedHost
        | Known::XForwardedPort
        | Known::XRealIp => !trusted,
        Known::Other => {
            is_claim(field.name, trusted) || !trusted && names_client(named_by, field.name)
        }
        _ => !trusted && names_client(named_by, field.name),
    };
    // Hardly a request has any: looking is cheaper than going through them to remove some.
    if fields.iter().any(is_removed) {
        fields.retain(|field| !is_removed(field));
    }
}

/// Returns whether a field is the one by which trusted proxies name clients. `_` stands for `-`, as
/// in [`CLAIMS`].
fn names_client(named_by: &ClientField, name: &[u8]) -> bool {
    let ClientField::Named(own) = named_by else { return false };
    let plain = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    own.len() == name.len() && name.iter().zip(own).all(|(a, b)| plain(*a) == plain(*b))
}

/// Returns whether a field that is none of the known ones belongs to a family that is removed.
#[inline]
pub(super) fn is_claim(name: &[u8], trusted: bool) -> bool {
    // Most names begin otherwise.
    matches!(name.first(), Some(b'x' | b'X' | b'p' | b'P' | b'b' | b'B'))
        && belongs_to_claims(name, trusted)
}

fn belongs_to_claims(name: &[u8], trusted: bool) -> bool {
    let of = |family: &&[u8]| {
        let start = name.get(..family.len()).unwrap_or_default();
        let whole = !matches!(**family, [b'p', ..] | [b'b', ..]) || name.len() == family.len();
        let same = |a: u8, b: u8| b == if a == b'_' { b'-' } else { a.to_ascii_lowercase() };
        whole && start.len() == family.len() && start.iter().zip(*family).all(|(a, b)| same(*a, *b))
    };
    OWN.iter().any(of) || !trusted && CLAIMS.iter().any(of)
}

/// Removes the fields that concern the client's connection only, because it says so (RFC 9110
/// §7.6.1). Usually there are none.
fn remove_nominated(fields: &mut Fields) {
    let items = fields.values(Known::Connection).flat_map(list_items);
    // What is protected is refused later.
    let items = items.filter(|item| !is_option(item) && !is_protected(item));
    let nominated: SmallVec<[Box<[u8]>; 0]> = items.map(Into::into).collect();
    if !nominated.is_empty() {
        fields.retain(|field| !nominated.iter().any(|name| name.eq_ignore_ascii_case(field.name)));
    }
}

/// Returns who sent a request whose head has come through the door.
#[must_use]
pub fn identify_client<'a>(
    peer: &'a ClientPeer,
    listener: &Listener,
    head: &'a RequestHead,
) -> Identity<'a> {
    let end = OtherEnd {
        ip: peer.ip,
        text: peer.ip.map(|_| &*peer.text),
        trusted: peer.trusted,
        scheme: peer.scheme(),
        certificate: peer.certificate(),
    };
    Identity::new(end, &head.fields, &listener.client_field, |ip| listener.trusts(ip), is_host)
}

#[cfg(test)]
mod tests;
