//! A fetch for a cache: what servers are asked, by a task that survives whoever caused it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::{CacheScope, MOST_FETCHES, StaleServed, WantedFetch};
use crate::balance::BalanceKey;
use crate::cache::fill::{Answer, FillOrder, Filling, INTERIMS};
use crate::cache::lead::FlightLead;
use crate::cache::object::Object;
use crate::cache::policy::revalidation_fields;
use crate::cache::route::{KeyInput, RouteCache};
use crate::cache::status::Forwarded;
use crate::clock;
use crate::exchange::forward::{self, RequestForm};
use crate::exchange::outcome::Note;
use crate::exchange::{Client as _, RequestId, RequestTraits};
use crate::net::{BodyFraming, Timer};
use crate::policy::effects::PolicyEffects;
use crate::proxy::MatchedRoute;
use crate::proxy::forward::ReplacedParts;
use crate::route::condition::cookies;
use crate::upstream::attempt_summary::AttemptSummary;
use crate::upstream::detached::DetachedClient;
use crate::upstream::forward::forward_request;
use crate::upstream::request::{ForwardOutcome, ForwardRequest};
use crate::upstream::requester::{AttemptHead, AttemptReport, Requester};
use crate::upstream::{KeySource, UpstreamTarget};
use crate::wire::head::Fields;
use crate::wire::{Known, ResponseHead, encode};
use crate::worker::Worker;

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

impl<'a> MatchedRoute<'a, '_> {
    /// Asks about a stale response without anybody waiting for the answer.
    pub(super) fn revalidate_behind(&self, on: CacheScope<'_, 'a, '_>, stale: StaleServed<'_>) {
        let StaleServed { key, exact, object, asked } = stale;
        if self.ex.worker.fetches.get() >= MOST_FETCHES {
            return;
        }
        let wanted = WantedFetch {
            key: Arc::new(key.to_key()),
            exact: Arc::new(exact.to_key()),
            variant: object.variant,
            asked,
            stale: Some(object.clone()),
            on_error: true,
            why: Forwarded::Stale,
        };
        let now = clock::unix_millis();
        let (store, place) = (&on.cache.store, wanted.fetch_place());
        if let Ok(lead) = FlightLead::begin_behind(store, &wanted.key, place, now) {
            let _nobody_waits = self.start_fetch(on, (wanted, lead));
        }
    }

    /// Starts a fetch in a task of its own. `None` when there is no upstream to ask.
    pub(super) fn start_fetch(
        &self,
        CacheScope { cache, split, effects, .. }: CacheScope<'_, 'a, '_>,
        (wanted, lead): (WantedFetch, FlightLead),
    ) -> Option<Started> {
        let index = self.ex.worker.draw_random(|random| split.choose_index(random))?;
        let target = split.targets.get(index).map(|(_, target)| target)?;
        let fetch = Fetch {
            targets: split.targets.clone(),
            index,
            head: self.fetch_head(cache, effects),
            key: target
                .key
                .as_ref()
                .and_then(|source| self.balance_key(source, effects))
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
        let order = FillOrder {
            store: cache.store.clone(),
            lead,
            exact: wanted.exact,
            request,
            asked: wanted.asked,
            settings: cache.settings.clone(),
            stale: wanted.stale,
            on_error: wanted.on_error,
            asked_at: clock::unix_millis(),
            tier: cache.tier.as_ref().map(|tier| (tier.clone(), tier.known())),
            interims,
        };
        let (sender, receiver) = oneshot::channel();
        let filling = Filling::new(order, sender);
        let under_way = FetchUnderWay::new(self.ex.worker);
        let attempts = fetch.attempts.clone();
        tokio::task::spawn_local(async move { fetch.run_fetch(&under_way.0, filling).await });
        Some(Started { answer: receiver, interims: heads, attempts })
    }

    /// The head of a fetch, without the empty line at its end.
    fn fetch_head(&self, cache: &RouteCache, effects: &PolicyEffects<'_>) -> Vec<u8> {
        // What cannot be rewritten has been refused.
        let rewritten = self.rewritten_path().unwrap_or_default();
        let form = self.form(ReplacedParts { path: &rewritten, if_match: None }, effects);
        let mut hidden: Vec<&[u8]> = form.hidden.to_vec();
        let keyed = |name: &[u8]| {
            cache.vary_on.iter().any(|input| matches!(input, KeyInput::Header(k) if **k == *name))
        };
        hidden.extend(UNKEYED.iter().filter(|name| !keyed(name)));
        let facts = self.request_facts(effects.verified.as_deref(), None);
        let form =
            RequestForm { hidden: &hidden, expects_continue: false, facts: Some(&facts), ..form };
        let mut head = Vec::with_capacity(1024);
        forward::write_request(&mut head, &form);
        head.truncate(head.len().saturating_sub(b"\r\n".len()));
        if let Some(cookies) = self.keyed_cookies(cache) {
            encode::field(&mut head, b"cookie", &cookies);
        }
        head
    }

    /// The cookies of the request that are part of the key.
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
}

/// Asks whether a stored response is still what the server would send.
fn write_conditions(head: &mut Vec<u8>, stale: &Object) {
    for (name, value) in revalidation_fields(&stale.head.fields) {
        encode::field(head, name, value);
    }
}

/// A request on the cache's own behalf.
struct Fetch {
    targets: Arc<[(u64, UpstreamTarget)]>,
    index: usize,
    /// The head without the empty line at its end.
    head: Vec<u8>,
    /// The key that the upstream's strategy goes by.
    key: Option<Vec<u8>>,
    request_id: String,
    memory: usize,
    /// What is known of its attempts, for the log line of the request that caused it.
    attempts: Rc<Cell<Option<Attempts>>>,
}

/// A fetch that was started, as the one who caused it sees it.
pub(super) struct Started {
    pub(super) answer: oneshot::Receiver<Answer>,
    /// Informational responses, which are for nobody else.
    pub(super) interims: mpsc::Receiver<ResponseHead>,
    pub(super) attempts: Rc<Cell<Option<Attempts>>>,
}

/// Attempts at servers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempts {
    /// The id of the server asked last.
    pub(super) server: u32,
    /// How many there were.
    pub(super) number: u32,
}

impl Fetch {
    async fn run_fetch(&self, worker: &Worker, mut filling: Filling) {
        let Some((_, target)) = self.targets.get(self.index) else {
            return filling.end_fetch(None);
        };
        if filling.restore_from_tier(&worker.cache_tier).await {
            return;
        }
        // Only now is it known which response a 304 would confirm.
        let mut conditions = Vec::new();
        if let Some(stale) = filling.stale() {
            write_conditions(&mut conditions, stale);
        }
        let (id, cause) = (RequestId::from_text(&self.request_id), Note::default());
        let request = RequestTraits {
            safe: true,
            repeatable: true,
            ..RequestTraits::detached(&id, "route.cache", &cause)
        };
        let requester = &FetchRequester { fetch: self, conditions: &conditions };
        let (request, memory) = (&request, self.memory);
        let job = ForwardRequest { worker, memory, request, requester, seen: None };
        let mut client = DetachedClient::new(&[], &mut filling);
        let (mut timer, mut trail) = (Timer::default(), AttemptSummary::default());
        let sent = forward_request(&job, target, &mut client, &mut timer, &mut trail).await;
        let refusal = match sent {
            ForwardOutcome::Refused(refusal) => Some(refusal),
            ForwardOutcome::Answered(_, outcome) => {
                if let Some(server) = trail.server() {
                    worker.ledger.note_fetched(server.id, outcome, client.sent_bytes());
                }
                None
            }
            ForwardOutcome::Gone => None,
        };
        filling.end_fetch(refusal);
    }
}

/// A fetch, with the conditions that end its head.
struct FetchRequester<'f> {
    fetch: &'f Fetch,
    conditions: &'f [u8],
}

impl Requester for FetchRequester<'_> {
    fn write_head(&self, out: &mut Vec<u8>, _: &AttemptHead<'_>) -> BodyFraming {
        out.extend_from_slice(&self.fetch.head);
        out.extend_from_slice(self.conditions);
        out.extend_from_slice(b"\r\n");
        BodyFraming::Exactly(0)
    }

    fn allows_trailer(&self, _: &[u8]) -> bool {
        false
    }

    fn balance_key(&self, _: &KeySource) -> Option<BalanceKey<'_>> {
        self.fetch.key.as_deref().map(BalanceKey::new)
    }

    fn follows_attempts(&self) -> bool {
        true
    }

    fn note_attempt(&self, report: &AttemptReport<'_>) {
        let attempts = Attempts { server: report.server.id, number: report.number };
        self.fetch.attempts.set(Some(attempts));
    }
}

/// Counts a fetch as under way until it is dropped.
struct FetchUnderWay(Rc<Worker>);

impl FetchUnderWay {
    fn new(worker: &Rc<Worker>) -> Self {
        worker.fetches.set(worker.fetches.get() + 1);
        Self(worker.clone())
    }
}

impl Drop for FetchUnderWay {
    fn drop(&mut self) {
        self.0.fetches.set(self.0.fetches.get().saturating_sub(1));
    }
}
