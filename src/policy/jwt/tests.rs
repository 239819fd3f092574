//! Whole tokens, signed with keys in files.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::wire::head::Fields;

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
    let signature = jsonwebtoken::crypto::sign(text.as_bytes(), &key, Algorithm::HS256).unwrap();
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
        (HEADER, r#"{"iss":"us","aud":"shop","exp":1800000001,"nbf":"0"}"#, TokenFault::Malformed),
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
    for less in [r#""exp":1800000001,"role":"admin""#, r#""exp":1800000001,"role":"x","level":3"#] {
        assert!(!of_claims(less).unwrap().allowed, "{less}");
    }
    assert_eq!(of_claims(r#""exp":-1"#), Err(TokenFault::Malformed));
    assert_eq!(of_claims(r#""exp":0"#), Err(TokenFault::Expired));
    let whole = token(HEADER, GOOD);
    for (most, expected) in [(whole.len(), Ok(())), (whole.len() - 1, Err(TokenFault::TooLong))] {
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
