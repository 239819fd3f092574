//! A route's cache: asked before the action, filled by fetches that survive whoever caused them.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::police::Granted;
use super::{End, Matched, keyed};
use crate::balance::{Key as BalanceKey, Member};
use crate::cache::answer::{self, Share, StoredBody};
use crate::cache::directives::RequestDirectives;
use crate::cache::fill::{Answer, Filling, INTERIMS, Order, OwnResponse};
use crate::cache::flight::{Flight, Landing};
use crate::cache::key::{self, Key};
use crate::cache::object::Object;
use crate::cache::policy::{Asked, Usability};
use crate::cache::route::{CacheResult, KeyInput, RouteCache};
use crate::cache::status::{CacheStatus, Forwarded};
use crate::clock;
use crate::exchange::HeaderEdits;
use crate::exchange::forward::{self, RequestForm};
use crate::exchange::outcome::{Cut, Note, Outcome};
use crate::exchange::pump::Waiting;
use crate::exchange::{Client, Deadline, Emit, Length, Outgoing, Pump, PumpError, Refusal, Source};
use crate::net::Coding;
use crate::net::Timer;
use crate::policy::encoded::Encoding;
use crate::route::condition::cookies;
use crate::snapshot::route::Split;
use crate::upstream::attempt_summary::AttemptSummary;
use crate::upstream::detached::DetachedClient;
use crate::upstream::forward::forward_request;
use crate::upstream::request::{AttemptReport, ForwardOutcome, ForwardRequest, Instead};
use crate::upstream::{Target, Upstream};
use crate::wire::head::Fields;
use crate::wire::{Known, ResponseHead, encode};
use crate::worker::Worker;

/// Fetches that a worker has under way; further requests are passed on without the cache.
const MOST_FETCHES: u32 = 4096;

/// Fields of a request that do not reach servers when its response may be stored: the conditions
/// and the range are the client's own affair, and the others ask for another response without
/// being part of the key (James Kettle, "Practical Web Cache Poisoning", 2018).
const UNKEYED: [&[u8]; 21] = [
    b"if-none-match",
    b"if-modified-since",
    b"if-range",
    b"range",
    b"x-http-method-override",
    b"x-http-method",
    b"x-method-override",
    b"x-original-url",
    b"x-rewrite-url",
    b"x-original-host",
    b"x-host",
    b"x-http-host-override",
    b"x-url-scheme",
    b"front-end-https",
    b"content-type",
    b"max-forwards",
    b"x-forwarded-server",
    b"x-forwarded-scheme",
    b"x-forwarded-prefix",
    b"x-forwarded-path",
    b"cookie",
];

/// What a cache makes of a request.
pub(super) enum Cached {
    /// The client has its answer, or has gone.
    Answered(End),
    /// The action follows; this is what `Cache-Status` says of it.
    Forward(CacheStatus),
}

/// What the answer to a request is made of.
struct Serving<'s, 'g> {
    status: CacheStatus,
    result: CacheResult,
    /// It comes out of the store, and no server was asked.
    unasked: bool,
    granted: &'s Granted<'g>,
}

impl<'a> Matched<'a, '_> {
    /// Answers from the cache, or says that the action has to.
    pub(super) async fn answer_from_cache<C: Client>(
        &self,
        cache: &'a RouteCache,
        split: &'a Split,
        (granted, told): (&Granted<'_>, &Told<'a>),
        client: &mut C,
        timer: &mut Timer,
    ) -> Result<Cached, Refusal> {
        let on = On { cache, split, granted, told };
        match self.decide(on) {
            Decision::Serve(object, status, result) => {
                let serving = Serving { status, result, unasked: true, granted };
                let end = self.serve(on, object, serving, client, timer).await;
                Ok(Cached::Answered(end))
            }
            Decision::Forward(why) => {
                on.note(CacheResult::Bypass);
                Ok(Cached::Forward(CacheStatus::asked(why)))
            }
            Decision::Refuse(refusal) => {
                on.note(CacheResult::Miss);
                Err(refusal)
            }
            Decision::Fetch(wanted, why) => {
                let now = clock::unix_millis();
                let flight = Arc::new(Flight::new(wanted.key.clone(), now));
                match cache.store.lead(&wanted.key, wanted.place(), &flight, now) {
                    Ok(()) => self.lead_fetch(on, (wanted, flight, why), client, timer).await,
                    Err(other) => self.join_fetch(on, (wanted, other, why), client, timer).await,
                }
            }
        }
    }

    /// Decides what is to be done, by what is stored now.
    fn decide(&self, on: On<'_, 'a, '_>) -> Decision {
        let On { cache, granted, .. } = on;
        let fields = &self.ex.head.fields;
        if let Some(why) = self.bypass() {
            return Decision::Forward(why);
        }
        let key = self.cache_key(cache, granted);
        let found = cache.store.find(&key, fields);
        let authenticated =
            !cache.identified && (cache.authenticates || fields.has(Known::Authorization));
        let asked = Asked { directives: RequestDirectives::read(fields), authenticated };
        let now = clock::unix_millis();
        let usability = found.object.as_ref().map(|object| object.timing().usability(&asked, now));
        let (why, stale, on_error) = match (found.object, usability) {
            (Some(object), Some(Usability::Fresh)) => {
                return Decision::Serve(object, CacheStatus::Hit(""), CacheResult::Hit);
            }
            (Some(object), Some(Usability::StaleAccepted)) => {
                return Decision::Serve(object, CacheStatus::Hit("stale"), CacheResult::Stale);
            }
            (Some(object), Some(Usability::StaleWhileRevalidate)) => {
                self.revalidate_behind(on, (&key, found.variant, &object, asked));
                let status = CacheStatus::Hit("stale-while-revalidate");
                return Decision::Serve(object, status, CacheResult::Stale);
            }
            (Some(object), Some(Usability::Validate { on_error })) => {
                let fresh = object.timing().fresh_for(now) > 0;
                let why = if fresh { Forwarded::Request } else { Forwarded::Stale };
                (why, Some(object), on_error)
            }
            (Some(_), Some(Usability::Forbidden) | None) => {
                (Forwarded::Bypass("authorization"), None, false)
            }
            (None, _) if cache.store.has_key(&key) => (Forwarded::VaryMiss, None, false),
            (None, _) => (Forwarded::UriMiss, None, false),
        };
        if asked.directives.only_if_cached {
            return Decision::Refuse(Refusal::NotCached);
        }
        // What a HEAD or a part would bring cannot be stored.
        if self.ex.head.method() == b"HEAD" {
            return Decision::Forward(why);
        }
        if fields.named(b"range").next().is_some() {
            return Decision::Forward(Forwarded::Bypass("range"));
        }
        if self.ex.worker.fetches.get() >= MOST_FETCHES {
            return Decision::Forward(Forwarded::Bypass("busy"));
        }
        let key = Arc::new(key);
        Decision::Fetch(Wanted { key, variant: found.variant, asked, stale, on_error }, why)
    }

    /// Why a request has nothing to do with the cache, if so.
    fn bypass(&self) -> Option<Forwarded> {
        keyed::bypass(self.ex.head, self.admitted)
    }

    /// The key of this request.
    pub(super) fn cache_key(&self, cache: &RouteCache, granted: &Granted<'_>) -> Key {
        let input = |input: &KeyInput| match input {
            KeyInput::Header(name) => self.header(name, granted.verified.as_deref()),
            KeyInput::Cookie(name) => keyed::cookie(&self.ex.head.fields, name),
            KeyInput::Claim(name) => {
                let claims = granted.verified.as_ref().map(|verified| verified.claims.iter());
                let mut claims = claims.into_iter().flatten();
                claims.find(|(claim, _)| **claim == **name).map(|(_, value)| value.as_bytes())
            }
        };
        let url = keyed::Url {
            route: &self.route.name,
            scheme: self.identity.scheme,
            public_host: self.public_host,
            target: self.target,
            identity: self.identity,
        };
        keyed::key(cache, &url, input)
    }

    /// Fetches, for itself and for whoever joins.
    async fn lead_fetch<C: Client>(
        &self,
        on: On<'_, 'a, '_>,
        (wanted, flight, why): (Wanted, Arc<Flight>, Forwarded),
        client: &mut C,
        timer: &mut Timer,
    ) -> Result<Cached, Refusal> {
        let had_stale = wanted.stale.is_some();
        let result = if had_stale { CacheResult::Expired } else { CacheResult::Miss };
        let Some(started) = self.start_fetch(on, (wanted, flight)) else {
            on.note(result);
            return Err(Refusal::NoServer(crate::exchange::Miss::Nobody));
        };
        let Started { mut answer, mut interims, attempts } = started;
        let mut unsent = false;
        let answer = loop {
            tokio::select! {
                biased;
                Some(head) = interims.recv() => {
                    client.interim(&head);
                    unsent = true;
                }
                answer = &mut answer => break answer.unwrap_or(Answer::Refused(Refusal::Internal)),
                () = poll_fn(|cx| poll_left(cx, client, &mut unsent)) => {
                    on.note(result);
                    client.cut();
                    return Ok(Cached::Answered(End::gone()));
                }
            }
        };
        on.told.asked.set(attempts.get().and_then(|attempts| asked(on.split, attempts)));
        self.serve_answer(on, (answer, why, result), client, timer).await
    }

    /// Waits for a fetch of somebody else's, and uses what it brings if that answers this request.
    async fn join_fetch<C: Client>(
        &self,
        on: On<'_, 'a, '_>,
        (wanted, other, why): (Wanted, Arc<Flight>, Forwarded),
        client: &mut C,
        timer: &mut Timer,
    ) -> Result<Cached, Refusal> {
        let On { cache, granted, .. } = on;
        let landing = tokio::select! {
            biased;
            landing = other.landed() => Some(landing),
            () = poll_fn(|cx| client.poll_gone(cx)) => {
                on.note(CacheResult::Coalesced);
                client.cut();
                return Ok(Cached::Answered(End::gone()));
            }
            () = wait(timer, cache.lock_timeout) => None,
        };
        // What is not stored in the end must not be kept by those who no longer wait for it.
        drop(other);
        let (object, status, result) = match landing {
            Some(Landing::Shared(object)) if self.is_answered_by(&wanted, &object) => {
                (object, None, CacheResult::Coalesced)
            }
            Some(Landing::Stale(object, status)) if wanted.on_error => {
                (object, status, CacheResult::Stale)
            }
            Some(Landing::Refused(refusal)) => {
                on.note(CacheResult::Coalesced);
                return Err(refusal);
            }
            Some(Landing::Shared(_) | Landing::Stale(..) | Landing::NotShared) | None => {
                let detail = if landing.is_some() { "not-shared" } else { "lock-timeout" };
                on.note(CacheResult::Bypass);
                return Ok(Cached::Forward(CacheStatus::asked(Forwarded::Bypass(detail))));
            }
        };
        let (stored, collapsed, unstorable) = (false, true, None);
        let status = CacheStatus::Asked { why, status, stored, collapsed, unstorable };
        let serving = Serving { status, result, unasked: false, granted };
        Ok(Cached::Answered(self.serve(on, object, serving, client, timer).await))
    }

    /// Whether a response that another request fetched answers this one too.
    fn is_answered_by(&self, wanted: &Wanted, object: &Object) -> bool {
        let names = key::vary_names(&object.head.fields);
        let fields = &self.ex.head.fields;
        let selected = names.is_empty() || key::variant(&names, fields) == object.variant;
        let usable = object.timing().usability(&wanted.asked, clock::unix_millis());
        selected && usable == Usability::Fresh
    }

    /// Sends what a fetch came to.
    async fn serve_answer<C: Client>(
        &self,
        on: On<'_, 'a, '_>,
        (answer, why, result): (Answer, Forwarded, CacheResult),
        client: &mut C,
        timer: &mut Timer,
    ) -> Result<Cached, Refusal> {
        let granted = on.granted;
        let asked = |status, stored| CacheStatus::Asked {
            why,
            status,
            stored,
            collapsed: false,
            unstorable: None,
        };
        let serving = |status, result| Serving { status, result, unasked: false, granted };
        let (object, serving) = match answer {
            Answer::Stored(object) => (object, serving(asked(None, true), result)),
            Answer::Confirmed(object) => {
                (object, serving(asked(Some(304), false), CacheResult::Revalidated))
            }
            Answer::Stale(object, status) => {
                (object, serving(asked(status, false), CacheResult::Stale))
            }
            Answer::Refused(refusal) => {
                on.note(result);
                return Err(refusal);
            }
            Answer::Own(own, unstorable) => {
                let status = CacheStatus::Asked {
                    why,
                    status: None,
                    stored: false,
                    collapsed: false,
                    unstorable: Some(unstorable),
                };
                let serving = serving(status, result);
                let end = self.serve_own(on, own, serving, client, timer).await;
                return Ok(Cached::Answered(end));
            }
        };
        Ok(Cached::Answered(self.serve(on, object, serving, client, timer).await))
    }

    /// Asks about a stale response without anybody waiting for the answer.
    fn revalidate_behind(
        &self,
        on: On<'_, 'a, '_>,
        (key, variant, stale, asked): (&Key, u64, &Arc<Object>, Asked),
    ) {
        if self.ex.worker.fetches.get() >= MOST_FETCHES {
            return;
        }
        let wanted = Wanted {
            key: Arc::new(key.clone()),
            variant,
            asked,
            stale: Some(stale.clone()),
            on_error: true,
        };
        let now = clock::unix_millis();
        let flight = Arc::new(Flight::new(wanted.key.clone(), now));
        if on.cache.store.lead(&wanted.key, wanted.place(), &flight, now).is_ok() {
            let _nobody_waits = self.start_fetch(on, (wanted, flight));
        }
    }

    /// Starts a fetch in a task of its own. `None` when there is no upstream to ask.
    fn start_fetch(
        &self,
        On { cache, split, granted, .. }: On<'_, 'a, '_>,
        (wanted, flight): (Wanted, Arc<Flight>),
    ) -> Option<Started> {
        let Some(index) = self.ex.worker.draw(|random| split.choose_index(random)) else {
            cache.store.land(&wanted.key, wanted.place(), &flight);
            return None;
        };
        let target = split.targets.get(index).map(|(_, target)| target)?;
        let fetch = Fetch {
            targets: split.targets.clone(),
            index,
            head: self.fetch_head(cache, granted, wanted.stale.as_deref()),
            key: target
                .key
                .as_ref()
                .and_then(|source| self.key(source, granted))
                .map(|key| key.to_vec()),
            request_id: self.id.as_str().to_owned(),
            memory: self.ex.snapshot.request_memory,
            attempts: Rc::default(),
        };
        let mut request = Fields::default();
        for field in self.ex.head.fields.iter() {
            request.push_known(field.name, field.value, field.known);
        }
        let (interims, heads) = mpsc::channel(INTERIMS);
        let order = Order {
            store: cache.store.clone(),
            flight,
            place: wanted.place(),
            key: wanted.key,
            request,
            asked: wanted.asked,
            settings: cache.settings.clone(),
            stale: wanted.stale,
            on_error: wanted.on_error,
            asked_at: clock::unix_millis(),
            interims,
        };
        let (sender, receiver) = oneshot::channel();
        let filling = Filling::new(order, sender);
        let under_way = UnderWay::new(self.ex.worker);
        let attempts = fetch.attempts.clone();
        tokio::task::spawn_local(async move { fetch.run(&under_way.0, filling).await });
        Some(Started { answer: receiver, interims: heads, attempts })
    }

    /// The head of a fetch, without the empty line at its end.
    fn fetch_head(
        &self,
        cache: &RouteCache,
        granted: &Granted<'_>,
        stale: Option<&Object>,
    ) -> Vec<u8> {
        // What cannot be rewritten has been refused.
        let rewritten = self.rewritten().unwrap_or_default();
        let form = self.form(&rewritten, granted);
        let mut hidden: Vec<&[u8]> = form.hidden.to_vec();
        let keyed = |name: &[u8]| {
            cache.vary_on.iter().any(|input| matches!(input, KeyInput::Header(k) if **k == *name))
        };
        hidden.extend(UNKEYED.iter().filter(|name| !keyed(name)));
        let facts = self.facts(granted.verified.as_deref(), None);
        let form =
            RequestForm { hidden: &hidden, expects_continue: false, facts: Some(&facts), ..form };
        let mut head = Vec::with_capacity(1024);
        forward::write_request(&mut head, &form);
        head.truncate(head.len().saturating_sub(b"\r\n".len()));
        if let Some(cookies) = self.keyed_cookies(cache) {
            encode::field(&mut head, b"cookie", &cookies);
        }
        if let Some(stale) = stale {
            if let Some(etag) = stale.etag() {
                encode::field(&mut head, b"if-none-match", etag);
            }
            if let Some(modified) = stale.last_modified() {
                encode::field(&mut head, b"if-modified-since", modified);
            }
        }
        head
    }

    /// Those cookies of the request that are part of the key.
    fn keyed_cookies(&self, cache: &RouteCache) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        for (name, value) in self.ex.head.fields.values(Known::Cookie).flat_map(cookies) {
            let keyed = cache
                .vary_on
                .iter()
                .any(|input| matches!(input, KeyInput::Cookie(known) if **known == *name));
            if keyed {
                if !out.is_empty() {
                    out.extend_from_slice(b"; ");
                }
                out.extend_from_slice(name);
                out.push(b'=');
                out.extend_from_slice(value);
            }
        }
        (!out.is_empty()).then_some(out)
    }

    /// Sends a stored response, or one on its way into the store.
    async fn serve<C: Client>(
        &self,
        on: On<'_, 'a, '_>,
        object: Arc<Object>,
        serving: Serving<'_, '_>,
        client: &mut C,
        timer: &mut Timer,
    ) -> End {
        on.note(serving.result);
        object.count_use();
        if self.intercepts()
            && let Some(instead) = self.instead(&object.head)
        {
            return self.serve_instead(&instead, serving, client, timer).await;
        }
        let request = &self.ex.head.fields;
        let head_request = self.ex.head.method() == b"HEAD";
        let share = answer::share(&object, request);
        let now = clock::unix_millis();
        let timing = object.timing();
        let (status, length) = match share {
            Share::Whole if head_request => {
                (object.head.status, Length::Bodiless(object.told_length()))
            }
            Share::Whole if matches!(object.head.status, 204 | 304) => {
                (object.head.status, Length::Bodiless(None))
            }
            Share::Whole => {
                (object.head.status, object.told_length().map_or(Length::Unknown, Length::Known))
            }
            Share::NotModified => (304, Length::Bodiless(None)),
            Share::Range(first, last, _) if head_request => {
                (206, Length::Bodiless(Some(last - first + 1)))
            }
            Share::Range(first, last, _) => (206, Length::Known(last - first + 1)),
            Share::Unsatisfiable(_) => (416, Length::Known(0)),
        };
        let plan = self
            .compress()
            .filter(|_| share == Share::Whole)
            .and_then(|wanted| wanted.plan(&object.head, length));
        let content_range = match share {
            Share::Range(first, last, total) => Some(format!("bytes {first}-{last}/{total}")),
            Share::Unsatisfiable(total) => Some(format!("bytes */{total}")),
            Share::Whole | Share::NotModified => None,
        };
        let told_status = serving.status.write(Some(&timing), now);
        let fields = |out: &mut dyn Emit| {
            self.stored_fields((&object.head, Some(&object)), &serving, &told_status, out);
            if let Some(range) = &content_range {
                out.field(b"content-range", range.as_bytes());
            }
            let age = timing.age(now) / 1000;
            if serving.unasked || age > 0 {
                out.field(b"age", itoa::Buffer::new().format(age).as_bytes());
            }
        };
        let reason = if share == Share::Whole { object.head.reason() } else { b"" };
        client.begin(&Outgoing {
            status,
            reason,
            fields: &|out| match &plan {
                Some(plan) => plan.fields(out, fields),
                None => fields(out),
            },
            length: plan.map_or(length, |plan| plan.length(length)),
        });
        let no_body = head_request || matches!(length, Length::Bodiless(_) | Length::Known(0));
        let body = match share {
            _ if no_body => None,
            Share::Range(first, last, _) => {
                Some(StoredBody::range(object.body.read(), first, last))
            }
            Share::Whole => Some(StoredBody::whole(object.body.read())),
            Share::NotModified | Share::Unsatisfiable(_) => None,
        };
        let encoding =
            plan.filter(|_| body.is_some()).and_then(|plan| plan.begin()).map(Encoding::new);
        // What is not stored in the end must be freed as it is read.
        drop(object);
        self.send_body(status, (body, encoding), client, timer).await
    }

    /// Sends a response that is not stored.
    async fn serve_own<C: Client>(
        &self,
        on: On<'_, 'a, '_>,
        own: OwnResponse,
        serving: Serving<'_, '_>,
        client: &mut C,
        timer: &mut Timer,
    ) -> End {
        on.note(serving.result);
        let OwnResponse { head, length, reader } = own;
        if self.intercepts()
            && let Some(instead) = self.instead(&head)
        {
            return self.serve_instead(&instead, serving, client, timer).await;
        }
        let plan = self.compress().and_then(|wanted| wanted.plan(&head, length));
        let told_status = serving.status.write(None, clock::unix_millis());
        let fields =
            |out: &mut dyn Emit| self.stored_fields((&head, None), &serving, &told_status, out);
        client.begin(&Outgoing {
            status: head.status,
            reason: head.reason(),
            fields: &|out| match &plan {
                Some(plan) => plan.fields(out, fields),
                None => fields(out),
            },
            length: plan.map_or(length, |plan| plan.length(length)),
        });
        let body = (!matches!(length, Length::Bodiless(_))).then(|| StoredBody::whole(reader));
        let encoding =
            plan.filter(|_| body.is_some()).and_then(|plan| plan.begin()).map(Encoding::new);
        self.send_body(head.status, (body, encoding), client, timer).await
    }

    /// Sends what stands in for a response.
    async fn serve_instead<C: Client>(
        &self,
        instead: &Instead,
        serving: Serving<'_, '_>,
        client: &mut C,
        timer: &mut Timer,
    ) -> End {
        let told_status = serving.status.write(None, clock::unix_millis());
        let fields = |out: &mut dyn Emit| {
            self.stored_fields((&instead.head, None), &serving, &told_status, out);
        };
        self.send_instead(instead, &fields, client, timer).await
    }

    /// What the client accepts, where this route compresses.
    fn compress(&self) -> Option<crate::policy::compress::Wanted<'a>> {
        let policies = self.route.policies.as_ref()?;
        policies.compress.as_ref().map(|compress| compress.wanted(&self.ex.head.fields))
    }

    /// The fields of a response out of the cache, as the client must see them.
    fn stored_fields(
        &self,
        (head, object): (&ResponseHead, Option<&Arc<Object>>),
        serving: &Serving<'_, '_>,
        status: &str,
        out: &mut dyn Emit,
    ) {
        let edits = &self.route.response_edits;
        let turned = self.turned_back(head);
        let head = turned.as_ref().unwrap_or(head);
        for field in head.fields.iter() {
            let sent = match object {
                Some(object) if serving.unasked => object.sends(field.name),
                Some(_) => !field.name.eq_ignore_ascii_case(b"age"),
                None => true,
            };
            if sent && !edits.hides(field.name) && !field.name.eq_ignore_ascii_case(b"cache-status")
            {
                out.field(field.name, field.value);
            }
        }
        out.field(b"cache-status", status.as_bytes());
        edits.written().for_each(|(name, value)| out.field(name, value));
        serving.granted.all().for_each(|(name, value)| out.field(name, value));
    }

    async fn send_body<C: Client>(
        &self,
        status: u16,
        (body, encoding): (Option<StoredBody>, Option<Encoding<'_>>),
        client: &mut C,
        timer: &mut Timer,
    ) -> End {
        let mut body = body.unwrap_or_else(StoredBody::empty);
        let mut encoding = encoding;
        let write_gap = self.ex.listener.write_gap;
        let outcome = match &mut encoding {
            Some(encoding) => copy(&mut encoding.of(&mut body), client, timer, write_gap).await,
            None => copy(&mut body, client, timer, write_gap).await,
        };
        if outcome != Outcome::Whole {
            client.cut();
        }
        End::of(outcome, status)
    }

    /// Makes invalid what a successful answer to an unsafe request says is (RFC 9111 §4.4).
    pub(super) fn invalidate(
        &self,
        cache: &RouteCache,
        granted: &Granted<'_>,
        head: &ResponseHead,
    ) {
        if !(200..=399).contains(&head.status) {
            return;
        }
        let now = clock::unix_millis();
        cache.store.invalidate(&self.cache_key(cache, granted), now);
        for name in [&b"location"[..], b"content-location"] {
            for value in head.fields.named(name) {
                if let Some((path, query)) = self.own_path(value) {
                    let key = self.sibling_key(cache, granted, path, query);
                    cache.store.invalidate(&key, now);
                }
            }
        }
        if let Some(name) = &cache.invalidate_header {
            let host = Some(self.public_host.as_bytes()).filter(|_| cache.key.host);
            cache.store.invalidate_named(head.fields.named(name), host.unwrap_or_default());
        }
    }

    /// The path and query of a reference to the request's own host.
    fn own_path<'v>(&self, value: &'v [u8]) -> Option<(&'v [u8], Option<&'v [u8]>)> {
        let rest = match value.strip_prefix(b"http://").or_else(|| value.strip_prefix(b"https://"))
        {
            Some(rest) => {
                let end = rest.iter().position(|byte| *byte == b'/')?;
                let (host, path) = rest.split_at_checked(end)?;
                if !host.eq_ignore_ascii_case(self.public_host.as_bytes())
                    && !host.eq_ignore_ascii_case(self.target.sent_host())
                {
                    return None;
                }
                path
            }
            None => value,
        };
        if !rest.starts_with(b"/") || rest.starts_with(b"//") {
            return None;
        }
        let mut parts = rest.splitn(2, |byte| *byte == b'?');
        Some((parts.next()?, parts.next()))
    }

    fn sibling_key(
        &self,
        cache: &RouteCache,
        granted: &Granted<'_>,
        path: &[u8],
        query: Option<&[u8]>,
    ) -> Key {
        let path = if cache.key.path { path } else { b"" };
        self.cache_key(cache, granted).with_path(path, query.filter(|_| cache.key.query))
    }
}

/// The cache a request belongs to, who is asked when it has no answer, and what policies granted.
#[derive(Clone, Copy)]
struct On<'l, 'a, 'g> {
    cache: &'a RouteCache,
    split: &'a Split,
    granted: &'l Granted<'g>,
    told: &'l Told<'a>,
}

impl On<'_, '_, '_> {
    /// Counts what became of the request, for metrics and its line of the log.
    fn note(&self, result: CacheResult) {
        self.cache.counts.count(result);
        self.told.result.set(Some(result));
    }
}

/// What is written down about a request that a cache had to do with.
#[derive(Debug, Default)]
pub(super) struct Told<'a> {
    /// What became of it.
    pub(super) result: Cell<Option<CacheResult>>,
    /// The upstream and the server that its fetch asked last, and how many attempts that took.
    pub(super) asked: Cell<Option<(&'a Upstream, &'a Member, u32)>>,
}

/// The server with this id, wherever a split may have sent a request.
fn asked(
    split: &Split,
    Attempts { server, number }: Attempts,
) -> Option<(&Upstream, &Member, u32)> {
    let first = split.targets.iter().map(|(_, target)| target);
    let mut all = first.flat_map(|target| {
        std::iter::successors(Some(target), |target| target.fallback.as_deref())
    });
    all.find_map(|target| {
        let member = target.pool.members().iter().find(|member| member.endpoint.id == server)?;
        Some((&*target.upstream, member, number))
    })
}

/// What is to be done with a request.
enum Decision {
    /// Answered with this.
    Serve(Arc<Object>, CacheStatus, CacheResult),
    /// Passed on without the cache.
    Forward(Forwarded),
    /// Refused.
    Refuse(Refusal),
    /// Fetched.
    Fetch(Wanted, Forwarded),
}

/// What a fetch is for.
struct Wanted {
    key: Arc<Key>,
    variant: u64,
    asked: Asked,
    stale: Option<Arc<Object>>,
    on_error: bool,
}

impl Wanted {
    /// The place among the fetches under way: nobody who is known waits for what an unknown client
    /// asked for, nor the other way round.
    fn place(&self) -> u64 {
        if self.asked.authenticated { !self.variant } else { self.variant }
    }
}

/// A request on the cache's own behalf.
struct Fetch {
    targets: Arc<[(u64, Target)]>,
    index: usize,
    /// Its head without the empty line at its end.
    head: Vec<u8>,
    /// What the upstream's strategy goes by.
    key: Option<Vec<u8>>,
    request_id: String,
    memory: usize,
    /// What is known of its attempts, for the log line of the request that caused it.
    attempts: Rc<Cell<Option<Attempts>>>,
}

/// A fetch that was started, as the one who caused it sees it.
struct Started {
    answer: oneshot::Receiver<Answer>,
    /// Informational responses, which are for nobody else.
    interims: mpsc::Receiver<ResponseHead>,
    attempts: Rc<Cell<Option<Attempts>>>,
}

/// Attempts at servers.
#[derive(Debug, Clone, Copy)]
struct Attempts {
    /// The id of the server asked last.
    server: u32,
    /// How many there were.
    number: u32,
}

impl Fetch {
    async fn run(&self, worker: &Worker, filling: Filling) {
        let Some((_, target)) = self.targets.get(self.index) else {
            return filling.end(None);
        };
        let no_edits = HeaderEdits::default();
        let attempted = |of: &AttemptReport<'_>| {
            self.attempts.set(Some(Attempts { server: of.server.id, number: of.number }));
        };
        let job = ForwardRequest {
            worker,
            received: None,
            head: &|out, _| {
                out.extend_from_slice(&self.head);
                out.extend_from_slice(b"\r\n");
                Coding::Exactly(0)
            },
            trailer: &|_| false,
            fields: &|head, out| forward::response_fields(head, &no_edits, out),
            compress: None,
            instead: None,
            key: &|_| self.key.as_deref().map(BalanceKey::new),
            attempted: Some(&attempted),
            cause: &Note::default(),
            request_id: &self.request_id,
            ends: None,
            head_request: false,
            safe: true,
            repeatable: true,
            expects_continue: false,
            upgrade: None,
            seen: None,
            body_limit: (u64::MAX, "route.cache"),
            body_gap: None,
            write_gap: None,
            started: clock::now(),
            memory: self.memory,
            grpc: false,
            deadline: None,
        };
        let mut client = DetachedClient::new(&[], filling);
        let (mut timer, mut trail) = (Timer::default(), AttemptSummary::default());
        let sent = forward_request(&job, target, &mut client, &mut timer, &mut trail).await;
        let refusal = match sent {
            ForwardOutcome::Refused(refusal) => Some(refusal),
            ForwardOutcome::Answered(_, outcome) => {
                if let Some(member) = trail.member {
                    worker.ledger.fetched(member.endpoint.id, outcome, client.sent());
                }
                None
            }
            ForwardOutcome::Gone => None,
        };
        client.receiver.end(refusal);
    }
}

/// Counts a fetch as under way until it is dropped.
struct UnderWay(Rc<Worker>);

impl UnderWay {
    fn new(worker: &Rc<Worker>) -> Self {
        worker.fetches.set(worker.fetches.get() + 1);
        Self(worker.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetches.set(self.0.fetches.get().saturating_sub(1));
    }
}

/// Ready when a client has gone; sends what it has been told so far.
fn poll_left<C: Client>(cx: &mut Context<'_>, client: &mut C, unsent: &mut bool) -> Poll<()> {
    if *unsent {
        match client.poll_flush(cx) {
            Poll::Ready(Ok(())) => *unsent = false,
            Poll::Ready(Err(_)) => return Poll::Ready(()),
            Poll::Pending => {}
        }
    }
    client.poll_gone(cx)
}

async fn wait(timer: &mut Timer, how_long: Duration) {
    let until = clock::deadline(clock::now(), Some(how_long));
    poll_fn(|cx| timer.poll_at(cx, until)).await;
}

/// Copies a body to a client. The source's own side has its deadlines where it is fetched.
async fn copy<C: Client>(
    source: &mut impl Source,
    client: &mut C,
    timer: &mut Timer,
    write_gap: Option<Duration>,
) -> Outcome {
    let mut pump = Pump::default();
    let mut since = clock::now();
    let mut moved = 0;
    poll_fn(|cx| {
        match pump.poll(cx, source, client) {
            Poll::Ready(Ok(())) => return Poll::Ready(Outcome::Whole),
            Poll::Ready(Err(PumpError::Source(_) | PumpError::Announced(_))) => {
                return Poll::Ready(Outcome::ServerCut(Cut::Closed));
            }
            Poll::Ready(Err(PumpError::Sink(_))) => return Poll::Ready(Outcome::ClientGone),
            Poll::Pending => {}
        }
        if pump.waiting() == Waiting::Source {
            return client.poll_gone(cx).map(|()| Outcome::ClientGone);
        }
        if pump.moved() != moved {
            moved = pump.moved();
            since = clock::now();
        }
        let gone = Outcome::Timeout(Deadline::ClientWrite);
        timer.poll_at(cx, clock::deadline(since, write_gap)).map(|()| gone)
    })
    .await
}
