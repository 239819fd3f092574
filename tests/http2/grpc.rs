//! gRPC, spoken by grpcio on both sides.

use serde_json::{Value, json};

use crate::frames::{ACK, END_HEADERS, END_STREAM, HEADERS, PING, SETTINGS, Wire, block, frame};
use crate::server::{H2Server, head};
use crate::{Peer, ask, config, listening, proxy};
use support::{Authority, Origin, SOON, Step, Tidegate, refused_address, wait_until};

fn call(target: &str, ca: Option<&str>) -> Value {
    let arguments: Vec<&str> = ["call", target].into_iter().chain(ca).collect();
    ask("grpc_peer.py", &arguments)
}

fn check(seen: &Value, scheme: &str) {
    let unary = json!({ "got": "milk", "from": "python", "via": scheme, "deadline": true });
    assert_eq!(seen["unary"], unary, "{seen}");
    assert_eq!(seen["trailers"]["seen-by"], "'unary'");
    assert_eq!(seen["trailers"]["raw-bin"], "b'\\x00\\xff'");
    assert_eq!(seen["down"], json!([1000, true]));
    assert_eq!(seen["up"], "499500");
    assert_eq!(seen["both"], json!(["A", "BC", "DEF"]));
    assert_eq!(seen["large"], 3_000_000);
    assert_eq!(
        seen["fail"],
        json!({ "code": "FAILED_PRECONDITION", "details": "not today: 100 % — nö" })
    );
    assert_eq!(seen["unknown"]["code"], "UNIMPLEMENTED");
    assert_eq!(
        seen["late"],
        json!(["one", { "code": "DATA_LOSS", "details": "half of it is gone" }])
    );
    assert_eq!(seen["slow"]["code"], "DEADLINE_EXCEEDED");
    assert_eq!(seen["slow"]["soon"], true);
}

#[test]
fn all_four_shapes_pass_with_deadlines_metadata_and_errors() {
    let peer = Peer::start("grpc_peer.py", "serve");
    let health = "protocol = 'h2c'\nhealth = { path = '/', kind = 'tcp', every = '100ms' }";
    let plain = proxy(peer.server(), health);
    let seen = call(&plain.address().to_string(), None);
    check(&seen, "http");
    assert_eq!(seen["flaky"]["code"], "UNAVAILABLE");
    // What did not end is not left behind: the call whose client gave up.
    let in_flight = || plain.stats()["upstreams"][0]["servers"][0]["in_flight"].as_u64();
    wait_until(SOON, "all calls have ended", || in_flight() == Some(0));
}

#[test]
fn clients_come_over_tls() {
    let peer = Peer::start("grpc_peer.py", "serve");
    let authority = Authority::new("ca");
    let pair = authority.certificate("a", &["localhost"]);
    let tls =
        format!("tls = {{ cert = '{}', key = '{}' }}", pair.cert.display(), pair.key.display());
    let upstream = format!("servers = ['{}']\nprotocol = 'h2c'", peer.server());
    let secure = Tidegate::start(&config(&upstream, &tls));
    let target = format!("localhost:{}", secure.address().port());
    check(&call(&target, authority.ca().to_str()), "https");
}

#[test]
fn a_status_that_is_named_is_reason_to_try_again() {
    let peer = Peer::start("grpc_peer.py", "serve");
    let retry = "protocol = 'h2c'\nretry = { on = ['connect', 'unavailable'] }\neject = false";
    // The same service twice: what one of them fails goes to the other.
    let upstream = format!(
        "servers = [{{ name = 'a', address = '{0}' }}, {{ name = 'b', address = 'localhost:{1}' }}]\n{retry}",
        peer.server(),
        peer.port
    );
    let proxy = Tidegate::start(&config(&upstream, ""));
    let seen = call(&proxy.address().to_string(), None);
    assert_eq!(seen["flaky"], json!({ "ok": "2" }), "{seen}");
    assert_eq!(seen["fail"]["code"], "FAILED_PRECONDITION");
    assert_eq!(proxy.stats()["upstreams"][0]["retries"], 1);
}

#[test]
fn what_the_proxy_says_itself_is_a_grpc_status() {
    let proxy = proxy(refused_address(), "protocol = 'h2c'");
    let fail = |arguments: &[&str]| ask("grpc_peer.py", arguments);
    let target = proxy.address().to_string();
    let seen = fail(&["one", &target, "/shop.Api/Unary", "5"]);
    assert_eq!(seen["code"], "UNAVAILABLE", "{seen}");
    let details = seen["details"].as_str().unwrap();
    assert!(details.starts_with("upstream_connect: could not connect"), "{details}");
    // The log and the counters have it as what it is.
    wait_until(SOON, "it is logged", || proxy.stdout().contains("HTTP/2.0\" 502 0 "));
}

#[test]
fn the_clients_deadline_ends_the_call_and_is_passed_on() {
    let silent = H2Server::start(&[], |_| Some(Vec::new()));
    let proxy = proxy(silent.address, "protocol = 'h2c'");
    let target = proxy.address().to_string();
    // This client says that it waits for a quarter of a second, and waits for ever.
    let seen = ask("h2_peer.py", &["call", "127.0.0.1", &target[10..], "250m"]);
    assert_eq!(seen["head"][":status"], "200", "{seen}");
    assert_eq!(seen["head"]["grpc-status"], "4");
    assert!(seen["head"]["content-length"].is_null());
    assert!(seen["head"]["grpc-message"].as_str().unwrap().contains("grpc-timeout"), "{seen}");
}

/// An answer that is nothing but trailers.
fn only_trailers(stream: u32, status: &'static str) -> Vec<u8> {
    let fields =
        [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", status)];
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&fields))
}

#[test]
fn the_status_at_the_end_says_how_a_server_does() {
    let failing = H2Server::start(&[], |asked| {
        let stream = asked.stream;
        Some(if asked.nth.is_multiple_of(2) {
            only_trailers(stream, "14")
        } else {
            let message = frame(0, 0, stream, b"\0\0\0\0\x01x");
            let end = block(&[("grpc-status", "13")]);
            let head = head(stream, &[("content-type", "application/grpc")]);
            [head, message, frame(HEADERS, END_HEADERS | END_STREAM, stream, &end)].concat()
        })
    });
    let upstream = "protocol = 'h2c'\nbreaker = { failures = 4 }\neject = false";
    let proxy = proxy(failing.address, upstream);
    let target = proxy.address().to_string();
    for expected in ["UNAVAILABLE", "INTERNAL", "UNAVAILABLE", "INTERNAL"] {
        let seen = ask("grpc_peer.py", &["one", &target, "/shop.Api/Unary", "5"]);
        assert_eq!(seen["code"], expected);
    }
    let seen = ask("grpc_peer.py", &["one", &target, "/shop.Api/Unary", "5"]);
    assert!(seen["details"].as_str().unwrap().starts_with("breaker_open"), "{seen}");
    assert_eq!(failing.asked().len(), 4);
}

#[test]
fn errors_of_the_caller_do_not_speak_against_the_server() {
    let picky = H2Server::start(&[], |asked| Some(only_trailers(asked.stream, "3")));
    let proxy = proxy(picky.address, "protocol = 'h2c'\nbreaker = { failures = 2 }");
    let target = proxy.address().to_string();
    for _ in 0..5 {
        let seen = ask("grpc_peer.py", &["one", &target, "/shop.Api/Unary", "5"]);
        assert_eq!(seen["code"], "INVALID_ARGUMENT");
    }
}

#[test]
fn clients_in_a_hurry_speak_against_nobody() {
    let silent = H2Server::start(&[], |_| Some(Vec::new()));
    let proxy = proxy(silent.address, "protocol = 'h2c'\nbreaker = { failures = 2 }");
    let target = proxy.address().to_string();
    for _ in 0..4 {
        let seen = ask("h2_peer.py", &["call", "127.0.0.1", &target[10..], "20m"]);
        assert_eq!(seen["head"]["grpc-status"], "4", "{seen}");
    }
    assert_eq!(silent.asked().len(), 4, "the breaker stays closed");
}

/// The head of an answer and the beginning of a message that never ends.
fn begun(stream: u32) -> Vec<u8> {
    let head = head(stream, &[("content-type", "application/grpc")]);
    [head, frame(0, 0, stream, b"\0\0\0\0\x05x")].concat()
}

#[test]
fn v2_a_call_that_is_cut_or_times_out_ends_with_a_grpc_status() {
    let silent = H2Server::start(&[], |asked| Some(begun(asked.stream)));
    let proxy_of_silent = proxy(silent.address, "protocol = 'h2c'\ntimeout = { gap = '300ms' }");
    let one = |proxy: &Tidegate| {
        ask("grpc_peer.py", &["one", &proxy.address().to_string(), "/shop.Api/Unary", "5"])
    };
    let seen = one(&proxy_of_silent);
    assert_eq!(seen["code"], "DEADLINE_EXCEEDED", "{seen}");
    assert!(seen["details"].as_str().unwrap().starts_with("gap_timeout: "), "{seen}");
    let parts = ["outcome=timeout", "code=gap_timeout", "key=upstream.timeout.gap"];
    wait_until(SOON, "the access log says why", || {
        let log = proxy_of_silent.stdout();
        log.lines().any(|line| parts.iter().all(|part| line.contains(part)))
    });

    // RST_STREAM with INTERNAL_ERROR, once the beginning has been passed on: the answer to a PING
    // says so. Before that there would be an answer of the proxy's own.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut wire = Wire::new(listener.accept().unwrap().0);
        assert!(wire.preface());
        wire.send(&frame(SETTINGS, 0, 0, &[]));
        let mut stream = 0;
        while let Some(got) = wire.frame() {
            match got.kind {
                HEADERS => {
                    stream = got.stream;
                    wire.send(&[begun(stream), frame(PING, 0, 0, &[0; 8])].concat());
                }
                PING if got.flags & ACK != 0 => wire.send(&frame(3, 0, stream, &[0, 0, 0, 2])),
                _ => {}
            }
        }
    });
    let proxy_of_resets = proxy(address, "protocol = 'h2c'\neject = false");
    let seen = one(&proxy_of_resets);
    assert_eq!(seen["code"], "UNAVAILABLE", "{seen}");
    assert!(seen["details"].as_str().unwrap().starts_with("response_reset: "), "{seen}");
    wait_until(SOON, "the access log says why", || {
        proxy_of_resets.stdout().contains("outcome=server_cut code=response_reset")
    });
}

#[test]
fn p17_metadata_that_is_too_large_is_answered_with_a_grpc_status() {
    let upstream = format!("servers = ['{}']\nprotocol = 'h2c'", refused_address());
    let proxy = Tidegate::start(&config(&upstream, "limits = { header_bytes = '1KiB' }"));
    let path = format!("/shop.Api/{}", "x".repeat(2000));
    let seen = ask("grpc_peer.py", &["one", &proxy.address().to_string(), &path, "5"]);
    assert_eq!(seen["code"], "RESOURCE_EXHAUSTED", "{seen}");
    assert!(seen["details"].as_str().unwrap().starts_with("headers_too_large: "), "{seen}");
    wait_until(SOON, "the log names who asked", || {
        proxy.log().lines().any(|line| {
            let parts = ["headers_too_large", "method=\"POST\"", "client=\"127.0.0.1\""];
            parts.iter().all(|part| line.contains(part))
        })
    });
}

#[test]
fn what_policies_answer_is_a_grpc_status_too() {
    let judge = Origin::start(|_| {
        let answer = "HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n";
        vec![Step::Send(answer.as_bytes().to_vec())]
    });
    let route = |path: &str, lines: &str| {
        format!("[[route]]\npath = '{path}'\nupstream = 'app'\n{lines}\n")
    };
    let routes = [
        route("/fault/*", "fault = { abort = 503, share = '100%' }"),
        route("/judge/*", "auth = 'judge'"),
        route("/key/*", "auth = 'key'"),
        route("/shut/*", "maintenance = '{dir}/shut.html'"),
        route(
            "/rate/*",
            "limit = { rate = '1/h', key = 'route' }\nerrors = { 502 = '{dir}/shut.html' }",
        ),
    ];
    let configuration =
        listening(&format!("servers = ['{}']\nprotocol = 'h2c'", refused_address()), "")
            .route("name = 'app'")
            .within("auth.judge", &format!("forward = {{ url = 'http://{judge}/' }}"))
            .within("auth.key", "api_key = { header = 'x-key', keys = { a = 'b' } }")
            .toml(&routes.concat());
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("shut.html"), "<h1>shut</h1>").unwrap();
    let proxy = configuration.start_in(directory);
    let target = proxy.address().to_string();
    for (path, code, details) in [
        ("/fault/Unary", "UNAVAILABLE", "503"),
        // A page to log in at is no use to a program.
        ("/judge/Unary", "UNAUTHENTICATED", "401"),
        ("/key/Unary", "UNAUTHENTICATED", "auth_required"),
        ("/shut/Unary", "UNAVAILABLE", "maintenance"),
        ("/rate/Unary", "UNAVAILABLE", "upstream_connect"),
        ("/rate/Unary", "RESOURCE_EXHAUSTED", "rate_limited"),
    ] {
        let seen = ask("grpc_peer.py", &["one", &target, path, "5"]);
        assert_eq!(seen["code"], code, "{path}: {seen}");
        assert!(seen["details"].as_str().unwrap().contains(details), "{path}: {seen}");
    }
}
