use super::*;

fn admit(guard: &AdminGuard, method: &Method, fields: &[(&str, &str)]) -> Result<(), AdminDenial> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name = header::HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.insert(name, value.parse().unwrap());
    }
    guard.admit_request(method, &headers).map(|_| ())
}

fn loopback(token: Option<&str>) -> AdminGuard {
    AdminGuard::new(&Address::Tcp("127.0.0.1:9900".parse().unwrap()), token, None)
}

#[test]
fn only_local_names_lead_to_loopback() {
    let guard = loopback(None);
    for host in ["localhost", "tidegate:9900", "127.0.0.1:9900", "[::1]:9900", "t.localhost"] {
        assert_eq!(admit(&guard, &Method::POST, &[("host", host)]), Ok(()), "{host}");
    }
    for host in ["evil.example", "evil.example:9900", "localhost.evil.example", ""] {
        let denied = admit(&guard, &Method::GET, &[("host", host)]);
        assert_eq!(denied, Err(AdminDenial::Host), "{host}");
    }
    assert_eq!(admit(&guard, &Method::GET, &[]), Err(AdminDenial::Host));
    let unix = AdminGuard::new(&Address::Unix("/run/t.sock".into()), None, None);
    assert_eq!(admit(&unix, &Method::POST, &[]), Ok(()));
}

#[test]
fn pages_of_others_may_not_ask() {
    let guard = loopback(None);
    let ask =
        |origin| admit(&guard, &Method::POST, &[("host", "localhost:9900"), ("origin", origin)]);
    assert_eq!(ask("http://localhost:9900"), Ok(()));
    for origin in ["http://evil.example", "http://localhost", "https://localhost:9900", "null"] {
        assert_eq!(ask(origin), Err(AdminDenial::Origin), "{origin}");
    }
}

#[test]
fn changes_need_the_token_where_there_is_one() {
    let guard = loopback(Some("secret"));
    let host = ("host", "localhost");
    assert_eq!(admit(&guard, &Method::GET, &[host]), Ok(()));
    assert_eq!(admit(&guard, &Method::POST, &[host]), Err(AdminDenial::Token));
    for wrong in ["Bearer secre", "Bearer secret1", "Bearer Secret", "secret", "Basic secret"] {
        let denied = admit(&guard, &Method::POST, &[host, ("authorization", wrong)]);
        assert_eq!(denied, Err(AdminDenial::Token), "{wrong}");
    }
    for right in ["Bearer secret", "bearer secret", "BEARER  secret", "basic OnNlY3JldA=="] {
        let given = ("authorization", right);
        assert_eq!(admit(&guard, &Method::POST, &[host, given]), Ok(()), "{right}");
    }
}

#[test]
fn who_only_looks_needs_a_token_where_others_can_reach_it() {
    let at = |address: &str, token, read| {
        AdminGuard::new(&Address::Tcp(address.parse().unwrap()), token, read)
    };
    let host = ("host", "localhost");
    let bearer = |token: &'static str| ("authorization", token);
    let open = at("0.0.0.0:9900", Some("all"), Some("see"));
    assert_eq!(admit(&open, &Method::GET, &[host]), Err(AdminDenial::Token));
    assert_eq!(admit(&open, &Method::GET, &[host, bearer("Bearer see")]), Ok(()));
    assert_eq!(admit(&open, &Method::GET, &[host, bearer("Bearer all")]), Ok(()));
    assert_eq!(admit(&open, &Method::POST, &[host, bearer("Bearer see")]), Err(AdminDenial::Token));
    assert_eq!(admit(&open, &Method::POST, &[host, bearer("Bearer all")]), Ok(()));
    // "me:see" and ":all" as passwords.
    assert_eq!(admit(&open, &Method::GET, &[host, bearer("Basic bWU6c2Vl")]), Ok(()));
    assert_eq!(admit(&open, &Method::POST, &[host, bearer("Basic OmFsbA==")]), Ok(()));
    let local = at("127.0.0.1:9900", None, Some("see"));
    assert_eq!(admit(&local, &Method::GET, &[host]), Err(AdminDenial::Token));
    assert_eq!(admit(&local, &Method::GET, &[host, bearer("Bearer see")]), Ok(()));
    assert_eq!(admit(&local, &Method::POST, &[host]), Ok(()));
    let token_alone = at("[::]:9900", Some("all"), None);
    assert_eq!(admit(&token_alone, &Method::GET, &[host]), Err(AdminDenial::Token));
}
