use super::*;
use std::collections::BTreeSet;

fn answers() -> AnswerRules {
    AnswerRules { servers: BTreeSet::from([b"10.0.0.1:8080"[..].into()]) }
}

fn way<'w>(
    answers: &'w AnswerRules,
    (stripped, prefix): (&'w str, &'w str),
    scheme: &'w str,
    (public, sent): (&'w str, &'w str),
) -> TurnedWay<'w> {
    let [stripped, prefix, public, sent] = [stripped, prefix, public, sent].map(str::as_bytes);
    TurnedWay { stripped, prefix, scheme, public, sent, answers }
}

fn text(value: Cow<'_, [u8]>) -> String {
    String::from_utf8(value.into_owned()).unwrap()
}

#[test]
fn references_are_turned_back_and_those_elsewhere_left_alone() {
    let answers = answers();
    let way = way(&answers, ("/app", ""), "https", ("a.test", "a.test"));
    for (from, to) in [
        ("/login", "/app/login"),
        ("/", "/app/"),
        ("/x?y=/z#w", "/app/x?y=/z#w"),
        ("/app/x", "/app/x"),
        ("/app", "/app"),
        ("/application", "/app/application"),
        ("x/y", "x/y"),
        ("../x", "../x"),
        ("?q=/x", "?q=/x"),
        ("#f", "#f"),
        ("", ""),
        ("https://a.test/x", "https://a.test/app/x"),
        ("HTTPS://A.Test:443/x", "HTTPS://a.test/app/x"),
        ("https://a.test", "https://a.test/app"),
        ("https://a.test?x", "https://a.test/app?x"),
        ("http://10.0.0.1:8080/x", "https://a.test/app/x"),
        ("//10.0.0.1:8080/x", "//a.test/app/x"),
        ("//a.test/x", "//a.test/app/x"),
        ("https://b.test/x", "https://b.test/x"),
        ("https://a.test.evil/x", "https://a.test.evil/x"),
        ("https://a.test@evil/x", "https://a.test@evil/x"),
        ("//b.test/x", "//b.test/x"),
        ("mailto:a@a.test", "mailto:a@a.test"),
        ("custom://a.test/x", "custom://a.test/x"),
        ("http:/x", "http:/x"),
    ] {
        assert_eq!(text(way.turn_reference(from.as_bytes())), to, "{from}");
    }
}

#[test]
fn prefixes_are_exchanged_and_the_scheme_is_the_client_s() {
    let answers = answers();
    let pair = ("/app", "/v2");
    let way = way(&answers, pair, "http", ("shop.test:8443", "orders.internal"));
    for (from, to) in [
        ("/v2/x", "/app/x"),
        ("/v2", "/app"),
        ("/v20", "/v20"),
        ("/other", "/other"),
        ("http://orders.internal/v2/x", "http://shop.test:8443/app/x"),
        ("https://orders.internal/v2/x", "https://shop.test:8443/app/x"),
        ("http://orders.internal/other", "http://shop.test:8443/other"),
        ("http://shop.test:8443/v2", "http://shop.test:8443/app"),
        ("http://shop.test/v2", "http://shop.test/v2"),
    ] {
        assert_eq!(text(way.turn_reference(from.as_bytes())), to, "{from}");
    }
}

#[test]
fn what_is_turned_back_stays_on_the_host_and_adds_no_attribute() {
    let answers = answers();
    let prefixed = way(&answers, ("", "/v2"), "http", ("a.test", "a.test"));
    for (from, to) in [
        ("/v2//evil.example/", "/.//evil.example/"),
        ("/v2/\\evil.example/", "/./\\evil.example/"),
        ("/v2/\t/evil.example", "/./\t/evil.example"),
        ("/v2/x//y", "/x//y"),
    ] {
        assert_eq!(&*prefixed.turn_reference(from.as_bytes()), to.as_bytes(), "{from}");
    }
    let named = way(&answers, ("/t/x;Domain=test", ""), "http", ("a.test", "a.test"));
    assert_eq!(&*named.turn_cookie(b"a=1; Path=/"), b"a=1; Path=/");
}

#[test]
fn cookies_have_the_client_s_path_and_domain() {
    let answers = answers();
    let way = way(&answers, ("/app", ""), "http", ("a.test:81", "b.internal:80"));
    for (from, to) in [
        ("a=1; Path=/; HttpOnly", "a=1; Path=/app; HttpOnly"),
        ("a=1;path=/x/;Secure", "a=1;path=/app/x/;Secure"),
        ("a=1; Path=/app/x", "a=1; Path=/app/x"),
        ("a=/; b", "a=/; b"),
        ("__Host-a=1; Path=/; Secure", "__Host-a=1; Path=/; Secure"),
        ("path=/; Path = /", "path=/; Path = /"),
        ("a=1; Domain=.B.internal; Path=/", "a=1; Domain=a.test; Path=/app"),
        ("a=1; Domain=other.internal", "a=1; Domain=other.internal"),
        ("a=1; Domain=internal", "a=1; Domain=internal"),
        ("a=1; Path=", "a=1; Path="),
        ("", ""),
    ] {
        assert_eq!(text(way.turn_cookie(from.as_bytes())), to, "{from}");
    }
}
