//! The walk of a request, from its head to the end of its response. The page to read first.
//!
//! It does not know who parsed the request: the client is a [`Client`], whatever it speaks. In
//! order: who sends it ([`door`]), is the request acceptable ([`admit`]), what does it ask for ([`crate::exchange::target`]), which route is
//! that ([`crate::route`]), and then the route's one action. Everything the proxy says itself goes
//! through [`answer`].

pub mod admit;
pub mod answer;
mod cached;
mod copy;
pub mod door;
mod entry;
mod files;
mod fill;
mod finish;
mod instead;
mod key;
pub(crate) mod keyed;
pub mod lookup;
mod peer;
mod policies;
pub mod request_id;
pub mod rewrite;
mod stages;
mod turned;

use std::borrow::Cow;
use std::cell::RefCell;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use self::admit::Admitted;
use self::answer::OwnAnswer;
use self::cached::CacheStep;
use self::fill::AskedServer;
use self::finish::{ExchangeAccount, RequestLog};
use self::lookup::find_route;
pub use self::peer::ClientPeer;
use self::request_id::RequestId;
use self::stages::WalkStage;
use self::turned::keep_on_host;
use crate::cache::route::RouteCache;
use crate::clock::{self, Instant};
use crate::exchange::forward::{self, RequestForm};
use crate::exchange::identity::Identity;
use crate::exchange::outcome::Note;
use crate::exchange::target::{RequestTarget, TargetFault};
use crate::exchange::{self, Client, Halt, Outcome, Refusal, loops};
use crate::net::{BodyFraming, Timer};
use crate::policy::effects::PolicyEffects;
use crate::route::authority;
use crate::route::template::TemplateValues;
use crate::route::{Captures, FoundRoute};
use crate::snapshot::route::{Action, Redirect, Respond, Split};
use crate::snapshot::{Listener, Route, Snapshot};
use crate::telemetry::trace::Trace;
use crate::upstream::attempt_summary::AttemptSummary;
use crate::upstream::forward::forward_request;
use crate::upstream::mirror_buffer::MirrorBuffer;
use crate::upstream::request::{AttemptHead, AttemptReport, ForwardOutcome, ForwardRequest};
use crate::upstream::retry;
use crate::wire::{RequestHead, Version, grpc};
use crate::worker::Worker;

/// One request and everything the walk looks at.
#[derive(Clone, Copy)]
pub struct Exchange<'a> {
    /// The worker it runs on.
    pub worker: &'a Rc<Worker>,
    /// The configuration it runs by.
    pub snapshot: &'a Snapshot,
    /// The listener that it came in by.
    pub listener: &'a Listener,
    /// The client that it came from.
    pub peer: &'a ClientPeer,
    /// The head, after the door.
    pub head: &'a RequestHead,
    /// The time when the head was complete.
    pub started: Instant,
}

/// The end of an exchange, for accounting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalkEnd {
    /// The status the client was sent; 499, as in nginx's logs, when it left before it had everything.
    pub status: u16,
    /// The outcome.
    pub outcome: Outcome,
}

impl WalkEnd {
    /// The end of an exchange whose response has this status.
    fn of(outcome: Outcome, status: u16) -> Self {
        // A tunnel is there to be left: how it was opened is what its line says, as with nginx.
        let gone = outcome == Outcome::ClientGone && status != 101;
        Self { status: if gone { outcome.status() } else { status }, outcome }
    }

    /// The client left while it waited.
    fn gone() -> Self {
        Self::of(Outcome::ClientGone, 0)
    }
}

/// Handles one request. The response has been sent, or the client cut off, when this is done.
///
/// Cancel safety: dropping the future ends the exchange on the server's side too.
pub async fn handle<C: Client>(ex: Exchange<'_>, client: &mut C, timer: &mut Timer) -> WalkEnd {
    let id = ex.worker.draw(|random| RequestId::of(ex.head, random));
    let identity = door::identify_client(ex.peer, ex.listener, ex.head);
    let mut log = RequestLog::default();
    if let Some(tracing) = &ex.snapshot.trace {
        let trusted = ex.peer.trusted;
        let begin = |random: &mut _| Trace::begin(tracing, ex.head, trusted, random);
        log.trace = Some(ex.worker.draw(begin));
    }
    let log = &mut log;
    let mut account = ExchangeAccount { ex, id: &id, identity: &identity, log, client, end: None };
    let ExchangeAccount { log, client, .. } = &mut account;
    let end = match walk(ex, (&id, &identity), &mut **client, timer, log).await {
        Ok(end) => end,
        Err(refusal) => {
            refuse_exchange(ex, refusal, &id, (log.route, &log.effects), &mut **client, timer).await
        }
    };
    account.end = Some(end);
    end
}

/// Answers with a refusal, or cuts the client off when a response has already begun.
async fn refuse_exchange<C: Client>(
    ex: Exchange<'_>,
    refusal: Refusal,
    id: &RequestId<'_>,
    (route, effects): (Option<&Route>, &PolicyEffects<'_>),
    client: &mut C,
    timer: &mut Timer,
) -> WalkEnd {
    if client.begun() {
        client.cut();
        return WalkEnd::of(Outcome::ProxyCut(Halt::Refusal(refusal)), refusal.row().status);
    }
    let head_request = ex.head.method() == b"HEAD";
    let (request_id, added) = (id.as_str(), &*effects.response_fields().collect::<Vec<_>>());
    let grpc = grpc::is_call(ex.head);
    let edits = route.map(|route| &route.response_edits);
    let page = route.and_then(|route| instead::refusal_page(route, refusal, &ex.head.fields));
    let refused =
        answer::RefusedAnswer { refusal, request_id, head_request, grpc, page, edits, added };
    answer::send_refusal(client, timer, &refused, ex.listener.write_gap).await;
    WalkEnd::of(Outcome::Refused(refusal), refusal.row().status)
}

async fn walk<'a, C: Client>(
    ex: Exchange<'a>,
    (id, identity): (&RequestId<'_>, &Identity<'_>),
    client: &mut C,
    timer: &mut Timer,
    log: &mut RequestLog<'a>,
) -> Result<WalkEnd, Refusal> {
    let admitted = admit::admit_request(ex.head, ex.listener.methods)?;
    let target = RequestTarget::of(ex.head, ex.listener.path, lookup::kept_spellings(ex.snapshot));
    let mut target = target.map_err(Refusal::Target)?;
    if ex.peer.tls.as_ref().is_some_and(|tls| !tls.belongs(target.host(), ex.listener.sni)) {
        return Err(Refusal::Misdirected);
    }
    if admitted.answer_options {
        return Ok(answer_itself(ex, client, timer, &OPTIONS_ANSWER).await);
    }
    if ex.listener.redirect_https && !identity.is_secure() {
        if target.fault().is_some() {
            target.keep_raw().map_err(Refusal::Target)?;
        }
        return to_https(ex, (&target, &public_host(identity, &target)), client, timer).await;
    }
    let FoundRoute { route, captures, raw, .. } = find_route(&ex, &target, identity)?;
    if raw {
        target.keep_raw().map_err(Refusal::Target)?;
    }
    let public_host = public_host(identity, &target);
    log.route = Some(route);
    route.counts.requests.fetch_add(1, Ordering::Relaxed);
    let _under_way = RequestUnderWay::new(route);
    if route.mark.as_ref().is_some_and(|mark| loops::is_loop(&ex.head.fields, mark)) {
        return Err(Refusal::Loop);
    }
    let limit = body_limit(ex.listener, route);
    if admitted.length.is_some_and(|n| n > limit.0) {
        return Err(Refusal::BodyTooLarge(limit.1));
    }
    let client_bytes = identity.client.map(ipv6_octets);
    let target = &target;
    let public_host = &public_host;
    let matched = MatchedRoute {
        ex,
        id,
        identity,
        admitted,
        target,
        public_host,
        client_bytes,
        route,
        captures,
        raw,
    };
    if route.rewrite.regex.is_some() {
        matched.rewritten()?;
    }
    if let Some(policies) = &route.policies {
        let effects = &mut log.effects;
        let ended = policies::pass_policies(&matched, policies, effects, client, timer).await?;
        if let Some(end) = ended {
            return Ok(end);
        }
    } else {
        matched.fill_response(&mut log.effects);
    }
    // Pinned where it stays: it is large, and awaiting it by value copies it twice.
    match &route.action {
        Action::Forward(split) => {
            if let Some(cache) = &route.cache
                && let Some(end) = matched.try_cache(cache, split, client, timer, log).await?
            {
                return Ok(end);
            }
            let RequestLog { trail, trace, effects, cause, .. } = log;
            let log = (trail, trace.as_ref(), &*effects, &*cause);
            pin!(matched.forward(split, limit, client, timer, log)).await
        }
        Action::Respond(respond) => Ok(matched.respond(respond, &log.effects, client, timer).await),
        Action::Files(files) => matched.serve_file(files, &mut log.effects, client, timer).await,
        Action::Redirect(redirect) => matched.redirect(redirect, &log.effects, client, timer).await,
    }
}

/// The host that the client asked for, before trusted proxies wrote another one.
fn public_host<'h>(identity: &Identity<'h>, target: &'h RequestTarget<'_>) -> Cow<'h, str> {
    identity.host.and_then(authority::canonical).unwrap_or(Cow::Borrowed(target.host()))
}

/// An address as IPv6, so that both families take the same form.
fn ipv6_octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The most body bytes, and the key that says so.
fn body_limit(listener: &Listener, route: &Route) -> (u64, &'static str) {
    match route.body_limit {
        Some(limit) => (limit, "route.body_limit"),
        None => (listener.body, "listen.limits.body"),
    }
}

/// Counts a request of a route as under way until it is dropped.
struct RequestUnderWay<'a>(&'a Route);

impl<'a> RequestUnderWay<'a> {
    fn new(route: &'a Route) -> Self {
        route.counts.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(route)
    }
}

impl Drop for RequestUnderWay<'_> {
    fn drop(&mut self) {
        self.0.counts.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

const OPTIONS_ANSWER: OwnAnswer<'static> = OwnAnswer {
    status: 200,
    fields: &[(b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")],
    body: b"",
    head_request: false,
    edits: None,
    added: &[],
    refusal: false,
};

async fn answer_itself<C: Client>(
    ex: Exchange<'_>,
    client: &mut C,
    timer: &mut Timer,
    answer: &OwnAnswer<'_>,
) -> WalkEnd {
    let outcome = answer::send_answer(client, timer, answer, ex.listener.write_gap).await;
    WalkEnd::of(outcome, answer.status)
}

/// `redirect = "https"` of a listener: the same host and path, for good and with the same method.
async fn to_https<C: Client>(
    ex: Exchange<'_>,
    (target, host): (&RequestTarget<'_>, &str),
    client: &mut C,
    timer: &mut Timer,
) -> Result<WalkEnd, Refusal> {
    if host.is_empty() {
        return Err(Refusal::Target(TargetFault::HostCount));
    }
    let mut location = b"https://".to_vec();
    location.extend_from_slice(host.as_bytes());
    location.extend_from_slice(target.path());
    if let Some(query) = target.query() {
        location.push(b'?');
        location.extend_from_slice(query);
    }
    let answer = OwnAnswer {
        status: 308,
        fields: &[(b"location", &location)],
        body: b"",
        head_request: ex.head.method() == b"HEAD",
        edits: None,
        added: &[],
        refusal: false,
    };
    Ok(answer_itself(ex, client, timer, &answer).await)
}

/// What is written down while a request is forwarded, and what policies added to it.
type WalkProgress<'s, 'a> =
    (&'s mut AttemptSummary<'a>, Option<&'s Trace>, &'s PolicyEffects<'a>, &'s Note);

/// The path that a server sees, empty where it is the client's, and `If-Match` in the stead of the client's.
type Replaced<'r> = (&'r [u8], Option<&'r [u8]>);

/// A request whose route is known.
struct MatchedRoute<'a, 'i> {
    ex: Exchange<'a>,
    id: &'i RequestId<'i>,
    identity: &'i Identity<'i>,
    admitted: Admitted<'a>,
    target: &'i RequestTarget<'i>,
    /// The host as the client wrote it, in canonical form.
    public_host: &'i str,
    /// The client's address as bytes, to hash by.
    client_bytes: Option<[u8; 16]>,
    route: &'a Route,
    captures: Captures,
    /// The path is sent as it came.
    raw: bool,
}

impl<'a> MatchedRoute<'a, '_> {
    fn values(&self) -> TemplateValues<'_> {
        TemplateValues {
            host: self.target.host().as_bytes(),
            path: self.target.path(),
            query: self.target.query(),
            rest: b"",
        }
    }

    /// The path that a server sees; empty where it is the same.
    fn rewritten(&self) -> Result<Vec<u8>, Refusal> {
        let mut out = Vec::new();
        let rewrite = &self.route.rewrite;
        if rewrite.changes_path() {
            rewrite::rewrite_path(&mut out, rewrite, &self.values(), self.raw, |n| {
                self.capture(n)
            })?;
        }
        Ok(out)
    }

    fn capture(&self, n: usize) -> &[u8] {
        self.captures.get(n, self.target.path())
    }

    /// Answers with what a cache has or fetches; `None` when the request has to be forwarded.
    async fn try_cache<C: Client>(
        &self,
        cache: &'a RouteCache,
        split: &'a Split,
        client: &mut C,
        timer: &mut Timer,
        log: &mut RequestLog<'a>,
    ) -> Result<Option<WalkEnd>, Refusal> {
        let RequestLog { effects, cache: told, .. } = log;
        let by = (&*effects, &*told);
        match self.answer_from_cache(cache, split, by, client, timer).await? {
            CacheStep::Answered(end) => Ok(Some(end)),
            CacheStep::Forward(status) => {
                let status = status.write(None, 0).into_bytes();
                effects.made.push((b"cache-status", status.into()));
                Ok(None)
            }
        }
    }

    async fn respond<C: Client>(
        &self,
        respond: &Respond,
        effects: &PolicyEffects<'_>,
        client: &mut C,
        timer: &mut Timer,
    ) -> WalkEnd {
        let fields: Vec<(&[u8], &[u8])> =
            respond.fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        let added: Vec<(&[u8], &[u8])> = effects.response_fields().collect();
        let answer = OwnAnswer {
            status: respond.status,
            fields: &fields,
            body: &respond.body,
            head_request: self.ex.head.method() == b"HEAD",
            edits: Some(&self.route.response_edits),
            added: &added,
            refusal: false,
        };
        answer_itself(self.ex, client, timer, &answer).await
    }

    async fn redirect<C: Client>(
        &self,
        redirect: &Redirect,
        effects: &PolicyEffects<'_>,
        client: &mut C,
        timer: &mut Timer,
    ) -> Result<WalkEnd, Refusal> {
        let mut location = Vec::new();
        let values = TemplateValues { host: self.public_host.as_bytes(), ..self.values() };
        if values.host.is_empty() && redirect.to.has_host() {
            return Err(Refusal::Target(TargetFault::HostCount));
        }
        redirect.write_location(&mut location, &values, |n| self.capture(n));
        if redirect.to.is_path() {
            keep_on_host(&mut location);
        }
        if let (false, Some(query)) = (redirect.to.has_query(), self.target.query()) {
            location.push(b'?');
            location.extend_from_slice(query);
        }
        let added: Vec<(&[u8], &[u8])> = effects.response_fields().collect();
        let answer = OwnAnswer {
            status: redirect.status,
            fields: &[(b"location", &location)],
            body: b"",
            head_request: self.ex.head.method() == b"HEAD",
            edits: Some(&self.route.response_edits),
            added: &added,
            refusal: false,
        };
        Ok(answer_itself(self.ex, client, timer, &answer).await)
    }

    async fn forward<C: Client>(
        &self,
        split: &'a Split,
        body_limit: (u64, &'static str),
        client: &mut C,
        timer: &mut Timer,
        (trail, trace, effects, cause): WalkProgress<'_, 'a>,
    ) -> Result<WalkEnd, Refusal> {
        let Self { ex, route, .. } = self;
        let Some(goal) = ex.worker.draw(|random| split.choose(random)) else {
            return Err(Refusal::NoServer(exchange::NoServerReason::Nobody));
        };
        let rewritten = self.rewritten()?;
        let policies = route.policies.as_ref();
        let if_match = policies.and_then(|policies| policies.if_match(&ex.head.fields));
        let if_match = if_match.as_deref();
        let replaced = (&*rewritten, if_match);
        let asked = AskedServer::default();
        let patience = self.admitted.grpc.then(|| grpc::timeout(&ex.head.fields)).flatten();
        let deadline = clock::deadline(ex.started, patience);
        let mirror = self.mirror();
        let seen = mirror.map(|_| RefCell::<MirrorBuffer>::default());
        let attempted = |of: &AttemptReport<'_>| finish::trace_attempt(trace, of);
        let invalidates = route.cache.as_deref().filter(|_| !retry::is_safe(ex.head));
        let sampled = trace.is_some_and(|trace| trace.context.sampled);
        let trailer = |name: &[u8]| {
            !door::is_claim(name, false)
                && !forward::leaves_out(&route.request_edits, &effects.hidden, name)
        };
        let stage = WalkStage { matched: self, effects, asked: Some(&asked), invalidates };
        let job = ForwardRequest {
            attempted: if sampled { Some(&attempted) } else { None },
            worker: ex.worker,
            received: Some(&ex.head.fields),
            head: &|out, opening| {
                self.write_attempt(out, &opening, (replaced, &asked), effects, (trace, deadline))
            },
            trailer: &trailer,
            stages: &|| stage.response_stages(),
            key: &|source| self.key(source, effects),
            cause,
            request_id: self.id,
            ends: ex.peer.ends.as_deref(),
            head_request: ex.head.method() == b"HEAD",
            safe: retry::is_safe(ex.head),
            repeatable: retry::is_repeatable(ex.head),
            expects_continue: self.expects_continue(),
            upgrade: self.admitted.upgrade,
            seen: seen.as_ref(),
            body_limit,
            body_gap: ex.listener.body_gap,
            write_gap: ex.listener.write_gap,
            started: ex.started,
            memory: ex.snapshot.request_memory,
            grpc: self.admitted.grpc,
            deadline,
        };
        let sent = forward_request(&job, goal, client, timer, trail).await;
        if let Some((mirror, seen)) = mirror.zip(seen) {
            match seen.into_inner().whole(client, &trailer) {
                Some(whole) => {
                    mirror.send(ex.worker, self.copy(mirror, (replaced, effects), trace, whole))
                }
                None => mirror.skip(),
            }
        }
        match sent {
            ForwardOutcome::Answered(status, Outcome::ClientGone) => {
                client.cut();
                Ok(WalkEnd::of(Outcome::ClientGone, status))
            }
            ForwardOutcome::Gone => {
                client.cut();
                Ok(WalkEnd::gone())
            }
            ForwardOutcome::Answered(status, outcome) => Ok(WalkEnd::of(outcome, status)),
            ForwardOutcome::Refused(refusal) => Err(refusal),
        }
    }

    /// Writes the head of the request for one attempt.
    fn write_attempt(
        &self,
        out: &mut Vec<u8>,
        opening: &AttemptHead<'_>,
        (replaced, asked): (Replaced<'_>, &AskedServer),
        effects: &PolicyEffects<'_>,
        (trace, deadline): (Option<&Trace>, Option<Instant>),
    ) -> BodyFraming {
        let AttemptHead { attempt, ask, empty, upstream, server } = *opening;
        self.note_asked((upstream, server), asked);
        let facts = self.facts(effects.verified.as_deref(), Some((upstream, server)));
        // Of 0 bytes, nothing has come yet, and trailers still may.
        let length = if empty { Some(0) } else { self.admitted.length.filter(|n| *n > 0) };
        let form = RequestForm {
            attempt,
            expects_continue: self.expects_continue() || ask,
            traceparent: trace.and_then(|trace| trace.traceparent(attempt)),
            b3: trace.and_then(|trace| trace.b3(attempt)),
            // What is left of the client's patience is all that the server has.
            left: deadline.map(|at| at.saturating_duration_since(clock::now())),
            length,
            facts: Some(&facts),
            ..self.form(replaced, effects)
        };
        forward::write_request(out, &form)
    }

    /// Returns whether the client waits for 100 before it sends the body.
    fn expects_continue(&self) -> bool {
        self.admitted.expects_continue && self.ex.head.version != Version::Http10
    }

    #[inline]
    fn form<'f>(
        &'f self,
        (rewritten, if_match): Replaced<'f>,
        effects: &'f PolicyEffects<'_>,
    ) -> RequestForm<'f> {
        let Self { ex, route, admitted, target, .. } = self;
        let original_host = target.sent_host();
        RequestForm {
            head: ex.head,
            path: if rewritten.is_empty() { target.path() } else { rewritten },
            query: target.query(),
            host: route.rewrite.host.as_deref().unwrap_or(original_host),
            original_host,
            prefix: self.forwarded_prefix(),
            request_id: self.id.as_bytes(),
            hidden: &effects.hidden,
            added: effects.verified.as_ref().map_or(&[], |verified| &verified.fields),
            if_match,
            traceparent: None,
            b3: None,
            left: None,
            identity: self.identity,
            edits: &route.request_edits,
            facts: None,
            upgrade: admitted.upgrade,
            expects_continue: self.expects_continue(),
            length: admitted.length,
            attempt: 1,
        }
    }
}
