//! Whether a request has anything to do with a cache, and what others must share with it to get the
//! same response. The walk and `explain` ask the same code.

use super::admit::Admitted;
use crate::cache::answer;
use crate::cache::key::KeyRef;
use crate::cache::route::{KeyInput, RouteCache};
use crate::cache::status::Forwarded;
use crate::exchange::identity::Identity;
use crate::exchange::target::RequestTarget;
use crate::route::condition::cookies;
use crate::wire::head::Fields;
use crate::wire::{Known, RequestHead};

/// Tells why a request goes past the cache, if it does.
pub(crate) fn bypass_reason(head: &RequestHead, admitted: Admitted<'_>) -> Option<Forwarded> {
    if !matches!(head.method(), b"GET" | b"HEAD") {
        return Some(Forwarded::Method);
    }
    if admitted.upgrade.is_some() {
        return Some(Forwarded::Bypass("upgrade"));
    }
    if admitted.length != Some(0) {
        return Some(Forwarded::Bypass("body"));
    }
    // RFC 9110 §13.1.1: such a condition is for the server alone.
    let for_server = [&b"if-match"[..], b"if-unmodified-since"];
    if for_server.iter().any(|name| head.fields.named(name).next().is_some()) {
        return Some(Forwarded::Bypass("condition"));
    }
    answer::has_unknown_range(&head.fields).then_some(Forwarded::Bypass("range"))
}

/// The URL that a request leads to.
pub(crate) struct Url<'u> {
    /// The route's name.
    pub(crate) route: &'u str,
    /// `http` or `https`.
    pub(crate) scheme: &'u str,
    /// The host as the client wrote it, in canonical form.
    pub(crate) public_host: &'u str,
    /// The target that is routed.
    pub(crate) target: &'u RequestTarget<'u>,
    /// The client as trusted proxies told of it.
    pub(crate) identity: &'u Identity<'u>,
}

/// Writes the key of a request into a buffer; `input` finds the value of what the route adds.
pub(crate) fn write_key<'b, 'v>(
    buffer: &'b mut Vec<u8>,
    cache: &'v RouteCache,
    url: &Url<'v>,
    input: impl Fn(&KeyInput) -> Option<&'v [u8]>,
) -> KeyRef<'b> {
    let Url { route, scheme, public_host, target, identity } = url;
    let host = if cache.key.host { public_host.as_bytes() } else { b"" };
    let path = if cache.key.path { target.path() } else { b"" };
    let query = target.query().filter(|_| cache.key.query);
    let name = cache.store.name.as_bytes();
    let where_to = [Some(name), Some(scheme.as_bytes()), Some(host), Some(path), query];
    // Servers are told both hosts, so both count.
    let host_sent = target.host();
    let routed =
        [Some(route.as_bytes()), (host_sent != *public_host).then_some(host_sent.as_bytes())];
    // With their ports and as they are written: what servers are told ends up in redirects and
    // links.
    let told = cache.key.host.then(|| {
        let (sent, public) = (target.sent_host(), public_host.as_bytes());
        let other = identity.host.filter(|told| *told != public);
        [(sent != public).then_some(sent), other, identity.port]
    });
    let added = cache.vary_on.iter().map(input);
    let parts = where_to.into_iter().chain(routed).chain(told.into_iter().flatten()).chain(added);
    KeyRef::write_key(buffer, parts)
}

/// The value of a cookie.
pub(crate) fn cookie_value<'v>(fields: &'v Fields, name: &[u8]) -> Option<&'v [u8]> {
    cookies_named(fields, name).next()
}

/// The values of all cookies of a name.
pub(crate) fn cookies_named<'v>(fields: &'v Fields, name: &[u8]) -> impl Iterator<Item = &'v [u8]> {
    let all = fields.values(Known::Cookie).flat_map(cookies);
    all.filter(move |(known, _)| *known == name).map(|(_, value)| value)
}
