use super::*;

fn left(fields: &[(&str, &str)], trusted: bool) -> Vec<String> {
    let mut head = RequestHead::default();
    fields.iter().for_each(|(name, value)| head.fields.push(name.as_bytes(), value.as_bytes()));
    remove_claims(&mut head, trusted, &ClientField::Named(b"cf-connecting-ip"[..].into()));
    let name = |name: &[u8]| String::from_utf8(name.to_vec()).unwrap();
    head.fields.iter().map(|field| name(field.name)).collect()
}

#[test]
fn i3_whole_families_are_removed_from_strangers() {
    let claims = [
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "x-forwarded-prefix",
        "X-FORWARDED-SCHEME",
        "X-Forwarded-Server",
        "X-Forwarded",
        "X_Forwarded_For",
        "X-Real-IP",
        "X_Real-IP",
        "X-Original-URL",
        "X-Original-Forwarded-For",
        "X-Rewrite-URL",
        "X-B3-Sampled",
        "b3",
        "CF-Connecting-IP",
        "cf_connecting-ip",
    ];
    let all = claims.map(|name| (name, "x"));
    assert_eq!(left(&all, false), [""; 0]);
    assert_eq!(left(&all, true), claims);
}

#[test]
fn i1_what_only_the_proxy_says_nobody_else_does() {
    let own = ["X-Client-Cert", "X-Client-Cert-Subject", "x_client_cert_san", "Proxy"];
    let own = own.map(|name| (name, "x"));
    assert_eq!(left(&own, false), [""; 0]);
    assert_eq!(left(&own, true), [""; 0]);
    assert_eq!(left(&[("X-Tidegate-Attempt", "9")], true), [""; 0]);
}

#[test]
fn everything_else_passes() {
    let rest = [
        "Host",
        "X-Forward",
        "X-Request-Id",
        "Proxy-Authorization",
        "Proxy-Status",
        "B3-Other",
        "X-Original",
        "X",
        "x-real",
    ];
    assert_eq!(left(&rest.map(|name| (name, "x")), false), rest);
}

#[test]
fn what_connection_nominates_is_gone_for_everybody() {
    let all = [("Connection", "close, X-User, Host"), ("Host", "a"), ("X-User", "root")];
    assert_eq!(left(&all, false), ["Connection", "Host"]);
}
