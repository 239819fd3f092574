//! Compiles a route's policies, taking over what they have counted.

use std::sync::{Arc, Weak};

use super::auth::compile_ways;
use super::compile::Purpose;
use super::{Route, Snapshot};
use crate::cache::tier::Tier;
use crate::config::schema::forms::{OneOrMany, PolicyUse};
use crate::config::schema::policy as schema;
use crate::config::schema::route::RouteConfig;
use crate::config::schema::units::Rate;
use crate::config::schema::words::LimitKey;
use crate::config::{Config, Finding, Place};
use crate::policy::basic::Basic;
use crate::policy::compress::Compress;
use crate::policy::concurrency::Concurrency;
use crate::policy::cors::Cors;
use crate::policy::fault::InjectedFault;
use crate::policy::forward_auth::ForwardAuth;
use crate::policy::jwks::Keys;
use crate::policy::jwt::Jwt;
use crate::policy::limit::{KeyPart, Limit, LimitState, Pace};
use crate::policy::shared::Redis;
use crate::policy::way_in::Auth;
use crate::policy::{Policies, limit};

// What the check lets in is what a limit can count.
const _: () = assert!(Rate::LONGEST_RECOVERY.as_secs() == limit::LONGEST.as_secs());

/// A limit: whether it is of one route alone, and its name.
#[derive(Debug)]
struct LimitName(bool, Box<str>);

/// Shared states, so that routes with the same named limit count together.
#[derive(Debug)]
pub(super) struct SharedPolicies<'p> {
    /// The limits that ran before.
    previous: Vec<&'p Limit>,
    made: Vec<(LimitName, Arc<LimitState>)>,
    pub(super) jwts: Vec<(Box<str>, Arc<Jwt>)>,
    /// Stores of caches, so that routes with the same named cache share one, and a reload keeps it.
    pub(super) caches: super::cache::Stores,
    pub(super) basics: Vec<(Box<str>, Arc<Basic>)>,
    pub(super) judges: Vec<(Box<str>, Arc<ForwardAuth>)>,
    /// The user files that ran before.
    pub(super) known: Vec<Arc<Basic>>,
    redis: Option<Arc<Redis>>,
    /// Key sets that are kept already.
    pub(super) sources: Vec<Weak<Keys>>,
    pub(super) purpose: Purpose,
    /// Pages by their file, each of which is read once.
    pub(super) pages: super::pages::PageFiles,
}

impl<'p> SharedPolicies<'p> {
    pub(super) fn new(
        previous: Option<&'p Snapshot>,
        redis: Option<Arc<Redis>>,
        purpose: Purpose,
    ) -> Self {
        let routes_before = previous;
        let routes = previous.iter().flat_map(|previous| previous.routes.iter());
        let policies = routes.filter_map(|route| route.policies.as_deref());
        let ways = policies.clone().flat_map(|policies| policies.ways.iter());
        let sources = ways.clone().filter_map(|way| match &way.auth {
            Auth::Jwt(jwt) => Some(Arc::downgrade(jwt.keys())),
            Auth::ApiKeys(_) | Auth::Basic(_) | Auth::Forward(_) => None,
        });
        let sources = sources.collect();
        let known = ways.filter_map(|way| match &way.auth {
            Auth::Basic(basic) => Some(basic.clone()),
            Auth::ApiKeys(_) | Auth::Jwt(_) | Auth::Forward(_) => None,
        });
        let known = known.collect();
        let previous = policies.flat_map(|policies| policies.limits.iter()).collect();
        let (made, jwts, basics, judges) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let pages = super::pages::PageFiles::default();
        let caches = super::cache::Stores::from_previous(routes_before, purpose);
        Self { previous, made, jwts, basics, judges, known, redis, sources, caches, purpose, pages }
    }

    /// The tier behind caches; `None` without `[redis]`, which the check has reported.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn tier_for(&mut self, place: Place) -> Result<Option<Arc<Tier>>, Box<Finding>> {
        let Some(redis) = &self.redis else { return Ok(None) };
        self.caches.tier_for(redis).map(Some).map_err(|error| {
            let message = format!("the cache's tier cannot be started: {error}");
            Box::new(Finding::error("bad_value", place, message))
        })
    }

    /// The state of a limit: that of another route with the same one, that from before, or a new
    /// one.
    fn limit_state(&mut self, (own, name): (bool, &str), pace: Pace) -> Arc<LimitState> {
        let made =
            self.made.iter().find(|(LimitName(of, known), _)| *of == own && **known == *name);
        if let Some((_, state)) = made {
            return state.clone();
        }
        let mut before = self.previous.iter();
        let before = before
            .find(|limit| limit.own == own && *limit.name == *name && limit.state.pace == pace);
        let state =
            before.map_or_else(|| Arc::new(LimitState::new(pace)), |limit| limit.state.clone());
        self.made.push((LimitName(own, name.into()), state.clone()));
        state
    }
}

/// Compiles all policies of a route; `None` when it has none.
///
/// # Errors
/// A key that is none.
pub(super) fn compile_policies(
    written: &RouteConfig,
    name: &str,
    config: &Config,
    shared: &mut SharedPolicies<'_>,
    known: Option<&Route>,
) -> Result<Option<Box<Policies>>, Box<Finding>> {
    let schema::RoutePolicies { fault, maintenance, cors, compress, limit, concurrency, auth } =
        &written.policies;
    let limits = compile_limits(limit, name, config, shared);
    let policies = Policies {
        limit_policies: limit::policy_field(&limits),
        limits,
        cors: cors.as_ref().map(compile_cors),
        maintenance: maintenance.as_ref().map(super::pages::compile_maintenance),
        ways: compile_ways(auth.as_ref(), config, shared)?,
        concurrency: concurrency.as_ref().map(|c| compile_concurrency(c, known)),
        fault: fault.as_ref().map(compile_fault),
        compress: compress.then(|| compile_compress(known)),
    };
    let Policies {
        cors,
        maintenance,
        ways,
        limits,
        limit_policies: _,
        concurrency,
        fault,
        compress,
    } = &policies;
    let any = cors.is_some()
        || maintenance.is_some()
        || !ways.is_empty()
        || !limits.is_empty()
        || concurrency.is_some()
        || fault.is_some()
        || compress.is_some();
    Ok(any.then(|| Box::new(policies)))
}

fn compile_limits(
    written: &OneOrMany<PolicyUse<schema::LimitConfig>>,
    route: &str,
    config: &Config,
    shared: &mut SharedPolicies<'_>,
) -> Box<[Limit]> {
    let mut limits = Vec::new();
    for (at, policy) in written.iter().enumerate() {
        let (name, found) = match policy {
            PolicyUse::Off => continue,
            PolicyUse::Inline(limit) => (format!("{route}#{}", at + 1), Some(limit)),
            PolicyUse::Named(name) => {
                let mut all = config.limit.iter();
                let found = all.find(|(known, _)| known.value == name.value);
                (name.value.clone(), found.map(|(_, limit)| limit))
            }
        };
        // A name that leads nowhere has been reported by the check.
        let Some(written) = found else { continue };
        let schema::LimitConfig { place: _, rate, burst, key, store, delay, before, except } =
            written;
        let own = matches!(policy, PolicyUse::Inline(_));
        let pace = Pace { count: rate.value.count(), period: rate.value.period(), burst: *burst };
        let state = shared.limit_state((own, &name), pace);
        let redis = shared.redis.clone().filter(|_| *store == schema::LimitStore::Redis);
        let label = limit::quoted_label(&name);
        limits.push(Limit {
            name: name.into(),
            own,
            before_auth: *before == Some(schema::CountedBefore::Auth),
            label,
            key: key_parts(key),
            delay: *delay,
            except: except.iter().map(|network| network.0).collect(),
            state,
            redis,
        });
    }
    limits.into()
}

fn key_parts(written: &OneOrMany<LimitKey>) -> Box<[KeyPart]> {
    let part = |key: &LimitKey| match key {
        LimitKey::ClientIp => KeyPart::ClientIp,
        LimitKey::Route => KeyPart::Route,
        LimitKey::Header(name) => limit::KeyPart::Header(name.as_str().as_bytes().into()),
        LimitKey::Cookie(name) => KeyPart::Cookie(name.as_bytes().into()),
        LimitKey::Jwt(claim) => KeyPart::Claim(claim.as_str().into()),
    };
    written.iter().map(part).collect()
}

fn compile_concurrency(written: &schema::ConcurrencyConfig, known: Option<&Route>) -> Concurrency {
    let schema::ConcurrencyConfig { max, key, pending, pending_timeout } = written;
    let known = known.and_then(|route| route.policies.as_ref()?.concurrency.as_ref());
    Concurrency {
        max: max.get(),
        key: key_parts(key),
        pending: *pending,
        pending_timeout: pending_timeout.get(),
        state: known.map_or_else(Arc::default, |known| known.state.clone()),
    }
}

fn compile_compress(known: Option<&Route>) -> Compress {
    let known = known.and_then(|route| route.policies.as_ref()?.compress.as_ref());
    Compress { counts: known.map_or_else(Arc::default, |known| known.counts.clone()) }
}

fn compile_fault(written: &schema::FaultConfig) -> InjectedFault {
    let schema::FaultConfig { delay, abort, share, seed } = written;
    InjectedFault {
        delay: delay.map(|delay| delay.get()),
        abort: abort.as_ref().map(|status| status.value),
        share: share.fraction(),
        seed: seed.unwrap_or_default(),
    }
}

fn compile_cors(written: &schema::CorsConfig) -> Cors {
    let schema::CorsConfig { place: _, origins, methods, headers, credentials, max_age } = written;
    let list = |words: Vec<&str>| words.join(", ").into_bytes().into_boxed_slice();
    let methods: Vec<&str> = methods.iter().map(|method| method.get().as_str()).collect();
    let named = origins.iter().filter(|origin| origin.value != "*");
    Cors {
        origins: named.map(|o| o.value.to_ascii_lowercase().into_bytes().into()).collect(),
        any: origins.iter().any(|origin| origin.value == "*"),
        credentials: *credentials,
        // Those that need no preflight.
        methods: list(if methods.is_empty() { vec!["GET", "HEAD", "POST"] } else { methods }),
        headers: list(headers.iter().map(|name| name.value.get().as_str()).collect()),
        max_age: max_age.map(|age| age.get().as_secs().to_string().into_bytes().into()),
    }
}
