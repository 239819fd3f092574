//! The fuzz targets' checks, over their seeds and over random input, without a fuzzer.

#[expect(
    unreachable_pub,
    clippy::panic,
    clippy::expect_used,
    reason = "shared with the fuzz package, where a panic is the verdict"
)]
#[path = "fuzz/src/checks.rs"]
mod checks;

use proptest::prelude::*;

#[expect(clippy::expect_used, reason = "without seeds there is nothing to test")]
fn seeds(target: &str, check: fn(&[u8])) {
    let folder =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(target);
    let mut count = 0;
    for file in std::fs::read_dir(folder).expect("seeds") {
        let bytes = std::fs::read(file.expect("a seed").path()).expect("a seed");
        check(&bytes);
        // Cut and joined seeds reach further than whole ones.
        for cut in 0..bytes.len() {
            check(&bytes[..cut]);
        }
        check(&[&bytes[..], &bytes[..]].concat());
        count += 1;
    }
    assert!(count >= 5, "{count} seeds");
}

#[test]
fn seeds_of_requests_hold() {
    seeds("request", checks::request);
}

#[test]
fn seeds_of_responses_hold() {
    seeds("response", checks::response);
}

#[test]
fn seeds_of_chunked_bodies_hold() {
    seeds("chunked", checks::chunked);
}

#[test]
fn seeds_of_targets_hold() {
    seeds("target", checks::target);
}

#[test]
fn seeds_are_understood_as_hyper_and_httparse_understand_them() {
    seeds("differential", checks::differential);
}

/// Pieces of requests in random order: closer to trouble than random bytes.
fn mosaic() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&[u8]> = vec![
        b"GET / HTTP/1.1\r\n",
        b"POST /p HTTP/1.1\r\n",
        b"GET /a HTTP/1.0\r\n",
        b"Host: a.test\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 0\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Connection: close\r\n",
        b"X: y\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b":",
        b"5\r\n",
        b"hello",
        b"\r\n0\r\n\r\n",
        b"0\r\n",
        b";a=\"b\"",
        b"\x00",
        b"\xff",
    ];
    prop::collection::vec(prop::sample::select(pieces), 0..14).prop_map(|p| p.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn mosaics_hold(bytes in mosaic(), step in 1_u8..20) {
        let stepped = [&[step][..], &bytes].concat();
        checks::request(&stepped);
        checks::response(&stepped);
        checks::chunked(&stepped);
        checks::target(&bytes);
        checks::differential(&bytes);
    }

    #[test]
    fn random_bytes_hold(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        checks::request(&bytes);
        checks::response(&bytes);
        checks::chunked(&bytes);
        checks::target(&bytes);
        checks::differential(&bytes);
    }
}
