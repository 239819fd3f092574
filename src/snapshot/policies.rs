//! Compiles a route's policies, taking over what they have counted.

use std::sync::Arc;

use super::{Route, Snapshot};
use crate::config::schema::forms::{OneOrMany, Policy};
use crate::config::schema::policy as schema;
use crate::config::schema::route::{self, AuthRef};
use crate::config::schema::words::{LimitKey, Secret};
use crate::config::{Config, Finding};
use crate::policy::api_key::ApiKeys;
use crate::policy::concurrency::Concurrency;
use crate::policy::cors::Cors;
use crate::policy::fault::Fault;
use crate::policy::limit::{Limit, Pace, Part, State};
use crate::policy::{Policies, limit};

/// Shared states, so that routes with the same named limit count together.
#[derive(Debug, Default)]
pub(super) struct Shared<'p> {
    /// What ran before.
    previous: Vec<&'p Limit>,
    made: Vec<(Box<str>, Arc<State>)>,
}

impl<'p> Shared<'p> {
    pub(super) fn new(previous: Option<&'p Snapshot>) -> Self {
        let routes = previous.iter().flat_map(|previous| previous.routes.iter());
        let policies = routes.filter_map(|route| route.policies.as_deref());
        let previous = policies.flat_map(|policies| policies.limits.iter()).collect();
        Self { previous, made: Vec::new() }
    }

    /// The state of a limit: that of another route with the same one, that from before, or a new one.
    fn state(&mut self, name: &str, pace: Pace) -> Arc<State> {
        let made = self.made.iter().find(|(known, _)| **known == *name);
        if let Some((_, state)) = made {
            return state.clone();
        }
        let mut before = self.previous.iter();
        let before = before.find(|limit| *limit.name == *name && limit.state.pace == pace);
        let state = before.map_or_else(|| Arc::new(State::new(pace)), |limit| limit.state.clone());
        self.made.push((name.into(), state.clone()));
        state
    }
}

/// Compiles all policies of a route; `None` when it has none.
///
/// # Errors
/// A key that is none.
pub(super) fn policies(
    written: &route::Route,
    name: &str,
    config: &Config,
    shared: &mut Shared<'_>,
    known: Option<&Route>,
) -> Result<Option<Box<Policies>>, Box<Finding>> {
    let limits = limits(&written.limit, name, config, shared);
    let policies = Policies {
        limit_policies: limit::policies(&limits),
        limits,
        cors: written.cors.as_ref().map(cors),
        api_keys: api_keys(written.auth.as_ref(), config)?,
        concurrency: written.concurrency.as_ref().map(|c| concurrency(c, known)),
        fault: written.fault.as_ref().map(fault),
    };
    let Policies { cors, api_keys, limits, limit_policies: _, concurrency, fault } = &policies;
    let any = cors.is_some()
        || api_keys.is_some()
        || !limits.is_empty()
        || concurrency.is_some()
        || fault.is_some();
    Ok(any.then(|| Box::new(policies)))
}

fn limits(
    written: &OneOrMany<Policy<schema::Limit>>,
    route: &str,
    config: &Config,
    shared: &mut Shared<'_>,
) -> Box<[Limit]> {
    let mut limits = Vec::new();
    for (at, policy) in written.iter().enumerate() {
        let (name, found) = match policy {
            Policy::Off => continue,
            Policy::Inline(limit) => (format!("{route}#{}", at + 1), Some(limit)),
            Policy::Named(name) => {
                let mut all = config.limit.iter();
                let found = all.find(|(known, _)| known.value == name.value);
                (name.value.clone(), found.map(|(_, limit)| limit))
            }
        };
        // A name that leads nowhere has been reported by the check.
        let Some(schema::Limit { place: _, rate, burst, key, store: _, delay }) = found else {
            continue;
        };
        let pace = Pace { count: rate.value.count(), period: rate.value.period(), burst: *burst };
        let state = shared.state(&name, pace);
        let label = limit::label(&name);
        limits.push(Limit { name: name.into(), label, key: parts(key), delay: *delay, state });
    }
    limits.into()
}

fn parts(written: &OneOrMany<LimitKey>) -> Box<[Part]> {
    let part = |key: &LimitKey| match key {
        LimitKey::ClientIp => Part::ClientIp,
        LimitKey::Route => Part::Route,
        LimitKey::Header(name) => limit::Part::Header(name.as_str().as_bytes().into()),
        LimitKey::Cookie(name) => Part::Cookie(name.as_bytes().into()),
        // Not available: the check refuses it.
        LimitKey::Jwt(_) => Part::Route,
    };
    written.iter().map(part).collect()
}

fn concurrency(written: &schema::Concurrency, known: Option<&Route>) -> Concurrency {
    let schema::Concurrency { max, key } = written;
    let known = known.and_then(|route| route.policies.as_ref()?.concurrency.as_ref());
    Concurrency {
        max: max.get(),
        key: parts(key),
        state: known.map_or_else(Arc::default, |known| known.state.clone()),
    }
}

fn fault(written: &route::Fault) -> Fault {
    let route::Fault { delay, abort, share, seed } = written;
    Fault {
        delay: delay.map(|delay| delay.get()),
        abort: abort.as_ref().map(|status| status.value),
        share: share.fraction(),
        seed: seed.unwrap_or_default(),
    }
}

fn cors(written: &schema::Cors) -> Cors {
    let schema::Cors { place: _, origins, methods, headers, credentials, max_age } = written;
    let list = |words: Vec<&str>| words.join(", ").into_bytes().into_boxed_slice();
    let methods: Vec<&str> = methods.iter().map(|method| method.get().as_str()).collect();
    let named = origins.iter().filter(|origin| origin.value != "*");
    Cors {
        origins: named.map(|o| o.value.to_ascii_lowercase().into_bytes().into()).collect(),
        any: origins.iter().any(|origin| origin.value == "*"),
        credentials: *credentials,
        // Those that need no preflight.
        methods: list(if methods.is_empty() { vec!["GET", "HEAD", "POST"] } else { methods }),
        headers: list(headers.iter().map(|name| name.get().as_str()).collect()),
        max_age: max_age.map(|age| age.get().as_secs().to_string().into_bytes().into()),
    }
}

fn api_keys(
    written: Option<&AuthRef>,
    config: &Config,
) -> Result<Option<Arc<ApiKeys>>, Box<Finding>> {
    let Some(AuthRef::Named(name)) = written else { return Ok(None) };
    let mut all = config.auth.iter();
    let found = all.find(|(known, _)| known.value == name.value);
    // A name that leads nowhere has been reported by the check.
    let Some(schema::ApiKey { header, keys }) = found.and_then(|(_, a)| a.api_key.as_ref()) else {
        return Ok(None);
    };
    let pairs = keys.iter().map(|(name, key)| (name.value.as_str(), Secret::expose(key)));
    ApiKeys::new(header.get().as_str(), pairs).map(|keys| Some(Arc::new(keys))).map_err(|whose| {
        let place = keys.keys().find(|name| name.value == whose).map(|name| name.place);
        let message = format!("the key of `{whose}` is empty, or not `sha256:` and 64 hex digits");
        Box::new(Finding::error("bad_value", place.unwrap_or(name.place), message))
    })
}
