//! Compiles a route's policies, taking over what they have counted.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use jsonwebtoken::Algorithm;

use super::compile::Purpose;
use super::{Route, Snapshot};
use crate::cache::tier::Tier;
use crate::config::schema::forms::{OneOrMany, PolicyUse};
use crate::config::schema::policy as schema;
use crate::config::schema::process;
use crate::config::schema::route::{self, AuthRef};
use crate::config::schema::units::Rate;
use crate::config::schema::words::{HeaderName, LimitKey, Secret, TokenPlace};
use crate::config::{Config, Finding, Place, Spanned};
use crate::files;
use crate::net::fetch::Remote;
use crate::policy::api_key::ApiKeys;
use crate::policy::basic::Basic;
use crate::policy::compress::Compress;
use crate::policy::concurrency::Concurrency;
use crate::policy::cors::Cors;
use crate::policy::fault::InjectedFault;
use crate::policy::forward_auth::ForwardAuth;
use crate::policy::jwks::{KeySetSource, Keys};
use crate::policy::jwt::{self, Jwt, TokenTerms};
use crate::policy::limit::{KeyPart, Limit, LimitState, Pace};
use crate::policy::shared::{OnError, Redis, RedisSettings, RedisTopology, SettingsError};
use crate::policy::{Auth, Policies, WayIn, limit};
use crate::wire::{Known, known};

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
    jwts: Vec<(Box<str>, Arc<Jwt>)>,
    /// Stores of caches, so that routes with the same named cache share one, and a reload keeps it.
    pub(super) caches: super::cache::Stores,
    basics: Vec<(Box<str>, Arc<Basic>)>,
    /// The user files that ran before.
    known: Vec<Arc<Basic>>,
    redis: Option<Arc<Redis>>,
    /// Key sets that are kept already.
    sources: Vec<Weak<Keys>>,
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
        let (made, jwts, basics) = (Vec::new(), Vec::new(), Vec::new());
        let pages = super::pages::PageFiles::default();
        let caches = super::cache::Stores::from_previous(routes_before, purpose);
        Self { previous, made, jwts, basics, known, redis, sources, caches, purpose, pages }
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

    /// The state of a limit: that of another route with the same one, that from before, or a new one.
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
    written: &route::RouteConfig,
    name: &str,
    config: &Config,
    shared: &mut SharedPolicies<'_>,
    known: Option<&Route>,
) -> Result<Option<Box<Policies>>, Box<Finding>> {
    let limits = compile_limits(&written.limit, name, config, shared);
    let policies = Policies {
        limit_policies: limit::policy_field(&limits),
        limits,
        cors: written.cors.as_ref().map(compile_cors),
        maintenance: written.maintenance.as_ref().map(super::pages::compile_maintenance),
        ways: compile_ways(written.auth.as_ref(), config, shared)?,
        concurrency: written.concurrency.as_ref().map(|c| compile_concurrency(c, known)),
        fault: written.fault.as_ref().map(compile_fault),
        compress: written.compress.then(|| compile_compress(known)),
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

/// Compiles `[redis]`, taking over what is known of it when nothing changes.
///
/// # Errors
/// The URL is none.
pub(super) fn compile_redis(
    config: &Config,
    previous: Option<&Snapshot>,
) -> Result<Option<Arc<Redis>>, Box<Finding>> {
    let Some(written) = &config.redis else { return Ok(None) };
    let process::RedisConfig { place, url, sentinel, cluster, ca, cert, key, timeout, on_error } =
        written;
    let on_error = match on_error {
        process::OnErrorConfig::Local => OnError::Local,
        process::OnErrorConfig::Allow => OnError::Allow,
        process::OnErrorConfig::Deny => OnError::Deny,
    };
    let exposed = |urls: &[Spanned<Secret>]| -> Vec<String> {
        urls.iter().map(|url| url.value.expose().to_owned()).collect()
    };
    let topology = match sentinel {
        Some(process::SentinelConfig { place: _, master, nodes, user, password, database }) => {
            RedisTopology::Sentinel {
                master: master.clone(),
                nodes: exposed(nodes),
                user: user.clone(),
                password: password.as_ref().map(|password| password.expose().to_owned()),
                database: *database,
            }
        }
        None if cluster.value => RedisTopology::Cluster(exposed(url)),
        // Without any the check has reported it.
        None => RedisTopology::Url(exposed(url).into_iter().next().unwrap_or_default()),
    };
    let path = |file: &Option<Spanned<PathBuf>>| file.as_ref().map(|file| file.value.clone());
    let settings = RedisSettings {
        topology,
        ca: path(ca),
        identity: path(cert).zip(path(key)),
        timeout: timeout.get(),
        on_error,
    };
    let known = previous.and_then(|previous| previous.redis.as_ref());
    Redis::new(settings, known).map(Some).map_err(|SettingsError { at, message }| {
        let named = sentinel.as_ref().map_or(&**url, |sentinel| &sentinel.nodes);
        let named = at.and_then(|at| named.get(at)).map(|url| url.place);
        // What is wrong beside them are the files.
        let file = ca.as_ref().or(cert.as_ref()).map(|file| file.place);
        let message = format!("Redis cannot be used: {message}");
        Box::new(Finding::error("bad_value", named.or(file).unwrap_or(*place), message))
    })
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

fn compile_fault(written: &route::FaultConfig) -> InjectedFault {
    let route::FaultConfig { delay, abort, share, seed } = written;
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

/// Compiles all ways in.
fn compile_ways(
    written: Option<&AuthRef>,
    config: &Config,
    shared: &mut SharedPolicies<'_>,
) -> Result<Box<[WayIn]>, Box<Finding>> {
    let mut ways = Vec::new();
    for name in written.map_or(&[][..], AuthRef::names) {
        // A name that leads nowhere has been reported by the check.
        let Some(found) = config.auth.get(name.value.as_str()) else { continue };
        if let Some(auth) = compile_auth(name, found, shared)? {
            let realm = quoted(&found.realm.value);
            ways.push(WayIn { name: name.value.as_str().into(), auth, realm });
        }
    }
    Ok(ways.into())
}

/// Text as a quoted string (RFC 9110 §5.6.4).
fn quoted(text: &str) -> Box<str> {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        if matches!(char, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(char);
    }
    quoted.push('"');
    quoted.into()
}

fn compile_auth(
    name: &Spanned<String>,
    found: &schema::AuthConfig,
    shared: &mut SharedPolicies<'_>,
) -> Result<Option<Auth>, Box<Finding>> {
    let schema::AuthConfig { place, jwt, api_key, basic, forward, realm: _ } = found;
    if let Some(written) = basic {
        return shared
            .basic_auth(&name.value, written, *place)
            .map(|basic| Some(Auth::Basic(basic)));
    }
    if let Some(written) = forward {
        return forward_auth(written).map(|forward| Some(Auth::Forward(Arc::new(forward))));
    }
    if let Some(written) = api_key {
        return api_keys(written, *place).map(|keys| Some(Auth::ApiKeys(Arc::new(keys))));
    }
    if let Some(written) = jwt {
        return Ok(Some(Auth::Jwt(shared.jwt_auth(&name.value, written)?)));
    }
    Ok(None)
}

fn forward_auth(written: &schema::ForwardAuthConfig) -> Result<ForwardAuth, Box<Finding>> {
    let schema::ForwardAuthConfig { url, copy, timeout, pass } = written;
    let bad = |message: String| Box::new(Finding::error("bad_value", url.place, message));
    let remote = Remote::parse_url(&url.value).map_err(bad)?;
    if remote.has_user() {
        return Err(bad(
            "the server gets the client's own credentials, so none can be in the URL".into()
        ));
    }
    let copy = copy.iter().map(|name| name.value.get().as_str().as_bytes().into());
    let passes_answers = *pass == Some(schema::Pass::Answer);
    Ok(ForwardAuth::new(remote, copy.collect(), timeout.get(), passes_answers))
}

fn api_keys(written: &schema::ApiKey, place: Place) -> Result<ApiKeys, Box<Finding>> {
    let schema::ApiKey { header, keys } = written;
    let pairs = keys.iter().map(|(name, key)| (name.value.as_str(), Secret::expose(key)));
    ApiKeys::new(header.value.get().as_str(), pairs).map_err(|whose| {
        let named = keys.keys().find(|name| name.value == whose).map(|name| name.place);
        let message = format!("the key of `{whose}` is empty, or not `sha256:` and 64 hex digits");
        Box::new(Finding::error("bad_value", named.unwrap_or(place), message))
    })
}

impl SharedPolicies<'_> {
    /// The `basic` of this name; its file is read once.
    fn basic_auth(
        &mut self,
        name: &str,
        written: &schema::BasicConfig,
        place: Place,
    ) -> Result<Arc<Basic>, Box<Finding>> {
        if let Some((_, made)) = self.basics.iter().find(|(known, _)| **known == *name) {
            return Ok(made.clone());
        }
        let schema::BasicConfig { users_file } = written;
        let read = match self.purpose {
            // Any user will do where the file is not to be looked at.
            Purpose::Check { files: false } => Ok(format!("x:$2y$10${:x<53}", "")),
            _ => files::read_text(users_file, files::LARGEST),
        };
        let basic = read.and_then(|text| Basic::new(&text)).map_err(|error| {
            let message =
                format!("the users file {} cannot be used: {error}", users_file.display());
            Box::new(Finding::error("bad_value", place, message))
        })?;
        // Where nobody's password has changed, whoever was known still is.
        let mut known = self.known.iter();
        let basic = match known.find(|known| known.same_users(&basic)) {
            Some(known) => known.clone(),
            None => Arc::new(basic),
        };
        self.basics.push((name.into(), basic.clone()));
        Ok(basic)
    }

    /// The `jwt` of this name; routes that share one share what it knows.
    fn jwt_auth(
        &mut self,
        name: &str,
        written: &schema::JwtConfig,
    ) -> Result<Arc<Jwt>, Box<Finding>> {
        if let Some((_, made)) = self.jwts.iter().find(|(known, _)| **known == *name) {
            return Ok(made.clone());
        }
        let schema::JwtConfig {
            jwks,
            issuer,
            audience,
            algorithms,
            forward,
            allow,
            leeway,
            max_token,
            from,
        } = written;
        let bad = |message: String| Box::new(Finding::error("bad_value", jwks.place, message));
        let source = key_set_source(&jwks.value).map_err(bad)?;
        let mut running = self.sources.iter().filter_map(Weak::upgrade);
        let keys = match running.find(|keys| keys.source == source) {
            Some(keys) => keys,
            None => {
                let keys = match self.purpose {
                    Purpose::Run => Keys::start_keeping(source),
                    Purpose::Check { files } => Keys::inspect(source, files),
                };
                keys.map_err(|e| bad(format!("the key set cannot be read: {e}")))?
            }
        };
        self.sources.push(Arc::downgrade(&keys));
        let audience = audience.iter().flat_map(|all| all.iter().map(|one| one.as_str().into()));
        let header = |name: &Spanned<HeaderName>| name.value.get().as_str().as_bytes().into();
        let forward =
            forward.iter().map(|(claim, name)| (claim.value.as_str().into(), header(name)));
        let allow = allow.iter().map(|(claim, v)| (claim.value.as_str().into(), v.as_str().into()));
        let jwt = Jwt::new(
            keys,
            TokenTerms {
                algorithms: algorithms.iter().map(jwt_algorithm).collect(),
                issuer: issuer.as_deref().map(Into::into),
                audience: audience.collect(),
                leeway: leeway.get().as_secs(),
                max_token: usize::try_from(max_token.get()).unwrap_or(usize::MAX),
                forward: forward.collect(),
                allow: allow.collect(),
                from: from.iter().map(|place| token_place(&place.value)).collect(),
            },
        );
        let jwt = Arc::new(jwt);
        self.jwts.push((name.into(), jwt.clone()));
        Ok(jwt)
    }
}

/// The fields by which any `[auth.NAME]` tells servers who a client is, in lower case: from clients they reach no server,
/// on whatever route. Fields that clients have a use for of their own are not among them: such a field is only kept from
/// servers on routes whose ways in tell it.
pub(super) fn identity_fields(config: &Config) -> Box<[Box<[u8]>]> {
    const OF_CLIENTS: [&str; 7] = [
        "accept",
        "accept-encoding",
        "accept-language",
        "content-type",
        "origin",
        "referer",
        "user-agent",
    ];
    let jwts = config.auth.values().filter_map(|auth| auth.jwt.as_ref());
    let judges = config.auth.values().filter_map(|auth| auth.forward.as_ref());
    let names = jwts.flat_map(|jwt| jwt.forward.values());
    let names = names.chain(judges.flat_map(|judge| &judge.copy));
    let names = names.map(|name| name.value.get().as_str()).filter(|name| {
        known::lookup(name.as_bytes()) == Known::Other && !OF_CLIENTS.contains(name)
    });
    names.collect::<BTreeSet<_>>().into_iter().map(|name| name.as_bytes().into()).collect()
}

/// The query parameters that may hold a token of any of the configured kinds.
pub(super) fn masked_query(config: &Config) -> Box<[Box<[u8]>]> {
    let jwts = config.auth.values().filter_map(|auth| auth.jwt.as_ref());
    let names = jwts.flat_map(|jwt| jwt.from.iter()).filter_map(|place| match &place.value {
        TokenPlace::Query(name) => Some(name.as_bytes()),
        TokenPlace::Header | TokenPlace::Cookie(_) => None,
    });
    names.collect::<BTreeSet<_>>().into_iter().map(Box::from).collect()
}

fn token_place(written: &TokenPlace) -> jwt::TokenSource {
    match written {
        TokenPlace::Header => jwt::TokenSource::Header,
        TokenPlace::Cookie(name) => jwt::TokenSource::Cookie(name.as_bytes().into()),
        TokenPlace::Query(name) => jwt::TokenSource::Query(name.as_bytes().into()),
    }
}

fn key_set_source(written: &str) -> Result<KeySetSource, String> {
    if let Some(path) = written.strip_prefix("file:") {
        return Ok(KeySetSource::File(path.trim_start_matches("//").into()));
    }
    if written.starts_with('/') {
        return Ok(KeySetSource::File(written.into()));
    }
    let remote = Remote::parse_url(written);
    remote
        .map(KeySetSource::Url)
        .map_err(|error| format!("{error}, or the absolute path of a file"))
}

fn jwt_algorithm(written: &schema::Algorithm) -> Algorithm {
    match written {
        schema::Algorithm::Hs256 => Algorithm::HS256,
        schema::Algorithm::Hs384 => Algorithm::HS384,
        schema::Algorithm::Hs512 => Algorithm::HS512,
        schema::Algorithm::Rs256 => Algorithm::RS256,
        schema::Algorithm::Rs384 => Algorithm::RS384,
        schema::Algorithm::Rs512 => Algorithm::RS512,
        schema::Algorithm::Ps256 => Algorithm::PS256,
        schema::Algorithm::Ps384 => Algorithm::PS384,
        schema::Algorithm::Ps512 => Algorithm::PS512,
        schema::Algorithm::Es256 => Algorithm::ES256,
        schema::Algorithm::Es384 => Algorithm::ES384,
        schema::Algorithm::EdDsa => Algorithm::EdDSA,
    }
}
