use super::*;

fn meant(json: &str) -> Result<Purge, String> {
    parse_wish(&crate::admin::caches::read_object(json.as_bytes(), &PurgeWish::NAMES)?)
}

fn some(text: &str) -> Option<Box<[u8]>> {
    Some(text.as_bytes().into())
}

#[test]
fn what_is_named_takes_the_form_of_keys() {
    let purge = meant(r#"{"url": "https://Shop.test:8443/a/../b?q=1"}"#).unwrap();
    assert_eq!((purge.host, purge.path), (some("shop.test"), some("/b")));
    assert_eq!(purge.query, Some(some("q=1")));
    assert_eq!(meant(r#"{"url": "http://a.test"}"#).unwrap().query, Some(None));
    let purge = meant(r#"{"host": "A.test", "path": "/lookup/*", "soft": true}"#).unwrap();
    assert_eq!((purge.host, purge.path, purge.soft), (some("a.test"), some("/lookup/*"), true));
    assert_eq!(purge.query, None);
    assert_eq!(meant(r#"{"path": "/a/./b"}"#).unwrap().path, some("/a/b"));
    assert_eq!(meant(r#"{"all": true}"#), Ok(Purge::everything()));
    assert_eq!(meant(r#"{"cache": "c"}"#), Ok(Purge::everything()));
}

#[test]
fn what_has_no_meaning_is_refused() {
    for (json, why) in [
        ("{}", "nothing is named"),
        (r#"{"soft": true}"#, "nothing is named"),
        (r#"{"all": false}"#, "nothing is named"),
        (r#"{"all": true, "host": "a.test"}"#, "which one is meant"),
        (r#"{"hots": "a.test"}"#, "did you mean `host`?"),
        (r#"{"url": "/a"}"#, "is no URL"),
        (r#"{"url": "http://a.test/x", "path": "/x"}"#, "give one or the other"),
        (r#"{"path": "lookup"}"#, "is no path"),
        (r#"{"path": "/a?b=1"}"#, "`url` names one"),
        (r#"{"path": "lookup*"}"#, "does not begin with `/`"),
        (r#"{"host": "a b"}"#, "is no host"),
        (r#"{"tag": "a,b"}"#, "is no tag"),
        (r#"{"tag": 5}"#, "expected a string"),
        (r#"{"tag": "a", "tag": "b"}"#, "duplicate"),
        ("[]", "JSON object"),
    ] {
        let refused = meant(json).unwrap_err();
        assert!(refused.contains(why), "{json}: {refused}");
    }
}
