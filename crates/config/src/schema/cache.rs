//! What is stored of responses, and what ends its validity: `[cache.NAME]`.

use std::collections::BTreeMap;

use base64::Engine as _;

use super::defaults;
use super::forms::OneOrMany;
use super::units::{Bytes, Period, Timeout};
use super::words::{HeaderName, LimitKey, Secret};
use crate::read::{settings, table, words};
use crate::source::{Place, Spanned};

settings! {
    /// A shared cache (RFC 9111).
    pub struct Cache {
        /// How long a response is fresh when it does not say so itself.
        ttl: Option<Period> = None,
        /// `ttl` counts even where the response says otherwise.
        force: bool = false,
        /// The longest time a response is fresh.
        max_ttl: Option<Period> = None,
        /// Bytes of memory for responses. What has left while clients are being sent it may take a
        /// quarter more.
        memory: Bytes = defaults::CACHE_MEMORY,
        /// Number of responses.
        entries: u64 = defaults::CACHE_ENTRIES,
        /// What two requests must share to get the same response.
        key: Vec<CacheKey> = vec![CacheKey::Host, CacheKey::Path, CacheKey::Query],
        /// How long a stale response is used while a fresh one is fetched.
        stale_while_revalidate: Option<Period> = None,
        /// How long a stale response is used while the upstream fails.
        stale_if_error: Option<Period> = None,
        /// A second, shared tier behind memory.
        tier: Option<TierConfig> = None,
        /// How long responses stay in it at most, fresh or not. Default: 1 h.
        tier_ttl: Option<Period> = None,
        /// What else two requests must share: headers, cookies or claims, in the forms of a limit's
        /// key. Headers and cookies that are not named here do not select a response unless its
        /// `Vary` names them, and cookies that are not named here do not reach the server.
        vary_on: OneOrMany<Spanned<LimitKey>> = OneOrMany::default(),
        /// How long a request waits for another one's fetch of the same response before it asks for
        /// itself.
        lock_timeout: Timeout = defaults::CACHE_LOCK_TIMEOUT,
        /// Header of answers to unsafe requests that names paths (from "/" on, "*" at the end for
        /// all below) or tags whose responses are no longer valid. It does not reach the client.
        invalidate_header: Option<HeaderName> = None,
        /// Events of others, `POST /cache/webhook/NAME` on the admin endpoint, that say what is no
        /// longer valid.
        webhook: Option<WebhookConfig> = None,
        /// Statuses other than those stored anyway, and how long they are fresh when they do not
        /// say so themselves.
        negative: BTreeMap<Spanned<String>, Period> = BTreeMap::new(),
    }
}

table! {
    /// Events that say what of a cache is no longer valid, signed as Standard Webhooks say.
    pub struct WebhookConfig {
        [#[serde(skip)] place: Place]
        /// What they are signed with: text of at least 24 bytes, or Base64 of them behind "whsec_";
        /// several while one takes the place of another.
        secret: OneOrMany<Spanned<Secret>>,
    }
}

/// Decodes a webhook's secret; `None` when it is no Base64, or shorter than 24 bytes.
#[must_use]
pub fn secret_bytes(written: &str) -> Option<Box<[u8]>> {
    let bytes = match written.strip_prefix("whsec_") {
        Some(encoded) => base64::engine::general_purpose::STANDARD.decode(encoded).ok()?,
        None => written.as_bytes().to_vec(),
    };
    (bytes.len() >= 24).then(|| bytes.into())
}

words! {
    /// Parts of a cache key.
    pub enum CacheKey ("a part of a cache key") {
        /// The host.
        Host = "host",
        /// The path.
        Path = "path",
        /// The query.
        Query = "query",
    }
}

words! {
    /// Second tiers of a cache.
    pub enum TierConfig ("a tier") {
        /// Redis, shared by all instances.
        Redis = "redis",
    }
}
