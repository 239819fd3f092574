//! The operator's side: alive, ready, and what is going on.

use crate::support::{Origin, RawClient, Response, Tidegate};

fn with_admin(origin: &Origin) -> Tidegate {
    let toml = r#"
        [admin]
        address = "127.0.0.1:0"
        [log]
        access = "off"
        [[listen]]
        name = "public"
        address = "127.0.0.1:0"
        [upstream.app]
        servers = ["{origin}"]
        [[route]]
        name = "everything"
        upstream = "app"
    "#;
    Tidegate::with(toml, &[("origin", &origin.server())])
}

fn ask(proxy: &Tidegate, path: &str) -> Response {
    RawClient::connect(proxy.admin())
        .exchange(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
}

#[test]
fn a_running_proxy_is_alive_and_ready() {
    let origin = Origin::ok("ok");
    let proxy = with_admin(&origin);
    assert_eq!(ask(&proxy, "/live").status, 200);
    assert_eq!(ask(&proxy, "/ready").status, 200);
}

#[test]
fn stats_are_json_and_name_what_the_file_names() {
    let origin = Origin::ok("ok");
    let proxy = with_admin(&origin);
    for _ in 0..3 {
        assert_eq!(proxy.client().get("/").status, 200);
    }
    let stats = ask(&proxy, "/stats");
    assert_eq!(stats.status, 200);
    assert_eq!(stats.header("content-type"), Some("application/json"));
    let json: serde_json::Value = serde_json::from_slice(&stats.body).unwrap();
    for key in ["routes", "upstreams"] {
        assert!(json.get(key).is_some(), "no {key} in {json}");
    }
    let text = stats.text();
    for name in ["everything", "app", origin.server().as_str(), "connections"] {
        assert!(text.contains(name), "no {name} in {text}");
    }
}

#[test]
fn the_admin_side_is_not_reachable_through_a_listener() {
    let origin = Origin::ok("from the origin");
    let proxy = with_admin(&origin);
    assert_eq!(proxy.client().get("/stats").text(), "from the origin");
    assert_eq!(proxy.client().get("/live").text(), "from the origin");
}

#[test]
fn an_unknown_admin_path_is_not_found() {
    let origin = Origin::ok("ok");
    let proxy = with_admin(&origin);
    assert_eq!(ask(&proxy, "/nothing").status, 404);
}
