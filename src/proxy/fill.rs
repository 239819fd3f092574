//! Header values with places in them, filled in for one request.
//!
//! Fields for servers are filled in while each attempt's head is written, because the server's name
//! can be in them. Fields for clients are filled in once the route's policies have been asked, so
//! that refusals have them too; those that name the server, when its response is passed on.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use super::MatchedRoute;
use crate::exchange::Emit;
use crate::exchange::edits::{FieldFacts, FillMoment};
use crate::exchange::identity::Identity;
use crate::policy::effects::PolicyEffects;
use crate::policy::jwt::Verified;
use crate::route::template::FieldPlace;

/// The upstream and the server that are asked, by name.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServerNames<'s> {
    pub(super) upstream: &'s Arc<str>,
    pub(super) server: &'s Arc<str>,
}

/// The upstream and server asked last, kept for the fields of the response.
#[derive(Debug, Default)]
pub(super) struct AskedServer(RefCell<Option<(Arc<str>, Arc<str>)>>);

/// The facts about a request whose route is known.
pub(super) struct RequestFacts<'f, 'a, 'i> {
    matched: &'f MatchedRoute<'a, 'i>,
    verified: Option<&'f Verified>,
    server: Option<ServerNames<'f>>,
}

impl fmt::Debug for RequestFacts<'_, '_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request {}", self.matched.id.as_str())
    }
}

impl FieldFacts for RequestFacts<'_, '_, '_> {
    fn append_place(&self, place: &FieldPlace, out: &mut Vec<u8>) {
        let Self { matched, verified, server } = self;
        let identity = matched.identity;
        let found: &[u8] = match place {
            FieldPlace::ClientIp => identity.client_text().unwrap_or_default().as_bytes(),
            FieldPlace::RequestId => matched.id.as_bytes(),
            FieldPlace::Host => matched.public_host.as_bytes(),
            FieldPlace::Path => matched.target.path(),
            FieldPlace::Query => matched.target.query().unwrap_or_default(),
            FieldPlace::Scheme => identity.scheme.as_bytes(),
            FieldPlace::Port => public_port(identity, matched.target.sent_host()),
            FieldPlace::Route => matched.route.name.as_bytes(),
            FieldPlace::Upstream => server.map_or(&b""[..], |names| names.upstream.as_bytes()),
            FieldPlace::Server => server.map_or(&b""[..], |names| names.server.as_bytes()),
            FieldPlace::Capture(n) => matched.capture_text(*n),
            FieldPlace::Claim(claim) => {
                let claims = verified.iter().flat_map(|verified| &verified.claims);
                let mut named = claims.filter(|(name, _)| name == claim);
                named.next().map_or(&b""[..], |(_, value)| value.as_bytes())
            }
            FieldPlace::CertificateSubject => {
                let certificate = identity.peer.certificate;
                certificate.map_or(&b""[..], |certificate| certificate.subject.as_bytes())
            }
            FieldPlace::Header(name) => matched.seen_header(name, *verified).unwrap_or_default(),
        };
        out.extend_from_slice(found);
    }
}

/// The port that the client asked for: as a trusted proxy tells, as in its `Host`, or that of the
/// scheme.
fn public_port<'p>(identity: &Identity<'p>, host: &'p [u8]) -> &'p [u8] {
    let after_literal = host.iter().rposition(|b| *b == b']').map_or(0, |at| at + 1);
    let tail = host.get(after_literal..).unwrap_or_default();
    let written = memchr::memrchr(b':', tail).and_then(|at| tail.get(at + 1..));
    let of_scheme: &[u8] = if identity.is_secure() { b"443" } else { b"80" };
    // A host that a trusted proxy told says more than the one that it sent.
    let written = if identity.host.is_some() { None } else { written };
    identity.port.or(written.filter(|port| !port.is_empty())).unwrap_or(of_scheme)
}

impl<'a, 'i> MatchedRoute<'a, 'i> {
    /// Collects what is known of this request, to fill in header values.
    pub(super) fn request_facts<'f>(
        &'f self,
        verified: Option<&'f Verified>,
        server: Option<ServerNames<'f>>,
    ) -> RequestFacts<'f, 'a, 'i> {
        RequestFacts { matched: self, verified, server }
    }

    /// Fills in the fields of the response that need no server.
    pub(super) fn fill_response(&self, effects: &mut PolicyEffects<'a>) {
        let filled = self.route.response_edits.filled();
        if filled.is_empty() {
            return;
        }
        let verified = effects.verified.as_deref();
        let mut made = Vec::new();
        for field in filled.iter().filter(|field| field.fill_moment() == FillMoment::Early) {
            let mut value = Vec::new();
            if field.fill_value(&self.request_facts(verified, None), &mut value) {
                made.push((&*field.name, value.into()));
            }
        }
        effects.made.extend(made);
    }

    /// Some field of the response names the server.
    pub(super) fn is_late(&self) -> bool {
        let filled = self.route.response_edits.filled();
        filled.iter().any(|field| field.fill_moment() == FillMoment::Late)
    }

    /// Notes who is asked, where a field of the response names it.
    pub(super) fn note_asked(&self, names: ServerNames<'_>, AskedServer(asked): &AskedServer) {
        let ServerNames { upstream, server } = names;
        if self.is_late() {
            asked.replace(Some((upstream.clone(), server.clone())));
        }
    }

    /// Writes the fields of the response that name the server.
    pub(super) fn fill_late(
        &self,
        effects: &PolicyEffects<'_>,
        AskedServer(asked): &AskedServer,
        out: &mut dyn Emit,
    ) {
        if !self.is_late() {
            return;
        }
        let mut value = Vec::new();
        let verified = effects.verified.as_deref();
        let asked = asked.borrow();
        let server = asked.as_ref().map(|(upstream, server)| ServerNames { upstream, server });
        let facts = self.request_facts(verified, server);
        for field in self.route.response_edits.filled() {
            if field.fill_moment() == FillMoment::Late && field.fill_value(&facts, &mut value) {
                out.emit_field(&field.name, &value);
            }
        }
    }
}
