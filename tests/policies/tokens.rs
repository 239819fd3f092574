//! Clients known by a signed token. The tokens are made by openssl.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

use crate::{config, proxy};
use support::{
    Authority, Nginx, Origin, RawClient, Response, SOON, Step, Tidegate, assert_problem, ok,
    wait_until,
};

/// A key pair, as a PEM file.
pub(crate) struct Key {
    directory: tempfile::TempDir,
    algorithm: &'static str,
    id: &'static str,
}

fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl");
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}");
    output.stdout
}

impl Key {
    pub(crate) fn new(algorithm: &'static str, id: &'static str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let kind: &[&str] = match algorithm {
            "RS256" => &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
            "ES256" => &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            _ => &["-algorithm", "ed25519"],
        };
        let pem = openssl(&[&["genpkey"], kind].concat(), b"");
        std::fs::write(directory.path().join("key.pem"), pem).unwrap();
        Self { directory, algorithm, id }
    }

    fn pem(&self) -> String {
        self.directory.path().join("key.pem").display().to_string()
    }

    /// The public half as a JWK.
    pub(crate) fn jwk(&self) -> Value {
        let der = openssl(&["pkey", "-in", &self.pem(), "-pubout", "-outform", "DER"], b"");
        let end = |n: usize| BASE64.encode(&der[der.len() - n..]);
        let mut jwk = match self.algorithm {
            "RS256" => {
                let text = openssl(&["rsa", "-in", &self.pem(), "-noout", "-modulus"], b"");
                let text = String::from_utf8(text).unwrap();
                let hex = text.trim().strip_prefix("Modulus=").unwrap();
                let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
                let modulus: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
                json!({ "kty": "RSA", "n": BASE64.encode(modulus), "e": "AQAB" })
            }
            "ES256" => {
                let x = BASE64.encode(&der[der.len() - 64..der.len() - 32]);
                json!({ "kty": "EC", "crv": "P-256", "x": x, "y": end(32) })
            }
            _ => json!({ "kty": "OKP", "crv": "Ed25519", "x": end(32) }),
        };
        jwk["kid"] = self.id.into();
        jwk["alg"] = self.algorithm.into();
        jwk
    }

    fn sign(&self, text: &str) -> Vec<u8> {
        match self.algorithm {
            "RS256" => openssl(&["dgst", "-sha256", "-sign", &self.pem()], text.as_bytes()),
            "ES256" => raw(&openssl(&["dgst", "-sha256", "-sign", &self.pem()], text.as_bytes())),
            _ => {
                let file = self.directory.path().join("text");
                std::fs::write(&file, text).unwrap();
                let file = file.display().to_string();
                openssl(&["pkeyutl", "-sign", "-inkey", &self.pem(), "-rawin", "-in", &file], b"")
            }
        }
    }

    pub(crate) fn token(&self, claims: &Value) -> String {
        let header = json!({ "alg": self.algorithm, "typ": "JWT", "kid": self.id });
        let text = parts(&header, claims);
        format!("{text}.{}", BASE64.encode(self.sign(&text)))
    }
}

fn parts(header: &Value, claims: &Value) -> String {
    format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()))
}

fn hmac(secret: &[u8], text: &str) -> Vec<u8> {
    let secret: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let secret = format!("hexkey:{secret}");
    openssl(&["dgst", "-sha256", "-mac", "HMAC", "-macopt", &secret, "-binary"], text.as_bytes())
}

/// An ECDSA signature without its DER: two numbers of 32 bytes.
fn raw(der: &[u8]) -> Vec<u8> {
    let number = |at: usize| {
        let length = usize::from(der[at + 1]);
        let digits = &der[at + 2..at + 2 + length];
        let digits = if digits.len() > 32 { &digits[1..] } else { digits };
        let mut number = vec![0; 32 - digits.len()];
        number.extend_from_slice(digits);
        (number, at + 2 + length)
    };
    let (first, next) = number(2);
    [first, number(next).0].concat()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub(crate) fn claims() -> Value {
    json!({ "sub": "anna", "iss": "https://issuer.test", "aud": "shop", "exp": now() + 600, "roles": ["a", "b"] })
}

pub(crate) fn set(keys: &[&Key]) -> String {
    json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }).to_string()
}

fn guarded(origin: &Origin, jwks: &str) -> Tidegate {
    // One worker, so that what it remembers is what answers.
    let auth = format!(
        r#"
        [runtime]
        workers = 1
        [auth.staff]
        jwt = {{ jwks = "{jwks}", issuer = "https://issuer.test", audience = "shop", algorithms = ["RS256", "ES256", "EdDSA"], forward = {{ sub = "X-User-Id", roles = "x-roles" }} }}
        "#
    );
    proxy(origin, "auth = 'staff'", &auth)
}

pub(crate) fn file(directory: &Path, text: &str) -> String {
    let path = directory.join("jwks.json");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn ask(proxy: &Tidegate, fields: &str) -> Response {
    proxy.client().exchange(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n"))
}

fn with(proxy: &Tidegate, token: &str) -> Response {
    ask(proxy, &format!("Authorization: Bearer {token}\r\n"))
}

#[test]
fn tokens_of_each_algorithm_pass_and_their_claims_go_on() {
    let keys = [Key::new("RS256", "r"), Key::new("ES256", "e"), Key::new("EdDSA", "d")];
    let directory = tempfile::tempdir().unwrap();
    let jwks = file(directory.path(), &set(&[&keys[0], &keys[1], &keys[2]]));
    let origin = Origin::ok("fine");
    let proxy = guarded(&origin, &jwks);
    for key in &keys {
        let token = key.token(&claims());
        // Twice: the second time it is remembered.
        for _ in 0..2 {
            let fields =
                format!("Authorization: Bearer {token}\r\nX-User-Id: root\r\nx-ROLES: all\r\n");
            let answer = ask(&proxy, &fields);
            assert_eq!(answer.status, 200, "{}: {}", key.algorithm, answer.text());
        }
    }
    for request in origin.all_requests(6) {
        assert_eq!(request.all("x-user-id"), ["anna"]);
        assert_eq!(request.all("x-roles"), ["a,b"]);
    }
}

#[test]
fn c9_a_claim_fills_a_header_unless_it_could_end_a_line() {
    let key = Key::new("ES256", "e");
    let directory = tempfile::tempdir().unwrap();
    let jwks = file(directory.path(), &set(&[&key]));
    let origin = Origin::ok("fine");
    let lines = "auth = 'staff'\nrequest_headers = { set = { x-sub = '{jwt.sub}', x-note = '{jwt.note}' } }\n\
                 response_headers = { set = { x-you = 'u-{jwt.sub}' } }";
    let auth = format!(
        "[auth.staff]\njwt = {{ jwks = \"{jwks}\", issuer = \"https://issuer.test\", audience = \"shop\", algorithms = [\"ES256\"] }}"
    );
    let proxy = proxy(&origin, lines, &auth);
    let mut claims = claims();
    claims["note"] = json!("a\r\nx-admin: 1");
    let answer = with(&proxy, &key.token(&claims));
    assert_eq!((answer.status, answer.all("x-you")), (200, vec!["u-anna"]));
    let seen = origin.only_request();
    assert_eq!(seen.all("x-sub"), ["anna"]);
    assert_eq!((seen.all("x-note"), seen.all("x-admin")), (vec![], vec![]));
}

#[test]
fn everything_else_is_refused() {
    let key = Key::new("ES256", "e");
    let other = Key::new("ES256", "e");
    let directory = tempfile::tempdir().unwrap();
    let jwks = file(directory.path(), &set(&[&key]));
    let origin = Origin::ok("fine");
    let proxy = guarded(&origin, &jwks);
    let missing = ask(&proxy, "");
    assert_problem(&missing, 401, "auth_required");
    assert_eq!(missing.header("www-authenticate"), Some("Bearer realm=\"tidegate\""));
    let changed = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        key.token(&claims)
    };
    let without = |name: &str| {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        key.token(&claims)
    };
    let good = key.token(&claims());
    let (head, rest) = good.split_once('.').unwrap();
    let (body, signature) = rest.split_once('.').unwrap();
    let none = parts(&json!({ "alg": "none", "kid": "e" }), &claims());
    // The public key as the secret of a symmetric signature.
    let symmetric = parts(&json!({ "alg": "HS256", "kid": "e" }), &claims());
    let mac = hmac(&openssl(&["pkey", "-in", &key.pem(), "-pubout"], b""), &symmetric);
    let cut = &good[..good.len() - 2];
    let bad = [
        ("expired", changed("exp", json!(now() - 120))),
        ("not yet", changed("nbf", json!(now() + 120))),
        ("another issuer", changed("iss", json!("https://evil.test"))),
        ("another audience", changed("aud", json!("bank"))),
        ("no expiry", without("exp")),
        ("no issuer", without("iss")),
        ("no audience", without("aud")),
        ("another key", other.token(&claims())),
        ("none", format!("{none}.")),
        ("none with a signature", format!("{none}.{signature}")),
        ("symmetric", format!("{symmetric}.{}", BASE64.encode(mac))),
        ("cut", cut.to_owned()),
        (
            "another body",
            format!("{head}.{}.{signature}", BASE64.encode(claims().to_string() + " ")),
        ),
        ("two parts", format!("{head}.{body}")),
        ("nonsense", "a.b.c".to_owned()),
        ("dots", "..".to_owned()),
        ("long", "x".repeat(20_000)),
    ];
    for (what, token) in bad {
        let refused = with(&proxy, &token);
        assert_eq!(refused.status, 401, "{what}");
        let challenge = "Bearer realm=\"tidegate\", error=\"invalid_token\"";
        assert_eq!(refused.header("www-authenticate"), Some(challenge), "{what}");
    }
    let twice = format!("Authorization: Bearer {good}\r\nAuthorization: Bearer {good}\r\n");
    assert_eq!(ask(&proxy, &twice).status, 401);
    assert_eq!(with(&proxy, &good).status, 200);
    assert_eq!(origin.requests().len(), 1);
    proxy.terminate();
    wait_until(SOON, "it ends", || proxy.log().contains("stopped"));
    let access = std::fs::read_to_string(proxy.path("access.log")).unwrap();
    assert!(!proxy.log().contains(signature) && !access.contains(signature), "a token is in a log");
}

#[test]
fn keys_are_fetched_rotated_and_kept_when_the_issuer_fails() {
    let (first, second) = (Key::new("ES256", "1"), Key::new("RS256", "2"));
    let answer = Arc::new(Mutex::new(set(&[&first])));
    let broken = Arc::new(AtomicBool::new(true));
    let (shown, failing) = (answer.clone(), broken.clone());
    let issuer = Origin::start(move |_| {
        if failing.load(Ordering::SeqCst) {
            return vec![Step::Send(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_vec())];
        }
        vec![Step::Send(ok(shown.lock().unwrap().clone()))]
    });
    let origin = Origin::ok("fine");
    let proxy = guarded(&origin, &format!("http://{}/jwks.json", issuer.server()));
    let token = first.token(&claims());
    // No keys yet: nobody is let in, and nobody is told that the token is wrong.
    assert_problem(&with(&proxy, &token), 503, "auth_unavailable");
    broken.store(false, Ordering::SeqCst);
    wait_until(2 * SOON, "the keys are fetched", || with(&proxy, &token).status == 200);
    // A new key is fetched when a token names it; one that is gone stops to count.
    *answer.lock().unwrap() = set(&[&second]);
    let newer = second.token(&claims());
    wait_until(4 * SOON, "the new key is fetched", || with(&proxy, &newer).status == 200);
    assert_eq!(with(&proxy, &token).status, 401);
    // The issuer fails: what is known goes on.
    broken.store(true, Ordering::SeqCst);
    assert_eq!(with(&proxy, &first.token(&claims())).status, 401);
    assert_eq!(with(&proxy, &second.token(&claims())).status, 200);
    let other =
        second.token(&json!({ "iss": "https://issuer.test", "aud": "shop", "exp": now() + 60 }));
    assert_eq!(with(&proxy, &other).status, 200);
}

#[test]
fn keys_are_fetched_over_https_from_whom_the_system_trusts() {
    let key = Key::new("ES256", "1");
    let (trusted, stranger) = (Authority::new("trusted"), Authority::new("stranger"));
    let origin = Origin::ok("fine");
    let jwks = set(&[&key]);
    let start = |authority: &Authority, name: &str| {
        let certificate = authority.certificate("issuer", &[name]);
        let issuer = Nginx::secure(&[("jwks.json", jwks.as_bytes())], &certificate);
        let auth =
            format!("[auth.staff]\njwt = {{ jwks = 'https://{}/jwks.json' }}", issuer.address);
        let toml = config(&origin, "auth = 'staff'", &auth);
        let variables = [("SSL_CERT_FILE", &*trusted.ca())];
        let directory = tempfile::tempdir().unwrap();
        (Tidegate::in_environment(directory, &toml, &[], &variables), issuer)
    };
    let token = key.token(&claims());
    let (proxy, _issuer) = start(&trusted, "127.0.0.1");
    wait_until(2 * SOON, "the keys are fetched", || with(&proxy, &token).status == 200);
    for (authority, name) in [(&stranger, "127.0.0.1"), (&trusted, "other.test")] {
        let (proxy, _issuer) = start(authority, name);
        wait_until(2 * SOON, "it is said", || proxy.log().contains("certificate"));
        assert_problem(&with(&proxy, &token), 503, "auth_unavailable");
    }
}

#[test]
fn a_shared_secret_counts_where_its_algorithm_is_named() {
    let public = Key::new("ES256", "e");
    let secret = b"a secret of more than thirty-two bytes, say";
    let mut keys: Value = serde_json::from_str(&set(&[&public])).unwrap();
    let oct = json!({ "kty": "oct", "k": BASE64.encode(secret), "kid": "s", "alg": "HS256" });
    keys["keys"].as_array_mut().unwrap().push(oct);
    let directory = tempfile::tempdir().unwrap();
    let jwks = file(directory.path(), &keys.to_string());
    let origin = Origin::ok("fine");
    let start = |algorithms: &str| {
        let auth = format!("[auth.staff]\njwt = {{ jwks = '{jwks}', algorithms = {algorithms} }}");
        proxy(&origin, "auth = 'staff'", &auth)
    };
    let signed = |secret: &[u8], id: &str| {
        let text = parts(&json!({ "alg": "HS256", "kid": id }), &claims());
        format!("{text}.{}", BASE64.encode(hmac(secret, &text)))
    };
    let named = start("['HS256', 'ES256']");
    assert_eq!(with(&named, &signed(secret, "s")).status, 200);
    assert_eq!(with(&named, &public.token(&claims())).status, 200);
    let pem = openssl(&["pkey", "-in", &public.pem(), "-pubout"], b"");
    for token in [signed(b"another secret that is as long as it", "s"), signed(&pem, "e")] {
        assert_eq!(with(&named, &token).status, 401);
    }
    let unnamed = start("['ES256']");
    assert_eq!(with(&unnamed, &signed(secret, "s")).status, 401);
}

#[test]
fn a_key_set_that_is_too_long_is_not_kept() {
    let key = Key::new("ES256", "1");
    let mut keys: Value = serde_json::from_str(&set(&[&key])).unwrap();
    keys["padding"] = "x".repeat(10 << 20).into();
    let issuer = Nginx::start(&[("jwks.json", keys.to_string().as_bytes())]);
    let origin = Origin::ok("fine");
    let proxy = guarded(&origin, &format!("http://{}/jwks.json", issuer.address));
    wait_until(2 * SOON, "it is said", || proxy.log().contains("length limit exceeded"));
    assert!(proxy.log().contains("auth.jwt.jwks"));
    assert_problem(&with(&proxy, &key.token(&claims())), 503, "auth_unavailable");
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 80 * 1024, "it held {kib} KiB");
}

#[test]
fn a_file_of_keys_is_read_again_when_it_changes() {
    let (first, second) = (Key::new("ES256", "1"), Key::new("ES256", "2"));
    let directory = tempfile::tempdir().unwrap();
    let jwks = file(directory.path(), &set(&[&first]));
    let origin = Origin::ok("fine");
    let proxy = guarded(&origin, &jwks);
    let remembered = first.token(&claims());
    assert_eq!(with(&proxy, &remembered).status, 200);
    file(directory.path(), "{ half a fi");
    wait_until(2 * SOON, "it is complained about", || proxy.log().contains("auth.jwt.jwks"));
    assert_eq!(with(&proxy, &remembered).status, 200);
    assert_eq!(with(&proxy, &first.token(&claims())).status, 200);
    file(directory.path(), &set(&[&second]));
    let newer = second.token(&claims());
    wait_until(2 * SOON, "the new key counts", || with(&proxy, &newer).status == 200);
    assert_eq!(with(&proxy, &remembered).status, 401);
    assert_eq!(with(&proxy, &first.token(&claims())).status, 401);
}

#[test]
fn a_reload_asks_the_issuer_for_nothing_new() {
    let key = Key::new("ES256", "1");
    let text = set(&[&key]);
    let issuer = Origin::start(move |_| vec![Step::Send(ok(text.clone()))]);
    let origin = Origin::ok("fine");
    let proxy = guarded(&origin, &format!("http://{}/", issuer.server()));
    let token = key.token(&claims());
    wait_until(SOON, "the keys are fetched", || with(&proxy, &token).status == 200);
    let config = std::fs::read_to_string(proxy.path("tidegate.toml")).unwrap();
    std::fs::write(proxy.path("tidegate.toml"), config.replace("name = \"app\"", "name = \"new\""))
        .unwrap();
    let reload = "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(RawClient::connect(proxy.admin()).exchange(reload).status, 200);
    assert_eq!(with(&proxy, &token).status, 200, "the keys are there at once");
    assert_eq!(issuer.requests().len(), 1);
}

#[test]
fn who_is_known_may_still_not_be_allowed_and_is_limited_by_claim() {
    let key = Key::new("ES256", "1");
    let directory = tempfile::tempdir().unwrap();
    let jwks = file(directory.path(), &set(&[&key]));
    let origin = Origin::ok("fine");
    let auth =
        format!("[auth.admins]\njwt = {{ jwks = \"{jwks}\", allow = {{ roles = \"admin\" }} }}\n");
    let route = "auth = 'admins'\nlimit = { rate = '1/h', burst = 1, key = 'jwt:sub' }";
    let proxy = proxy(&origin, route, &auth);
    let token = |sub: &str, roles: Value| {
        key.token(&json!({ "sub": sub, "roles": roles, "exp": now() + 60 }))
    };
    for roles in [json!([]), json!("adm"), json!(["user", "administrator"]), Value::Null] {
        assert_problem(&with(&proxy, &token("eve", roles)), 403, "not_allowed");
    }
    let anna = token("anna", json!(["user", "admin"]));
    let statuses = [(); 3].map(|()| with(&proxy, &anna).status);
    assert_eq!(statuses, [200, 200, 429]);
    // Another token of the same person counts on the same limit.
    assert_eq!(with(&proxy, &token("anna", json!("admin"))).status, 429);
    assert_eq!(with(&proxy, &token("bert", json!("admin"))).status, 200);
}

#[test]
fn v4_why_a_token_is_refused_is_told_to_operators_alone() {
    let key = Key::new("ES256", "one");
    let origin = Origin::ok("fine");
    let set = key.directory.path().join("set.json");
    std::fs::write(&set, json!({ "keys": [key.jwk()] }).to_string()).unwrap();
    let auth = format!(
        "[auth.staff]\njwt = {{ jwks = 'file:{}', issuer = 'us', audience = 'shop', max_token = '2KiB' }}",
        set.display()
    );
    let proxy = proxy(&origin, "auth = 'staff'", &auth);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({ "iss": "us", "aud": "shop", "exp": now + 600 });
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        key.token(&claims)
    };
    let other = Key::new("ES256", "one");
    let get = |token: &str| {
        let request =
            format!("GET / HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {token}\r\n\r\n");
        proxy.client().exchange(request)
    };
    assert_eq!(get(&key.token(&claims)).status, 200);
    for (token, reason, why, key) in [
        (with("exp", (now - 600).into()), "expired", "the token has expired", "auth.jwt"),
        (with("nbf", (now + 600).into()), "not_yet_valid", "not valid yet", "auth.jwt"),
        (with("aud", "other".into()), "audience", "another audience", "auth.jwt.audience"),
        (with("iss", "them".into()), "issuer", "another issuer", "auth.jwt.issuer"),
        (other.token(&claims), "signature", "signature is wrong", "auth.jwt.jwks"),
        ("x".repeat(2049), "too_long", "longer than allowed", "auth.jwt.max_token"),
        ("a.b.c".to_owned(), "malformed", "malformed", "auth.jwt"),
    ] {
        let answer = get(&token);
        assert_problem(&answer, 401, "auth_required");
        assert!(!answer.text().contains(why), "{}", answer.text());
        let key = format!("key=\"{key}\"");
        wait_until(SOON, why, || {
            let log = proxy.log();
            log.lines().any(|line| [why, "auth.staff", &key].iter().all(|part| line.contains(part)))
        });
        let counter =
            format!("tidegate_auth_refusals_total{{auth=\"staff\",reason=\"{reason}\"}} 1");
        wait_until(SOON, &counter, || {
            let page = RawClient::connect(proxy.admin()).ask("/metrics").text();
            page.lines().any(|line| line == counter)
        });
    }
}

#[test]
fn p16_a_token_with_a_new_key_waits_for_the_key() {
    let (old, new) = (Key::new("ES256", "old"), Key::new("ES256", "new"));
    let rotated = Arc::new(AtomicBool::new(false));
    let (before, after) = (set(&[&old]), set(&[&old, &new]));
    let turned = rotated.clone();
    let issuer = Origin::start(move |_| {
        vec![Step::Send(ok(if turned.load(Ordering::SeqCst) { &after } else { &before }))]
    });
    let origin = Origin::ok("fine");
    let proxy = guarded(&origin, &format!("http://{}/keys", issuer.server()));
    let ask = |key: &Key| {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {}\r\n\r\n",
            key.token(&claims())
        );
        proxy.client().exchange(request).status
    };
    wait_until(SOON, "the first keys are there", || ask(&old) == 200);
    let fetched = issuer.requests().len();
    rotated.store(true, Ordering::SeqCst);
    assert_eq!(ask(&new), 200, "the first token, at once");
    assert_eq!(issuer.requests().len(), fetched + 1);
    // Keys that nobody has are asked for a few times and then no more.
    let stranger = Key::new("ES256", "stranger");
    let answers: Vec<u16> = (0..8).map(|_| ask(&stranger)).collect();
    assert_eq!(answers, [401; 8]);
    let asked = issuer.requests().len() - fetched;
    assert!((2..=5).contains(&asked), "{asked}");
}
