use super::*;
use proptest::prelude::*;

fn parse(method: &str, target: &str, host: &[&str]) -> Result<(String, String), TargetFault> {
    let mut head = RequestHead::default();
    head.set(method.as_bytes(), target.as_bytes(), Version::Http11);
    for host in host {
        head.fields.push(b"Host", host.as_bytes());
    }
    let target = RequestTarget::from_head(&head, PathMode::Normalize, Keep::Normal)?;
    let query =
        target.query().map_or(String::new(), |q| format!("?{}", String::from_utf8_lossy(q)));
    let path = String::from_utf8_lossy(target.path()).into_owned();
    Ok((target.host().to_owned(), path + &query))
}

fn path(target: &str) -> Result<String, TargetFault> {
    parse("GET", target, &["a.test"]).map(|(_, path)| path)
}

fn host(host: &str) -> Result<String, TargetFault> {
    parse("GET", "/", &[host]).map(|(host, _)| host)
}

#[test]
fn paths_have_one_normal_form() {
    for (from, to) in [
        ("/", "/"),
        ("/a/b.c?x=/../", "/a/b.c?x=/../"),
        ("/.well-known/x", "/.well-known/x"),
        ("/a/./b/../c", "/a/c"),
        ("/pub/../admin", "/admin"),
        ("/pub/%2e%2E/admin", "/admin"),
        ("//evil", "/evil"),
        ("/a//b/", "/a/b/"),
        ("/a/..", "/"),
        ("/a/.", "/a/"),
        ("/%41%7e", "/A~"),
        ("/a%3ab", "/a%3Ab"),
        ("/...", "/..."),
        ("/a?", "/a?"),
        ("/a|b{c}`d", "/a%7Cb%7Bc%7D%60d"),
        ("/.x/\"<>^?|", "/.x/%22%3C%3E%5E?|"),
    ] {
        assert_eq!(path(from).as_deref(), Ok(to), "{from}");
    }
}

#[test]
fn what_servers_read_differently_is_refused() {
    for (target, fault) in [
        ("/..", TargetFault::AboveRoot),
        ("/a/../../b", TargetFault::AboveRoot),
        ("/a%2fb", TargetFault::Ambiguous),
        ("/a%5Cb", TargetFault::Ambiguous),
        ("/a\\b", TargetFault::Ambiguous),
        ("/..;/admin", TargetFault::Ambiguous),
        ("/%2e%2e;x/admin", TargetFault::Ambiguous),
        ("/%00", TargetFault::Escape),
        ("/%zz", TargetFault::Escape),
        ("/%4", TargetFault::Escape),
        ("/a#b", TargetFault::Character),
        ("/caf\u{e9}", TargetFault::Character),
        ("/a?b\u{e9}", TargetFault::Character),
        ("admin", TargetFault::Form),
        ("@evil/p", TargetFault::Form),
        ("*", TargetFault::Form),
        ("", TargetFault::Form),
        ("ftp://a.test/", TargetFault::Form),
        ("?q", TargetFault::Form),
        ("https:?q", TargetFault::Form),
    ] {
        assert_eq!(path(target), Err(fault), "{target}");
    }
    for target in ["*", "http://a.test"] {
        assert_eq!(parse("OPTIONS", target, &["a.test"]).unwrap().1, "*", "{target}");
    }
    assert_eq!(parse("OPTIONS", "http://a.test/", &["a.test"]).unwrap().1, "/");
}

#[test]
fn hosts_are_validated_and_canonical() {
    for (sent, canonical) in [
        ("A.Test:8080", "a.test"),
        ("a.test.", "a.test"),
        ("a.test:", "a.test"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("[::1]:8080", "[::1]"),
        ("[0:0::0:1]", "[::1]"),
        ("[2001:DB8::A]", "[2001:db8::a]"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ] {
        assert_eq!(host(sent).as_deref(), Ok(canonical), "{sent}");
    }
    for bad in [
        "",
        "a.test, b.test",
        "u:p@a.test",
        "a.test/x",
        "a test",
        "<script>",
        "a.test:99999",
        "a.test:x@evil",
        "[::1",
        "[::1]x",
        "[::g]",
        "[fe80::1%25eth0]",
        "a:b",
        ".",
        "a..test",
        "a.test..",
        "[::1].",
        "a.test:8 0",
    ] {
        assert_eq!(host(bad), Err(TargetFault::Host), "{bad}");
    }
}

#[test]
fn exactly_one_host_is_required() {
    assert_eq!(parse("GET", "/", &[]), Err(TargetFault::HostCount));
    assert_eq!(parse("GET", "/", &["a.test", "a.test"]), Err(TargetFault::HostCount));
}

#[test]
fn an_absolute_target_must_agree_with_host() {
    let both = |target, host| parse("GET", target, &[host]);
    let expected = Ok(("a.test".to_owned(), "/p?q".to_owned()));
    assert_eq!(both("http://a.test/p?q", "a.test"), expected);
    assert_eq!(both("HTTP://A.test:80/p?q", "a.test"), expected);
    assert_eq!(both("http://a.test", "a.test").unwrap().1, "/");
    assert_eq!(both("http://a.test?q", "a.test").unwrap().1, "/?q");
    assert_eq!(both("http://b.test/", "a.test"), Err(TargetFault::HostMismatch));
    assert_eq!(both("http://a.test:81/", "a.test"), Err(TargetFault::HostMismatch));
    assert_eq!(both("http://u:p@a.test/", "a.test"), Err(TargetFault::Host));
    assert_eq!(both("http://a.test/#f", "a.test"), Err(TargetFault::Character));
}

#[test]
fn refusing_mode_accepts_only_the_normal_form() {
    let mut head = RequestHead::default();
    for (target, accepted) in [("/a/b", true), ("/a//b", false), ("/%41", false), ("/.a", true)] {
        head.set(b"GET", target.as_bytes(), Version::Http11);
        head.fields.push(b"Host", b"a");
        assert_eq!(
            RequestTarget::from_head(&head, PathMode::Refuse, Keep::Normal).is_ok(),
            accepted,
            "{target}"
        );
    }
}

/// A head without a host, of this version.
fn head_of(version: Version, target: &str) -> RequestHead {
    let mut head = RequestHead::default();
    head.set(b"GET", target.as_bytes(), version);
    head
}

#[test]
fn a_client_of_http_1_0_may_name_no_host_and_no_client_names_two() {
    let mut old = head_of(Version::Http10, "/a?q");
    let target = RequestTarget::from_head(&old, PathMode::Normalize, Keep::Normal).unwrap();
    assert_eq!((target.host(), target.sent_host()), ("", &b""[..]));
    assert_eq!((target.path(), target.query()), (&b"/a"[..], Some(&b"q"[..])));
    old.fields.push(b"Host", b"A.Test:8080");
    let target = RequestTarget::from_head(&old, PathMode::Normalize, Keep::Normal).unwrap();
    assert_eq!((target.host(), target.sent_host()), ("a.test", &b"A.Test:8080"[..]));
    old.fields.push(b"Host", b"A.Test:8080");
    let refused = RequestTarget::from_head(&old, PathMode::Normalize, Keep::Normal);
    assert_eq!(refused.map(|_| ()), Err(TargetFault::HostCount));
    // What a target names counts where no field does.
    let absolute = head_of(Version::Http10, "http://B.Test:81/p");
    let target = RequestTarget::from_head(&absolute, PathMode::Normalize, Keep::Normal).unwrap();
    assert_eq!((target.host(), target.sent_host()), ("b.test", &b"B.Test:81"[..]));
    assert_eq!((target.path(), target.query()), (&b"/p"[..], None));
}

/// The path in normal form, as it was sent, and with encoded slashes taken for slashes.
fn spelled(spelling: Spelling<'_>) -> [Option<&[u8]>; 3] {
    match spelling {
        Spelling::Same(path) => [Some(path), None, None],
        Spelling::Differs { normal, raw, slashed } => [normal, Some(raw), slashed],
    }
}

#[test]
fn a_path_without_a_normal_form_is_kept_as_it_was_sent_where_a_route_wants_that() {
    for (sent, normal, slashed, fault) in [
        ("/a/b", Some("/a/b"), None, None),
        ("/a//b", Some("/a/b"), None, None),
        ("/a%2fb", None, Some("/a/b"), Some(TargetFault::Ambiguous)),
        ("/%zz", None, None, Some(TargetFault::Escape)),
        ("/%00", None, None, Some(TargetFault::Escape)),
        ("/..", None, None, Some(TargetFault::AboveRoot)),
    ] {
        let whole = format!("{sent}?q=1");
        let head = head_of(Version::Http10, &whole);
        let read = |keep| RequestTarget::from_head(&head, PathMode::Normalize, keep);
        let strict = read(Keep::Normal).map(|target| target.path().to_vec());
        let path = normal.map(|path| path.as_bytes().to_vec());
        assert_eq!(strict, path.ok_or(fault.unwrap_or(TargetFault::Form)), "{sent}");
        let mut target = read(Keep::Raw).unwrap();
        assert_eq!((target.fault(), target.query()), (fault, Some(&b"q=1"[..])), "{sent}");
        assert_eq!(target.path(), normal.unwrap_or(sent).as_bytes(), "{sent}");
        let raw = (normal != Some(sent)).then_some(sent.as_bytes());
        let expected = [normal.map(str::as_bytes), raw, slashed.map(str::as_bytes)];
        assert_eq!(spelled(target.path_spelling()), expected, "{sent}");
        let kept = target.keep_raw();
        if sent == "/.." {
            assert_eq!((kept, target.fault()), (Err(TargetFault::DotSegment), fault));
            continue;
        }
        assert_eq!((kept, target.fault(), target.path()), (Ok(()), None, sent.as_bytes()));
        let same = [Some(sent.as_bytes()), None, None];
        assert_eq!(spelled(target.path_spelling()), same, "{sent}");
    }
    for sent in ["/a#b", "/caf\u{e9}", "/a\u{7f}"] {
        let head = head_of(Version::Http10, sent);
        let read = RequestTarget::from_head(&head, PathMode::Normalize, Keep::Raw);
        assert_eq!(read.map(|_| ()), Err(TargetFault::Character), "{sent}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_either_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut head = RequestHead::default();
        head.set(b"GET", &bytes, Version::Http11);
        head.fields.push(b"Host", &bytes);
        let _read_or_refused = RequestTarget::from_head(&head, PathMode::Normalize, Keep::Normal);
    }
}
