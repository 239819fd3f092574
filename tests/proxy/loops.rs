//! Requests that come back to the proxy that sent them out.

use std::fmt::Display;

use serde_json::Value;

use crate::setup::{one, plain};
use support::{
    Configuration, Origin, Response, SOON, Signal, Step, Tidegate, assert_problem, ok, wait_until,
};

const GET: &str = "GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// What a proxy listens on that can send requests to itself.
const BOTH: &str = "address = ['127.0.0.1:0', 'unix:{dir}/in.sock']";
/// A cache that both remember.
const STORED: &str = "ttl = '1h'\nmemory = '1MiB'";
/// Where it finds itself.
const ITSELF: &str = "unix:{dir}/in.sock";

/// A proxy that listens on `in.sock` too, in front of this server.
fn looping(server: impl Display, upstream: &str) -> Configuration {
    one(server).listen(BOTH).app(upstream)
}

fn requests(proxy: &Tidegate, route: usize) -> u64 {
    proxy.stats()["routes"][route]["requests"].as_u64().unwrap()
}

/// The marks that a server was shown.
fn marks(origin: &Origin) -> Vec<String> {
    let last = origin.requests().pop().unwrap();
    last.all("cdn-loop").into_iter().map(str::to_owned).collect()
}

fn marked(proxy: &Tidegate, mark: &str) -> Response {
    let request = format!("GET /x HTTP/1.1\r\nHost: a.test\r\nCDN-Loop: {mark}\r\n\r\n");
    proxy.client().exchange(request)
}

#[test]
fn a_proxy_that_forwards_to_itself_says_so() {
    for protocol in ["http1", "h2c"] {
        let proxy =
            looping(ITSELF, &format!("protocol = '{protocol}'")).route("name = 'all'").start();
        let mut client = proxy.client();
        for asked in 1..=8 {
            let answer = client.exchange(GET);
            assert_problem(&answer, 508, "loop_detected");
            assert_eq!(requests(&proxy, 0), 2 * asked, "{protocol}");
        }
        wait_until(SOON, "the log has it", || proxy.log().contains("loop_detected"));
        let log = proxy.log();
        let line = log.lines().find(|line| line.contains("loop_detected")).unwrap();
        for part in ["status=508", "route=\"all\"", "key=\"upstream.servers\"", "WARN"] {
            assert!(line.contains(part), "{part}: {line}");
        }
        // The server is the proxy itself, which works.
        assert_eq!(proxy.stats()["upstreams"][0]["servers"][0]["state"], "up");
    }
}

#[test]
fn a_loop_through_another_proxy_is_found_by_the_first() {
    for protocol in ["http1", "h2c"] {
        let protocol = format!("protocol = '{protocol}'");
        let first = looping("unix:{dir}/other.sock", &protocol).start();
        let [inner, outer] = ["in", "other"]
            .map(|name| format!("unix:{}", first.path(name).with_extension("sock").display()));
        let other = one(inner).app(&protocol).listen(&format!("address = '{outer}'")).start();
        let mut client = first.client();
        for asked in 1..=8 {
            assert_problem(&client.exchange(GET), 508, "loop_detected");
            assert_eq!((requests(&first, 0), requests(&other, 0)), (2 * asked, asked));
        }
    }
}

#[test]
fn a_mirror_that_leads_back_copies_once() {
    let origin = Origin::ok("real");
    let mirroring = looping(&origin, "").route("mirror = { upstream = 'shadow' }");
    let proxy = mirroring.upstream("shadow", [ITSELF], "").start();
    assert_eq!(proxy.client().exchange(GET).text(), "real");
    let mirror = |what: &str| proxy.stats()["routes"][0]["mirror"][what].as_u64().unwrap();
    wait_until(SOON, "the copy is answered", || mirror("answered") == 1);
    assert_eq!((requests(&proxy, 0), origin.requests().len()), (2, 1));
}

/// A proxy that listens on a port, and asks there who a client is.
fn asking(origin: &Origin, port: u16) -> Configuration {
    let forward = format!("forward = {{ url = 'http://127.0.0.1:{port}/verify' }}");
    let asking = one(origin).within("auth.staff", &forward).route("auth = 'staff'");
    asking.listen(&format!("address = '127.0.0.1:{port}'"))
}

#[test]
fn an_authentication_server_that_is_the_route_itself_is_asked_once() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let origin = Origin::ok("in");
    let proxy = asking(&origin, port).start();
    assert_problem(&proxy.client().exchange(GET), 503, "auth_unavailable");
    assert_eq!((requests(&proxy, 0), origin.requests().len()), (2, 0));
    // Who is answered may look before the line is written.
    wait_until(SOON, "the loop is logged", || proxy.log().contains("loop_detected"));
}

#[test]
fn an_authentication_server_behind_another_route_is_no_loop() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let origin = Origin::ok("in");
    let proxy = asking(&origin, port).route("path = '/verify'").start();
    assert_eq!(proxy.client().exchange(GET).text(), "in");
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn a_fetch_for_a_cache_that_comes_back_is_a_loop_and_is_not_stored() {
    let route = "cache = 'all'\nresponse_headers = { set = { cache-control = 'max-age=600' } }";
    let proxy = looping(ITSELF, "").within("cache.all", STORED).route(route).start();
    for asked in 1..=3 {
        assert_problem(&proxy.client().exchange(GET), 508, "loop_detected");
        assert_eq!(requests(&proxy, 0), 2 * asked);
    }
}

#[test]
fn a_tunnel_that_comes_back_is_a_loop() {
    let proxy = looping(ITSELF, "").start();
    let answer = proxy.client().exchange(
        "GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert_problem(&answer, 508, "loop_detected");
    assert_eq!(requests(&proxy, 0), 2);
}

#[test]
fn one_route_may_lead_to_another_of_the_same_process() {
    let origin = Origin::ok("there");
    let inner = "unix:{dir}/inner.sock";
    let proxy = looping(&origin, "")
        .listen(&format!("name = 'inner'\naddress = '{inner}'"))
        .upstream("self", [inner], "")
        .route("listen = 'inner'")
        .route("upstream = 'self'")
        .start();
    assert_eq!(proxy.client().exchange(GET).text(), "there");
    let marks = marks(&origin);
    assert_eq!(marks.len(), 2, "{marks:?}");
    assert_ne!(marks[0], marks[1]);
}

#[test]
fn servers_see_marks_behind_those_of_other_proxies() {
    let origin = Origin::ok("ok");
    let proxy = plain(&origin);
    let answer = marked(&proxy, "cloudflare; loops=1, tidegate-0123456789abcdef");
    assert_eq!((answer.status, answer.header("cdn-loop")), (200, None));
    let marks = marks(&origin);
    assert_eq!(marks[0], "cloudflare; loops=1, tidegate-0123456789abcdef");
    let own = marks[1].strip_prefix("tidegate-").unwrap();
    assert!(own.len() == 16 && own.bytes().all(|b| b.is_ascii_hexdigit()), "{own}");
    assert_eq!(marks.len(), 2);
    // Every request of the route has the same one, from whomever it is.
    assert_eq!(proxy.client().exchange(GET).status, 200);
    assert_eq!(self::marks(&origin), [format!("tidegate-{own}")]);
}

#[test]
fn marks_stay_the_same_over_a_reload() {
    let origin = Origin::ok("ok");
    let proxy = plain(&origin);
    assert_eq!(proxy.client().exchange(GET).status, 200);
    let before = marks(&origin);
    let file = proxy.path("tidegate.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        text.replace("upstream = \"app\"", "upstream = \"app\"\nbody_limit = \"1MiB\""),
    )
    .unwrap();
    proxy.signal(Signal::HUP);
    wait_until(SOON, "the file is loaded", || proxy.log().contains("configuration reloaded"));
    assert_eq!(proxy.client().exchange(GET).status, 200);
    assert_eq!(marks(&origin), before);
}

#[test]
fn whoever_takes_the_field_away_has_no_loops_found() {
    let origin = Origin::ok("ok");
    for rule in ["remove = ['cdn-loop']", "set = { cdn-loop = 'mine' }"] {
        let route = format!("request_headers = {{ {rule} }}");
        let proxy = one(&origin).route(&route).start();
        let many = vec!["tidegate-0123456789abcdef"; 16].join(", ");
        assert_eq!(marked(&proxy, &many).status, 200);
        let expected: &[&str] = if rule.starts_with("set") { &["mine"] } else { &[] };
        assert_eq!(marks(&origin), expected);
    }
}

#[test]
fn sixteen_proxies_are_more_than_a_request_may_pass() {
    let origin = Origin::ok("ok");
    let proxy = plain(&origin);
    let marks = |count: usize| vec!["tidegate-0123456789abcdef"; count].join(", ");
    assert_eq!(marked(&proxy, &marks(15)).status, 200);
    assert_problem(&marked(&proxy, &marks(16)), 508, "loop_detected");
    assert_eq!(origin.requests().len(), 1);
}

/// A client that knows the second proxy's mark, because a server shows it, has its own requests
/// refused there. Neither the first proxy's opinion of the second nor its cache may suffer from
/// that.
#[test]
fn a_forged_mark_denies_nobody_else() {
    let origin = Origin::start(|request| vec![Step::Send(ok(request.all("cdn-loop").join(",")))]);
    let second = looping(&origin, "")
        .route("response_headers = { set = { cache-control = 'max-age=600' } }")
        .start();
    let upstream = "eject = { failures = 2 }\nbreaker = { failures = 2 }\nretry = { attempts = 3 }";
    let first = looping(second.address(), upstream)
        .within("cache.all", STORED)
        .route("")
        .route("path = '/stored'\ncache = 'all'")
        .start();
    let shown = first.client().exchange(GET).text();
    let mark = shown.split(',').nth(1).unwrap().to_owned();
    let before = requests(&second, 0);
    for _ in 0..20 {
        assert_problem(&marked(&first, &mark), 508, "loop_detected");
        let stored = first
            .client()
            .exchange(format!("GET /stored HTTP/1.1\r\nHost: a.test\r\nCDN-Loop: {mark}\r\n\r\n"));
        assert_problem(&stored, 508, "loop_detected");
    }
    // Each was sent once: no retry helps.
    assert_eq!(requests(&second, 0), before + 40);
    assert_eq!(first.client().exchange(GET).status, 200);
    assert_eq!(first.client().get("/stored").status, 200);
    let server: Value = first.stats()["upstreams"][0]["servers"][0].clone();
    assert_eq!(server["state"], "up", "{server}");
    // The first one's own mark is refused by itself.
    let own = shown.split(',').next().unwrap().to_owned();
    assert_problem(&marked(&first, &own), 508, "loop_detected");
}

#[test]
fn a_call_that_comes_back_is_told_so_in_the_way_of_calls() {
    let proxy = looping(ITSELF, "protocol = 'h2c'").start();
    let call = support::curl(&[
        "--http2-prior-knowledge",
        "-si",
        "-H",
        "content-type: application/grpc",
        "-H",
        "te: trailers",
        "--data-binary",
        "",
        &format!("http://{}/pkg.Service/Call", proxy.address()),
    ]);
    let text = call.text();
    assert!(text.contains("grpc-status: 9") && text.contains("loop_detected"), "{text}");
    assert_eq!(requests(&proxy, 0), 2);
}
