//! TLS towards servers, spoken by nginx.

use serde_json::Value;

use support::{Authority, Nginx, RawClient, SOON, Tidegate, assert_problem, wait_until};

/// What nginx learns of a connection: its number, whether the session is an old one, the name, the
/// certificate.
const FACTS: &str = "location = /facts { \
    return 200 \"$connection $ssl_session_reused [$ssl_server_name] [$ssl_client_s_dn] $ssl_protocol\"; }";

fn config(origin: &Nginx, tls: &str, more: &str) -> String {
    format!(
        r#"
        [runtime]
        workers = 1
        [admin]
        address = "127.0.0.1:0"
        [log]
        access = "off"
        [[listen]]
        address = "127.0.0.1:0"
        [upstream.app]
        servers = ["{}"]
        tls = {tls}
        {more}
        [[route]]
        upstream = "app"
        "#,
        origin.address
    )
}

fn proxy(origin: &Nginx, tls: &str, more: &str) -> Tidegate {
    Tidegate::start(&config(origin, tls, more))
}

fn ca(authority: &Authority, more: &str) -> String {
    format!("{{ ca = '{}'{more} }}", authority.ca().display())
}

fn reload(proxy: &Tidegate, from: &str, to: &str) -> Value {
    let text = std::fs::read_to_string(proxy.path("tidegate.toml")).unwrap();
    assert!(text.contains(from));
    std::fs::write(proxy.path("tidegate.toml"), text.replace(from, to)).unwrap();
    let call = "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    serde_json::from_slice(&RawClient::connect(proxy.admin()).exchange(call).body).unwrap()
}

#[test]
fn a_server_is_verified_and_its_connections_are_kept() {
    let authority = Authority::new("ca");
    let nginx = Nginx::secure_with(
        &[("big", &[b'x'; 3_000_000])],
        &authority.certificate("app", &["127.0.0.1"]),
        FACTS,
    );
    let proxy = proxy(&nginx, &ca(&authority, ""), "");
    let mut client = proxy.client();
    let first = client.get("/facts").text();
    assert!(first.contains(" . [] [] TLSv1."), "{first}");
    assert_eq!(client.get("/facts").text(), first, "the connection is kept");
    assert_eq!(client.get("/big").body.len(), 3_000_000);
    let put = "PUT /store/a HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n";
    assert_eq!(client.exchange(format!("{put}{}", "y".repeat(200_000))).status, 201);
    assert_eq!(nginx.stored("a").len(), 200_000);
}

#[test]
fn the_system_s_authorities_count_where_there_are_no_others() {
    let authority = Authority::new("ca");
    let nginx = Nginx::secure_with(&[], &authority.certificate("app", &["127.0.0.1"]), FACTS);
    let directory = tempfile::tempdir().unwrap();
    let variables = [("SSL_CERT_FILE", &*authority.ca())];
    let proxy = Tidegate::in_environment(directory, &config(&nginx, "true", ""), &[], &variables);
    assert_eq!(proxy.client().get("/facts").status, 200);
}

#[test]
fn a_server_that_is_somebody_else_gets_nothing() {
    let (authority, stranger) = (Authority::new("ca"), Authority::new("stranger"));
    let nginx = Nginx::secure_with(&[], &authority.certificate("app", &["app.test"]), FACTS);
    for (tls, why) in [
        (ca(&stranger, ", server_name = 'app.test'"), "UnknownIssuer"),
        (ca(&authority, ""), "not valid for name"),
        (ca(&authority, ", server_name = 'other.test'"), "not valid for name"),
    ] {
        let proxy = proxy(&nginx, &tls, "");
        assert_problem(&proxy.client().get("/facts"), 502, "upstream_connect");
        let said = || proxy.log().contains(why) && proxy.log().contains("key=\"upstream.tls\"");
        wait_until(SOON, why, said);
    }
    let named = proxy(&nginx, &ca(&authority, ", server_name = 'app.test'"), "");
    let facts = named.client().get("/facts").text();
    assert!(facts.contains("[app.test]"), "{facts}");
    let anybody = proxy(&nginx, "{ verify = false }", "");
    assert_eq!(anybody.client().get("/facts").status, 200);
}

#[test]
fn the_proxy_shows_its_own_certificate_where_it_has_one() {
    let (authority, staff) = (Authority::new("ca"), Authority::new("staff"));
    let own = staff.certificate("gateway", &["gateway"]);
    let asks =
        format!("{FACTS} ssl_verify_client on; ssl_client_certificate {};", staff.ca().display());
    let nginx = Nginx::secure_with(&[], &authority.certificate("app", &["127.0.0.1"]), &asks);
    let shows = format!(", cert = '{}', key = '{}'", own.cert.display(), own.key.display());
    let known = proxy(&nginx, &ca(&authority, &shows), "");
    let facts = known.client().get("/facts").text();
    assert!(facts.contains("[CN=gateway]"), "{facts}");
    let unknown = proxy(&nginx, &ca(&authority, ""), "");
    assert_eq!(unknown.client().get("/facts").status, 400, "by nginx");
}

#[test]
fn sessions_are_resumed_and_other_settings_need_other_connections() {
    let authority = Authority::new("ca");
    let stranger = Authority::new("stranger");
    let server = format!("{FACTS} keepalive_requests 2;");
    let nginx = Nginx::secure_with(&[], &authority.certificate("app", &["127.0.0.1"]), &server);
    let proxy = proxy(&nginx, "{ verify = false }", "");
    let mut client = proxy.client();
    let facts: Vec<String> = (0..4).map(|_| client.get("/facts").text()).collect();
    assert!(facts[0].contains(" . ") && facts[3].contains(" r "), "{facts:?}");
    // A connection is at rest now that was made without verification.
    assert_eq!(client.get("/facts").status, 200);
    let verified = ca(&stranger, "");
    assert_eq!(
        reload(&proxy, "tls = { verify = false }", &format!("tls = {verified}"))["ok"],
        true
    );
    assert_problem(&client.get("/facts"), 502, "upstream_connect");
    let verified = (verified, ca(&authority, ""));
    assert_eq!(reload(&proxy, &verified.0, &verified.1)["ok"], true);
    assert_eq!(client.get("/facts").status, 200);
}

#[test]
fn checks_are_made_over_tls_too() {
    let (authority, stranger) = (Authority::new("ca"), Authority::new("stranger"));
    let nginx = Nginx::secure_with(&[], &authority.certificate("app", &["127.0.0.1"]), FACTS);
    let health = "health = { path = '/facts', every = '100ms' }\nfail_open = false";
    let well = proxy(&nginx, &ca(&authority, ""), health);
    let state = |proxy: &Tidegate| proxy.stats()["upstreams"][0]["servers"][0]["state"].clone();
    wait_until(SOON, "it is well", || state(&well) == "up");
    let tcp = proxy(&nginx, &ca(&stranger, ""), &health.replace("path = '/facts'", "kind = 'tcp'"));
    wait_until(SOON, "it is not", || state(&tcp) == "unhealthy");
    assert_problem(&tcp.client().get("/facts"), 503, "no_healthy_server");
}
