//! Which route a request belongs to: what the routing table asks, and what a request answers.

use std::net::IpAddr;
use std::sync::Arc;

use super::{WalkContext, policies};
use crate::exchange::Refusal;
use crate::exchange::target::{Keep, RequestTarget};
use crate::route::{FoundRoute, RouteMiss, RouteQuery};
use crate::snapshot::{Route, Snapshot};
use crate::wire::head::Fields;

/// Tells if paths are kept as they are sent: only where a route looks at them so.
#[must_use]
pub fn kept_spellings(snapshot: &Snapshot) -> Keep {
    if snapshot.table.has_raw() { Keep::Raw } else { Keep::Normal }
}

/// Reads what a request asks for, of whom it may ask that on its connection.
///
/// # Errors
/// The refusal to answer with.
#[inline]
pub(super) fn read_target<'a>(ex: &WalkContext<'a>) -> Result<RequestTarget<'a>, Refusal> {
    let target = RequestTarget::from_head(ex.head, ex.listener.path, kept_spellings(ex.snapshot));
    let target = target.map_err(Refusal::Target)?;
    match &ex.peer.tls {
        Some(tls) if !tls.belongs_here(target.host(), ex.listener.sni) => Err(Refusal::Misdirected),
        _ => Ok(target),
    }
}

/// The route of a request. A preflight belongs to the route of the request that it asks about.
pub(super) fn find_route<'a>(
    ex: &WalkContext<'a>,
    target: &RequestTarget<'_>,
) -> Result<FoundRoute<'a, Arc<Route>>, Refusal> {
    let method = ex.head.method();
    let look = |method| {
        let ask = |path| LookupQuery { ex: *ex, target, path, method };
        ex.snapshot.table.find_spelled(target.path_spelling(), ask)
    };
    let found = look(method);
    let cors = |found: &FoundRoute<'_, Arc<Route>>| {
        found.route.policies.as_ref().is_some_and(|policies| policies.cors.is_some())
    };
    if let Some((_, meant)) = policies::read_preflight(method, &ex.head.fields)
        && !found.as_ref().is_ok_and(cors)
        && let Some(found) = look(meant).ok().filter(cors)
    {
        return Ok(found);
    }
    found.map_err(|(RouteMiss::NoRoute | RouteMiss::Method)| missed_route(target))
}

/// Tells why a request has no route: nothing looks at its path as it is, or nothing matches.
#[must_use]
pub fn missed_route(target: &RequestTarget<'_>) -> Refusal {
    target.fault().map_or(Refusal::NoRoute, Refusal::Target)
}

/// The request as the routing table sees it.
struct LookupQuery<'a> {
    ex: WalkContext<'a>,
    target: &'a RequestTarget<'a>,
    path: &'a [u8],
    method: &'a [u8],
}

impl RouteQuery for LookupQuery<'_> {
    fn listener(&self) -> u16 {
        self.ex.peer.listener
    }

    fn host(&self) -> &str {
        self.target.host()
    }

    fn path(&self) -> &[u8] {
        self.path
    }

    fn query(&self) -> Option<&[u8]> {
        self.target.query()
    }

    fn method(&self) -> &[u8] {
        self.method
    }

    fn fields(&self) -> &Fields {
        &self.ex.head.fields
    }

    fn client(&self) -> Option<IpAddr> {
        self.ex.identity.client
    }

    fn tls(&self) -> bool {
        self.ex.peer.tls.is_some()
    }

    fn certificate_subject(&self) -> Option<&[u8]> {
        self.ex.identity.peer.certificate.map(|certificate| certificate.subject.as_bytes())
    }

    fn certificate_names(&self) -> impl Iterator<Item = &[u8]> {
        let names =
            self.ex.identity.peer.certificate.map_or(&[][..], |certificate| &certificate.names);
        names.iter().map(|name| name.as_bytes())
    }
}
