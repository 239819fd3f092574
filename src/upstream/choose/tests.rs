//! The server that an attempt gets under each rule of an upstream, and the answer when there is
//! none.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::Notify;

use super::*;
use crate::balance::{Balance, BalanceWord, Strategy};
use crate::endpoint::breaker::{BreakerSettings, BreakerState, Trip};
use crate::exchange::outcome::Note;
use crate::exchange::{Outgoing, RequestId, RequestTraits};
use crate::net::BodyFraming;
use crate::tls::client::AlpnOffer;
use crate::upstream::affinity::LearnedAffinity;
use crate::upstream::attempt_summary::AttemptSummary;
use crate::upstream::detached::{DetachedClient, Receiver};
use crate::upstream::membership::{Balancing, CurrentMembers, ServerSpec};
use crate::upstream::requester::{AttemptHead, Requester};
use crate::upstream::retry::{Budget, Retry};
use crate::upstream::sticky::Sticky;
use crate::upstream::{
    Arrangement, Breaking, KeySource, Membership, PoolLimits, Timeouts, UpstreamTarget,
};
use crate::wire::head::Fields;
use crate::wire::response::HeadLimits;
use crate::worker::Worker;

const BREAKER: BreakerSettings =
    BreakerSettings { trip: Trip::Failures(1), successes: 1, open_for: Duration::from_secs(30) };

/// An upstream of the servers `s1` and `s2`, which take turns, without any limit.
fn upstream(sticky: Option<Affinity>) -> Upstream {
    let servers = vec![ServerSpec::numbered(1), ServerSpec::numbered(2)];
    let arrangement = Arrangement {
        upstream: "app".into(),
        balancing: Balancing::Any(Strategy::Weighted(BalanceWord::RoundRobin)),
        zone: None,
        check: None,
        outgoing: None,
        tls_name: None,
        sticky,
        subsets: Box::default(),
    };
    let first = Membership::build_membership(&arrangement, servers, None).unwrap();
    Upstream {
        name: "app".into(),
        arrangement,
        source: "list",
        current: CurrentMembers::new(first),
        rules: BalanceRules::default(),
        limits: PoolLimits {
            idle: 0,
            kept: Duration::ZERO,
            requests_per_connection: u32::MAX,
            connections: u32::MAX,
            response_head: HeadLimits::default(),
            pending: 1,
            pending_timeout: Duration::from_secs(10),
        },
        timed: false,
        eject: None,
        breaker: None,
        fail_open: false,
        budget: Arc::new(Budget::new(0.0)),
        offer: AlpnOffer::Http1,
        announce: None,
        state: Arc::default(),
    }
}

/// A route's way to an upstream, with the servers that it has.
struct Way {
    target: UpstreamTarget,
    members: Arc<Membership>,
}

impl Way {
    fn new(upstream: Upstream) -> Self {
        let members = upstream.members();
        let retry = Retry {
            attempts: 0,
            on_connect: false,
            on_timeout: false,
            on_reset: false,
            on_invalid: false,
            on_status: Box::default(),
            on_grpc: Box::default(),
            per_try: None,
            body_buffer: 0,
            budget: upstream.budget.clone(),
            backoff: None,
        };
        let timeouts = Timeouts {
            connect: None,
            send: None,
            first_byte: None,
            gap: None,
            total: None,
            tunnel: None,
        };
        let (upstream, fallback) = (Arc::new(upstream), None);
        let target = UpstreamTarget { upstream, view: 0, key: None, timeouts, retry, fallback };
        Self { target, members }
    }

    fn target(&self) -> TargetMembers<'_> {
        TargetMembers::new(&self.target, &self.members)
    }

    fn state(&self) -> &crate::upstream::UpstreamState {
        &self.target.upstream.state
    }

    fn servers(&self) -> &[Member] {
        self.members.members()
    }

    fn ids(&self) -> [u32; 2] {
        [0, 1].map(|at| self.servers()[at].endpoint.id)
    }

    /// Chooses for one request, once.
    fn choose(&self, asked: &Asked<'_>) -> Result<Chosen<'_>, Unchosen> {
        self.choose_with(asked, &mut None)
    }

    fn choose_with<'a>(
        &'a self,
        asked: &Asked<'_>,
        carried: &mut Option<Permit<'a>>,
    ) -> Result<Chosen<'a>, Unchosen> {
        asked.with_request(|job, progress| {
            at_once(job, self.target(), progress, carried, clock::now())
        })
    }

    fn choose_first(&self) -> Result<Chosen<'_>, Unchosen> {
        ANY.with_request(|job, progress| choose_first(job, self.target(), progress))
    }

    /// Waits for a server. Returns also what is noted as the time that it took.
    async fn wait(
        &self,
        asked: &Asked<'_>,
        gone: bool,
    ) -> (Result<Chosen<'_>, Unchosen>, Duration) {
        let worker = worker();
        let (id, cause) = (RequestId::from_text("1"), Note::default());
        let request = RequestTraits::detached(&id, "test", &cause);
        let job = asked.job(&worker, &request);
        let mut trail = AttemptSummary::default();
        let mut progress = asked.progress(&mut trail);
        let mut nobody = Nobody { gone };
        let mut client = DetachedClient::new(b"", &mut nobody);
        let mut timer = Timer::default();
        let caller = WaitingClient { client: &mut client, timer: &mut timer };
        let chosen = in_turn(&job, self.target(), &mut progress, &mut None, caller).await;
        (chosen, trail.queue)
    }
}

/// What is known of a request when it looks for a server.
#[derive(Default)]
struct Asked<'k> {
    key: Option<&'k [u8]>,
    tried: &'k [u32],
    unprocessed: bool,
}

/// A request that is like any other.
const ANY: Asked<'static> = Asked { key: None, tried: &[], unprocessed: false };

fn worker() -> Worker {
    Worker::new(0, Arc::new([Notify::new()]), Random::seeded(1))
}

impl Asked<'_> {
    fn job<'a>(&'a self, worker: &'a Worker, request: &'a RequestTraits<'a>) -> ForwardRequest<'a> {
        ForwardRequest { worker, memory: 0, request, requester: self, seen: None }
    }

    fn progress<'p, 't>(&self, trail: &'p mut AttemptSummary<'t>) -> AttemptProgress<'p, 't> {
        let mut progress = AttemptProgress::new(trail);
        assert!(self.tried.iter().all(|id| progress.remember_tried(*id)));
        progress.unprocessed = self.unprocessed;
        progress
    }

    fn with_request<T>(
        &self,
        then: impl FnOnce(&ForwardRequest<'_>, &mut AttemptProgress<'_, '_>) -> T,
    ) -> T {
        let worker = worker();
        let (id, cause) = (RequestId::from_text("1"), Note::default());
        let request = RequestTraits::detached(&id, "test", &cause);
        let mut trail = AttemptSummary::default();
        then(&self.job(&worker, &request), &mut self.progress(&mut trail))
    }
}

impl Requester for Asked<'_> {
    fn write_head(&self, _: &mut Vec<u8>, _: &AttemptHead<'_>) -> BodyFraming {
        BodyFraming::Exactly(0)
    }

    fn allows_trailer(&self, _: &[u8]) -> bool {
        true
    }

    fn balance_key(&self, _: &KeySource) -> Option<BalanceKey<'_>> {
        self.key.map(BalanceKey::new)
    }
}

/// A client that no response reaches.
struct Nobody {
    gone: bool,
}

impl Receiver for Nobody {
    fn begin_response(&mut self, _: &Outgoing<'_>) {}

    fn poll_take(&mut self, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(data.len()))
    }

    fn flush_body(&mut self) {}

    fn finish_response(&mut self, _: Option<&Fields>) {}

    fn cut_response(&mut self) {}

    fn poll_unwanted(&mut self, _: &mut Context<'_>) -> Poll<()> {
        if self.gone { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// The name of the server that was chosen; its place is given back.
fn name(chosen: Result<Chosen<'_>, Unchosen>) -> Result<String, Unchosen> {
    chosen.map(|chosen| chosen.member.endpoint.name.to_string())
}

fn served(by: &str) -> Result<String, Unchosen> {
    Ok(by.to_owned())
}

fn refused<T>(refusal: Refusal) -> Result<T, Unchosen> {
    Err(Unchosen::Refused(refusal))
}

fn no_server<T>(reason: NoServerReason) -> Result<T, Unchosen> {
    refused(Refusal::NoServer(reason))
}

fn fail(permit: Option<Permit<'_>>) {
    permit.unwrap().report_failure(clock::now());
}

#[test]
fn what_was_tried_is_left_out_and_nothing_else() {
    let way = Way::new(upstream(None));
    let [one, two] = way.ids();
    let choose = |tried: &[u32]| name(way.choose(&Asked { tried, ..ANY }));
    for _ in 0..3 {
        assert_eq!(choose(&[]), served("s1"));
        assert_eq!(choose(&[]), served("s2"));
    }
    for _ in 0..3 {
        assert_eq!(choose(&[one]), served("s2"));
        assert_eq!(choose(&[two]), served("s1"));
    }
    assert_eq!(choose(&[one, two]), Err(Unchosen::Tried));
    assert!(way.choose(&ANY).unwrap().permit.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_breaker_of_an_upstream_is_asked_once_for_each_request() {
    let _epoch = clock::millis(clock::now());
    let breaker = Some(Breaking { settings: BREAKER, per_server: false });
    let way = Way::new(Upstream { breaker, ..upstream(None) });
    // Those of its servers have no say here.
    for server in way.servers() {
        fail(server.endpoint.breaker.admit_request(&BREAKER, clock::now()).ok());
    }
    let permit = way.choose(&ANY).unwrap().permit.unwrap();
    assert!(!permit.is_trial());
    fail(Some(permit));
    assert_eq!(name(way.choose(&ANY)), refused(Refusal::BreakerOpen));
    tokio::time::advance(BREAKER.open_for).await;
    let mut carried = way.choose(&ANY).unwrap().permit;
    assert!(carried.as_ref().is_some_and(Permit::is_trial));
    // As many are on trial as may be. An attempt that came to nothing hands its permit on to the
    // next one.
    assert_eq!(name(way.choose(&ANY)), refused(Refusal::BreakerOpen));
    let chosen = way.choose_with(&ANY, &mut carried).unwrap();
    assert!(carried.is_none());
    assert_eq!(name(way.choose(&ANY)), refused(Refusal::BreakerOpen));
    chosen.permit.unwrap().report_success(clock::now());
    assert!(!way.choose(&ANY).unwrap().permit.unwrap().is_trial());
    assert_eq!(way.state().breaker.requests_refused(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_own_breaker_is_open_is_left_out() {
    let _epoch = clock::millis(clock::now());
    let breaker = Some(Breaking { settings: BREAKER, per_server: true });
    let way = Way::new(Upstream { breaker, ..upstream(None) });
    let [one, two] = way.ids();
    let chosen = way.choose(&ANY).unwrap();
    assert_eq!(&*chosen.member.endpoint.name, "s1");
    fail(chosen.permit);
    assert_eq!(way.state().breaker.state_at(clock::now()), BreakerState::Closed);
    for _ in 0..4 {
        assert_eq!(name(way.choose(&ANY)), served("s2"));
    }
    assert_eq!(name(way.choose(&Asked { tried: &[one], ..ANY })), served("s2"));
    // What the request has tried stays out beside it.
    let tried = Asked { tried: &[two], ..ANY };
    assert_eq!(name(way.choose(&tried)), refused(Refusal::BreakerOpen));
    fail(way.choose(&ANY).unwrap().permit);
    assert_eq!(name(way.choose(&ANY)), refused(Refusal::BreakerOpen));
    tokio::time::advance(BREAKER.open_for).await;
    let chosen = way.choose(&ANY).unwrap();
    assert!(chosen.permit.is_some_and(|permit| permit.is_trial()));
}

/// The value of the cookie that leads to a server, set so many seconds ago.
fn cookie(sticky: &Sticky, id: u32, ago: u64) -> Vec<u8> {
    let field = sticky.write_cookie(id, clock::unix_seconds() - ago).unwrap();
    let field = String::from_utf8(field).unwrap();
    let (_, value) = field.split_once('=').unwrap();
    value.split(';').next().unwrap().into()
}

#[test]
fn a_cookie_leads_to_its_server_for_as_long_as_that_may_be_asked() {
    let sticky = Sticky::new(("app", "c"), Duration::from_secs(1000), None, &[]);
    let mut way = Way::new(upstream(Some(Affinity::Cookie(Box::new(sticky)))));
    way.target.key = Some(KeySource::Cookie(b"c"[..].into()));
    let Some(Affinity::Cookie(sticky)) = &way.members.sticky else { panic!("a cookie") };
    let [one, two] = way.ids();
    let choose = |key: &[u8], tried: &[u32]| {
        let chosen = way.choose(&Asked { key: Some(key), tried, ..ANY })?;
        Ok((chosen.member.endpoint.name.to_string(), chosen.bonded))
    };
    let bound = |name: &str, bonded: bool| Ok::<_, Unchosen>((name.to_owned(), bonded));
    for (id, name) in [(one, "s1"), (two, "s2")] {
        for _ in 0..3 {
            assert_eq!(choose(&cookie(sticky, id, 0), &[]), bound(name, true));
            // More than half of its time is over: it leads there still, and is renewed.
            assert_eq!(choose(&cookie(sticky, id, 600), &[]), bound(name, false));
        }
    }
    let first = cookie(sticky, one, 0);
    assert_eq!(choose(&first, &[one]), bound("s2", false));
    assert!(!choose(b"no cookie of ours", &[]).unwrap().1);
    // A server that drains keeps the clients it has, and one that is out does not.
    let standing = &way.servers()[0].endpoint.standing;
    standing.take_out(standing::DRAINING);
    assert_eq!(choose(&first, &[]), bound("s1", true));
    standing.take_out(standing::UNHEALTHY);
    assert_eq!(choose(&first, &[]), bound("s2", false));
    standing.admit_at_once(standing::DRAINING);
    assert_eq!(choose(&first, &[]), bound("s2", false));
}

#[test]
fn a_session_that_leads_nowhere_is_counted_and_no_session_is_not() {
    let learned = LearnedAffinity::new(b"session", Duration::from_secs(60));
    let mut way = Way::new(upstream(Some(Affinity::Learned(learned))));
    way.target.key = Some(KeySource::Header(b"session"[..].into()));
    let learned = way.members.sticky.as_ref().and_then(Affinity::as_learned).unwrap();
    let unknown = |key: Option<&[u8]>| {
        let asked = Asked { key, ..ANY };
        asked.with_request(|job, _| note_unbound(job, way.target()));
        learned.counts().unknown.load(Ordering::Relaxed)
    };
    assert_eq!([unknown(None), unknown(Some(b"")), unknown(Some(b"x"))], [0, 0, 1]);
    let mut answer = Fields::default();
    answer.push(b"session", b"y");
    learned.learn_session(&answer, way.ids()[1]);
    assert_eq!([unknown(Some(b"y")), unknown(Some(b"z"))], [1, 2]);
    for _ in 0..3 {
        assert_eq!(name(way.choose(&Asked { key: Some(b"y"), ..ANY })), served("s2"));
    }
}

/// Counts the lines of the log.
struct CountedLines(Arc<AtomicUsize>);

impl tracing::Subscriber for CountedLines {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

fn take_out_both(way: &Way, reason: u8) {
    way.servers().iter().for_each(|server| {
        server.endpoint.standing.take_out(reason);
    });
}

#[test]
fn with_nothing_healthy_all_servers_are_asked_and_the_log_says_so_once() {
    let way = Way::new(Upstream { fail_open: true, ..upstream(None) });
    let lines = Arc::new(AtomicUsize::new(0));
    let state = || {
        let open = way.state().failing_open.load(Ordering::Relaxed);
        (open, way.state().failed_open.load(Ordering::Relaxed), lines.load(Ordering::Relaxed))
    };
    let _log = tracing::subscriber::set_default(CountedLines(lines.clone()));
    assert!(way.choose(&ANY).is_ok());
    assert_eq!(state(), (false, 0, 0));
    take_out_both(&way, standing::UNHEALTHY);
    assert_eq!(name(way.choose(&ANY)), served("s2"));
    assert_eq!(state(), (true, 1, 1));
    assert_eq!(name(way.choose(&ANY)), served("s1"));
    assert_eq!(state(), (true, 2, 1));
    way.servers()[0].endpoint.standing.admit_at_once(standing::UNHEALTHY);
    assert_eq!(name(way.choose(&ANY)), served("s1"));
    assert_eq!(state(), (false, 2, 2));
    assert_eq!(name(way.choose(&ANY)), served("s1"));
    assert_eq!(state(), (false, 2, 2));
}

#[test]
fn what_is_out_is_asked_only_where_that_is_wanted_and_can_help() {
    let fail_open = || Way::new(Upstream { fail_open: true, ..upstream(None) });
    let mut with_fallback = fail_open();
    with_fallback.target.fallback = Some(Box::new(Way::new(upstream(None)).target));
    let strict = Way::new(upstream(None));
    for way in [&strict, &with_fallback] {
        take_out_both(way, standing::UNHEALTHY);
        assert_eq!(name(way.choose(&ANY)), no_server(NoServerReason::Unhealthy));
    }
    let way = fail_open();
    take_out_both(&way, standing::EJECTED);
    assert!(way.choose(&ANY).is_ok());
    // An order is none of the opinions that may be wrong.
    take_out_both(&way, standing::DRAINING);
    assert_eq!(name(way.choose(&ANY)), no_server(NoServerReason::Draining));
}

#[test]
fn when_the_healthy_ones_took_nothing_the_others_are_asked() {
    let fail_open = || Way::new(Upstream { fail_open: true, ..upstream(None) });
    let mut with_fallback = fail_open();
    with_fallback.target.fallback = Some(Box::new(Way::new(upstream(None)).target));
    let strict = Way::new(upstream(None));
    let way = fail_open();
    for way in [&way, &with_fallback, &strict] {
        way.servers()[1].endpoint.standing.take_out(standing::UNHEALTHY);
    }
    let choose = |way: &Way, unprocessed| {
        let tried = [way.ids()[0]];
        name(way.choose(&Asked { tried: &tried, unprocessed, ..ANY }))
    };
    assert_eq!(choose(&way, true), served("s2"));
    assert_eq!(choose(&way, false), Err(Unchosen::Tried));
    // It is not for want of a healthy server.
    assert!(!way.state().failing_open.load(Ordering::Relaxed));
    assert_eq!(way.state().failed_open.load(Ordering::Relaxed), 0);
    assert_eq!(choose(&with_fallback, true), Err(Unchosen::Tried));
    assert_eq!(choose(&strict, true), Err(Unchosen::Tried));
}

#[test]
fn a_healthy_server_that_is_full_is_waited_for() {
    let way = Way::new(Upstream {
        fail_open: true,
        rules: BalanceRules { cap: 1, ..BalanceRules::default() },
        ..upstream(None)
    });
    way.servers()[1].endpoint.standing.take_out(standing::UNHEALTHY);
    let first = way.choose(&ANY).unwrap();
    for unprocessed in [false, true] {
        assert_eq!(name(way.choose(&Asked { unprocessed, ..ANY })), Err(Unchosen::Full));
    }
    drop(first);
    assert_eq!(name(way.choose(&ANY)), served("s1"));
}

/// A strategy that finds a server when it is asked for the second time, as if a place had become
/// free meanwhile.
#[derive(Debug, Default)]
struct SecondTime(AtomicUsize);

impl Balance for SecondTime {
    fn pick_server(&self, _: &[Member], _: &mut PickContext<'_>) -> Option<usize> {
        (self.0.fetch_add(1, Ordering::Relaxed) == 1).then_some(1)
    }
}

#[test]
fn the_server_of_a_key_that_has_become_free_meanwhile_is_taken() {
    let mut way = Way::new(upstream(None));
    way.target.key = Some(KeySource::Path);
    way.members = Arc::new(way.members.with_balance(Box::<SecondTime>::default()));
    let keyed = Asked { key: Some(b"/a"), ..ANY };
    assert_eq!(name(way.choose(&keyed)), served("s2"));
    assert_eq!(name(way.choose(&keyed)), no_server(NoServerReason::Bound));
}

fn one_at_a_time() -> Upstream {
    Upstream { rules: BalanceRules { cap: 1, ..BalanceRules::default() }, ..upstream(None) }
}

#[tokio::test(start_paused = true)]
async fn who_waits_gets_the_place_that_becomes_free_and_nobody_overtakes() {
    let way = Way::new(one_at_a_time());
    let first = way.choose_first().unwrap();
    let tried = [way.ids()[1]];
    let asked = Asked { tried: &tried, ..ANY };
    let others = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(way.state().queue.depth(), 1);
        // The second server is free, and of no use to the one who waits.
        assert_eq!(name(way.choose_first()), Err(Unchosen::Full));
        drop(first);
    };
    let ((chosen, waited), ()) = tokio::join!(way.wait(&asked, false), others);
    assert_eq!((name(chosen), waited), (served("s1"), Duration::from_millis(100)));
    assert_eq!(name(way.choose_first()), served("s2"));
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_its_time_its_client_or_its_queue() {
    let mut way = Way::new(one_at_a_time());
    let busy = [0, 1].map(|at| way.servers()[at].endpoint.clone());
    let _busy: Vec<_> = busy.iter().map(|endpoint| endpoint.begin_request()).collect();
    let (chosen, waited) = way.wait(&ANY, false).await;
    let timed_out = || refused(Refusal::QueueTimeout);
    assert_eq!((name(chosen), waited), (timed_out(), Duration::from_secs(10)));
    way.target.timeouts.total = Some(Duration::from_secs(3));
    let (chosen, waited) = way.wait(&ANY, false).await;
    assert_eq!((name(chosen), waited), (timed_out(), Duration::from_secs(3)));
    let (chosen, waited) = way.wait(&ANY, true).await;
    assert_eq!((name(chosen), waited), (Err(Unchosen::Gone), Duration::ZERO));
    let (first, second) = tokio::join!(way.wait(&ANY, false), way.wait(&ANY, false));
    assert_eq!([name(first.0), name(second.0)], [timed_out(), refused(Refusal::QueueFull)]);
}
