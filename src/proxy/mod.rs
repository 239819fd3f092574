//! The walk of a request, from its head to the end of its response. The page to read first.
//!
//! It does not know who parsed the request: the client is a [`Client`], whatever it speaks. In
//! order: who sends it (`door`); admit (`admit`); route (`lookup`); policies (`policies`); cache
//! (`cached`); forward (`forward`), or another action of the route (`actions`, `files`); finish
//! (`finish`). Everything the proxy says itself goes through [`answer`].

mod actions;
pub mod admit;
pub mod answer;
mod cached;
mod copy;
pub mod door;
mod entry;
mod files;
mod fill;
mod finish;
mod forward;
mod instead;
mod key;
pub(crate) mod keyed;
pub mod lookup;
mod policies;
pub mod rewrite;
mod stages;
mod turned;

use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::Deref;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use self::actions::OPTIONS_ANSWER;
use self::admit::Admitted;
use self::cached::{CacheScope, CacheStep};
use self::finish::{ExchangeAccount, RequestLog};
use self::lookup::find_route;
use crate::cache::route::RouteCache;
use crate::exchange::identity::Identity;
use crate::exchange::outcome::Note;
use crate::exchange::target::RequestTarget;
use crate::exchange::{
    BodyLimit, Client, Exchange, Halt, Outcome, ReceivedRequest, Refusal, RequestId, loops,
};
use crate::net::Timer;
use crate::route::authority;
use crate::route::template::TemplateValues;
use crate::route::{Captures, FoundRoute};
use crate::snapshot::route::{Action, Split};
use crate::snapshot::{Listener, Route, Snapshot};
use crate::telemetry::trace::Trace;
use crate::wire::grpc;
use crate::worker::Worker;

/// One exchange, and what the walk handles it with. It is copied from step to step, and read like
/// the exchange itself.
#[derive(Clone, Copy)]
pub(crate) struct WalkContext<'a> {
    /// The worker it runs on.
    pub(crate) worker: &'a Rc<Worker>,
    /// The configuration it runs by.
    pub(crate) snapshot: &'a Snapshot,
    /// The listener that the request came in by.
    pub(crate) listener: &'a Listener,
    /// The request, and what is known of it.
    pub(crate) exchange: &'a Exchange<'a>,
}

impl<'a> Deref for WalkContext<'a> {
    type Target = Exchange<'a>;

    fn deref(&self) -> &Self::Target {
        self.exchange
    }
}

/// The end of an exchange, for accounting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalkEnd {
    /// The status the client was sent; 499, as in nginx's logs, when it left before it had
    /// everything.
    pub status: u16,
    /// The outcome.
    pub outcome: Outcome,
}

impl WalkEnd {
    /// The end of an exchange whose response has this status.
    fn from_outcome(outcome: Outcome, status: u16) -> Self {
        // A tunnel is there to be left: how it was opened is what its line says, as with nginx.
        let gone = outcome == Outcome::ClientGone && status != 101;
        Self { status: if gone { outcome.http_status() } else { status }, outcome }
    }

    /// The client left while it waited.
    fn client_gone() -> Self {
        Self::from_outcome(Outcome::ClientGone, 0)
    }
}

/// Handles one request. The response has been sent, or the client cut off, when this is done.
///
/// Cancel safety: dropping the future ends the exchange on the server's side too.
pub async fn handle<C: Client>(
    worker: &Rc<Worker>,
    snapshot: &Snapshot,
    listener: &Listener,
    request: ReceivedRequest<'_>,
    client: &mut C,
    timer: &mut Timer,
) -> WalkEnd {
    let ReceivedRequest { peer, head, started } = request;
    let exchange = Exchange {
        peer,
        head,
        id: worker.draw_random(|random| RequestId::of(head, random)),
        identity: door::identify_client(peer, listener, head),
        started,
        cause: Note::default(),
    };
    let ex = WalkContext { worker, snapshot, listener, exchange: &exchange };
    let mut log = RequestLog::default();
    if let Some(tracing) = &snapshot.trace {
        let begin = |random: &mut _| Trace::begin_trace(tracing, head, peer.trusted, random);
        log.trace = Some(worker.draw_random(begin));
    }
    // What is written down when this is dropped: `finish_exchange`.
    let mut account = ExchangeAccount { ex, log: &mut log, client, end: None };
    let ExchangeAccount { log, client, .. } = &mut account;
    let end = match walk(ex, &mut **client, timer, log).await {
        Ok(end) => end,
        Err(refusal) => refuse_exchange(ex, refusal, log, &mut **client, timer).await,
    };
    account.end = Some(end);
    end
}

/// Answers with a refusal, or cuts the client off when a response has already begun.
async fn refuse_exchange<C: Client>(
    ex: WalkContext<'_>,
    refusal: Refusal,
    log: &RequestLog<'_>,
    client: &mut C,
    timer: &mut Timer,
) -> WalkEnd {
    if client.has_begun() {
        client.cut_response();
        return WalkEnd::from_outcome(
            Outcome::ProxyCut(Halt::Refusal(refusal)),
            refusal.row().status,
        );
    }
    let refused = answer::RefusedAnswer {
        refusal,
        request_id: ex.id.as_str(),
        head_request: ex.is_head(),
        grpc: grpc::is_call(ex.head),
        page: log.route.and_then(|route| instead::refusal_page(route, refusal, &ex.head.fields)),
        edits: log.route.map(|route| &route.response_edits),
        added: &log.effects.response_fields().collect::<Vec<_>>(),
    };
    answer::send_refusal(client, timer, &refused, ex.listener.write_gap).await;
    WalkEnd::from_outcome(Outcome::Refused(refusal), refusal.row().status)
}

/// The walk: admit, route, policies, cache, forward. Whoever answers on the way ends it.
async fn walk<'a, C: Client>(
    ex: WalkContext<'a>,
    client: &mut C,
    timer: &mut Timer,
    log: &mut RequestLog<'a>,
) -> Result<WalkEnd, Refusal> {
    let admitted = admit::admit_request(ex.head, ex.listener.methods)?;
    let mut target = lookup::read_target(&ex)?;
    if admitted.answer_options {
        return Ok(actions::answer_itself(ex, client, timer, &OPTIONS_ANSWER).await);
    }
    let identity = &ex.exchange.identity;
    if ex.listener.redirect_https && !identity.is_secure() {
        if target.fault().is_some() {
            target.keep_raw().map_err(Refusal::Target)?;
        }
        return actions::to_https(ex, &target, &public_host(identity, &target), client, timer)
            .await;
    }
    let FoundRoute { route, captures, raw, .. } = find_route(&ex, &target)?;
    if raw {
        target.keep_raw().map_err(Refusal::Target)?;
    }
    log.route = Some(route);
    let _under_way = RequestUnderWay::new(route);
    let body_limit = enter_route(&ex, route, &admitted)?;
    let matched = MatchedRoute {
        ex,
        id: &ex.exchange.id,
        identity,
        admitted,
        target: &target,
        public_host: &public_host(identity, &target),
        client_bytes: identity.client.map(ipv6_octets),
        route,
        captures,
        raw,
    };
    if route.rewrite.regex.is_some() {
        matched.rewritten_path()?;
    }
    // Who a client is, a server hears from the proxy or not at all, on routes without `auth` too.
    if !ex.snapshot.identity_fields.is_empty() {
        log.effects.hidden.extend(ex.snapshot.identity_fields.iter().map(|name| &**name));
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
    match &route.action {
        Action::Forward(split) => {
            if let Some(cache) = &route.cache
                && let Some(end) = matched.try_cache(cache, split, client, timer, log).await?
            {
                return Ok(end);
            }
            // Pinned where it stays: it is large, and awaiting it by value copies it twice.
            pin!(matched.forward(split, body_limit, client, timer, log)).await
        }
        Action::Respond(respond) => Ok(matched.respond(respond, &log.effects, client, timer).await),
        Action::Files(files) => matched.serve_file(files, &mut log.effects, client, timer).await,
        Action::Redirect(redirect) => matched.redirect(redirect, &log.effects, client, timer).await,
    }
}

/// Counts a request as one of its route's, and refuses it if it has been here before, or announces
/// a longer body than the route takes. Returns how long its body may become.
#[inline]
fn enter_route(
    ex: &WalkContext<'_>,
    route: &Route,
    admitted: &Admitted<'_>,
) -> Result<BodyLimit, Refusal> {
    route.counts.requests.fetch_add(1, Ordering::Relaxed);
    if route.mark.as_ref().is_some_and(|mark| loops::is_loop(&ex.head.fields, mark)) {
        return Err(Refusal::Loop);
    }
    let limit = body_limit(ex.listener, route);
    match admitted.length {
        Some(length) if length > limit.bytes => Err(Refusal::BodyTooLarge(limit.key)),
        _ => Ok(limit),
    }
}

/// The host that the client asked for, before trusted proxies wrote another one.
fn public_host<'h>(identity: &Identity<'h>, target: &'h RequestTarget<'_>) -> Cow<'h, str> {
    identity.host.and_then(authority::canonical_host).unwrap_or(Cow::Borrowed(target.host()))
}

/// An address as IPv6, so that both families take the same form.
fn ipv6_octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The most body bytes, and the key that says so.
fn body_limit(listener: &Listener, route: &Route) -> BodyLimit {
    match route.body_limit {
        Some(bytes) => BodyLimit { bytes, key: "route.body_limit" },
        None => BodyLimit { bytes: listener.body, key: "listen.limits.body" },
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

/// A request whose route is known.
struct MatchedRoute<'a, 'i> {
    ex: WalkContext<'a>,
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
    fn template_values(&self) -> TemplateValues<'_> {
        TemplateValues {
            host: self.target.host().as_bytes(),
            path: self.target.path(),
            query: self.target.query(),
            rest: b"",
        }
    }

    /// The path that a server sees; empty where it is the same.
    fn rewritten_path(&self) -> Result<Vec<u8>, Refusal> {
        let mut out = Vec::new();
        let rewrite = &self.route.rewrite;
        if rewrite.changes_path() {
            let values = self.template_values();
            let most = rewrite::most_bytes(self.ex.listener.head.bytes);
            rewrite::rewrite_path(&mut out, rewrite, &values, self.raw, most, |n| {
                self.capture_text(n)
            })?;
        }
        Ok(out)
    }

    fn capture_text(&self, n: usize) -> &[u8] {
        self.captures.captured_text(n, self.target.path())
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
        let on = CacheScope { cache, split, effects: &*effects, told: &*told };
        match self.answer_from_cache(on, client, timer).await? {
            CacheStep::Answered(end) => Ok(Some(end)),
            CacheStep::Forward(status) => {
                let status = status.write_value(None, 0).into_bytes();
                effects.made.push((b"cache-status", status.into()));
                Ok(None)
            }
        }
    }
}
