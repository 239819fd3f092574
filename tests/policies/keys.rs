//! Clients known by a key in a header.

use crate::proxy;
use support::{Origin, RawClient, SOON, assert_problem, wait_until};

const AUTH: &str = r#"
    [auth.staff]
    api_key = { header = "X-Api-Key", keys = { alice = "${ALICE:-letmein}", bob = "sha256:35224d0d3465d74e855f8d69a136e79c744ea35a675d3393360a327cbf6359a2" } }
    [[route]]
    path = "/open"
    auth = "off"
    upstream = "app"
"#;

#[test]
fn who_has_a_key_passes_and_everybody_else_is_told_what_is_missing() {
    let origin = Origin::ok("fine");
    let proxy = proxy(&origin, "auth = 'staff'", AUTH);
    let mut client = proxy.client();
    let mut ask =
        |fields: &str| client.exchange(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n"));
    assert_eq!(ask("x-api-key: letmein\r\n").status, 200);
    assert_eq!(ask("X-API-KEY: secret2\r\n").status, 200);
    let wrong = [
        "",
        "X-Api-Key:\r\n",
        "X-Api-Key: letmei\r\n",
        "X-Api-Key: letmeinn\r\n",
        "X-Api-Key: letmein\r\nX-Api-Key: letmein\r\n",
        "X-Api-Key: sha256:35224d0d3465d74e855f8d69a136e79c744ea35a675d3393360a327cbf6359a2\r\n",
        "Cookie: X-Api-Key=letmein\r\n",
    ];
    for fields in wrong {
        let refused = ask(fields);
        assert_problem(&refused, 401, "auth_required");
        assert_eq!(refused.header("www-authenticate"), Some("ApiKey realm=\"tidegate\""));
    }
    assert_eq!(client.get("/open").status, 200);
    assert_eq!(origin.requests().len(), 3);
}

#[test]
fn keys_show_nowhere() {
    let origin = Origin::ok("fine");
    let proxy = proxy(&origin, "auth = 'staff'", AUTH);
    let mut client = proxy.client();
    for key in ["letmein", "guessed-key"] {
        client.exchange(format!("GET / HTTP/1.1\r\nHost: a.test\r\nX-Api-Key: {key}\r\n\r\n"));
    }
    let admin = |path: &str| RawClient::connect(proxy.admin()).ask(path).text();
    let mut places: Vec<String> = ["/config", "/stats", "/metrics"].map(admin).into();
    assert!(places[0].contains("api_key"), "{}", places[0]);
    let access = || std::fs::read_to_string(proxy.path("access.log")).unwrap_or_default();
    wait_until(SOON, "both requests are in the log", || access().lines().count() == 2);
    drop(client);
    proxy.terminate();
    wait_until(SOON, "it ends", || proxy.log().contains("stopped"));
    places.extend([proxy.log(), proxy.stdout(), access()]);
    for text in places {
        for key in ["letmein", "guessed-key", "35224d0d"] {
            assert!(!text.contains(key), "{key} in {text}");
        }
    }
}
