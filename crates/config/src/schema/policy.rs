//! What happens to requests on the way: limits, authentication, caches, cross-origin rules.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;

use base64::Engine as _;

use super::defaults;
use super::forms::OneOrMany;
use super::units::{Bytes, Period, Rate, Timeout};
use super::words::{HeaderName, LimitKey, Method, Network, Secret, TokenPlace};
use crate::read::{settings, table, words};
use crate::source::{Place, Spanned};

table! {
    /// A rate limit (GCRA).
    pub struct LimitConfig {
        [#[serde(skip)] place: Place]
        /// The steady rate: a number per `s`, `min`, `h` or `d`, or per window of any length, as in "20/10s".
        rate: Spanned<Rate>,
        /// How many beyond the steady one may pass at once. At the steady rate they must come back within 100 years.
        burst: u32 = 0,
        /// What is counted by; an array combines keys.
        key: OneOrMany<LimitKey> = OneOrMany(vec![LimitKey::ClientIp]),
        /// Where the counts are kept.
        store: LimitStore = LimitStore::Local,
        /// How many of the burst pass without waiting. Default: all.
        delay: Option<u32> = None,
        /// "auth": requests are counted before authentication. Default: only those of clients that are known.
        before: Option<CountedBefore> = None,
        /// Networks whose clients are not counted.
        except: OneOrMany<Network> = OneOrMany::default(),
    }
}

words! {
    /// What a limit comes before.
    pub enum CountedBefore ("a policy") {
        /// Authentication.
        Auth = "auth",
    }
}

words! {
    /// Where counts are kept.
    pub enum LimitStore ("a store") {
        /// In this process.
        Local = "local",
        /// In Redis, shared by all instances.
        Redis = "redis",
    }
}

table! {
    /// Requests at a time.
    pub struct ConcurrencyConfig {
        /// How many, for each value of the key.
        max: NonZeroU32,
        /// What is counted by.
        key: OneOrMany<LimitKey> = OneOrMany(vec![LimitKey::Route]),
        /// How many more may wait until one has ended, over all keys.
        pending: u32 = 0,
        /// How long a request waits.
        pending_timeout: Timeout = defaults::PENDING_TIMEOUT,
    }
}

table! {
    /// Who a client is: exactly one of jwt, api_key, basic and forward.
    pub struct AuthConfig {
        [#[serde(skip)] place: Place]
        /// Signed tokens (RFC 7519).
        jwt: Option<JwtConfig> = None,
        /// Keys in a header.
        api_key: Option<ApiKey> = None,
        /// Names and passwords (RFC 7617).
        basic: Option<BasicConfig> = None,
        /// Asks another server.
        forward: Option<ForwardAuthConfig> = None,
        /// The name of what is protected, which browsers show to who is asked for a password (RFC 9110 §11.5): at most 256
        /// letters, digits, spaces and signs of ASCII. Not with `forward`, whose server names its own.
        realm: Spanned<String> = defaults::REALM.to_owned().into(),
    }
}

table! {
    /// Signed tokens.
    pub struct JwtConfig {
        /// URL of the key set.
        jwks: Spanned<String>,
        /// The issuer a token must name.
        issuer: Option<String> = None,
        /// The audience a token must name.
        audience: Option<OneOrMany<String>> = None,
        /// Algorithms that are accepted.
        algorithms: Vec<Algorithm> = vec![Algorithm::Rs256, Algorithm::Es256],
        /// Claims that are forwarded, and the headers they go to.
        forward: BTreeMap<Spanned<String>, Spanned<HeaderName>> = BTreeMap::new(),
        /// Claims that a token must have with this value, or with a list that contains it; who is known but lacks
        /// one is answered 403.
        allow: BTreeMap<Spanned<String>, String> = BTreeMap::new(),
        /// How far the clocks of issuer and proxy may differ.
        leeway: Period = defaults::TOKEN_LEEWAY,
        /// The longest token that is looked at.
        max_token: Bytes = defaults::MAX_TOKEN,
        /// Where a token is looked for, in this order; the first place that has one counts. "header" is `Authorization: Bearer`.
        from: OneOrMany<Spanned<TokenPlace>> = OneOrMany(vec![TokenPlace::Header.into()]),
    }
}

words! {
    /// Signature algorithms (RFC 7518 §3.1, RFC 8037). Those with a shared secret (HS) count only where they are
    /// named, and only with keys of the set that are secrets (`"kty": "oct"`).
    pub enum Algorithm ("a signature algorithm") {
        /// HMAC with SHA-256.
        Hs256 = "HS256",
        /// HMAC with SHA-384.
        Hs384 = "HS384",
        /// HMAC with SHA-512.
        Hs512 = "HS512",
        /// RSASSA-PKCS1-v1_5 with SHA-256.
        Rs256 = "RS256",
        /// RSASSA-PKCS1-v1_5 with SHA-384.
        Rs384 = "RS384",
        /// RSASSA-PKCS1-v1_5 with SHA-512.
        Rs512 = "RS512",
        /// RSASSA-PSS with SHA-256.
        Ps256 = "PS256",
        /// RSASSA-PSS with SHA-384.
        Ps384 = "PS384",
        /// RSASSA-PSS with SHA-512.
        Ps512 = "PS512",
        /// ECDSA on P-256.
        Es256 = "ES256",
        /// ECDSA on P-384.
        Es384 = "ES384",
        /// Ed25519.
        EdDsa = "EdDSA",
    }
}

table! {
    /// Keys in a header.
    pub struct ApiKey {
        /// The header.
        header: Spanned<HeaderName>,
        /// Names of clients and their keys.
        keys: BTreeMap<Spanned<String>, Secret>,
    }
}

table! {
    /// Names and passwords.
    pub struct BasicConfig {
        /// An htpasswd file with bcrypt or argon2 hashes.
        users_file: PathBuf,
    }
}

table! {
    /// Asks another server.
    pub struct ForwardAuthConfig {
        /// Its URL; 2xx lets the request pass.
        url: Spanned<String>,
        /// Headers of its answer that are forwarded.
        copy: Vec<Spanned<HeaderName>> = Vec::new(),
        /// How long it may take.
        timeout: Timeout = defaults::FORWARD_AUTH_TIMEOUT,
        /// "answer": refusals and Set-Cookie reach the client as that server wrote them. Default: the status of 401, 403
        /// and redirects, with Location, WWW-Authenticate and Set-Cookie.
        pass: Option<Pass> = None,
    }
}

words! {
    /// What of an authentication server's answers reaches clients.
    pub enum Pass ("what is passed on") {
        /// All of a refusal, and the cookies of every answer.
        Answer = "answer",
    }
}

settings! {
    /// A shared cache (RFC 9111).
    pub struct Cache {
        /// How long a response is fresh when it does not say so itself.
        ttl: Option<Period> = None,
        /// `ttl` counts even where the response says otherwise.
        force: bool = false,
        /// The longest time a response is fresh.
        max_ttl: Option<Period> = None,
        /// Bytes of memory.
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
        /// What else two requests must share: headers, cookies or claims, in the forms of a limit's key. Headers and
        /// cookies that are not named here do not select a response unless its `Vary` names them, and cookies that
        /// are not named here do not reach the server.
        vary_on: OneOrMany<Spanned<LimitKey>> = OneOrMany::default(),
        /// How long a request waits for another one's fetch of the same response before it asks for itself.
        lock_timeout: Timeout = defaults::CACHE_LOCK_TIMEOUT,
        /// Header of answers to unsafe requests that names paths (from "/" on, "*" at the end for all below) or tags
        /// whose responses are no longer valid. It does not reach the client.
        invalidate_header: Option<HeaderName> = None,
        /// Events of others, `POST /cache/webhook/NAME` on the admin endpoint, that say what is no longer valid.
        webhook: Option<WebhookConfig> = None,
        /// Statuses other than those stored anyway, and how long they are fresh when they do not say so themselves.
        negative: BTreeMap<Spanned<String>, Period> = BTreeMap::new(),
    }
}

table! {
    /// Events that say what of a cache is no longer valid, signed as Standard Webhooks say.
    pub struct WebhookConfig {
        [#[serde(skip)] place: Place]
        /// What they are signed with: text of at least 24 bytes, or Base64 of them behind "whsec_"; several while one takes
        /// the place of another.
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

table! {
    /// Cross-origin requests (Fetch standard).
    pub struct CorsConfig {
        [#[serde(skip)] place: Place]
        /// Origins that may read answers; "*" for all.
        origins: Vec<Spanned<String>>,
        /// Methods they may use; "*" for all, without credentials. Default: GET, HEAD and POST, which need no preflight.
        methods: Vec<Method> = Vec::new(),
        /// Request headers they may send; "*" for all but `authorization`, which has to be named beside it. Default: those
        /// that browsers let every page send.
        headers: Vec<Spanned<HeaderName>> = Vec::new(),
        /// Whether they may send cookies.
        credentials: bool = false,
        /// How long a browser may remember this.
        max_age: Option<Period> = None,
    }
}
