use super::*;

fn fields(lines: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in lines {
        fields.push(name.as_bytes(), value.as_bytes());
    }
    fields
}

fn of(names: &[&str], lines: &[(&str, &str)]) -> u64 {
    let vary = fields(&[("vary", &names.join(", "))]);
    variant_hash(&vary_names(&vary), &fields(lines))
}

#[test]
fn no_two_requests_that_differ_share_a_key() {
    let key = |host: &str, path: &str, query: Option<&str>, extra: &[Option<&[u8]>]| {
        StoreKey::new(
            "c",
            b"http",
            host.as_bytes(),
            path.as_bytes(),
            query.map(str::as_bytes),
            extra,
        )
    };
    let base = key("a", "/b", None, &[]);
    let others = [
        key("a/", "b", None, &[]),
        key("a", "/b", Some(""), &[]),
        key("a", "/b", None, &[None]),
        key("a", "/b", None, &[Some(b"")]),
        key("a", "/", Some("b"), &[]),
    ];
    for (at, other) in others.iter().enumerate() {
        assert_ne!(&base, other, "{at}");
        assert_ne!(base.hash(), other.hash(), "{at}");
    }
    assert_eq!(base, key("a", "/b", None, &[]));
    let whole = key("a.test", "/b", Some("q=1"), &[]);
    assert_eq!(whole.url(), "http://a.test/b?q=1");
    assert_eq!(
        (whole.host(), whole.path(), whole.query()),
        (&b"a.test"[..], &b"/b"[..], Some(&b"q=1"[..]))
    );
}

#[test]
fn names_of_vary_are_a_set() {
    let vary = fields(&[("vary", "B, a"), ("Vary", "b,, A")]);
    assert_eq!(vary_names(&vary), [Box::from(&b"a"[..]), Box::from(&b"b"[..])].into());
}

#[test]
fn values_count_without_their_white_space_and_lines() {
    let one = of(&["foo"], &[("Foo", "1, 2")]);
    assert_eq!(one, of(&["foo"], &[("foo", "1,2")]));
    assert_ne!(one, of(&["foo"], &[("foo", "12")]));
    assert_ne!(one, of(&["foo"], &[]));
    assert_ne!(of(&["foo"], &[]), of(&["foo"], &[("foo", "")]));
    assert_ne!(of(&["a", "b"], &[("a", "1")]), of(&["a", "b"], &[("b", "1")]));
}

#[test]
fn encodings_count_as_what_may_be_sent() {
    let ae = |value: &str| of(&["accept-encoding"], &[("accept-encoding", value)]);
    assert_eq!(ae("gzip, br"), ae("br;q=0.9, gzip;q=1.0"));
    assert_eq!(ae("gzip, deflate"), ae("deflate,GZIP, unknown"));
    assert_ne!(ae("gzip"), ae("br"));
    assert_ne!(ae("gzip"), ae("gzip;q=0"));
    assert_ne!(ae(""), ae("identity;q=0"));
    assert_eq!(ae("gzip;q=0"), of(&["accept-encoding"], &[]));
}
