//! `auth.NAME.jwt`: clients known by a signed token (RFC 7519) in `Authorization: Bearer` (RFC 6750).
//!
//! Only signatures of the configured algorithms count, and a key only verifies tokens of its own
//! kind, so a token cannot choose to be verified with a public key as a secret, or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde_json::{Map, Value as Json};
use sha2::{Digest, Sha256};

use super::Pair;
use super::jwks::Keys;
use crate::clock;

/// How far the clocks of issuer and proxy may differ, in seconds.
const LEEWAY: u64 = 60;
/// How long a token that was verified counts as such, in seconds: one that is revoked by changing the keys lives
/// no longer than that.
const CACHED: u64 = 300;
/// The longest token that is looked at.
const LONGEST: usize = 16 * 1024;

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

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// There is none.
    Missing,
    /// It is no valid token.
    Invalid,
    /// There are no keys yet to verify it with.
    NoKeys,
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
        Self { id, keys, algorithms, validation, forward, allow: Box::default() }
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
        if token.len() > LONGEST {
            return Err(Denied::Invalid);
        }
        let header = decode_header(token).map_err(|_| Denied::Invalid)?;
        if !self.algorithms.contains(&header.alg) {
            return Err(Denied::Invalid);
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
        let claims = fitting.find_map(|key| {
            decode::<Map<String, Json>>(token, &key.decoding, &validation).ok().map(|t| t.claims)
        });
        let claims = claims.ok_or(Denied::Invalid)?;
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
