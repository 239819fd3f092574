//! Clients behind proxies that are trusted, and behind others.

use super::*;

fn fields(all: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::default();
    all.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
    fields
}

/// Client, scheme, host and port for these fields from `peer`; 10.0.0.0/8 is trusted.
fn told(peer: &str, all: &[(&str, &str)]) -> [String; 4] {
    told_by(&ClientField::ForwardedFor, peer, all)
}

fn told_by(named_by: &ClientField, peer: &str, all: &[(&str, &str)]) -> [String; 4] {
    let trusts = |ip: IpAddr| matches!(ip, IpAddr::V4(v4) if v4.octets()[0] == 10);
    let ip: Option<IpAddr> = peer.parse().ok();
    let end = OtherEnd {
        ip,
        text: ip.map(|_| peer),
        trusted: ip.is_none_or(trusts),
        scheme: "http",
        certificate: None,
    };
    let fields = fields(all);
    let identity = Identity::new(end, &fields, named_by, trusts, |host| !host.contains(&b' '));
    let text = |of: Option<&[u8]>| String::from_utf8(of.unwrap_or(b"-").to_vec()).unwrap();
    let client = identity.client_text().unwrap_or("-").to_owned();
    assert_eq!(identity.client.map(|ip| ip.to_string()).unwrap_or("-".into()), client);
    [client, identity.scheme.to_owned(), text(identity.host), text(identity.port)]
}

#[test]
fn i6_the_real_client_is_the_rightmost_that_is_not_trusted() {
    let client = |peer: &str, chain: &str| told(peer, &[("X-Forwarded-For", chain)])[0].clone();
    assert_eq!(client("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2"), "1.2.3.4");
    assert_eq!(client("9.9.9.9", "1.2.3.4"), "9.9.9.9");
    assert_eq!(client("10.0.0.1", "10.0.0.3"), "10.0.0.3");
    assert_eq!(client("10.0.0.1", "evil, 1.2.3.4:80"), "1.2.3.4");
    assert_eq!(client("10.0.0.1", "1.2.3.4, unknown"), "10.0.0.1");
    assert_eq!(client("10.0.0.1", "1.2.3.4, unknown, 10.0.0.2"), "10.0.0.2");
    assert_eq!(client("10.0.0.1", "1.2.3.4, , 10.0.0.2,"), "1.2.3.4");
    assert_eq!(client("10.0.0.1", ""), "10.0.0.1");
    assert_eq!(client("10.0.0.1", "::ffff:198.51.100.1"), "198.51.100.1");
    assert_eq!(client("10.0.0.1", "7.7.7.7, [::ffff:10.0.0.9]:80"), "7.7.7.7");
    assert_eq!(client("10.0.0.1", "[2001:db8::1]"), "2001:db8::1");
    // A Unix socket of a trusted proxy.
    assert_eq!(client("unix", "1.2.3.4"), "1.2.3.4");
    assert_eq!(client("unix", ""), "-");
    let lines = [("X-Forwarded-For", "6.6.6.6, 1.2.3.4"), ("X-Forwarded-For", "10.0.0.2")];
    assert_eq!(told("10.0.0.1", &lines)[0], "1.2.3.4");
}

#[test]
fn forwarded_names_the_client_from_the_right() {
    let client = |peer: &str, chain: &str| {
        let fields = [("X-Forwarded-For", "6.6.6.6"), ("Forwarded", chain)];
        told_by(&ClientField::Forwarded, peer, &fields)[0].clone()
    };
    assert_eq!(client("10.0.0.1", "for=6.6.6.6, for=1.2.3.4;proto=https, FOR=10.0.0.2"), "1.2.3.4");
    assert_eq!(client("9.9.9.9", "for=1.2.3.4"), "9.9.9.9");
    assert_eq!(client("10.0.0.1", "by=10.0.0.9;For=\"[2001:db8::1]:4711\";host=a"), "2001:db8::1");
    assert_eq!(client("10.0.0.1", "for=\"1.2.3.4:80\""), "1.2.3.4");
    assert_eq!(client("10.0.0.1", "for=\"::ffff:198.51.100.1\""), "198.51.100.1");
    // What a client has begun cannot swallow what proxies add.
    assert_eq!(client("10.0.0.1", "for=\"6.6.6.6, for=1.2.3.4"), "1.2.3.4");
    assert_eq!(client("10.0.0.1", "for=\"x\\\", for=\"1.2.3.4:80\""), "1.2.3.4");
    assert_eq!(client("10.0.0.1", "for=6.6.6.6;x=\", for=10.0.0.2, for=1.2.3.4"), "1.2.3.4");
    for nobody in [
        "for=unknown",
        "for=_hidden",
        "for=1.2.3.4;for=5.6.7.8",
        "1.2.3.4",
        "for=",
        "by=1.2.3.4",
        "",
        "for=1.2.3.4, for=_x",
        "for=\"1.2.3.4",
        "for=1.2.3.4\"",
        "x=\"a;for=1.2.3.4\"",
        "for=\"1.2.\\3.4\"",
    ] {
        assert_eq!(client("10.0.0.1", nobody), "10.0.0.1", "{nobody}");
    }
    assert_eq!(client("10.0.0.1", "for=1.2.3.4, for=unknown, for=10.0.0.2"), "10.0.0.2");
}

#[test]
fn a_field_of_its_own_names_the_client_alone() {
    let named = ClientField::Named(b"cf-connecting-ip"[..].into());
    let client = |peer: &str, lines: &[(&str, &str)]| told_by(&named, peer, lines)[0].clone();
    let one = |value: &'static str| {
        client("10.0.0.1", &[("X-Forwarded-For", "6.6.6.6"), ("CF-Connecting-IP", value)])
    };
    assert_eq!(
        [one("1.2.3.4"), one(" 10.0.0.7 "), one("2001:db8::1")],
        ["1.2.3.4", "10.0.0.7", "2001:db8::1"]
    );
    for nobody in [
        "",
        "unknown",
        "1.2.3.4, 5.6.7.8",
        "1.2.3.4 5",
        "1.2.3",
        "01.2.3.4",
        "[2001:db8::1",
        "::1%eth0",
    ] {
        assert_eq!(one(nobody), "10.0.0.1", "{nobody}");
    }
    let twice = [("CF-Connecting-IP", "1.2.3.4"), ("cf-connecting-ip", "1.2.3.4")];
    assert_eq!(client("10.0.0.1", &twice), "10.0.0.1");
    assert_eq!(client("9.9.9.9", &[("CF-Connecting-IP", "1.2.3.4")]), "9.9.9.9");
    assert_eq!(client("unix", &[("CF-Connecting-IP", "1.2.3.4")]), "1.2.3.4");
    let proto = [("CF-Connecting-IP", "1.2.3.4"), ("X-Forwarded-Proto", "http, https")];
    assert_eq!(told_by(&named, "10.0.0.1", &proto)[..2], ["1.2.3.4", "https"]);
}

#[test]
fn i16_scheme_host_and_port_are_those_of_the_client() {
    let all = [
        ("X-Forwarded-Proto", "HTTPS"),
        ("X-Forwarded-Host", "a.test"),
        ("X-Forwarded-Port", "8443"),
    ];
    assert_eq!(told("10.0.0.1", &all), ["10.0.0.1", "https", "a.test", "8443"]);
    assert_eq!(told("9.9.9.9", &all), ["9.9.9.9", "http", "-", "-"]);
    let nonsense = [
        ("X-Forwarded-Proto", "gopher"),
        ("X-Forwarded-Host", "a test"),
        ("X-Forwarded-Port", "0"),
    ];
    assert_eq!(told("10.0.0.1", &nonsense), ["10.0.0.1", "http", "-", "-"]);
    let each = [("X-Forwarded-For", "1.2.3.4, 10.0.0.2"), ("X-Forwarded-Proto", "https, http")];
    assert_eq!(told("10.0.0.1", &each)[..2], ["1.2.3.4", "https"]);
    let forged = [("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-Proto", "http, https")];
    assert_eq!(told("10.0.0.1", &forged)[..2], ["1.2.3.4", "https"]);
    let rest = [("X-Forwarded-For", "6.6.6.6, 1.2.3.4"), ("X-Forwarded-Proto", "http, https")];
    assert_eq!(told("10.0.0.1", &rest)[..2], ["1.2.3.4", "https"]);
}

#[test]
fn a_household_is_one_client() {
    let of = |ip: &str| client_network(ip.parse().unwrap());
    assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
    assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
}
