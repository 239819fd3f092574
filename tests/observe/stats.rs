//! `/stats`: rates and percentiles that are true.

use std::time::Duration;

use serde_json::Value;

use support::{Configuration, Origin, RawClient, SOON, Step, Tidegate, ok, wait_until};

fn proxy(origin: &Origin) -> Tidegate {
    Configuration::of(origin)
        .listen("name = 'main'\nlimits = { connections = 77 }")
        .app("limits = { requests = 50, connections = 60, pending = 7 }")
        .route("name = 'all'")
        .start()
}

#[test]
fn counts_bytes_and_classes_are_there_at_once() {
    let origin = Origin::ok("0123456789");
    let proxy = proxy(&origin);
    let mut client = proxy.client();
    for _ in 0..4 {
        client.exchange("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789");
    }
    let stats = proxy.stats();
    for place in [
        &stats["routes"][0],
        &stats["listeners"][0],
        &stats["upstreams"][0],
        &stats["upstreams"][0]["servers"][0],
    ] {
        assert_eq!(place["responses"]["2xx"], 4, "{place}");
        assert_eq!(place["received_bytes"], 40, "{place}");
        assert_eq!(place["sent_bytes"], 40, "{place}");
        let total = &place["windows"]["total"]["latency_ms"];
        assert!(total["p50"].as_f64() > Some(0.0), "{place}");
        assert!(total["p99.9"].as_f64() >= total["p50"].as_f64(), "{place}");
    }
    let server = &stats["upstreams"][0]["servers"][0];
    let limits = ["request_limit", "connection_limit"].map(|key| server[key].as_u64());
    assert_eq!(limits, [Some(50), Some(60)]);
    assert_eq!(stats["upstreams"][0]["queue"]["limit"], 7);
    assert_eq!(stats["listeners"][0]["connection_limit"], 77);
    assert_eq!(server["idle_connections"], server["connections"]);
    assert!(stats["process"]["resident_bytes"].as_u64() > Some(1 << 20));
}

#[test]
fn windows_show_what_has_just_happened_and_then_forget_it() {
    const SLOW: Duration = Duration::from_millis(120);
    let origin = Origin::start(|request| match request.target.as_str() {
        "/slow" => vec![Step::Pause(SLOW), Step::Send(ok("slow"))],
        "/bad" => vec![Step::Send(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_vec())],
        _ => vec![Step::Send(ok("fast"))],
    });
    let proxy = proxy(&origin);
    let mut client = proxy.client();
    for path in ["/fast", "/fast", "/fast", "/bad", "/slow"] {
        client.get(path);
    }
    let mut seen = Value::Null;
    wait_until(SOON, "the second is over", || {
        seen = proxy.stats()["routes"][0]["windows"].take();
        seen["10s"]["rate"] == 0.5
    });
    assert_eq!(seen["10s"]["errors"], 0.1, "{seen}");
    let latency = &seen["10s"]["latency_ms"];
    assert!(latency["p50"].as_f64() < Some(100.0), "{seen}");
    // Two digits: at most 1 % too little.
    assert!(latency["p99"].as_f64() >= Some(118.0), "{seen}");
    wait_until(SOON, "the last second has nothing", || {
        let windows = proxy.stats()["routes"][0]["windows"].take();
        windows["1s"]["rate"] == 0.0 && windows["1s"]["latency_ms"] == Value::Null
    });
    assert_eq!(proxy.stats()["routes"][0]["windows"]["60s"]["rate"], 5.0 / 60.0);
}

#[test]
fn what_was_counted_survives_a_reload() {
    let origin = Origin::ok("hello");
    let proxy = proxy(&origin);
    proxy.client().get("/");
    let config = std::fs::read_to_string(proxy.path("tidegate.toml")).unwrap();
    let changed = config.replace("name = \"all\"", "name = \"all\"\nbody_limit = \"1KiB\"");
    std::fs::write(proxy.path("tidegate.toml"), changed).unwrap();
    let request = "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(RawClient::connect(proxy.admin()).exchange(request).status, 200);
    proxy.client().get("/");
    let stats = proxy.stats();
    assert_eq!(stats["routes"][0]["responses"]["2xx"], 2);
    assert_eq!(stats["upstreams"][0]["responses"]["2xx"], 2);
    let reload = &stats["reloads"]["latest"][0];
    assert_eq!((&reload["ok"], &reload["generation"]), (&true.into(), &2.into()));
    assert_eq!(reload["changes"][0], "~ route all: body_limit");
}
