//! Client certificates: required, optional, and what servers learn of them.

use time::Duration;

use crate::support::{Authority, Certificate, Origin, RawClient, SOON, Tidegate, wait_until};
use crate::{ask, entry, proxy};

fn with(certificate: &Certificate) -> [&str; 4] {
    ["--cert", certificate.cert.to_str().unwrap(), "--key", certificate.key.to_str().unwrap()]
}

#[test]
fn who_has_no_certificate_is_refused_where_one_is_required() {
    let (authority, staff, stranger) =
        (Authority::new("ca"), Authority::new("staff"), Authority::new("stranger"));
    let origin = Origin::ok("fine");
    let more = format!(", client_ca = '{}'", staff.ca().display());
    let proxy = proxy(&origin, &entry(&authority.certificate("a", &["a.test"]), &more), "");
    let anna = staff.certificate("anna", &["anna.staff.test", "192.0.2.9"]);
    let forged = stranger.certificate("anna", &["anna.staff.test"]);
    let claims = ["-H", "X-Client-Cert-Subject: CN=root", "-H", "X-Client-Cert-San: root"];
    let good = ask(&proxy, &authority, "a.test", &[&with(&anna)[..], &claims].concat());
    assert_eq!(good.text(), "fine\n200", "{}", good.stderr);
    let request = origin.only_request();
    assert_eq!(request.all("x-client-cert-subject"), ["CN=anna"]);
    assert_eq!(request.all("x-client-cert-san"), ["anna.staff.test", "192.0.2.9"]);
    assert_eq!(request.all("x-client-cert-fingerprint")[0].len(), 64);
    for bad in
        [ask(&proxy, &authority, "a.test", &[]), ask(&proxy, &authority, "a.test", &with(&forged))]
    {
        assert_ne!(bad.exit, Some(0), "{}", bad.text());
    }
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn an_optional_certificate_is_verified_where_there_is_one() {
    let (authority, staff, stranger) =
        (Authority::new("ca"), Authority::new("staff"), Authority::new("stranger"));
    let origin = Origin::ok("fine");
    let more = format!(", client_ca = '{}', client_auth = 'optional'", staff.ca().display());
    let proxy = proxy(&origin, &entry(&authority.certificate("a", &["a.test"]), &more), "");
    assert_eq!(ask(&proxy, &authority, "a.test", &[]).text(), "fine\n200");
    assert!(origin.requests()[0].all("x-client-cert-subject").is_empty());
    let anna = staff.certificate("anna", &["anna"]);
    assert_eq!(ask(&proxy, &authority, "a.test", &with(&anna)).text(), "fine\n200");
    assert_eq!(origin.requests()[1].all("x-client-cert-subject"), ["CN=anna"]);
    let forged = stranger.certificate("anna", &["anna"]);
    assert_ne!(ask(&proxy, &authority, "a.test", &with(&forged)).exit, Some(0));
}

/// One certificate covers both names, but only one of them asks who the client is.
#[test]
fn a_name_that_asks_for_certificates_cannot_be_reached_by_another() {
    let (authority, staff) = (Authority::new("ca"), Authority::new("staff"));
    let origin = Origin::ok("fine");
    let open = entry(&authority.certificate("open", &["*.a.test"]), "");
    let more = format!(", client_ca = '{}'", staff.ca().display());
    let closed = entry(&authority.certificate("closed", &["admin.a.test"]), &more);
    let proxy = proxy(&origin, &format!("[{open}, {closed}]"), "");
    assert_eq!(ask(&proxy, &authority, "www.a.test", &[]).text(), "fine\n200");
    let sneaky = ask(&proxy, &authority, "www.a.test", &["-H", "Host: admin.a.test"]);
    assert!(sneaky.text().ends_with("\n421"), "{}", sneaky.text());
    assert_ne!(ask(&proxy, &authority, "admin.a.test", &[]).exit, Some(0));
    let anna = staff.certificate("anna", &["anna"]);
    assert_eq!(ask(&proxy, &authority, "admin.a.test", &with(&anna)).text(), "fine\n200");
}

#[test]
fn routes_are_chosen_by_what_tls_told() {
    let (authority, staff) = (Authority::new("ca"), Authority::new("staff"));
    let more = format!(", client_ca = '{}', client_auth = 'optional'", staff.ca().display());
    let tls = entry(&authority.certificate("a", &["a.test"]), &more);
    let text = format!(
        r#"
        [[listen]]
        address = "127.0.0.1:0"
        tls = {tls}
        [[listen]]
        name = "plain"
        address = "127.0.0.1:0"
        [[route]]
        path = "/anna"
        client_cert = {{ san = "anna.staff.test" }}
        respond = {{ status = 200, body = "anna" }}
        [[route]]
        path = "/b"
        client_cert = {{ san = {{ regex = '\.staff\.test$' }}, subject = {{ regex = "^CN=b" }} }}
        respond = {{ status = 200, body = "b" }}
        [[route]]
        path = "/any"
        client_cert = {{ subject = true }}
        respond = {{ status = 200, body = "any" }}
        [[route]]
        tls = true
        respond = {{ status = 200, body = "nobody" }}
        [[route]]
        tls = false
        redirect = {{ to = "https://{{host}}{{path}}" }}
        "#
    );
    let proxy = Tidegate::start(&text);
    let [anna, bert] = ["anna", "bert"]
        .map(|name| staff.certificate(name, &[&*format!("{name}.staff.test"), "192.0.2.1"]));
    for (path, certificate, body) in [
        ("anna", Some(&anna), "anna"),
        ("anna", Some(&bert), "nobody"),
        ("b", Some(&bert), "b"),
        ("b", Some(&anna), "nobody"),
        ("any", Some(&anna), "any"),
        ("any", None, "nobody"),
    ] {
        for version in ["--http1.1", "--http2"] {
            let mut more = vec![version, "--request-target"];
            let target = format!("/{path}");
            more.push(&target);
            more.extend(certificate.into_iter().flat_map(with));
            let answer = ask(&proxy, &authority, "a.test", &more);
            assert_eq!(answer.text(), format!("{body}\n200"), "{path} {}", answer.stderr);
        }
    }
    let plain = RawClient::connect(proxy.listener("plain")).get("/x");
    assert_eq!((plain.status, plain.header("location")), (308, Some("https://a.test/x")));
}

#[test]
fn v8_why_a_client_certificate_is_refused_is_told() {
    let (authority, staff, stranger) =
        (Authority::new("ca"), Authority::new("staff"), Authority::new("stranger"));
    let origin = Origin::ok("fine");
    let more = format!(", client_ca = '{}'", staff.ca().display());
    let proxy = proxy(&origin, &entry(&authority.certificate("a", &["a.test"]), &more), "");
    let forged = stranger.certificate("anna", &["anna.staff.test"]);
    let expired = staff.lasting("old", &["old.staff.test"], Duration::days(-1));
    assert_ne!(ask(&proxy, &authority, "a.test", &with(&forged)).exit, Some(0));
    assert_ne!(ask(&proxy, &authority, "a.test", &[]).exit, Some(0));
    let told = |why: &str| {
        proxy.log().lines().any(|line| {
            let parts = ["WARN", "client certificate refused", "client=\"127.0.0.1\"", why];
            parts.iter().all(|part| line.contains(part))
        })
    };
    wait_until(SOON, "a stranger", || told("UnknownIssuer"));
    wait_until(SOON, "nobody", || told("peer sent no certificates"));
    assert_ne!(ask(&proxy, &authority, "a.test", &with(&expired)).exit, Some(0));
    wait_until(SOON, "one that has expired", || told("xpired"));
}
