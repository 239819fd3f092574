use super::*;

#[test]
fn values_of_secret_parameters_are_masked() {
    let names = [Box::from(&b"token"[..])];
    let shown = |target: &str| {
        String::from_utf8(mask_target(target.as_bytes(), &names).into_owned()).unwrap()
    };
    assert_eq!(shown("/a?x=1&token=s&y=2"), "/a?x=1&token=***&y=2");
    assert_eq!(shown("/a?t%6Fken=s&&token=t?u=v&token"), "/a?t%6Fken=***&&token=***&token");
    assert_eq!(shown("https://a.test/?token=s#frag"), "https://a.test/?token=***");
    for same in ["/token=s", "/a?Token=s&tokens=1", "", "?", "/a?token=", "/a?b=token=s"] {
        assert_eq!(shown(same), same);
    }
    assert_eq!(*mask_target(b"/a?token=s", &[]), *b"/a?token=s");
    // By name or by looks, wherever tokens are looked for.
    let token = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln";
    for (target, expected) in [
        (format!("/a?jwt={token}&b=1"), "/a?jwt=***&b=1"),
        (format!("/a?b=%65yJ{}", &token[3..]), "/a?b=***"),
        (format!("/a?x={}", token.replace('.', "%2E")), "/a?x=***"),
        ("/a?access%5Ftoken=s".to_owned(), "/a?access%5Ftoken=***"),
        ("/a?x=eyJ.short".to_owned(), "/a?x=eyJ.short"),
    ] {
        assert_eq!(*mask_target(target.as_bytes(), &[]), *expected.as_bytes());
    }
}

#[test]
fn query_values_are_compared_decoded() {
    assert!(decoded_equals(b"a%20b+c", b"a b c"));
    assert!(decoded_equals(b"100%", b"100%"));
    assert!(!decoded_equals(b"a", b"ab"));
}

#[test]
fn pairs_are_split_at_the_first_sign() {
    let pairs: Vec<_> = parameters(b"a=1&b&&c=2=3").collect();
    assert_eq!(pairs, [(&b"a"[..], &b"1"[..]), (b"b", b""), (b"c", b"2=3")]);
    let pairs: Vec<_> = cookies(b"a=1; b=\"2\";c").collect();
    assert_eq!(pairs, [(&b"a"[..], &b"1"[..]), (b"b", b"\"2\""), (b"c", b"")]);
}
