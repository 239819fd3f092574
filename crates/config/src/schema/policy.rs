//! What happens to requests on the way: the policies of a route, and what a policy's table holds.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;

use super::auth_ref::AuthRef;
use super::defaults;
use super::forms::{OneOrMany, PolicyUse};
use super::pages::MaintenanceConfig;
use super::units::{Bytes, Percent, Period, Rate, Timeout};
use super::words::{HeaderName, LimitKey, Method, Network, Secret, TokenPlace};
use crate::read::{group, settings, table, words};
use crate::source::{Place, Spanned};

group! {
    /// The policies of a route, which it has beside its action. A policy is one of these keys, and
    /// its table below.
    pub struct RoutePolicies {
        /// Delays or aborts some requests on purpose.
        fault: Option<FaultConfig> = None,
        /// Closes the route: 503 with Retry-After for everybody who is not excepted. An HTML file,
        /// or a table.
        maintenance: Option<MaintenanceConfig> = None,
        /// Cross-origin requests.
        cors: Option<CorsConfig> = None,
        /// Compresses responses with gzip, br or zstd by Accept-Encoding.
        compress: bool = false,
        /// Rate limits: a table, the name of a `[limit.NAME]`, or an array of both.
        limit: OneOrMany<PolicyUse<LimitConfig>> = OneOrMany::default(),
        /// Requests at a time.
        concurrency: Option<ConcurrencyConfig> = None,
        /// Name of an `[auth.NAME]`, several of which one has to let the client in, or "off".
        auth: Option<AuthRef> = None,
    }
}

impl RoutePolicies {
    /// The keys that are written here and change nothing but what servers answer.
    #[must_use]
    pub fn keys_about_servers(&self) -> Vec<&'static str> {
        let written = [("compress", self.compress)];
        written.into_iter().filter_map(|(key, written)| written.then_some(key)).collect()
    }

    /// What requests under way are counted by, if they are.
    #[must_use]
    pub fn counted_by(&self) -> Option<&OneOrMany<LimitKey>> {
        self.concurrency.as_ref().map(|concurrency| &concurrency.key)
    }
}

table! {
    /// A rate limit (GCRA).
    pub struct LimitConfig {
        [#[serde(skip)] place: Place]
        /// The steady rate: a number per `s`, `min`, `h` or `d`, or per window of any length, as in
        /// "20/10s".
        rate: Spanned<Rate>,
        /// How many beyond the steady one may pass at once. At the steady rate they must come back
        /// within 100 years.
        burst: u32 = 0,
        /// What is counted by; an array combines keys.
        key: OneOrMany<LimitKey> = OneOrMany(vec![LimitKey::ClientIp]),
        /// Where the counts are kept.
        store: LimitStore = LimitStore::Local,
        /// How many of the burst pass without waiting. Default: all.
        delay: Option<u32> = None,
        /// "auth": requests are counted before authentication. Default: only those of clients that
        /// are known.
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
        /// The name of what is protected, which browsers show to who is asked for a password (RFC
        /// 9110 §11.5): at most 256 letters, digits, spaces and signs of ASCII. Not with `forward`,
        /// whose server names its own.
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
        /// Claims that a token must have with this value, or with a list that contains it; who is
        /// known but lacks one is answered 403.
        allow: BTreeMap<Spanned<String>, String> = BTreeMap::new(),
        /// How far the clocks of issuer and proxy may differ.
        leeway: Period = defaults::TOKEN_LEEWAY,
        /// The longest token that is looked at.
        max_token: Bytes = defaults::MAX_TOKEN,
        /// Where a token is looked for, in this order; the first place that has one counts.
        /// "header" is `Authorization: Bearer`.
        from: OneOrMany<Spanned<TokenPlace>> = OneOrMany(vec![TokenPlace::Header.into()]),
    }
}

words! {
    /// Signature algorithms (RFC 7518 §3.1, RFC 8037). Those with a shared secret (HS) count only
    /// where they are named, and only with keys of the set that are secrets (`"kty": "oct"`).
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
        /// PEM file with the authorities of an https:// server; a certificate in it is trusted
        /// itself. Default: the authorities of the system.
        ca: Option<Spanned<PathBuf>> = None,
        /// "answer": refusals and Set-Cookie reach the client as that server wrote them. Default:
        /// the status of 401, 403 and redirects, with Location, WWW-Authenticate and Set-Cookie.
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

table! {
    /// Cross-origin requests (Fetch standard).
    pub struct CorsConfig {
        [#[serde(skip)] place: Place]
        /// Origins that may read answers; "*" for all.
        origins: Vec<Spanned<String>>,
        /// Methods they may use; "*" for all, without credentials. Default: GET, HEAD and POST,
        /// which need no preflight.
        methods: Vec<Method> = Vec::new(),
        /// Request headers they may send; "*" for all but `authorization`, which has to be named
        /// beside it. Default: those that browsers let every page send.
        headers: Vec<Spanned<HeaderName>> = Vec::new(),
        /// Whether they may send cookies.
        credentials: bool = false,
        /// How long a browser may remember this.
        max_age: Option<Period> = None,
    }
}

settings! {
    /// Faults on purpose.
    pub struct FaultConfig {
        /// How long a request is held back.
        delay: Option<Period> = None,
        /// Status code of an answer in place of the upstream's.
        abort: Option<Spanned<u16>> = None,
        /// The share of requests this happens to.
        share: Percent = Percent::new(100),
        /// Makes the choice repeatable.
        seed: Option<u64> = None,
    }
}
