//! `auth.NAME.jwt`: clients known by a signed token (RFC 7519) in `Authorization: Bearer` (RFC 6750).
//!
//! Only signatures of the configured algorithms count, and a key only verifies tokens of its own
//! kind, so a token cannot choose to be verified with a public key as a secret, or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde_json::{Map, Value as Json};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::Pair;
use super::jwks::Keys;
use crate::clock;

/// How far the clocks of issuer and proxy may differ, in seconds.
const LEEWAY: u64 = 60;
/// How long a token that was verified counts as such, in seconds: one that is revoked by changing the keys lives
/// no longer than that.
const CACHED: u64 = 300;
/// The longest token that is looked at, unless another limit is configured.
const MAX_TOKEN: usize = 16 * 1024;

/// A claim and the header it goes to, in lower case.
pub type Forward = (Box<str>, Box<[u8]>);

/// One `jwt`.
#[derive(Debug)]
pub struct Jwt {
    id: u32,
    keys: Arc<Keys>,
    algorithms: Vec<Algorithm>,
    validation: Validation,
    /// Claims and the headers they go to, in lower case.
    pub forward: Box<[Forward]>,
    /// Claims and the values that they must have.
    pub allow: Box<[(Box<str>, Box<str>)]>,
    /// The longest token that is looked at, in bytes.
    pub max_token: usize,
}

/// What a token says that is of use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Its claims as headers for the server; those that cannot be a header's value are left out.
    pub fields: Vec<Pair>,
    /// All claims that are text, a number, a truth value or a list of such.
    pub claims: Vec<(Box<str>, Box<str>)>,
    /// It has what [`Jwt::allow`] asks for.
    pub allowed: bool,
    /// Until when this need not be verified again, in seconds since 1970.
    pub until: u64,
    /// Which keys verified it.
    pub generation: u64,
}

/// Why a token is not accepted. Operators are told; a client learns only whether it sent one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Denied {
    /// There is none.
    #[error("there is no token")]
    Missing,
    /// There are several.
    #[error("there is more than one token")]
    Several,
    /// It is longer than anybody needs.
    #[error("the token is longer than allowed")]
    TooLong,
    /// It is none.
    #[error("the token is malformed")]
    Malformed,
    /// Its algorithm is not accepted.
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    /// No key of the set is of its kind and has its id.
    #[error("no key of the set fits the token")]
    UnknownKey,
    /// Its signature is wrong.
    #[error("the token's signature is wrong")]
    Signature,
    /// It has expired.
    #[error("the token has expired")]
    Expired,
    /// It is not valid yet.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// It is of another issuer.
    #[error("the token is of another issuer")]
    Issuer,
    /// It is for another audience.
    #[error("the token is for another audience")]
    Audience,
    /// It lacks a claim that it must have.
    #[error("the token lacks a claim that it must have")]
    Claim,
    /// There are no keys yet to verify it with.
    #[error("there are no keys yet to verify tokens with")]
    NoKeys,
}

impl Denied {
    /// A word for counters.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Denied::Missing => "missing",
            Denied::Several => "several",
            Denied::TooLong => "too_long",
            Denied::Malformed => "malformed",
            Denied::Algorithm => "algorithm",
            Denied::UnknownKey => "unknown_key",
            Denied::Signature => "signature",
            Denied::Expired => "expired",
            Denied::NotYetValid => "not_yet_valid",
            Denied::Issuer => "issuer",
            Denied::Audience => "audience",
            Denied::Claim => "claim",
            Denied::NoKeys => "no_keys",
        }
    }

    /// The configuration key that would change it.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Denied::TooLong => "auth.jwt.max_token",
            Denied::Algorithm => "auth.jwt.algorithms",
            Denied::UnknownKey | Denied::Signature | Denied::NoKeys => "auth.jwt.jwks",
            Denied::Issuer => "auth.jwt.issuer",
            Denied::Audience => "auth.jwt.audience",
            Denied::Missing
            | Denied::Several
            | Denied::Malformed
            | Denied::Expired
            | Denied::NotYetValid
            | Denied::Claim => "auth.jwt",
        }
    }

    fn of(error: &ErrorKind) -> Self {
        match error {
            ErrorKind::InvalidSignature => Denied::Signature,
            ErrorKind::ExpiredSignature => Denied::Expired,
            ErrorKind::ImmatureSignature => Denied::NotYetValid,
            ErrorKind::InvalidIssuer => Denied::Issuer,
            ErrorKind::InvalidAudience => Denied::Audience,
            ErrorKind::MissingRequiredClaim(_) => Denied::Claim,
            ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => Denied::Algorithm,
            _ => Denied::Malformed,
        }
    }
}

impl Jwt {
    /// A policy with these keys.
    #[must_use]
    pub fn new(
        keys: Arc<Keys>,
        algorithms: Vec<Algorithm>,
        (issuer, audience): (Option<&str>, &[&str]),
        forward: Box<[Forward]>,
    ) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mut validation = Validation::new(Algorithm::RS256);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        validation.validate_aud = !audience.is_empty();
        let mut required = vec!["exp"];
        if !audience.is_empty() {
            validation.set_audience(audience);
            required.push("aud");
        }
        if let Some(issuer) = issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        let id = NEXT.fetch_add(1, Relaxed);
        let allow = Box::default();
        Self { id, keys, algorithms, validation, forward, allow, max_token: MAX_TOKEN }
    }

    /// What verifies its tokens.
    #[must_use]
    pub fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    /// What a verified token is remembered by.
    #[must_use]
    pub fn fingerprint(&self, token: &[u8]) -> [u8; 32] {
        Sha256::new().chain_update(self.id.to_le_bytes()).chain_update(token).finalize().into()
    }

    /// Whether what is remembered still counts.
    #[must_use]
    pub fn still(&self, verified: &Verified) -> bool {
        verified.until > clock::unix_seconds() && verified.generation == self.keys.generation()
    }

    /// Verifies a token.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn verify(&self, token: &[u8]) -> Result<Verified, Denied> {
        let Some(keys) = self.keys.get() else { return Err(Denied::NoKeys) };
        if token.len() > self.max_token {
            return Err(Denied::TooLong);
        }
        let header = decode_header(token).map_err(|_| Denied::Malformed)?;
        if !self.algorithms.contains(&header.alg) {
            return Err(Denied::Algorithm);
        }
        let mut validation = self.validation.clone();
        validation.algorithms = vec![header.alg];
        let kid = header.kid.as_deref();
        let mut fitting = keys
            .list
            .iter()
            .filter(|key| kid.is_none() || key.id.is_none() || key.id.as_deref() == kid)
            .filter(|key| key.algorithm.is_none_or(|algorithm| algorithm == header.alg))
            .filter(|key| key.decoding.family() == header.alg.family())
            .peekable();
        if fitting.peek().is_none() {
            // The issuer may have new ones.
            self.keys.want();
        }
        let mut denied = Denied::UnknownKey;
        let claims = fitting.find_map(|key| {
            let decoded = decode::<Map<String, Json>>(token, &key.decoding, &validation);
            // What a key says that has signed it counts more than what others say.
            let signed = !matches!(denied, Denied::UnknownKey | Denied::Signature);
            match decoded {
                Ok(token) => return Some(token.claims),
                Err(_) if signed => {}
                Err(error) => denied = Denied::of(error.kind()),
            }
            None
        });
        let claims = claims.ok_or(denied)?;
        let now = clock::unix_seconds();
        let expires = claims.get("exp").and_then(Json::as_f64).unwrap_or_default() as u64;
        let named = self.forward.iter().filter_map(|(claim, header)| {
            let value = claims.get(&**claim).and_then(as_field)?;
            Some((header.clone(), value.into_bytes().into()))
        });
        let plain = claims
            .iter()
            .filter_map(|(claim, value)| Some((claim.as_str().into(), as_field(value)?.into())));
        Ok(Verified {
            allowed: self.allow.iter().all(|(claim, value)| has(claims.get(&**claim), value)),
            claims: plain.collect(),
            fields: named.collect(),
            until: (expires + LEEWAY).min(now + CACHED),
            generation: keys.generation,
        })
    }
}

/// Whether a claim is this text, or a list that contains it.
fn has(claim: Option<&Json>, value: &str) -> bool {
    match claim {
        Some(Json::Array(items)) => items.iter().any(|item| has(Some(item), value)),
        Some(Json::String(text)) => text == value,
        Some(other) => as_field(other).as_deref() == Some(value),
        None => false,
    }
}

/// A claim as a header's value: text, a number, a truth value, or a list of such. Nothing that could end a line.
fn as_field(claim: &Json) -> Option<String> {
    let text = match claim {
        Json::String(text) => text.clone(),
        Json::Number(number) => number.to_string(),
        Json::Bool(value) => value.to_string(),
        Json::Array(items) => items.iter().map(as_field).collect::<Option<Vec<_>>>()?.join(","),
        Json::Null | Json::Object(_) => return None,
    };
    text.bytes().all(|byte| matches!(byte, b' '..=b'~')).then_some(text)
}

/// The token of an `Authorization` field.
#[must_use]
pub fn bearer(field: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = field.split_at_checked(7)?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_found() {
        assert_eq!(bearer(b"Bearer a.b.c"), Some(&b"a.b.c"[..]));
        assert_eq!(bearer(b"bearer  x "), Some(&b"x"[..]));
        for none in [&b"Basic x"[..], b"Bearer", b"Bearer ", b"", b"Bearerx"] {
            assert_eq!(bearer(none), None);
        }
    }

    #[test]
    fn a_claim_has_a_value_or_contains_it() {
        let claim: Json = serde_json::from_str("[\"admin\", 7, true]").unwrap();
        assert!(has(Some(&claim), "admin") && has(Some(&claim), "7") && has(Some(&claim), "true"));
        assert!(!has(Some(&claim), "adm") && !has(None, "") && !has(Some(&Json::Null), "x"));
    }

    #[test]
    fn a_claim_cannot_end_a_line() {
        let field = |json: &str| as_field(&serde_json::from_str(json).unwrap());
        assert_eq!(field("\"anna\""), Some("anna".into()));
        assert_eq!(field("[\"a\", 1, true]"), Some("a,1,true".into()));
        for none in ["\"a\\r\\nx: y\"", "\"\\u0000\"", "\"é\"", "{}", "null", "[[null]]"] {
            assert_eq!(field(none), None, "{none}");
        }
    }
}
