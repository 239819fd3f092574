//! Every exchange ends in one way, and everything that tells of it tells the same: the access log,
//! the log, the counters, and `/refusals`.

use serde_json::Value;

use support::{Origin, RawClient, SOON, Step, Tidegate, ok, refused_address, wait_until};

/// The head of every configuration here.
const TOP: &str = r#"
    [runtime]
    workers = 1
    [admin]
    address = "127.0.0.1:0"
    [log]
    access = "{dir}/access.log"
"#;

fn start(toml: &str) -> Tidegate {
    Tidegate::start(&format!("{TOP}\n{toml}"))
}

/// The line of the access log about this path.
fn access(proxy: &Tidegate, path: &str) -> Value {
    let mut found = None;
    let line = || {
        let text = std::fs::read_to_string(proxy.path("access.log")).unwrap_or_default();
        let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|line| line["target"].as_str().is_some_and(|target| target.starts_with(path)))
    };
    wait_until(SOON, "the access log tells of it", || {
        found = line();
        found.is_some()
    });
    found.unwrap()
}

/// The line of the log that has all of these.
fn logged(proxy: &Tidegate, parts: &[&str]) -> String {
    let line = || {
        let log = proxy.log();
        log.lines().find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned)
    };
    wait_until(SOON, &format!("a line with {parts:?}"), || line().is_some());
    line().unwrap()
}

/// Waits until `/metrics` has this line.
fn counted(proxy: &Tidegate, line: &str) {
    wait_until(SOON, line, || {
        let page = RawClient::connect(proxy.admin()).ask("/metrics").text();
        page.lines().any(|known| known == line)
    });
}

/// The last one of this code at `/refusals`.
fn remembered(proxy: &Tidegate, code: &str) -> Value {
    let ask = || {
        let answer = RawClient::connect(proxy.admin()).ask("/refusals");
        serde_json::from_slice::<Value>(&answer.body).unwrap()[code][0].clone()
    };
    wait_until(SOON, code, || ask().is_object());
    ask()
}

/// How it ended according to the access log: outcome, code, key.
fn ended(line: &Value) -> [Option<&str>; 3] {
    ["outcome", "code", "key"].map(|field| line[field].as_str())
}

/// An upstream `app` of one server called `one`, and a route `all` to it.
fn app(origin: &Origin, more: &str) -> String {
    format!(
        r#"
        [[listen]]
        name = "main"
        address = "127.0.0.1:0"
        [upstream.app]
        servers = [{{ name = "one", address = "{}" }}]
        {more}
        [[route]]
        name = "all"
        upstream = "app"
        "#,
        origin.server()
    )
}

fn short() -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc".to_vec()
}

#[test]
fn v1_a_response_that_its_server_cuts_is_never_a_200_without_a_mark() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/closed" => vec![Step::Send(short()), Step::Close],
        "/reset" => vec![Step::Send(short()), Step::Reset],
        "/chunk" => {
            // What is wrong before anything has been passed on is an answer of the proxy's own.
            let good = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
            let pause = Step::Pause(std::time::Duration::from_millis(300));
            vec![Step::Send(good.into()), pause, Step::Send("zz\r\n".into()), Step::Close]
        }
        _ => vec![Step::Send(ok("fine"))],
    });
    let proxy = start(&app(&origin, "eject = false"));
    assert_eq!(proxy.client().get("/fine").status, 200);
    assert_eq!(ended(&access(&proxy, "/fine")), [Some("whole"), None, None]);
    for (path, code, reason) in [
        ("/closed", "response_truncated", "closed"),
        ("/reset", "response_reset", "reset"),
        ("/chunk", "response_invalid", "invalid"),
    ] {
        let mut client = proxy.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        client.try_response("GET").expect_err("the client cannot take it for whole");
        let line = access(&proxy, path);
        assert_eq!(ended(&line), [Some("server_cut"), Some(code), Some("upstream.eject")]);
        assert_eq!(line["status"], 200);
        let address = format!("address=\"{}\"", origin.server());
        logged(
            &proxy,
            &[
                "WARN",
                code,
                "client=\"127.0.0.1\"",
                &format!("path=\"{path}\""),
                "server=\"one\"",
                "upstream=\"app\"",
                "route=\"all\"",
                &address,
                "key=\"upstream.eject\"",
            ],
        );
        counted(
            &proxy,
            &format!(
                "tidegate_server_cuts_total{{upstream=\"app\",server=\"one\",reason=\"{reason}\"}} 1"
            ),
        );
        let last = remembered(&proxy, code);
        assert_eq!((&last["path"], &last["server"]), (&path.into(), &"one".into()));
        assert_eq!(last["request_id"], line["request_id"]);
    }
    counted(&proxy, "tidegate_exchanges_total{route=\"all\",outcome=\"server_cut\"} 3");
    counted(&proxy, "tidegate_exchanges_total{route=\"all\",outcome=\"whole\"} 1");
    let route = &proxy.stats()["routes"][0];
    assert_eq!(route["outcomes"]["server_cut"], 3, "{route}");
}

#[test]
fn v2_the_timeout_that_ended_a_response_is_named() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/stream" => {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n";
            vec![Step::Send(head.into()), Step::Hold]
        }
        _ => {
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n";
            vec![Step::Send(head.into()), Step::Fill(100_000_000), Step::Hold]
        }
    });
    let toml = app(&origin, "timeout = { gap = '300ms' }\neject = false");
    let toml = toml.replace("[upstream.app]", "timeout = { write_gap = '300ms' }\n[upstream.app]");
    let proxy = start(&toml);
    let mut client = proxy.client();
    client.send("GET /stream HTTP/1.1\r\nHost: a.test\r\n\r\n");
    client.try_response("GET").expect_err("a stream that did not end");
    let key = "upstream.timeout.gap";
    assert_eq!(
        ended(&access(&proxy, "/stream")),
        [Some("timeout"), Some("gap_timeout"), Some(key)]
    );
    logged(&proxy, &["WARN", "gap_timeout", "server=\"one\"", "key=\"upstream.timeout.gap\""]);
    let cut = "tidegate_server_cuts_total{upstream=\"app\",server=\"one\",reason=\"timeout\"} 1";
    counted(&proxy, cut);

    let mut slow = RawClient::connect_narrow(proxy.address());
    slow.send("GET /large HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let line = access(&proxy, "/large");
    let key = "listen.timeout.write_gap";
    assert_eq!(ended(&line), [Some("timeout"), Some("write_timeout"), Some(key)]);
    assert_eq!(line["status"], 200, "the client has not left");
    logged(&proxy, &["write_timeout", "path=\"/large\"", "key=\"listen.timeout.write_gap\""]);
    counted(&proxy, "tidegate_exchanges_total{route=\"all\",outcome=\"timeout\"} 2");
    counted(&proxy, cut);
}

#[test]
fn v5_a_connection_that_fails_is_told_with_address_and_errno() {
    let nobody = refused_address();
    let toml = format!(
        r#"
        [[listen]]
        address = "127.0.0.1:0"
        [upstream.down]
        servers = [{{ name = "gone", address = "{nobody}" }}]
        retry = {{ attempts = 0 }}
        [[route]]
        name = "down"
        upstream = "down"
        "#
    );
    let proxy = start(&toml);
    let answer = proxy.client().get("/x");
    assert_eq!(answer.status, 502);
    assert!(!answer.text().contains("os error"), "clients are not told: {}", answer.text());
    let address = format!("address=\"{nobody}\"");
    let parts = ["WARN", "server=\"gone\"", &address, "errno=111", "key=\"upstream.servers\""];
    logged(&proxy, &parts);
    logged(&proxy, &["request refused", "upstream_connect", "Connection refused", &address]);
    let line = access(&proxy, "/x");
    assert_eq!(ended(&line)[..2], [Some("refused"), Some("upstream_connect")]);
    counted(&proxy, "tidegate_refusals_total{route=\"down\",code=\"upstream_connect\"} 1");
    let last = remembered(&proxy, "upstream_connect");
    assert!(last["reason"].as_str().unwrap().contains("os error 111"), "{last}");
    assert_eq!(last["address"], nobody.to_string());
}

#[test]
fn v6_a_refusal_names_who_asked_for_what() {
    let origin = Origin::ok("fine");
    let toml = app(&origin, "").replace(
        "[upstream.app]",
        "timeout = { headers = '400ms' }\nlimits = { header_bytes = '1KiB' }\n[upstream.app]",
    );
    let proxy = start(&toml.replace("name = \"all\"", "name = \"all\"\npath = \"/some/*\""));
    let host = "x\"y.test";
    let request = format!("GET /none?secret=1 HTTP/1.1\r\nHost: a.test\r\nX: {host}\r\n\r\n");
    assert_eq!(proxy.client().exchange(request).status, 404);
    let line = logged(
        &proxy,
        &[
            "request refused",
            "code=\"no_route\"",
            "client=\"127.0.0.1\"",
            "method=\"GET\"",
            "host=\"a.test\"",
            "path=\"/none\"",
            "listener=\"main\"",
            "key=\"route\"",
        ],
    );
    assert!(!line.contains("secret"), "{line}");

    let large = format!("GET /big HTTP/1.1\r\nHost: big.test\r\nX: {}\r\n\r\n", "x".repeat(2000));
    assert_eq!(proxy.client().exchange(large).status, 431);
    let parts =
        ["code=\"headers_too_large\"", "method=\"GET\"", "path=\"/big\"", "host=\"big.test\""];
    logged(&proxy, &parts);
    let line = access(&proxy, "/big");
    assert_eq!((&line["status"], &line["method"]), (&431.into(), &"GET".into()));
    assert_eq!(ended(&line)[2], Some("listen.limits.header_bytes"));

    let long = format!("GET /long{} HTTP/1.1\r\nHost: long.test\r\n\r\n", "x".repeat(2000));
    assert_eq!(proxy.client().exchange(long).status, 414);
    logged(&proxy, &["code=\"uri_too_long\"", "method=\"GET\"", "path=\"/longxxx"]);

    let mut slow = proxy.client();
    slow.send("GET /slow HTTP/1.1\r\nHost: slow.test\r\n");
    assert_eq!(slow.response().status, 408);
    let parts = [
        "code=\"request_timeout\"",
        "path=\"/slow\"",
        "host=\"slow.test\"",
        "key=\"listen.timeout.headers\"",
    ];
    logged(&proxy, &parts);
    assert_eq!(remembered(&proxy, "request_timeout")["path"], "/slow");
}

#[test]
fn v6_what_a_client_says_is_escaped_in_the_log() {
    let origin = Origin::ok("fine");
    let proxy =
        start(&app(&origin, "").replace("name = \"all\"", "name = \"all\"\nhost = \"b.test\""));
    let request = "GET /a\"b HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let status = proxy.client().exchange(request).status;
    assert!([400, 404].contains(&status), "{status}");
    let line = logged(&proxy, &["request refused"]);
    assert!(line.contains("path=\"/a\\\"b\""), "{line}");
}

#[test]
fn v6_a_flood_of_refusals_does_not_flood_the_log() {
    let origin = Origin::ok("fine");
    let proxy =
        start(&app(&origin, "").replace("name = \"all\"", "name = \"all\"\npath = \"/some\""));
    let mut client = proxy.client();
    for _ in 0..300 {
        assert_eq!(client.get("/none").status, 404);
    }
    // Another kind still has its line.
    assert_eq!(client.exchange("TRACE /x HTTP/1.1\r\nHost: a\r\n\r\n").status, 405);
    logged(&proxy, &["method_not_allowed"]);
    counted(&proxy, "tidegate_refusals_total{route=\"-\",code=\"no_route\"} 300");
    wait_until(SOON, "what was left out is told", || {
        let log = proxy.log();
        let of = |line: &str| {
            line.contains("no_route").then(|| {
                let left_out = line.split("left_out=").nth(1).unwrap_or_default();
                left_out.split(' ').next().unwrap_or_default().parse::<u64>().unwrap_or_default()
            })
        };
        let told: Vec<u64> = log.lines().filter_map(of).collect();
        let written = log.lines().filter(|line| line.contains("request refused")).count() - 1;
        written < 200 && written as u64 + told.iter().sum::<u64>() == 300
    });
    let answer = RawClient::connect(proxy.admin()).ask("/refusals");
    let all: Value = serde_json::from_slice(&answer.body).unwrap();
    let kept = all["no_route"].as_array().unwrap().len();
    assert!((1..=20).contains(&kept), "{kept}");
}

#[test]
fn v11_tls_on_a_plain_port_is_called_so() {
    let origin = Origin::ok("fine");
    let proxy = start(&app(&origin, ""));
    // The beginning of what every client of TLS sends (RFC 8446 §5.1).
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let answer = proxy.client().exchange(hello);
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("this looks like TLS"), "{}", answer.text());
    logged(&proxy, &["this looks like TLS", "client=\"127.0.0.1\"", "key=\"listen.tls\""]);
}

#[test]
fn a_client_that_leaves_is_no_fault_of_the_server() {
    let origin = Origin::start(|_| vec![Step::Send(short()), Step::Hold]);
    let proxy = start(&app(&origin, ""));
    let mut client = proxy.client();
    client.send("GET /left HTTP/1.1\r\nHost: a.test\r\n\r\n");
    wait_until(SOON, "it is under way", || origin.requests().len() == 1);
    client.reset();
    let line = access(&proxy, "/left");
    assert_eq!(ended(&line), [Some("client_gone"), Some("client_closed"), None]);
    assert_eq!(line["status"], 499);
    counted(&proxy, "tidegate_exchanges_total{route=\"all\",outcome=\"client_gone\"} 1");
    let page = RawClient::connect(proxy.admin()).ask("/metrics").text();
    assert!(!page.contains("tidegate_server_cuts_total{"), "{page}");
}

#[test]
fn what_a_drain_ends_is_told() {
    let origin = Origin::start(|_| vec![Step::Send(short()), Step::Hold]);
    let toml = app(&origin, "");
    let proxy = Tidegate::start(
        &format!("{TOP}\n{toml}").replace("workers = 1", "workers = 1\ndrain = '200ms'"),
    );
    let mut client = proxy.client();
    client.send("GET /drained HTTP/1.1\r\nHost: a.test\r\n\r\n");
    wait_until(SOON, "it is under way", || origin.requests().len() == 1);
    proxy.terminate();
    let line = access(&proxy, "/drained");
    assert_eq!(ended(&line), [Some("proxy_cut"), Some("proxy_stopped"), Some("runtime.drain")]);
    assert_eq!((&line["status"], &line["server"]), (&200.into(), &"one".into()));
}

#[test]
fn v3_what_is_wrong_with_a_response_is_told_and_the_limits_are_keys() {
    let origin = Origin::start(|request| {
        let fields = match request.target.as_str() {
            "/long" => format!("A: {}\r\n", "a".repeat(70_000)),
            "/many" => "A: b\r\n".repeat(300),
            "/status" => return vec![Step::Send(b"HTTP/1.1 999 X\r\n\r\n".into()), Step::Close],
            "/lf" => return vec![Step::Send(b"HTTP/1.1 200 OK\nA: b\n\n".into()), Step::Close],
            "/cut" => return vec![Step::Send(b"HTTP/1.1 200 OK\r\nA: b".into()), Step::Close],
            _ => return vec![Step::Send(b"HTTP/1.1 101 X\r\n\r\n".into()), Step::Close],
        };
        let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n");
        vec![Step::Send(head.into())]
    });
    let proxy = start(&app(&origin, "eject = false\nretry = { attempts = 0 }"));
    let keys = ["upstream.limits.response_header_bytes", "upstream.limits.response_headers"];
    for (path, cause, key) in [
        ("/long", "response head is too large", Some(keys[0])),
        ("/many", "too many header fields in the response", Some(keys[1])),
        ("/status", "status code out of range", None),
        ("/lf", "a line ends in LF without CR", None),
        ("/cut", "the connection ended inside the response head", None),
        ("/switch", "101 to a request that asked for no other protocol", None),
    ] {
        assert_eq!(proxy.client().get(path).status, 502, "{path}");
        let path_part = format!("path=\"{path}\"");
        logged(&proxy, &["WARN", "upstream_invalid", &path_part, cause, "server=\"one\""]);
        let ended_so = [Some("refused"), Some("upstream_invalid"), key];
        assert_eq!(ended(&access(&proxy, path)), ended_so, "{path}");
    }
    let limits = "limits = { response_header_bytes = '128KiB', response_headers = 400 }";
    let wider = start(&app(&origin, limits));
    for path in ["/long", "/many"] {
        assert_eq!(wider.client().get(path).status, 200, "{path}");
    }
}

#[test]
fn v9_what_an_authentication_server_said_is_told() {
    let judge = Origin::start(|request| {
        let status = &request.header("x-forwarded-uri").unwrap()[1..4];
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        vec![Step::Send(answer.into())]
    });
    let origin = Origin::ok("fine");
    let nobody = refused_address();
    let toml = app(&origin, "").replace("name = \"all\"", "name = \"all\"\nauth = \"judge\"")
        + &format!(
            r#"
            [[route]]
            name = "lost"
            path = "/lost"
            auth = "nobody"
            upstream = "app"
            [auth.judge]
            forward = {{ url = "http://{}/verify?token=secret" }}
            [auth.nobody]
            forward = {{ url = "http://{nobody}/" }}
            "#,
            judge.server()
        );
    let proxy = start(&toml);
    for status in ["404", "429", "500"] {
        let answer = proxy.client().get(&format!("/{status}"));
        assert_eq!(answer.status, 503);
        assert!(!answer.text().contains("verify"), "{}", answer.text());
        let said = format!("http://{}/verify answered {status}", judge.server());
        let line = logged(&proxy, &["auth_unavailable", &said, "key=\"auth.forward\""]);
        assert!(!line.contains("secret"), "{line}");
    }
    counted(&proxy, "tidegate_auth_refusals_total{auth=\"judge\",reason=\"status\"} 3");
    assert_eq!(proxy.client().get("/lost").status, 503);
    logged(&proxy, &["auth_unavailable", &format!("http://{nobody}/ cannot be asked"), "111"]);
    counted(&proxy, "tidegate_auth_refusals_total{auth=\"nobody\",reason=\"unreachable\"} 1");
}

#[test]
fn retries_are_counted_by_reason() {
    let origin = Origin::ok("fine");
    let toml = format!(
        r#"
        [[listen]]
        address = "127.0.0.1:0"
        [upstream.app]
        servers = ["{}", {{ address = "{}", priority = 1 }}]
        [[route]]
        name = "app"
        upstream = "app"
        "#,
        refused_address(),
        origin.server()
    );
    let proxy = start(&toml);
    assert_eq!(proxy.client().get("/again").status, 200);
    assert_eq!(ended(&access(&proxy, "/again")), [Some("whole"), None, None]);
    counted(&proxy, "tidegate_retries_total{upstream=\"app\",reason=\"connect\"} 1");
    let server = format!("upstream=\"app\",server=\"{}\"", origin.server());
    counted(&proxy, &format!("tidegate_server_responses_total{{{server},class=\"2xx\"}} 1"));
    counted(&proxy, &format!("tidegate_server_request_duration_seconds_count{{{server}}} 1"));
    counted(&proxy, "tidegate_route_bytes_total{route=\"app\",direction=\"out\"} 4");
    counted(&proxy, &format!("tidegate_server_bytes_total{{{server},direction=\"out\"}} 4"));
    assert_eq!(
        proxy
            .client()
            .exchange("POST /more HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nupload")
            .status,
        200
    );
    counted(&proxy, &format!("tidegate_server_bytes_total{{{server},direction=\"in\"}} 6"));
    counted(&proxy, &format!("tidegate_server_bytes_total{{{server},direction=\"out\"}} 8"));
}
