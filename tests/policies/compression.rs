//! Compressed responses, read by curl.

use std::process::Command;

use crate::proxy;
use support::{Gate, Origin, Response, SOON, Step, Tidegate, wait_until};

const TEXT: &str = "All the world's a stage, and all the men and women merely players. ";

fn body() -> String {
    TEXT.repeat(2000)
}

fn answer(fields: &str, body: &str) -> Vec<Step> {
    let length = body.len();
    vec![Step::Send(
        format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {length}\r\n\r\n{body}").into(),
    )]
}

/// What each path is answered with besides its length.
fn origin() -> Origin {
    Origin::start(|request| match request.target.as_str() {
        "/page" => answer(
            "Content-Type: text/html\r\nETag: \"v1\"\r\nAccept-Ranges: bytes\r\nVary: Origin\r\n",
            &body(),
        ),
        "/small" => answer("Content-Type: text/html\r\n", "short"),
        "/image" => answer("Content-Type: image/png\r\n", &body()),
        "/encoded" => answer("Content-Type: text/html\r\nContent-Encoding: gzip\r\n", &body()),
        "/sealed" => {
            answer("Content-Type: text/html\r\nCache-Control: public, no-transform\r\n", &body())
        }
        "/digest" => answer("Content-Type: text/html\r\nContent-Digest: sha-256=:x=:\r\n", &body()),
        "/varies" => answer("Content-Type: text/html\r\nVary: Accept-Encoding\r\n", &body()),
        "/part" => {
            let part = format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Type: text/html\r\n\
                 Content-Range: bytes 0-4999/9000\r\nContent-Length: 5000\r\n\r\n{}",
                "x".repeat(5000)
            );
            vec![Step::Send(part.into())]
        }
        other => panic!("{other}"),
    })
}

fn ask(proxy: &Tidegate, path: &str, accept: &str) -> Response {
    proxy.client().exchange(format!(
        "GET {path} HTTP/1.1\r\nHost: a.test\r\nAccept-Encoding: {accept}\r\n\r\n"
    ))
}

#[test]
fn curl_gets_back_what_the_server_sent() {
    let origin = origin();
    let proxy = proxy(&origin, "compress = true", "");
    for (accept, version) in [("gzip", "1.1"), ("br", "1.1"), ("zstd", "1.1"), ("gzip", "1.0")] {
        let got = Command::new("curl")
            .args(["-sS", "--max-time", "20", "--compressed", "-D", "/dev/stderr"])
            .args(["-H", &format!("Accept-Encoding: {accept}"), &format!("--http{version}")])
            .arg(format!("http://{}/page", proxy.address()))
            .output()
            .unwrap();
        let head = String::from_utf8(got.stderr).unwrap().to_lowercase();
        assert!(got.stdout == body().as_bytes(), "{accept}: {} bytes, {head}", got.stdout.len());
        assert!(head.contains(&format!("\r\ncontent-encoding: {accept}\r\n")), "{head}");
        assert!(head.contains("\r\netag: w/\"v1\"\r\n"), "{head}");
        assert!(head.contains("\r\nvary: origin\r\n"), "{head}");
        assert!(head.contains("\r\nvary: accept-encoding\r\n"), "{head}");
        assert!(!head.contains("accept-ranges") && !head.contains("content-length"), "{head}");
    }
    let compression = proxy.stats()["routes"][0]["compression"].take();
    assert_eq!(compression["responses"], 4);
    assert_eq!(compression["bytes_in"], 4 * body().len());
    assert!(compression["bytes_out"].as_u64().unwrap() < 10_000, "{compression}");
}

#[test]
fn what_may_not_be_or_would_not_gain_stays_as_it_is() {
    let origin = origin();
    let proxy = proxy(&origin, "compress = true", "");
    for path in ["/small", "/image", "/encoded", "/sealed", "/digest"] {
        let answer = ask(&proxy, path, "gzip, br, zstd");
        let encoding = answer.header("content-encoding");
        assert_eq!(encoding, (path == "/encoded").then_some("gzip"), "{path}");
        assert!(answer.header("content-length").is_some(), "{path}");
        assert_eq!(answer.header("vary"), None, "{path}");
    }
    // A cache must know that others get it otherwise, also of a part (RFC 9110 §15.3.7).
    let part = ask(&proxy, "/part", "gzip");
    assert_eq!((part.status, part.header("content-encoding")), (206, None));
    assert_eq!(part.header("content-length"), Some("5000"));
    assert_eq!(part.all("vary"), ["accept-encoding"]);
    for accept in ["identity", "gzip;q=0", "deflate"] {
        let plain = ask(&proxy, "/page", accept);
        assert_eq!(plain.header("content-encoding"), None);
        assert_eq!(plain.header("etag"), Some("\"v1\""));
        assert_eq!(plain.all("vary"), ["Origin", "accept-encoding"]);
        assert!(plain.text() == body());
    }
    assert_eq!(ask(&proxy, "/varies", "gzip").all("vary"), ["Accept-Encoding"]);
    let forbidden = proxy.client().exchange(
        "GET /page HTTP/1.1\r\nHost: a.test\r\nAccept-Encoding: gzip\r\nCache-Control: no-transform\r\n\r\n",
    );
    assert_eq!(forbidden.header("content-encoding"), None);
}

#[test]
fn a_head_request_is_told_what_a_get_would_be() {
    let origin = Origin::start(|_| {
        vec![Step::Send(
            "HTTP/1.1 200 OK\r\nContent-Type: text/css\r\nContent-Length: 5000\r\nETag: \"1\"\r\n\r\n".into(),
        )]
    });
    let proxy = proxy(&origin, "compress = true", "");
    let mut client = proxy.client();
    client.send("HEAD / HTTP/1.1\r\nHost: a.test\r\nAccept-Encoding: br\r\n\r\n");
    let head = client.response_to_head();
    assert_eq!(head.header("content-encoding"), Some("br"));
    assert_eq!(head.header("content-length"), None);
    assert_eq!(head.header("etag"), Some("W/\"1\""));
}

/// The fields that say which representation it is.
fn representation(answer: &Response) -> [Option<String>; 6] {
    ["content-type", "content-encoding", "vary", "etag", "accept-ranges", "content-length"]
        .map(|name| answer.header(name).map(str::to_owned))
}

#[test]
fn a_head_request_is_told_the_same_of_a_response_in_chunks() {
    let origin = Origin::start(|request| {
        let kind = if request.target == "/text" { "text/html" } else { "image/png" };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nETag: \"1\"\r\n");
        let rest = match (request.method.as_str(), request.target.as_str()) {
            // A server may leave away what it only knows once it makes the content (RFC 9110
            // §9.3.2).
            ("HEAD", "/text") => "\r\n",
            ("HEAD", _) => "Transfer-Encoding: chunked\r\n\r\n",
            _ => "Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n",
        };
        vec![Step::Send(format!("{head}{rest}").into())]
    });
    let proxy = proxy(&origin, "compress = true", "");
    for (path, accept) in
        [("/text", "gzip"), ("/text", "identity"), ("/image", "gzip"), ("/image", "identity")]
    {
        let got = ask(&proxy, path, accept);
        let mut client = proxy.client();
        client.send(format!(
            "HEAD {path} HTTP/1.1\r\nHost: a.test\r\nAccept-Encoding: {accept}\r\n\r\n"
        ));
        let head = client.response_to_head();
        assert_eq!(representation(&head), representation(&got), "{path} {accept}");
        let compressed = (path, accept) == ("/text", "gzip");
        assert_eq!(head.header("content-encoding"), compressed.then_some("gzip"));
        assert_eq!(head.header("vary"), (path == "/text").then_some("accept-encoding"));
        assert_eq!(head.header("content-length"), None, "that of no representation");
        // The next answer on the connection is the next request's.
        assert_eq!(client.get("/image").status, 200);
    }
    // HTTP/2 is told the same.
    for method in [&["-I"][..], &["-o", "/dev/null"]] {
        let got = Command::new("curl")
            .args(["-sS", "--max-time", "20", "--http2-prior-knowledge", "-D", "/dev/stderr"])
            .args(["-H", "Accept-Encoding: gzip"])
            .args(method)
            .arg(format!("http://{}/text", proxy.address()))
            .output()
            .unwrap();
        let head = String::from_utf8(got.stderr).unwrap();
        for line in
            ["HTTP/2 200 ", "content-encoding: gzip", "vary: accept-encoding", "etag: W/\"1\""]
        {
            assert!(head.lines().any(|shown| shown == line), "{method:?}: no {line} in {head}");
        }
        assert!(!head.contains("content-length"), "{head}");
    }
}

#[test]
fn a_cache_answers_conditions_and_ranges_with_the_fields_of_the_whole() {
    let origin = Origin::start(|request| {
        let kind = if request.target == "/page" { "text/html" } else { "image/png" };
        let fields = format!("Content-Type: {kind}\r\nETag: \"v1\"\r\n");
        answer(&fields, &body())
    });
    let proxy = proxy(&origin, "compress = true\ncache = { ttl = '1m' }", "");
    let ask = |path: &str, fields: &str| {
        proxy.client().exchange(format!(
            "GET {path} HTTP/1.1\r\nHost: a.test\r\nAccept-Encoding: gzip\r\n{fields}\r\n"
        ))
    };
    let told = |answer: &Response| {
        let text = |name| answer.header(name).map(str::to_owned);
        (answer.status, text("etag"), text("vary"), text("content-encoding"))
    };
    let some = |text: &str| Some(text.to_owned());
    let vary = || some("accept-encoding");
    assert_eq!(told(&ask("/page", "")), (200, some("W/\"v1\""), vary(), some("gzip")));
    for (held, etag) in [("W/\"v1\"", "W/\"v1\""), ("\"v1\"", "\"v1\""), ("*", "W/\"v1\"")] {
        let answer = ask("/page", &format!("If-None-Match: {held}\r\n"));
        assert_eq!(told(&answer), (304, some(etag), vary(), None), "{held}");
    }
    let part = ask("/page", "Range: bytes=0-9\r\n");
    assert_eq!(told(&part), (206, some("\"v1\""), vary(), None));
    assert_eq!(part.header("content-length"), Some("10"));
    assert_eq!(origin.requests().len(), 1);
    // Nothing is said of what is never compressed.
    assert_eq!(told(&ask("/image", "")), (200, some("\"v1\""), None, None));
    let image = ask("/image", "If-None-Match: \"v1\"\r\n");
    assert_eq!(told(&image), (304, some("\"v1\""), None, None));
}

#[test]
fn a_route_without_it_compresses_nothing() {
    let origin = origin();
    let proxy = proxy(&origin, "", "");
    let answer = ask(&proxy, "/page", "gzip");
    assert_eq!(answer.header("content-encoding"), None);
    assert_eq!(answer.all("vary"), ["Origin"]);
}

#[test]
fn what_a_server_has_sent_does_not_wait_for_the_rest() {
    let gate = Gate::default();
    let until = gate.clone();
    let origin = Origin::start(move |_| {
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
        vec![
            Step::Send(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
                    .into(),
            ),
            Step::Send(chunk("first part\n").into()),
            Step::Until(until.clone()),
            Step::Send((chunk("second part\n") + "0\r\n\r\n").into()),
        ]
    });
    let proxy = proxy(&origin, "compress = true", "");
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let mut curl = Command::new("curl")
        .args(["-sS", "--max-time", "20", "--compressed", "-N", "-o"])
        .arg(&out)
        .arg(format!("http://{}/", proxy.address()))
        .spawn()
        .unwrap();
    let read = || std::fs::read_to_string(&out).unwrap_or_default();
    wait_until(SOON, "the first part is there", || read() == "first part\n");
    gate.open();
    assert!(curl.wait().unwrap().success());
    assert_eq!(read(), "first part\nsecond part\n");
}

#[test]
fn a_body_that_is_cut_does_not_look_whole() {
    let origin = Origin::start(|_| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 500000\r\n\r\n";
        vec![Step::Send(format!("{head}{}", body()).into()), Step::Close]
    });
    let proxy = proxy(&origin, "compress = true", "");
    let got = Command::new("curl")
        .args(["-sS", "--max-time", "20", "--compressed"])
        .arg(format!("http://{}/", proxy.address()))
        .output()
        .unwrap();
    assert!(!got.status.success(), "{} bytes passed for a whole body", got.stdout.len());
}

#[test]
fn p9_a_304_has_the_validator_and_vary_of_the_200() {
    let origin = Origin::start(|_| {
        vec![Step::Send(b"HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\n\r\n".to_vec())]
    });
    let proxy = proxy(&origin, "compress = true", "");
    for (held, told) in [
        ("W/\"v1\"", "W/\"v1\""),
        ("\"v0\", W/\"v1\"", "W/\"v1\""),
        ("\"v1\"", "\"v1\""),
        // Who does not say which it has gets the one of the 200 that it would get.
        ("*", "W/\"v1\""),
    ] {
        let answer = proxy.client().exchange(format!(
            "GET / HTTP/1.1\r\nHost: a.test\r\nAccept-Encoding: gzip\r\nIf-None-Match: {held}\r\n\r\n"
        ));
        assert_eq!((answer.status, answer.all("etag")), (304, vec![told]), "{held}");
        assert_eq!(answer.all("vary"), ["accept-encoding"]);
    }
}

#[test]
fn p18_digests_stay_right_and_weakened_validators_come_back() {
    let origin = Origin::start(|request| {
        let digest = request.target.trim_start_matches('/');
        answer(&format!("Content-Type: text/html\r\nETag: \"v1\"\r\n{digest}: x\r\n"), &body())
    });
    let compressing = proxy(&origin, "compress = true", "");
    for (name, compressed) in [
        ("Digest", false),
        ("Repr-Digest", false),
        ("Content-Digest", false),
        ("Content-MD5", false),
        ("X-Other", true),
    ] {
        let got = ask(&compressing, &format!("/{name}"), "gzip");
        assert_eq!(got.header("content-encoding").is_some(), compressed, "{name}");
        assert_eq!(got.header(name), Some("x"), "{name}");
    }
    let put = |proxy: &Tidegate| {
        proxy.client().exchange(
            "PUT /X HTTP/1.1\r\nHost: a.test\r\nIf-Match: W/\"v1\"\r\nContent-Length: 1\r\n\r\nx",
        );
        let requests = origin.requests();
        let last = requests.last().unwrap();
        assert_eq!(last.method, "PUT");
        last.all("if-match").into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(put(&compressing), ["\"v1\""]);
    assert_eq!(put(&proxy(&origin, "", "")), ["W/\"v1\""]);
}
