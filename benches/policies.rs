//! What a route's policies cost a request: `cargo bench --bench policies`.
//!
//! Prints besides what a rate limit holds in memory for each key, and what ten million keys do to
//! it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a program for people who measure"
)]

use std::hint::black_box;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use criterion::{Criterion, criterion_group, criterion_main};
use jsonwebtoken::Algorithm;
use tidegate::clock;
use tidegate::exchange::Length;
use tidegate::policy::api_key::ApiKeys;
use tidegate::policy::basic::{Basic, Credentials};
use tidegate::policy::compress::{Compress, Compressor};
use tidegate::policy::cors::{Added, Cors};
use tidegate::policy::fault::InjectedFault;
use tidegate::policy::in_flight::InFlight;
use tidegate::policy::jwks::{KeySetSource, Keys};
use tidegate::policy::jwt::{Jwt, TokenSource, TokenTerms};
use tidegate::policy::limit::{LimitState, Pace};
use tidegate::upstream::mirror_buffer::MirrorBuffer;
use tidegate::wire::ResponseHead;
use tidegate::wire::head::Fields;

const PACE: Pace = Pace { count: 1_000_000, period: Duration::from_secs(1), burst: 1_000_000 };

fn resident_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn limit(c: &mut Criterion) {
    let before = resident_kib();
    let state = LimitState::new(PACE);
    let fill = |keys: u64| {
        for n in 0..keys {
            let key = state.hash([&n.to_le_bytes()[..]].into_iter());
            black_box(state.check_request(key, None, tidegate::clock::now())).unwrap();
        }
    };
    fill(200_000);
    let held = resident_kib() - before;
    println!(
        "rate limit: {} keys fit, {} KiB, {:.1} bytes each",
        state.table().capacity(),
        held,
        held as f64 * 1024.0 / state.table().capacity() as f64
    );
    let began = Instant::now();
    fill(10_000_000);
    println!(
        "ten million keys: {:.0} ns each, {} KiB more",
        began.elapsed().as_nanos() as f64 / 1e7,
        resident_kib() - before - held
    );
    let one = [192_u8, 0, 2, 1];
    c.bench_function("limit/one client", |b| {
        b.iter(|| {
            let key = state.hash([&black_box(one)[..]].into_iter());
            black_box(state.check_request(key, None, tidegate::clock::now())).is_ok()
        });
    });
}

fn places(c: &mut Criterion) {
    let state = InFlight::default();
    c.bench_function("concurrency/enter and leave", |b| {
        b.iter(|| {
            let key = state.hash([&black_box(b"tenant")[..]].into_iter());
            black_box(state.admit_key(key, 100)).is_some()
        });
    });
}

fn others(c: &mut Criterion) {
    let cors = Cors {
        origins: [b"https://shop.example"[..].into()].into(),
        methods: b"GET"[..].into(),
        ..Cors::default()
    };
    c.bench_function("cors/fields", |b| {
        b.iter(|| {
            let mut fields = Added::new();
            cors.answer_fields(Some(black_box(b"https://shop.example")), &mut fields);
            fields.len()
        });
    });
    let fault = InjectedFault { delay: None, abort: Some(503), share: 0.05, seed: 7 };
    c.bench_function("fault/decide", |b| {
        b.iter(|| fault.happens_to(black_box("0af7651916cd43dd8448eb211c80319c")));
    });
    let pairs: Vec<(String, String)> =
        (0..20).map(|n| (format!("c{n}"), format!("k{n}"))).collect();
    let keys = ApiKeys::new("x-api-key", pairs.iter().map(|(n, k)| (n.as_str(), k.as_str())));
    let keys = keys.unwrap();
    c.bench_function("api_key/one of 20", |b| {
        b.iter(|| keys.owner_of(black_box(b"k13")).is_some())
    });
}

/// A page of 256 KiB that is as repetitive as pages are.
fn page() -> Vec<u8> {
    let words =
        ["<div class=\"row\">", "price", "</div>\n", "name", "\"id\": ", "42", "the quick fox "];
    let mut random = tidegate::clock::Random::seeded(1);
    let mut page = Vec::new();
    while page.len() < 256 * 1024 {
        page.extend_from_slice(words[random.below(7) as usize].as_bytes());
        page.push(b'a' + random.below(26) as u8);
    }
    page
}

fn compression(c: &mut Criterion) {
    let page = page();
    let compress = Compress::default();
    let mut head = ResponseHead::default();
    head.set(200, b"OK");
    head.fields.push(b"content-type", b"text/html");
    let mut room = vec![0; 16 * 1024];
    for coding in ["zstd", "br", "gzip"] {
        let mut request = Fields::default();
        request.push(b"accept-encoding", coding.as_bytes());
        let begin = || compress.begin_detached(&request, &head, Length::Unknown).unwrap();
        let mut run = |compressor: &mut Compressor<'_>, end: bool| {
            let mut made = 0;
            for piece in page.chunks(16 * 1024) {
                let mut rest = piece;
                while !rest.is_empty() {
                    let (taken, more) = compressor.encode_piece(rest, &mut room).unwrap();
                    rest = &rest[taken..];
                    made += more;
                }
            }
            if end {
                loop {
                    let (more, done) = compressor.flush_encoder(&mut room, true).unwrap();
                    made += more;
                    if done {
                        break;
                    }
                }
            }
            made
        };
        let made = run(&mut begin(), true);
        let before = resident_kib();
        let mut many: Vec<_> = (0..64).map(|_| begin()).collect();
        many.iter_mut().for_each(|compressor| assert!(run(compressor, false) < page.len()));
        println!(
            "{coding}: to {:.1} %, {} KiB held by each body",
            made as f64 * 100.0 / page.len() as f64,
            resident_kib().saturating_sub(before) / 64
        );
        drop(many);
        c.bench_function(&format!("compress/256 KiB as {coding}"), |b| {
            b.iter(|| run(&mut begin(), true));
        });
    }
}

fn passwords(c: &mut Criterion) {
    let hash = bcrypt::hash("secret", 10).unwrap();
    let field =
        |of: &str| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(of));
    let basic = Basic::new(&format!("anna:{hash}")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let verify = |field: &str| {
        let credentials = Credentials::parse_field(black_box(field.as_bytes())).unwrap();
        runtime.block_on(basic.verify_credentials(credentials, b"1")).unwrap()
    };
    // A wrong one is verified each time, a right one once.
    let (right, wrong) = (field("anna:secret"), field("anna:guess"));
    c.bench_function("basic/verify bcrypt 10", |b| b.iter(|| assert!(!verify(&wrong))));
    c.bench_function("basic/remembered", |b| b.iter(|| assert!(verify(&right))));
}

fn mirror(c: &mut Criterion) {
    let body = vec![b'x'; 4096];
    c.bench_function("mirror/keep 4 KiB of body", |b| {
        b.iter(|| {
            let mut seen = MirrorBuffer::default();
            seen.keep_bytes(black_box(&body));
            seen
        });
    });
}

fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new("openssl");
    let command = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::null()).spawn().expect("openssl");
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap().stdout
}

fn token(c: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let pem = directory.path().join("key.pem");
    let made = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
    std::fs::write(&pem, openssl(&made, b"")).unwrap();
    let pem = pem.display().to_string();
    let der = openssl(&["pkey", "-in", &pem, "-pubout", "-outform", "DER"], b"");
    let (x, y) = der[der.len() - 64..].split_at(32);
    let jwks = directory.path().join("jwks.json");
    let [x, y] = [x, y].map(|number| BASE64.encode(number));
    let set =
        format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","alg":"ES256","x":"{x}","y":"{y}"}}]}}"#);
    std::fs::write(&jwks, set).unwrap();
    let text = format!(
        "{}.{}",
        BASE64.encode(r#"{"alg":"ES256"}"#),
        BASE64.encode(r#"{"sub":"anna","exp":9999999999}"#)
    );
    let signature = openssl(&["dgst", "-sha256", "-sign", &pem], text.as_bytes());
    let number = |at: usize| {
        let length = usize::from(signature[at + 1]);
        let digits = &signature[at + 2..at + 2 + length];
        let digits = if digits.len() > 32 { &digits[1..] } else { digits };
        let mut number = vec![0; 32 - digits.len()];
        number.extend_from_slice(digits);
        (number, at + 2 + length)
    };
    let (first, next) = number(2);
    let token = format!("{text}.{}", BASE64.encode([first, number(next).0].concat()));
    let keys = Keys::start_keeping(KeySetSource::File(jwks)).unwrap();
    let terms = TokenTerms {
        from: [TokenSource::Header].into(),
        algorithms: vec![Algorithm::ES256],
        issuer: None,
        audience: Box::default(),
        leeway: 60,
        max_token: 16 * 1024,
        forward: Box::default(),
        allow: Box::default(),
    };
    let jwt = Jwt::new(keys, terms);
    let now = clock::unix_seconds();
    let verified = jwt.verify(token.as_bytes(), now).unwrap();
    c.bench_function("jwt/verify ES256", |b| {
        b.iter(|| jwt.verify(black_box(token.as_bytes()), now).is_ok());
    });
    c.bench_function("jwt/remembered", |b| {
        b.iter(|| {
            let fingerprint = jwt.fingerprint_of(black_box(token.as_bytes()));
            black_box(fingerprint[0] > 0 || jwt.still_counts(&verified, now))
        });
    });
}

criterion_group!(all, limit, places, others, passwords, mirror, compression, token);
criterion_main!(all);
