//! Compiles a route's `cache`; stores outlive the configuration that named them.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use super::Snapshot;
use super::compile::Purpose;
use super::policies::SharedPolicies;
use crate::cache::housekeeping::{self, HousekeepingCommand};
use crate::cache::policy::CacheSettings;
use crate::cache::route::{CacheCounts, KeyInput, KeyParts, RouteCache};
use crate::cache::store::CacheStore;
use crate::cache::tier::{StoreTier, Tier};
use crate::cache::webhook::WebhookSecrets;
use crate::config::schema::auth_ref::AuthRef;
use crate::config::schema::cache as schema;
use crate::config::schema::forms::PolicyUse;
use crate::config::schema::policy::JwtConfig;
use crate::config::schema::route;
use crate::config::schema::words::{LimitKey, TokenPlace};
use crate::config::{Config, Finding};
use crate::policy::shared::Redis;

/// `tier_ttl`, unless it is written.
const TIER_TTL: Duration = Duration::from_hours(1);

/// A store and what is counted beside it.
type KeptStores = (Arc<CacheStore>, Arc<CacheCounts>);

/// The stores of a configuration, made now or taken over.
#[derive(Debug, Default)]
pub(super) struct Stores {
    previous: Vec<KeptStores>,
    made: Vec<KeptStores>,
    housekeeping: Option<SyncSender<HousekeepingCommand>>,
    tier: Option<Arc<Tier>>,
    purpose: Option<Purpose>,
}

impl Stores {
    /// Stores of which those of a running configuration are taken over.
    pub(super) fn from_previous(previous: Option<&Snapshot>, purpose: Purpose) -> Self {
        let routes = previous.iter().flat_map(|previous| previous.routes.iter());
        let caches = routes.filter_map(|route| route.cache.as_ref());
        let tier = caches.clone().find_map(|cache| cache.tier.as_ref());
        let tier = tier.map(|tier| tier.tier.clone());
        let previous: Vec<KeptStores> =
            caches.map(|cache| (cache.store.clone(), cache.counts.clone())).collect();
        let housekeeping = previous.first().map(|(store, _)| store.housekeeping());
        Self { previous, made: Vec::new(), housekeeping, tier, purpose: Some(purpose) }
    }

    /// The tier in this Redis: that of another route, that from before, or a new one.
    pub(super) fn tier_for(&mut self, redis: &Redis) -> Result<Arc<Tier>, String> {
        if let Some(tier) = self.tier.as_ref().filter(|tier| tier.redis().is_like(redis)) {
            return Ok(tier.clone());
        }
        let runs = !matches!(self.purpose, Some(Purpose::Check { .. }));
        let tier = Tier::new(redis.new_sibling(), runs).map_err(|error| error.to_string())?;
        Ok(self.tier.insert(tier).clone())
    }

    /// The store of this name: that of another route, that from before, or a new one.
    fn store_for(
        &mut self,
        name: &str,
        memory: u64,
        entries: usize,
    ) -> std::io::Result<KeptStores> {
        let named = |kept: &&KeptStores| *kept.0.name == *name;
        if let Some(made) = self.made.iter().find(named) {
            return Ok(made.clone());
        }
        let kept = match self.previous.iter().find(named) {
            Some(kept) => kept.clone(),
            None => {
                let housekeeping = match &self.housekeeping {
                    Some(running) => running.clone(),
                    // A check starts nothing: its stores are never asked.
                    None if matches!(self.purpose, Some(Purpose::Check { .. })) => {
                        std::sync::mpsc::sync_channel(1).0
                    }
                    None => self.housekeeping.insert(housekeeping::start_thread()?).clone(),
                };
                let store = CacheStore::new(name.into(), (memory, entries), housekeeping);
                (Arc::new(store), Arc::default())
            }
        };
        self.made.push(kept.clone());
        Ok(kept)
    }
}

/// Compiles the cache of a route, if it has one.
///
/// # Errors
/// A thread that cannot be started.
pub(super) fn compile_cache(
    written: &route::RouteConfig,
    route: &str,
    config: &Config,
    shared: &mut SharedPolicies<'_>,
) -> Result<Option<Box<RouteCache>>, Box<Finding>> {
    let (name, found) = match &written.cache {
        None | Some(PolicyUse::Off) => return Ok(None),
        Some(PolicyUse::Inline(cache)) => (route, Some(cache)),
        Some(PolicyUse::Named(name)) => {
            let mut all = config.cache.iter();
            let found = all.find(|(known, _)| known.value == name.value);
            (name.value.as_str(), found.map(|(_, cache)| cache))
        }
    };
    // A name that leads nowhere has been reported by the check.
    let Some(found) = found else { return Ok(None) };
    let schema::Cache {
        ttl,
        force,
        max_ttl,
        memory,
        entries,
        key,
        stale_while_revalidate,
        stale_if_error,
        tier,
        tier_ttl,
        vary_on,
        lock_timeout,
        invalidate_header,
        webhook,
        negative,
    } = found;
    let entries = usize::try_from(*entries).unwrap_or(usize::MAX);
    let (store, counts) =
        shared.caches.store_for(name, memory.get(), entries).map_err(|error| {
            let message = format!("the cache cannot be started: {error}");
            Box::new(Finding::error("bad_value", written.place, message))
        })?;
    let negative = negative.iter().filter_map(|(status, lasts)| {
        let status = status.value.parse().ok()?;
        Some((status, lasts.get()))
    });
    let settings = CacheSettings {
        ttl: ttl.map(|ttl| ttl.get()),
        force: *force,
        max_ttl: max_ttl.map(|ttl| ttl.get()),
        stale_while_revalidate: stale_while_revalidate.map(|window| window.get()),
        stale_if_error: stale_if_error.map(|window| window.get()),
        negative: negative.collect(),
    };
    let vary_on: Box<[KeyInput]> =
        vary_on.iter().filter_map(|input| key_input(&input.value)).collect();
    let has = |part| key.contains(&part);
    let told_apart_by = vary_on.iter().filter(|input| tells_apart(input, written, config));
    let tells_apart = told_apart_by.cloned().collect();
    let key_parts = KeyParts {
        host: has(schema::CacheKey::Host),
        path: has(schema::CacheKey::Path),
        query: has(schema::CacheKey::Query),
    };
    let tier = match tier {
        Some(schema::TierConfig::Redis) => shared.tier_for(written.place)?.map(|tier| {
            tier.follow_for(&store);
            let form = xxhash_rust::xxh3::xxh3_64(format!("{key_parts:?} {vary_on:?}").as_bytes());
            let ttl = tier_ttl.map_or(TIER_TTL, |ttl| ttl.get());
            Arc::new(StoreTier { tier, cache: store.name.clone(), form, ttl })
        }),
        None => None,
    };
    Ok(Some(Box::new(RouteCache {
        webhook: webhook.as_ref().map(webhook_secrets),
        tier,
        store,
        counts,
        bounds: (memory.get(), entries),
        settings: Arc::new(settings),
        key: key_parts,
        tells_apart,
        authenticates: matches!(written.policies.auth, Some(AuthRef::Named(_))),
        vary_on,
        lock_timeout: lock_timeout.get(),
        invalidate_header: invalidate_header
            .as_ref()
            .map(|name| name.get().as_str().as_bytes().into()),
    })))
}

/// The secrets of those who send events; what is no secret has been refused by the check.
fn webhook_secrets(written: &schema::WebhookConfig) -> Arc<WebhookSecrets> {
    let secrets = written.secret.iter();
    let secrets = secrets.filter_map(|one| schema::secret_bytes(one.value.expose()));
    Arc::new(WebhookSecrets::new(secrets.collect()))
}

/// The field of HTTP authentication (RFC 9110 §11.6.2).
const AUTHORIZATION: &[u8] = b"authorization";

/// Returns whether a part of the key is what clients of a route prove who they are by. It must be
/// the only way in: where there are several, a client of another one has no such part, or chooses
/// it, or has it from somebody else who may say the same.
fn tells_apart(input: &KeyInput, route: &route::RouteConfig, config: &Config) -> bool {
    let mut ways = route.policies.auth.iter().flat_map(AuthRef::names);
    let way = match (ways.next(), ways.next()) {
        (None, _) => return matches!(input, KeyInput::Header(name) if **name == *AUTHORIZATION),
        (Some(name), None) => config.auth.get(name.value.as_str()),
        (Some(_), Some(_)) => return false,
    };
    let Some(way) = way else { return false };
    match input {
        KeyInput::Claim(claim) => **claim == *"sub" && way.jwt.is_some(),
        KeyInput::Header(name) if **name == *AUTHORIZATION => {
            let from_header = |jwt: &JwtConfig| {
                jwt.from.iter().all(|place| matches!(place.value, TokenPlace::Header))
            };
            way.basic.is_some() || way.jwt.as_ref().is_some_and(from_header)
        }
        KeyInput::Header(_) | KeyInput::Cookie(_) => false,
    }
}

fn key_input(written: &LimitKey) -> Option<KeyInput> {
    match written {
        LimitKey::Header(name) => Some(KeyInput::Header(name.as_str().as_bytes().into())),
        LimitKey::Cookie(name) => Some(KeyInput::Cookie(name.as_bytes().into())),
        LimitKey::Jwt(claim) => Some(KeyInput::Claim(claim.as_str().into())),
        // Refused by the check.
        LimitKey::ClientIp | LimitKey::Route => None,
    }
}
