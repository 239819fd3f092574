//! Text that strangers and operators write: configuration, PROXY headers, forwarding fields,
//! tokens, cookies, and the directives of caches; and the values that a cache finds in Redis.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE;
use tidegate::cache::directives::{RequestDirectives, ResponseDirectives};
use tidegate::cache::history::{Epoch, PurgeEntry};
use tidegate::cache::stored::{self, StoredResponse, StoredValue};
use tidegate::config;
use tidegate::exchange::identity::{ClientField, Identity, OtherEnd};
use tidegate::policy::jwks::{KeySetSource, Keys};
use tidegate::policy::jwt::{self, Jwt, TokenSource, TokenTerms};
use tidegate::route::authority;
use tidegate::server::rig;
use tidegate::snapshot::compile;
use tidegate::upstream::sticky::Sticky;
use tidegate::wire::head::Fields;

/// A configuration is understood or refused; what is accepted is shown as something that means the
/// same, and `run` finds nothing wrong that `check` does not.
pub fn configuration(input: &[u8]) {
    match config::load_bytes("fuzz.toml", input) {
        Ok(loaded) => {
            // What a file holds is not this target's.
            let text = String::from_utf8_lossy(input);
            if text.contains("file") || text.contains("/") && text.contains("tls") {
                return;
            }
            let _findings = compile::inspect(&loaded.config, false);
        }
        Err(report) => {
            let text = format!("{report:?}");
            assert!(!text.is_empty());
        }
    }
}

/// A PROXY header says who the client is, or nothing.
pub fn proxy_header(input: &[u8]) {
    let Some((client, server)) = rig::proxy_header(input) else { return };
    // Version 1 says the same in words.
    if let Some(words) = input.strip_prefix(b"PROXY TCP") {
        let text = String::from_utf8_lossy(words);
        let words: Vec<&str> = text.trim_end().split(' ').collect();
        let [_, from, to, from_port, to_port] = *words else {
            unreachable!("{}: {client} {server}", input.escape_ascii())
        };
        let same = |told: &str, port: &str, address: std::net::SocketAddr| {
            told.parse::<IpAddr>().ok() == Some(address.ip())
                && port.parse::<u16>().ok() == Some(address.port())
        };
        assert!(
            same(from, from_port, client) && same(to, to_port, server),
            "{}",
            input.escape_ascii()
        );
    }
}

/// Fields, one to a line.
fn fields(input: &[u8]) -> Fields {
    let mut fields = Fields::default();
    for line in input.split(|byte| *byte == b'\n').take(64) {
        if let Some(colon) = line.iter().position(|byte| *byte == b':') {
            fields.push(&line[..colon], line[colon + 1..].trim_ascii());
        }
    }
    fields
}

/// Who a client is follows from what trusted proxies say; nobody else has a say.
pub fn identity(input: &[u8]) {
    let fields = fields(input);
    let proxy = IpAddr::from([10, 0, 0, 1]);
    let trusted_net = |ip: IpAddr| matches!(ip, IpAddr::V4(v4) if v4.octets()[0] == 10);
    for trusted in [false, true] {
        let peer = OtherEnd {
            ip: Some(proxy),
            text: Some("10.0.0.1"),
            trusted,
            scheme: "http",
            certificate: None,
        };
        let identity =
            Identity::new(peer, &fields, &ClientField::default(), trusted_net, authority::is_host);
        if !trusted {
            assert_eq!((identity.client, identity.client_text()), (Some(proxy), Some("10.0.0.1")));
            assert_eq!((identity.host, identity.port, identity.scheme), (None, None, "http"));
            continue;
        }
        let Some(client) = identity.client else {
            unreachable!("there is the proxy's own address")
        };
        assert_eq!(client, client.to_canonical());
        assert_eq!(identity.client_text(), Some(&*client.to_string()));
        assert!(matches!(identity.scheme, "http" | "https"));
        assert!(identity.host.is_none_or(authority::is_host));
        assert_eq!(client, rightmost(&fields).unwrap_or(proxy), "{}", input.escape_ascii());
    }
}

/// The rightmost address that is no trusted proxy's, or the leftmost one that is reached: read on
/// its own.
fn rightmost(fields: &Fields) -> Option<IpAddr> {
    let lines: Vec<&[u8]> = fields.named(b"x-forwarded-for").collect();
    let all = lines.join(&b","[..]);
    let mut client = None;
    for item in
        all.rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|item| !item.is_empty())
    {
        let Ok(text) = std::str::from_utf8(item) else { return client };
        let with_port = || text.parse::<std::net::SocketAddr>().map(|address| address.ip());
        let bare = || text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        // Brackets come in pairs, or not at all.
        let brackets = (text.matches('[').count(), text.matches(']').count());
        let address = match brackets {
            (0, 0) => bare().or_else(|_| with_port()).ok(),
            (1, 1) => with_port()
                .ok()
                .or_else(|| bare().ok().filter(|_| text.starts_with('[') && text.ends_with(']'))),
            _ => None,
        };
        let Some(address) = address.map(|ip| ip.to_canonical()) else { return client };
        client = Some(address);
        if !matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 10) {
            return client;
        }
    }
    client
}

const SECRET: &[u8] = b"a secret of the issuer's and ours";
const NOW: u64 = 1_800_000_000;

fn verifier() -> &'static Jwt {
    static JWT: LazyLock<Jwt> = LazyLock::new(|| {
        let k = URL_SAFE.encode(SECRET);
        let set = format!(
            "{{\"keys\":[{{\"kty\":\"oct\",\"alg\":\"HS256\",\"kid\":\"1\",\"k\":\"{k}\"}}]}}"
        );
        let path = std::env::temp_dir().join(format!("tidegate-fuzz-{}.json", std::process::id()));
        let keys = std::fs::write(&path, set).map_err(|error| error.to_string());
        let keys = keys.and_then(|()| Keys::inspect(KeySetSource::File(path), true));
        let keys: Arc<Keys> = match keys {
            Ok(keys) => keys,
            Err(why) => unreachable!("{why}"),
        };
        let terms = TokenTerms {
            algorithms: vec![jsonwebtoken::Algorithm::HS256],
            issuer: Some("us".into()),
            audience: ["shop".into()].into(),
            leeway: 0,
            max_token: 16 * 1024,
            forward: [("sub".into(), b"x-user"[..].into())].into(),
            allow: Box::default(),
            from: [TokenSource::Header].into(),
        };
        Jwt::new(keys, terms)
    });
    &JWT
}

/// A token counts if it is signed, in time and for us. An input is a header and claims, between
/// them a line's end; they are signed as they are, and also taken for a token as they are.
pub fn token(input: &[u8]) {
    let jwt = verifier();
    // Nobody can forge a signature by chance.
    if let Some(token) = jwt::bearer(input) {
        assert!(jwt.verify(token, NOW).is_err(), "{}", input.escape_ascii());
    }
    assert!(jwt.verify(input, NOW).is_err(), "{}", input.escape_ascii());
    let Some(at) = input.iter().position(|byte| *byte == b'\n') else { return };
    let (header, claims) = (&input[..at], &input[at + 1..]);
    let text = format!("{}.{}", URL_SAFE.encode(header), URL_SAFE.encode(claims));
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET);
    let Ok(signature) =
        jsonwebtoken::crypto::sign(text.as_bytes(), &key, jsonwebtoken::Algorithm::HS256)
    else {
        return;
    };
    let Ok(verified) = jwt.verify(format!("{text}.{signature}").as_bytes(), NOW) else { return };
    let told = || format!("{}\n{verified:?}", input.escape_ascii());
    let read = |bytes| serde_json::from_slice::<serde_json::Value>(bytes);
    let (Ok(header), Ok(claims)) = (read(header), read(claims)) else { unreachable!("{}", told()) };
    assert_eq!(header["alg"], "HS256", "{}", told());
    assert!(header.get("crit").is_none(), "{}", told());
    assert_eq!(claims["iss"], "us", "{}", told());
    let is_for_us = claims["aud"] == "shop"
        || claims["aud"].as_array().is_some_and(|all| all.iter().any(|one| one == "shop"));
    assert!(is_for_us, "{}", told());
    assert!(claims["exp"].as_f64().is_some_and(|exp| exp > NOW as f64), "{}", told());
    assert!(
        claims.get("nbf").is_none_or(|nbf| nbf.as_f64().is_some_and(|nbf| nbf <= NOW as f64)),
        "{}",
        told()
    );
    assert!(verified.until > NOW && verified.until <= NOW + 300, "{}", told());
    for (name, value) in &verified.fields {
        assert_eq!(&**name, b"x-user");
        assert!(!value.iter().any(|byte| byte.is_ascii_control()), "{}", told());
    }
}

/// Cookies are pairs; one that binds to a server counts only if it was made here.
pub fn cookie(input: &[u8]) {
    let mut fields = Fields::default();
    fields.push(b"cookie", input);
    for (name, value) in rig::cookies(input) {
        assert!(!name.contains(&b';') && !value.contains(&b';') && !name.contains(&b'='));
    }
    static STICKY: LazyLock<Sticky> = LazyLock::new(|| {
        Sticky::new(("app", "tide"), Duration::from_secs(60), Some("secret"), &[])
    });
    assert_eq!(STICKY.read(input, NOW), None);
}

/// Directives are understood the same however they are split into fields, and a word more never
/// means less caution.
pub fn directives(input: &[u8]) {
    let fields = fields(input);
    let (said, asked) = (ResponseDirectives::read(&fields), RequestDirectives::read(&fields));
    if said.targeted {
        return;
    }
    let mut stricter = Fields::default();
    for field in fields.iter() {
        stricter.push(field.name, field.value);
    }
    stricter.push(b"Cache-Control", b"no-store, private, no-cache");
    let read = ResponseDirectives::read(&stricter);
    assert!(read.no_store && read.private && read.no_cache, "{}", input.escape_ascii());
    assert_eq!((said.max_age, said.s_maxage), (read.max_age, read.s_maxage));
    assert!(RequestDirectives::read(&stricter).no_store);
    // Without a number any staleness is accepted.
    let max_stale = asked.max_stale.filter(|seconds| *seconds != u64::MAX);
    for seconds in [said.max_age, said.s_maxage, asked.max_age, max_stale].into_iter().flatten() {
        assert!(seconds <= 1 << 31);
    }
}

/// A value out of Redis is exactly what is written there, or nothing. Most inputs would fail at the
/// checksum, so each is also tried with the right one behind the first four bytes.
pub fn stored(input: &[u8]) {
    is_read_as_written(input);
    if let (Some(magic), Some(rest)) = (input.get(..4), input.get(4..)) {
        is_read_as_written(&stored::sealed(magic, rest));
    }
}

fn is_read_as_written(value: &[u8]) {
    match StoredValue::read(value) {
        None => {}
        Some(StoredValue::Response(read)) => {
            let StoredResponse { head, trailers, body, key, .. } = &*read;
            let held = head.fields.capacity()
                + trailers.as_ref().map_or(0, Fields::capacity)
                + body.len()
                + key.len();
            // The shortest field is four bytes; its place in a list, which grows to twice what it
            // has to hold, is 64 at most.
            assert!(held <= 4096 + 16 * value.len(), "{held}: {}", value.escape_ascii());
            // A head has other spellings, and one that is written: that one is read again as the
            // same.
            let Some(written) = read.write() else { unreachable!("{}", value.escape_ascii()) };
            let Some(StoredValue::Response(again)) = StoredValue::read(&written) else {
                unreachable!("{}", value.escape_ascii())
            };
            assert_eq!(again.write().as_deref(), Some(&*written), "{}", value.escape_ascii());
            assert_eq!((again.epoch, &again.key, again.timing), (read.epoch, key, read.timing));
            assert_eq!((again.head.status, &again.body), (head.status, body));
        }
        Some(StoredValue::Variants(key, names)) => {
            assert_eq!(stored::write_variants(&key, &names).as_deref(), Some(value));
        }
    }
}

/// What stands in the stream of purges is a purge of no less than it says; what is not understood
/// is one of everything.
pub fn purges(input: &[u8]) {
    let fields: Vec<(&[u8], &[u8])> = input
        .split(|byte| *byte == b'\n')
        .map(|line| {
            let at = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
            (&line[..at], line.get(at + 1..).unwrap_or_default())
        })
        .collect();
    let at = Epoch(7, 7);
    let Some(read) = PurgeEntry::read(at, fields.iter().copied()) else {
        assert!(
            fields
                .iter()
                .filter(|(name, _)| *name == b"cache")
                .next_back()
                .is_none_or(|(_, cache)| std::str::from_utf8(cache).is_err())
        );
        return;
    };
    let written = PurgeEntry::fields(&read.cache, read.id, &read.invalid);
    let written = written.iter().map(|(name, value)| (name.as_bytes(), &**value));
    assert_eq!(PurgeEntry::read(at, written), Some(read), "{}", input.escape_ascii());
}
