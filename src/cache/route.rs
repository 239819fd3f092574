//! A route's cache: where its responses are stored and what two requests must share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::policy::CacheSettings;
use super::store::CacheStore;
use super::tier::StoreTier;
use super::webhook::WebhookSecrets;

/// The cache of one route.
#[derive(Debug)]
pub struct RouteCache {
    /// Where responses are stored; shared by the routes that name the same cache.
    pub store: Arc<CacheStore>,
    /// The most bytes and responses of the store, from when this configuration runs.
    pub bounds: (u64, usize),
    /// The rules about time.
    pub settings: Arc<CacheSettings>,
    /// Which parts of the URL count.
    pub key: KeyParts,
    /// What else counts, in the order of the configuration.
    pub vary_on: Box<[KeyInput]>,
    /// How long a request waits for another one's fetch before it asks for itself.
    pub lock_timeout: Duration,
    /// The field of answers to unsafe requests that names what they make invalid, in lower case.
    pub invalidate_header: Option<Box<[u8]>>,
    /// The secrets of those whose events make responses invalid.
    pub webhook: Option<Arc<WebhookSecrets>>,
    /// Clients of this route prove who they are.
    pub authenticates: bool,
    /// Those of `vary_on` that tell such clients apart, if a request has them.
    pub tells_apart: Box<[KeyInput]>,
    /// The tier behind memory.
    pub tier: Option<Arc<StoreTier>>,
    /// What became of its requests; shared with the store's other routes, survives reloads.
    pub counts: Arc<CacheCounts>,
}

/// Which parts of the URL count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyParts {
    /// The host.
    pub host: bool,
    /// The path.
    pub path: bool,
    /// The query.
    pub query: bool,
}

/// An input beside the URL that two requests must share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyInput {
    /// A header field, by its name in lower case.
    Header(Box<[u8]>),
    /// A cookie.
    Cookie(Box<[u8]>),
    /// A claim of the client's token.
    Claim(Box<str>),
}

/// What becomes of a request on a cached route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum CacheResult {
    /// Answered with a fresh stored response.
    Hit,
    /// Fetched, because nothing was stored.
    Miss,
    /// Answered with a stale response.
    Stale,
    /// Answered with a stored response that a server confirmed.
    Revalidated,
    /// Fetched anew, because a server did not confirm what was stored.
    Expired,
    /// Answered with a response that another request had fetched meanwhile.
    Coalesced,
    /// Passed on without the cache.
    Bypass,
}

impl CacheResult {
    /// All of them, with their words in metrics.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Hit, "hit"),
        (Self::Miss, "miss"),
        (Self::Stale, "stale"),
        (Self::Revalidated, "revalidated"),
        (Self::Expired, "expired"),
        (Self::Coalesced, "coalesced"),
        (Self::Bypass, "bypass"),
    ];
}

/// How often each of them happened.
#[derive(Debug, Default)]
pub struct CacheCounts([AtomicU64; CacheResult::ALL.len()]);

impl CacheResult {
    /// The word in metrics and in the access log.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::ALL.get(self as usize).map_or("", |(_, word)| word)
    }
}

impl CacheCounts {
    /// Counts one.
    pub fn count_result(&self, result: CacheResult) {
        if let Some(counter) = self.0.get(result as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns how often it happened.
    #[must_use]
    pub fn times_of(&self, result: CacheResult) -> u64 {
        self.0.get(result as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}
