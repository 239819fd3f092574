//! `/metrics` is what Prometheus expects, by its own tool.

use std::io::Write as _;
use std::process::{Command, Stdio};

use support::{Configuration, Origin, RawClient, SOON, Tidegate, wait_until};

fn proxy(origin: &Origin) -> Tidegate {
    Configuration::of(origin)
        .listen("name = 'main'")
        .app("breaker = { failures = 100 }")
        .route("name = 'shop \"quoted\"'\npath = '/shop/*'")
        .route("name = 'teapot'\npath = '/tea'\nrespond = { status = 418 }")
        .start()
}

fn page(proxy: &Tidegate, accept: &str) -> support::Response {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n");
    RawClient::connect(proxy.admin()).exchange(request)
}

#[test]
fn promtool_has_nothing_to_complain_about() {
    let origin = Origin::ok("hello");
    let proxy = proxy(&origin);
    for path in ["/shop/1", "/tea", "/nowhere"] {
        proxy.client().get(path);
    }
    let text = page(&proxy, "text/plain").text();
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool of the Debian package prometheus");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let checked = promtool.wait_with_output().unwrap();
    let said = [checked.stdout, checked.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(checked.status.success() && said.is_empty(), "{said}\n{text}");
}

#[test]
fn requests_are_counted_by_route_method_and_status() {
    let origin = Origin::ok("hello");
    let proxy = proxy(&origin);
    let mut client = proxy.client();
    for _ in 0..3 {
        client.get("/shop/1");
    }
    client.exchange("POST /tea HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    client.get("/nowhere");
    for method in ["BREW", "MAKE-COFFEE", "X"] {
        client.exchange(format!("{method} /tea HTTP/1.1\r\nHost: a\r\n\r\n"));
    }
    let text = page(&proxy, "*/*").text();
    for line in [
        r#"http_requests_total{endpoint="shop \"quoted\"",method="GET",status_code="200"} 3"#,
        r#"http_requests_total{endpoint="teapot",method="POST",status_code="418"} 1"#,
        r#"http_requests_total{endpoint="teapot",method="other",status_code="418"} 3"#,
        r#"http_requests_total{endpoint="-",method="GET",status_code="404"} 1"#,
        r#"http_request_duration_seconds_count{endpoint="shop \"quoted\"",method="GET"} 3"#,
        r#"http_request_duration_seconds_bucket{endpoint="shop \"quoted\"",method="GET",le="+Inf"} 3"#,
        r#"http_request_duration_seconds_bucket{endpoint="shop \"quoted\"",method="GET",le="60.0"} 3"#,
        "tidegate_config_generation 1",
        r#"tidegate_upstream_pending{upstream="app"} 0"#,
        r#"tidegate_upstream_breaker_state{upstream="app"} 0"#,
        r#"tidegate_connections{listen="main"} 1"#,
        r#"tidegate_reloads_total{result="accepted"} 0"#,
    ] {
        assert!(text.contains(&format!("{line}\n")), "no {line} in\n{text}");
    }
    assert!(!text.contains("BREW"));
    for name in ["process_start_time_seconds", "process_resident_memory_bytes", "process_open_fds"]
    {
        let value = text.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).unwrap();
        assert!(value.parse::<f64>().unwrap() > 0.0, "{name} {value}");
    }
}

#[test]
fn openmetrics_is_given_to_who_asks_for_it() {
    let origin = Origin::ok("hello");
    let proxy = proxy(&origin);
    proxy.client().get("/shop/1");
    let prometheus =
        "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2";
    let answer = page(&proxy, prometheus);
    let kind = answer.header("content-type").unwrap();
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let text = answer.text();
    assert!(text.ends_with("# EOF\n"));
    assert!(text.contains("# TYPE http_requests counter\n"));
    assert!(text.contains("\nhttp_requests_total{"));
    // Every sample belongs to the family before it.
    let mut family = String::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap().to_owned();
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            let suffix = name.strip_prefix(&family).unwrap_or_else(|| panic!("{line} in {family}"));
            assert!(["", "_total", "_bucket", "_sum", "_count"].contains(&suffix), "{line}");
        }
    }
    let plain = page(&proxy, "text/plain");
    assert_eq!(plain.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(!plain.text().contains("# EOF"));
}

#[test]
fn clients_cannot_make_new_series() {
    let origin = Origin::ok("hello");
    let proxy = proxy(&origin);
    let mut client = proxy.client();
    let series = |proxy: &Tidegate| page(proxy, "*/*").text().lines().count();
    let mut settled = 0;
    for round in 0..3 {
        for n in 0..50 {
            let method = format!("M{round}X{n}");
            let request = format!(
                "{method} /p{round}{n} HTTP/1.1\r\nHost: h{round}{n}.test\r\nUser-Agent: {n}\r\n\r\n"
            );
            assert_eq!(client.exchange(request).status, 404);
        }
        if round == 0 {
            settled = series(&proxy);
        }
    }
    assert_eq!(series(&proxy), settled);
    wait_until(SOON, "the counters hold them all", || {
        let line = r#"http_requests_total{endpoint="-",method="other",status_code="404"} 150"#;
        page(&proxy, "*/*").text().contains(line)
    });
}
