//! Compiles the ways in of a route, `[auth.NAME]`. Routes that name the same one share what it
//! knows.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use jsonwebtoken::Algorithm;

use super::compile::Purpose;
use super::policies::SharedPolicies;
use crate::config::schema::auth_ref::AuthRef;
use crate::config::schema::policy as schema;
use crate::config::schema::words::{HeaderName, Secret, TokenPlace};
use crate::config::{Config, Finding, Place, Spanned};
use crate::files;
use crate::net::fetch::Remote;
use crate::policy::api_key::ApiKeys;
use crate::policy::basic::Basic;
use crate::policy::forward_auth::ForwardAuth;
use crate::policy::jwks::{KeySetSource, Keys};
use crate::policy::jwt::{self, Jwt, TokenTerms};
use crate::policy::way_in::{Auth, WayIn};
use crate::wire::{Known, known};

/// Compiles all ways in.
pub(super) fn compile_ways(
    written: Option<&AuthRef>,
    config: &Config,
    shared: &mut SharedPolicies<'_>,
) -> Result<Box<[WayIn]>, Box<Finding>> {
    let mut ways = Vec::new();
    for name in written.map_or(&[][..], AuthRef::names) {
        // A name that leads nowhere has been reported by the check.
        let Some(found) = config.auth.get(name.value.as_str()) else { continue };
        if let Some(auth) = compile_auth(name, found, shared)? {
            ways.push(WayIn::new(&name.value, auth, &found.realm.value));
        }
    }
    Ok(ways.into())
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
        return Ok(Some(Auth::Forward(shared.forward_auth(&name.value, written)?)));
    }
    if let Some(written) = api_key {
        return api_keys(written, *place).map(|keys| Some(Auth::ApiKeys(Arc::new(keys))));
    }
    if let Some(written) = jwt {
        return Ok(Some(Auth::Jwt(shared.jwt_auth(&name.value, written)?)));
    }
    Ok(None)
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

    /// The `forward` of this name; its file is read once.
    fn forward_auth(
        &mut self,
        name: &str,
        written: &schema::ForwardAuthConfig,
    ) -> Result<Arc<ForwardAuth>, Box<Finding>> {
        if let Some((_, made)) = self.judges.iter().find(|(known, _)| **known == *name) {
            return Ok(made.clone());
        }
        let schema::ForwardAuthConfig { url, copy, timeout, ca, pass } = written;
        let bad = |place, message| Box::new(Finding::error("bad_value", place, message));
        let trusted = match self.purpose {
            Purpose::Check { files: false } => None,
            Purpose::Check { files: true } | Purpose::Run => ca.as_ref(),
        };
        let remote = match trusted {
            Some(ca) => Remote::parse_url_trusting(&url.value, &ca.value)
                .map_err(|message| bad(ca.place, message))?,
            None => Remote::parse_url(&url.value).map_err(|message| bad(url.place, message))?,
        };
        if remote.has_user() {
            let message = "the server gets the client's own credentials, so none can be in the URL";
            return Err(bad(url.place, message.to_owned()));
        }
        let copy = copy.iter().map(|name| name.value.get().as_str().as_bytes().into());
        let passes_answers = *pass == Some(schema::Pass::Answer);
        let judge = ForwardAuth::new(remote, copy.collect(), timeout.get(), passes_answers);
        let judge = Arc::new(judge);
        self.judges.push((name.into(), judge.clone()));
        Ok(judge)
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

/// The fields by which any `[auth.NAME]` tells servers who a client is, in lower case: from clients
/// they reach no server, on whatever route. Fields that clients have a use for of their own are not
/// among them: such a field is only kept from servers on routes whose ways in tell it.
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
