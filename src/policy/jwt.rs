//! `auth.NAME.jwt`: clients known by a signed token (RFC 7519) in `Authorization: Bearer` (RFC 6750), a cookie or the query.
//!
//! Only signatures of the configured algorithms count, and a key only verifies tokens of its own
//! kind, so a token cannot choose to be verified with a public key as a secret, or not at all.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde_json::{Map, Value as Json};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::jwks::{KeySet, Keys};
use crate::exchange::FieldPair;
use crate::wire::Known;
use crate::wire::head::Fields;
use crate::wire::pairs::{cookies, decode_value, decoded_equals, parameters};

/// The time for which a token that was verified counts as such, in seconds: one that is revoked by changing the keys lives
/// no longer than that.
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

/// A place in which a token may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// `Authorization: Bearer` (RFC 6750 §2.1).
    Header,
    /// The cookie of this name.
    Cookie(Box<[u8]>),
    /// The query parameter of this name (RFC 6750 §2.3).
    Query(Box<[u8]>),
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

/// A reason why a token is not accepted. Operators are told; a client learns only that it sent one or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TokenFault {
    /// No token came.
    #[error("there is no token")]
    Missing,
    /// Several tokens came.
    #[error("there is more than one token")]
    Several,
    /// The token is longer than anybody needs.
    #[error("the token is longer than allowed")]
    TooLong,
    /// The text is no token.
    #[error("the token is malformed")]
    Malformed,
    /// The token's algorithm is not accepted.
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    /// No key of the set is of its kind and has its id.
    #[error("no key of the set fits the token")]
    UnknownKey,
    /// The token's signature is wrong.
    #[error("the token's signature is wrong")]
    Signature,
    /// The token has expired.
    #[error("the token has expired")]
    Expired,
    /// The token is not valid yet.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The token is of another issuer.
    #[error("the token is of another issuer")]
    Issuer,
    /// The token is for another audience.
    #[error("the token is for another audience")]
    Audience,
    /// The token lacks a claim that it must have.
    #[error("the token lacks a claim that it must have")]
    Claim,
    /// The token demands that something is understood which is not (RFC 7515 §4.1.11).
    #[error("the token demands that an extension is understood")]
    Critical,
    /// A claim that is forwarded cannot be a header's value.
    #[error("a claim of the token cannot be forwarded in a header")]
    Unsendable,
    /// No keys have come yet to verify it with.
    #[error("there are no keys yet to verify tokens with")]
    NoKeys,
}

impl TokenFault {
    /// A word for counters.
    #[must_use]
    pub fn reason_word(self) -> &'static str {
        match self {
            TokenFault::Missing => "missing",
            TokenFault::Several => "several",
            TokenFault::TooLong => "too_long",
            TokenFault::Malformed => "malformed",
            TokenFault::Algorithm => "algorithm",
            TokenFault::UnknownKey => "unknown_key",
            TokenFault::Signature => "signature",
            TokenFault::Expired => "expired",
            TokenFault::NotYetValid => "not_yet_valid",
            TokenFault::Issuer => "issuer",
            TokenFault::Audience => "audience",
            TokenFault::Claim => "claim",
            TokenFault::Critical => "critical",
            TokenFault::Unsendable => "unsendable",
            TokenFault::NoKeys => "no_keys",
        }
    }

    /// Returns whether the issuer may have signed it with a key that is not known yet.
    #[must_use]
    pub fn may_be_new_key(self) -> bool {
        matches!(self, TokenFault::UnknownKey | TokenFault::Signature)
    }

    /// The configuration key that would change it.
    #[must_use]
    pub fn config_key(self) -> &'static str {
        match self {
            TokenFault::TooLong => "auth.jwt.max_token",
            TokenFault::Algorithm => "auth.jwt.algorithms",
            TokenFault::UnknownKey | TokenFault::Signature | TokenFault::NoKeys => "auth.jwt.jwks",
            TokenFault::Issuer => "auth.jwt.issuer",
            TokenFault::Audience => "auth.jwt.audience",
            TokenFault::Unsendable => "auth.jwt.forward",
            TokenFault::Missing | TokenFault::Several => "auth.jwt.from",
            TokenFault::Critical
            | TokenFault::Malformed
            | TokenFault::Expired
            | TokenFault::NotYetValid
            | TokenFault::Claim => "auth.jwt",
        }
    }
}

impl Jwt {
    /// A policy with these keys.
    #[must_use]
    pub fn new(keys: Arc<Keys>, terms: TokenTerms) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Only the signature is the library's to verify: it lets claims of a wrong type pass, and reads its own clock.
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

    /// Finds the token of a request in the first place that has one.
    ///
    /// # Errors
    /// [`TokenFault::Missing`], or [`TokenFault::Several`] where one place has more than one: servers could take another than
    /// the one that was verified.
    pub fn find_token<'r>(
        &self,
        fields: &'r Fields,
        query: Option<&'r [u8]>,
    ) -> Result<Cow<'r, [u8]>, TokenFault> {
        for place in &self.terms.from {
            let found = match place {
                TokenSource::Header => {
                    let fields = fields.values(Known::Authorization);
                    only_one(fields)?.and_then(bearer).map(Cow::Borrowed)
                }
                TokenSource::Cookie(name) => {
                    let all = fields.values(Known::Cookie).flat_map(cookies);
                    let all = all.filter(|(n, _)| **n == **name).map(|(_, value)| value);
                    only_one(all)?.map(strip_quotes).map(Cow::Borrowed)
                }
                TokenSource::Query(name) => {
                    let all = parameters(query.unwrap_or_default());
                    let all = all.filter(|(n, _)| decoded_equals(n, name)).map(|(_, value)| value);
                    only_one(all)?.map(decode_value)
                }
            };
            if let Some(token) = found.filter(|token| !token.is_empty()) {
                return Ok(token);
            }
        }
        Err(TokenFault::Missing)
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

    /// Returns whether issuer and audience are the right ones: one text for the issuer (RFC 7519 §4.1.1), one or several for
    /// the audience (§4.1.3).
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

/// Returns whether a token demands that something is understood which this is not: nothing is (RFC 7515 §4.1.11).
fn is_critical(token: &[u8]) -> bool {
    let header = token.split(|byte| *byte == b'.').next().unwrap_or_default();
    let header = URL_SAFE_NO_PAD.decode(header).ok();
    let header = header.and_then(|json| serde_json::from_slice::<Map<String, Json>>(&json).ok());
    header.is_some_and(|header| header.contains_key("crit"))
}

/// Returns whether a claim is this text, or a list that contains it.
fn claim_has(claim: Option<&Json>, value: &str) -> bool {
    match claim {
        Some(Json::Array(items)) => items.iter().any(|item| claim_has(Some(item), value)),
        Some(Json::String(text)) => text == value,
        Some(other) => claim_text(other).as_deref() == Some(value),
        None => false,
    }
}

/// A claim as text: itself, a number, a truth value, a list of such, or an object as JSON. `null` is none.
fn claim_text(claim: &Json) -> Option<String> {
    match claim {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(value) => Some(value.to_string()),
        Json::Array(items) => {
            Some(items.iter().filter_map(claim_text).collect::<Vec<_>>().join(","))
        }
        Json::Object(_) => Some(claim.to_string()),
        Json::Null => None,
    }
}

/// Text as a header's value, in UTF-8 (RFC 9110 §5.5 `obs-text`); `None` for what no value can carry: control
/// characters, and white space at an end, which whoever reads it would not see.
fn as_field(text: String) -> Option<String> {
    let carried = !text.chars().any(char::is_control) && text.trim() == text;
    carried.then_some(text)
}

/// The only one of these, if there is any.
fn only_one<'r>(mut all: impl Iterator<Item = &'r [u8]>) -> Result<Option<&'r [u8]>, TokenFault> {
    match (all.next(), all.next()) {
        (one, None) => Ok(one),
        (_, Some(_)) => Err(TokenFault::Several),
    }
}

/// A cookie's value without the quotes that may stand around it (RFC 6265 §4.1.1).
fn strip_quotes(value: &[u8]) -> &[u8] {
    let inner = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    inner.unwrap_or(value)
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
        assert!(
            claim_has(Some(&claim), "admin")
                && claim_has(Some(&claim), "7")
                && claim_has(Some(&claim), "true")
        );
        assert!(
            !claim_has(Some(&claim), "adm")
                && !claim_has(None, "")
                && !claim_has(Some(&Json::Null), "x")
        );
    }

    #[test]
    fn i11_a_claim_is_sent_as_it_is_or_not_at_all() {
        let field = |json: &str| as_field(claim_text(&serde_json::from_str(json).unwrap())?);
        assert_eq!(field("\"anna\""), Some("anna".into()));
        assert_eq!(field("\"žluť\""), Some("žluť".into()));
        assert_eq!(field("[\"a\", 1, true, null]"), Some("a,1,true".into()));
        assert_eq!(field("{\"a\":\"\\n\"}"), Some("{\"a\":\"\\n\"}".into()));
        for none in [
            "\"a\\r\\nx: y\"",
            "\"\\u0000\"",
            "\"\\u0085\"",
            "\" a\"",
            "\"a \"",
            "null",
            "[\"\\n\"]",
        ] {
            assert_eq!(field(none), None, "{none}");
        }
    }

    const NOW: u64 = 1_800_000_000;
    const SECRET: &[u8] = b"a secret of the issuer's and ours";

    /// Keys in a file, and the file.
    fn keys(directory: &std::path::Path, secret: &[u8]) -> (Arc<Keys>, std::path::PathBuf) {
        let path = directory.join("keys.json");
        std::fs::write(&path, set(secret)).unwrap();
        let source = crate::policy::jwks::KeySetSource::File(path.clone());
        (Keys::start_keeping(source).unwrap(), path)
    }

    fn set(secret: &[u8]) -> String {
        let k = URL_SAFE_NO_PAD.encode(secret);
        format!("{{\"keys\":[{{\"kty\":\"oct\",\"alg\":\"HS256\",\"kid\":\"1\",\"k\":\"{k}\"}}]}}")
    }

    fn terms() -> TokenTerms {
        TokenTerms {
            algorithms: vec![Algorithm::HS256],
            issuer: Some("us".into()),
            audience: ["shop".into()].into(),
            leeway: 60,
            max_token: 16 * 1024,
            forward: [("sub".into(), b"x-user"[..].into())].into(),
            allow: Box::default(),
            from: [TokenSource::Header].into(),
        }
    }

    fn token(header: &str, claims: &str) -> Vec<u8> {
        let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let key = jsonwebtoken::EncodingKey::from_secret(SECRET);
        let signature =
            jsonwebtoken::crypto::sign(text.as_bytes(), &key, Algorithm::HS256).unwrap();
        format!("{text}.{signature}").into_bytes()
    }

    #[test]
    fn the_first_place_with_a_token_counts() {
        let from = [
            TokenSource::Header,
            TokenSource::Cookie(b"sid"[..].into()),
            TokenSource::Query(b"t k"[..].into()),
        ];
        let directory = tempfile::tempdir().unwrap();
        let (keys, _) = keys(directory.path(), SECRET);
        let jwt = Jwt::new(keys, TokenTerms { from: from.into(), ..terms() });
        let found = |lines: &[(&str, &str)], query: &str| {
            let mut fields = Fields::default();
            lines.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
            let token = jwt.find_token(&fields, (!query.is_empty()).then_some(query.as_bytes()));
            token.map(|token| String::from_utf8(token.into_owned()).unwrap())
        };
        let bearer = ("Authorization", "Bearer h");
        let cookie = ("Cookie", "a=b; sid=\"c\"");
        assert_eq!(found(&[bearer, cookie], "t+k=q"), Ok("h".into()));
        assert_eq!(found(&[("Authorization", "Basic x"), cookie], "t+k=q"), Ok("c".into()));
        assert_eq!(found(&[("Cookie", "sid=; SID=x")], "a&t%20k=q%2E%71&b"), Ok("q.q".into()));
        for none in ["", "t+k", "t+k=", "T+k=q", "t=q", "k=q"] {
            assert_eq!(
                found(&[("Authorization", "Bearer ")], none),
                Err(TokenFault::Missing),
                "{none}"
            );
        }
        for several in [
            found(&[bearer, bearer], ""),
            found(&[("Authorization", "Basic x"), bearer], ""),
            found(&[("Cookie", "sid=a; sid=a")], ""),
            found(&[("Cookie", "sid=a"), ("Cookie", "sid=")], ""),
            found(&[("Cookie", "sid=\"a; sid=b\"")], ""),
            found(&[], "t+k=a&t%20k=a"),
            found(&[], "t+k=&t+k=a"),
        ] {
            assert_eq!(several, Err(TokenFault::Several));
        }
    }

    const HEADER: &str = r#"{"alg":"HS256","kid":"1"}"#;

    #[test]
    fn i9_i18_what_a_token_says_must_be_of_the_right_kind() {
        let directory = tempfile::tempdir().unwrap();
        let jwt = Jwt::new(keys(directory.path(), SECRET).0, terms());
        let good = r#"{"sub":"anna","iss":"us","aud":"shop","exp":1800000001}"#;
        let verified = jwt.verify(&token(HEADER, good), NOW).unwrap();
        assert_eq!(verified.fields, [(b"x-user"[..].into(), b"anna"[..].into())]);
        for (header, claims, why) in [
            (r#"{"alg":"HS256","kid":"1","crit":["exp2"]}"#, good, TokenFault::Critical),
            (r#"{"alg":"HS256","kid":"1","crit":[],"b64":false}"#, good, TokenFault::Critical),
            (r#"{"alg":"HS256","kid":"2"}"#, good, TokenFault::UnknownKey),
            (r#"{"alg":"HS384","kid":"1"}"#, good, TokenFault::Algorithm),
            (HEADER, r#"{"iss":["us"],"aud":"shop","exp":1800000001}"#, TokenFault::Issuer),
            (HEADER, r#"{"iss":["us","them"],"aud":"shop","exp":1800000001}"#, TokenFault::Issuer),
            (HEADER, r#"{"aud":"shop","exp":1800000001}"#, TokenFault::Claim),
            (HEADER, r#"{"iss":"us","aud":["x"],"exp":1800000001}"#, TokenFault::Audience),
            (HEADER, r#"{"iss":"us","exp":1800000001}"#, TokenFault::Claim),
            (HEADER, r#"{"iss":"us","aud":"shop"}"#, TokenFault::Claim),
            (HEADER, r#"{"iss":"us","aud":"shop","exp":"1800000001"}"#, TokenFault::Malformed),
            (
                HEADER,
                r#"{"iss":"us","aud":"shop","exp":1800000001,"nbf":"0"}"#,
                TokenFault::Malformed,
            ),
            (
                HEADER,
                r#"{"iss":"us","aud":"shop","exp":1800000001,"nbf":1800000061}"#,
                TokenFault::NotYetValid,
            ),
            (HEADER, r#"{"iss":"us","aud":"shop","exp":1799999940}"#, TokenFault::Expired),
            (
                HEADER,
                r#"{"sub":"a\nb","iss":"us","aud":"shop","exp":1800000001}"#,
                TokenFault::Unsendable,
            ),
        ] {
            assert_eq!(jwt.verify(&token(header, claims), NOW), Err(why), "{claims}");
        }
        for claims in [
            r#"{"iss":"us","aud":["x","shop"],"exp":1800000001,"nbf":1800000060}"#,
            r#"{"iss":"us","aud":"shop","exp":1799999941}"#,
        ] {
            assert!(jwt.verify(&token(HEADER, claims), NOW).is_ok(), "{claims}");
        }
        let long = Jwt::new(jwt.keys().clone(), TokenTerms { max_token: 20, ..terms() });
        assert_eq!(long.verify(&token(HEADER, good), NOW), Err(TokenFault::TooLong));
    }

    #[test]
    fn a_token_is_remembered_until_it_ends_and_no_longer_than_five_minutes() {
        let directory = tempfile::tempdir().unwrap();
        let jwt = Jwt::new(keys(directory.path(), SECRET).0, terms());
        let until = |expires: u64| {
            let claims = format!(r#"{{"iss":"us","aud":"shop","exp":{expires}}}"#);
            let verified = jwt.verify(&token(HEADER, &claims), NOW).unwrap();
            let holds = |after: u64| jwt.still_counts(&verified, NOW + after);
            assert!(holds(0) && !holds(301));
            (0..=301).rev().find(|after| holds(*after)).unwrap()
        };
        // With a leeway of a minute, a token that ends in 10 s is good for 69 more.
        assert_eq!(until(NOW + 10), 69);
        assert_eq!(until(NOW + 100_000), 299);
    }

    #[test]
    fn a_token_is_forgotten_with_its_key() {
        let directory = tempfile::tempdir().unwrap();
        let (keys, path) = keys(directory.path(), SECRET);
        let jwt = Jwt::new(keys.clone(), terms());
        let claims = r#"{"iss":"us","aud":"shop","exp":1800000001}"#;
        let verified = jwt.verify(&token(HEADER, claims), NOW).unwrap();
        assert!(jwt.still_counts(&verified, NOW));
        std::fs::write(&path, set(b"another secret, which is as long")).unwrap();
        let again = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        assert!(again.block_on(keys.refetch_set()));
        assert!(!jwt.still_counts(&verified, NOW));
        assert_eq!(jwt.verify(&token(HEADER, claims), NOW), Err(TokenFault::Signature));
    }

    #[test]
    fn every_fault_has_a_reason_and_the_key_that_would_change_it() {
        for (fault, reason, key, new_key) in [
            (TokenFault::Missing, "missing", "auth.jwt.from", false),
            (TokenFault::Several, "several", "auth.jwt.from", false),
            (TokenFault::TooLong, "too_long", "auth.jwt.max_token", false),
            (TokenFault::Malformed, "malformed", "auth.jwt", false),
            (TokenFault::Algorithm, "algorithm", "auth.jwt.algorithms", false),
            (TokenFault::UnknownKey, "unknown_key", "auth.jwt.jwks", true),
            (TokenFault::Signature, "signature", "auth.jwt.jwks", true),
            (TokenFault::Expired, "expired", "auth.jwt", false),
            (TokenFault::NotYetValid, "not_yet_valid", "auth.jwt", false),
            (TokenFault::Issuer, "issuer", "auth.jwt.issuer", false),
            (TokenFault::Audience, "audience", "auth.jwt.audience", false),
            (TokenFault::Claim, "claim", "auth.jwt", false),
            (TokenFault::Critical, "critical", "auth.jwt", false),
            (TokenFault::Unsendable, "unsendable", "auth.jwt.forward", false),
            (TokenFault::NoKeys, "no_keys", "auth.jwt.jwks", false),
        ] {
            assert_eq!(
                (fault.reason_word(), fault.config_key(), fault.may_be_new_key()),
                (reason, key, new_key)
            );
        }
    }

    const GOOD: &str = r#"{"sub":"anna","iss":"us","aud":"shop","exp":1800000001}"#;

    /// What becomes of a good token with this head, where these are the keys.
    fn with_keys(keys: &str, header: &str) -> Result<(), TokenFault> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.json");
        let k = URL_SAFE_NO_PAD.encode(SECRET);
        let keys = keys.replace("OURS", &format!("\"kty\":\"oct\",\"k\":\"{k}\""));
        let keys = keys.replace("THEIRS", "\"kty\":\"oct\",\"k\":\"YW5vdGhlciBzZWNyZXQ\"");
        std::fs::write(&path, format!("{{\"keys\":[{keys}]}}")).unwrap();
        let source = crate::policy::jwks::KeySetSource::File(path);
        let jwt = Jwt::new(Keys::inspect(source, true).unwrap(), terms());
        jwt.verify(&token(header, GOOD), NOW).map(|_| ())
    }

    #[test]
    fn a_key_fits_a_token_by_id_and_algorithm_as_far_as_both_name_them() {
        let (named, plain) = (HEADER, r#"{"alg":"HS256"}"#);
        for keys in [
            r#"{OURS}"#,
            r#"{OURS,"kid":"1"}"#,
            r#"{OURS,"alg":"HS256"}"#,
            r#"{THEIRS},{OURS}"#,
            r#"{THEIRS,"kid":"1"},{OURS,"kid":"1"}"#,
            r#"{OURS,"alg":"HS384"},{OURS}"#,
        ] {
            assert_eq!(with_keys(keys, named), Ok(()), "{keys}");
            assert_eq!(with_keys(keys, plain), Ok(()), "{keys}");
        }
        let other = r#"{OURS,"kid":"2"}"#;
        assert_eq!(with_keys(other, named), Err(TokenFault::UnknownKey));
        assert_eq!(with_keys(other, plain), Ok(()));
        let algorithm = r#"{OURS,"kid":"1","alg":"HS384"}"#;
        assert_eq!(with_keys(algorithm, named), Err(TokenFault::UnknownKey));
        for keys in [r#"{THEIRS}"#, r#"{THEIRS},{OURS,"kid":"2"}"#] {
            assert_eq!(with_keys(keys, named), Err(TokenFault::Signature), "{keys}");
        }
        let family = r#"{"kty":"RSA","n":"AQAB","e":"AQAB","kid":"1"}"#;
        assert_eq!(with_keys(family, named), Err(TokenFault::UnknownKey));
    }

    #[test]
    fn without_keys_no_token_can_be_verified() {
        let path = std::path::PathBuf::from("none.json");
        let source = crate::policy::jwks::KeySetSource::File(path);
        let jwt = Jwt::new(Keys::inspect(source, false).unwrap(), terms());
        assert_eq!(jwt.verify(&token(HEADER, GOOD), NOW), Err(TokenFault::NoKeys));
        assert_eq!(jwt.forwarded_claims(), [("sub".into(), b"x-user"[..].into())]);
    }

    #[test]
    fn a_fingerprint_is_of_one_policy_and_one_token() {
        let directory = tempfile::tempdir().unwrap();
        let (keys, _) = keys(directory.path(), SECRET);
        let (one, two) = (Jwt::new(keys.clone(), terms()), Jwt::new(keys, terms()));
        assert_eq!(one.fingerprint_of(b"a"), one.fingerprint_of(b"a"));
        assert_ne!(one.fingerprint_of(b"a"), one.fingerprint_of(b"b"));
        assert_ne!(one.fingerprint_of(b"a"), two.fingerprint_of(b"a"));
    }

    #[test]
    fn times_lengths_and_claims_count_to_the_last_of_them() {
        let directory = tempfile::tempdir().unwrap();
        let allow = [("role".into(), "admin".into()), ("level".into(), "3".into())];
        let of = |max_token| TokenTerms { max_token, allow: allow.clone().into(), ..terms() };
        let jwt = Jwt::new(keys(directory.path(), SECRET).0, of(16 * 1024));
        let of_claims = |claims: &str| {
            let claims = format!(r#"{{"iss":"us","aud":"shop",{claims}}}"#);
            jwt.verify(&token(HEADER, &claims), NOW)
        };
        let verified = of_claims(r#""exp":1800000001.9,"role":["x","admin"],"level":3"#).unwrap();
        assert_eq!((verified.until, verified.generation, verified.allowed), (NOW + 61, 1, true));
        let claims = verified.claims.iter().map(|(name, value)| (&**name, &**value));
        let claims: std::collections::BTreeMap<&str, &str> = claims.collect();
        let expected = [("aud", "shop"), ("exp", "1800000001.9"), ("iss", "us"), ("level", "3")];
        assert_eq!(claims.iter().map(|(a, b)| (*a, *b)).take(4).collect::<Vec<_>>(), expected);
        assert_eq!(claims.get("role"), Some(&"x,admin"));
        assert!(verified.fields.is_empty());
        for less in
            [r#""exp":1800000001,"role":"admin""#, r#""exp":1800000001,"role":"x","level":3"#]
        {
            assert!(!of_claims(less).unwrap().allowed, "{less}");
        }
        assert_eq!(of_claims(r#""exp":-1"#), Err(TokenFault::Malformed));
        assert_eq!(of_claims(r#""exp":0"#), Err(TokenFault::Expired));
        let whole = token(HEADER, GOOD);
        for (most, expected) in [(whole.len(), Ok(())), (whole.len() - 1, Err(TokenFault::TooLong))]
        {
            let jwt = Jwt::new(jwt.keys().clone(), of(most));
            assert_eq!(jwt.verify(&whole, NOW).map(|_| ()), expected);
        }
        let cut = whole.rsplitn(2, |byte| *byte == b'.').nth(1).unwrap();
        for none in [cut, b"a.b.c", b"", b".."] {
            assert_eq!(jwt.verify(none, NOW), Err(TokenFault::Malformed), "{none:?}");
        }
        assert_eq!(jwt.verify(&token(HEADER, "[]"), NOW), Err(TokenFault::Malformed));
        assert!(Arc::ptr_eq(jwt.keys(), &jwt.keys));
    }

    #[test]
    fn anybody_s_token_is_good_where_nobody_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let terms = TokenTerms { issuer: None, audience: Box::default(), ..terms() };
        let jwt = Jwt::new(keys(directory.path(), SECRET).0, terms);
        assert!(jwt.verify(&token(HEADER, r#"{"exp":1800000001}"#), NOW).is_ok());
    }
}
