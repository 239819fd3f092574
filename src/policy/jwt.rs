//! `auth.NAME.jwt`: clients known by a signed token (RFC 7519) in `Authorization: Bearer` (RFC
//! 6750), a cookie or the query.
//!
//! Only signatures of the configured algorithms count, and a key only verifies tokens of its own
//! kind, so a token cannot choose to be verified with a public key as a secret, or not at all.

mod claims;
mod fault;
mod find;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde_json::{Map, Value as Json};
use sha2::{Digest, Sha256};

use self::claims::{as_field, claim_has, claim_text};
pub use self::fault::TokenFault;
pub use self::find::{TokenSource, bearer};
use super::jwks::{KeySet, Keys};
use crate::exchange::FieldPair;

/// The time for which a token that was verified counts as such, in seconds: one that is revoked by
/// changing the keys lives no longer than that.
const CACHED: u64 = 300;

/// A claim and the header it goes to, in lower case.
pub type Forward = (Box<str>, Box<[u8]>);

/// The demands on a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenTerms {
    /// Signatures that count.
    pub algorithms: Vec<Algorithm>,
    /// The issuer that must have issued it.
    pub issuer: Option<Box<str>>,
    /// For whom it must be, one of these; empty is for anybody.
    pub audience: Box<[Box<str>]>,
    /// The difference that the clocks of issuer and proxy may have, in seconds.
    pub leeway: u64,
    /// The longest token that is looked at, in bytes.
    pub max_token: usize,
    /// Claims and the headers they go to, in lower case.
    pub forward: Box<[Forward]>,
    /// Claims and the values that they must have.
    pub allow: Box<[(Box<str>, Box<str>)]>,
    /// The places in which tokens are looked for; the first that has one counts.
    pub from: Box<[TokenSource]>,
}

/// One `jwt`.
#[derive(Debug)]
pub struct Jwt {
    id: u32,
    keys: Arc<Keys>,
    terms: TokenTerms,
    validation: Validation,
}

/// The useful part of a verified token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// The claims as headers for the server.
    pub fields: Vec<FieldPair>,
    /// All claims that are text, a number, a truth value or a list of such.
    pub claims: Vec<(Box<str>, Box<str>)>,
    /// True if it has what [`TokenTerms::allow`] asks for.
    pub allowed: bool,
    /// Until when this need not be verified again, in seconds since 1970.
    pub until: u64,
    /// The number of the keys that verified it.
    pub generation: u64,
}

impl Jwt {
    /// A policy with these keys.
    #[must_use]
    pub fn new(keys: Arc<Keys>, terms: TokenTerms) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Only the signature is the library's to verify: it lets claims of a wrong type pass, and
        // reads its own clock.
        let mut validation = Validation::new(Algorithm::RS256);
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        Self { id: NEXT.fetch_add(1, Relaxed), keys, terms, validation }
    }

    /// Claims and the headers they go to, in lower case.
    #[must_use]
    pub fn forwarded_claims(&self) -> &[Forward] {
        &self.terms.forward
    }

    /// Returns the keys that verify its tokens.
    #[must_use]
    pub fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    /// Returns the fingerprint that a verified token is remembered by.
    #[must_use]
    pub fn fingerprint_of(&self, token: &[u8]) -> [u8; 32] {
        Sha256::new().chain_update(self.id.to_le_bytes()).chain_update(token).finalize().into()
    }

    /// Returns whether what is remembered still counts at `now`, in seconds since 1970.
    #[must_use]
    pub fn still_counts(&self, verified: &Verified, now: u64) -> bool {
        verified.until > now && verified.generation == self.keys.generation()
    }

    /// Verifies a token at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// [`TokenFault`].
    pub fn verify(&self, token: &[u8], now: u64) -> Result<Verified, TokenFault> {
        let Some(keys) = self.keys.current_set() else { return Err(TokenFault::NoKeys) };
        if token.len() > self.terms.max_token {
            return Err(TokenFault::TooLong);
        }
        if is_critical(token) {
            return Err(TokenFault::Critical);
        }
        let claims = self.signed_claims(&keys, token)?;
        let expires = self.in_time(&claims, now)?;
        self.is_for_us(&claims)?;
        let TokenTerms { forward, allow, .. } = &self.terms;
        let mut fields = Vec::new();
        for (claim, header) in forward {
            let Some(value) = claims.get(&**claim).and_then(claim_text) else { continue };
            // A server that does not see the claim could take the client for another one.
            let value = as_field(value).ok_or(TokenFault::Unsendable)?;
            fields.push((header.clone(), value.into_bytes().into()));
        }
        let plain = claims
            .iter()
            .filter_map(|(claim, value)| Some((claim.as_str().into(), claim_text(value)?.into())));
        Ok(Verified {
            allowed: allow.iter().all(|(claim, value)| claim_has(claims.get(&**claim), value)),
            claims: plain.collect(),
            fields,
            until: expires.saturating_add(self.terms.leeway).min(now + CACHED),
            generation: keys.generation,
        })
    }

    /// The claims of a token that one of the keys has signed.
    fn signed_claims(&self, keys: &KeySet, token: &[u8]) -> Result<Map<String, Json>, TokenFault> {
        let header = decode_header(token).map_err(|_| TokenFault::Malformed)?;
        if !self.terms.algorithms.contains(&header.alg) {
            return Err(TokenFault::Algorithm);
        }
        let mut validation = self.validation.clone();
        validation.algorithms = vec![header.alg];
        let kid = header.kid.as_deref();
        let fitting = keys
            .list
            .iter()
            .filter(|key| kid.is_none() || key.id.is_none() || key.id.as_deref() == kid)
            .filter(|key| key.algorithm.is_none_or(|algorithm| algorithm == header.alg))
            .filter(|key| key.decoding.family() == header.alg.family());
        let mut denied = TokenFault::UnknownKey;
        for key in fitting {
            match decode::<Map<String, Json>>(token, &key.decoding, &validation) {
                Ok(token) => return Ok(token.claims),
                Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature) => {
                    denied = TokenFault::Signature;
                }
                Err(_) => return Err(TokenFault::Malformed),
            }
        }
        Err(denied)
    }

    /// Returns the end of a token that is valid at `now` (RFC 7519 §4.1.4, §4.1.5).
    fn in_time(&self, claims: &Map<String, Json>, now: u64) -> Result<u64, TokenFault> {
        let seconds = |claim: &Json| {
            let seconds = claim.as_f64().filter(|seconds| *seconds >= 0.0);
            seconds.map(|seconds| seconds as u64).ok_or(TokenFault::Malformed)
        };
        let leeway = self.terms.leeway;
        let expires = seconds(claims.get("exp").ok_or(TokenFault::Claim)?)?;
        let begins = claims.get("nbf").map_or(Ok(0), seconds)?;
        if now >= expires.saturating_add(leeway) {
            return Err(TokenFault::Expired);
        }
        if begins > now.saturating_add(leeway) {
            return Err(TokenFault::NotYetValid);
        }
        Ok(expires)
    }

    /// Returns whether issuer and audience are the right ones: one text for the issuer (RFC 7519
    /// §4.1.1), one or several for the audience (§4.1.3).
    fn is_for_us(&self, claims: &Map<String, Json>) -> Result<(), TokenFault> {
        let TokenTerms { issuer, audience, .. } = &self.terms;
        if let Some(issuer) = issuer {
            let named = claims.get("iss").ok_or(TokenFault::Claim)?;
            if named.as_str() != Some(&**issuer) {
                return Err(TokenFault::Issuer);
            }
        }
        if audience.is_empty() {
            return Ok(());
        }
        let ours =
            |text: &Json| text.as_str().is_some_and(|text| audience.iter().any(|a| **a == *text));
        let meant = match claims.get("aud").ok_or(TokenFault::Claim)? {
            Json::Array(several) => several.iter().any(ours),
            one => ours(one),
        };
        if meant { Ok(()) } else { Err(TokenFault::Audience) }
    }
}

/// Returns whether a token demands that something is understood which this is not: nothing is (RFC
/// 7515 §4.1.11).
fn is_critical(token: &[u8]) -> bool {
    let header = token.split(|byte| *byte == b'.').next().unwrap_or_default();
    let header = URL_SAFE_NO_PAD.decode(header).ok();
    let header = header.and_then(|json| serde_json::from_slice::<Map<String, Json>>(&json).ok());
    header.is_some_and(|header| header.contains_key("crit"))
}
