use super::*;

fn rule(value: &str) -> Option<SearchRule> {
    let mut fields = Fields::default();
    fields.push(b"No-Vary-Search", value.as_bytes());
    SearchRule::read_rule(&fields)
}

#[track_caller]
fn is_same(value: &str, one: &str, other: &str) -> bool {
    let rule = rule(value).unwrap();
    let of = |query: &str| {
        let query = (query != "-").then_some(query.as_bytes());
        rule.canonical_query(query).unwrap()
    };
    of(one) == of(other)
}

#[test]
fn parameters_that_are_named_do_not_count() {
    let is = |one: &str, other: &str| is_same("params=(\"utm\" \"gclid\")", one, other);
    assert!(is("id=1&utm=2", "id=1"));
    assert!(is("utm=3&id=1&gclid", "id=1&utm=4&utm=5"));
    assert!(is("utm=3", "-") && is("", "-") && is("&&", "-"));
    assert!(!is("id=1", "id=2") && !is("id=1", "id=1&id=1"));
    assert!(!is("a=1&b=2", "b=2&a=1"), "their order counts");
    assert!(!is("UTM=1", "-"), "names are told apart by case");
}

#[test]
fn all_parameters_but_some_do_not_count() {
    let is = |one: &str, other: &str| is_same("params, except=(\"id\")", one, other);
    assert!(is("x=1&id=1&y=2", "id=1") && is("x=1", "y=2") && is("x", "-"));
    assert!(!is("id=1", "id=2") && !is("id=1", "-"));
    assert!(is_same("params", "a=1", "b=2"));
    assert!(is_same("params=?1;x=1, except=(\"id\";y);z", "b=1", "-"));
}

#[test]
fn the_order_of_names_may_not_count_but_that_of_one_names_values_does() {
    let is = |one: &str, other: &str| is_same("key-order", one, other);
    assert!(is("b=2&a=1", "a=1&b=2") && is("a=1&b=2&a=3", "b=2&a=1&a=3"));
    assert!(!is("a=1&a=2", "a=2&a=1") && !is("a=1", "a=2"));
    assert!(is_same("key-order, params=(\"x\")", "b=2&x=5&a=1", "a=1&b=2"));
}

#[test]
fn parameters_are_compared_as_they_are_decoded() {
    let is = |one: &str, other: &str| is_same("params=(\"%C3%A9 x\")", one, other);
    assert!(is("%c3%a9+x=1", "-") && is("\u{e9}%20x", "-"));
    assert!(is("a=%41+%2b", "a=A%20%2B") && is("a", "a="));
    assert!(!is("a=%26b=1", "a=&b=1") && !is("a=%3D", "a") && !is("a=%zz", "a=zz"));
    assert!(!is("a=%ff", "a=%fe"), "bytes that are no text differ");
    assert!(!is("a=1;b=2", "a=1&b=2"));
}

#[test]
fn what_is_not_understood_or_says_nothing_lets_all_count() {
    for value in [
        "",
        "params=?0",
        "key-order=?0",
        "params=()",
        "params=(a)",
        "params=(\"a\" 1)",
        "params=\"a\"",
        "params=1",
        "params=(\"a\"",
        "params=(\"a\")x",
        "params=(\"a\\x\")",
        "params=(\"a\"\"b\")",
        "params, x=\"a, except=(\"id\")",
        "params;x=\"a",
        "except=(\"a\")",
        "params=?0, except=(\"a\")",
        "params=(\"a\"), except=(\"b\")",
        "params, except=\"a\"",
        "params, except",
        "key-order=1",
        "Params",
        "params=?2",
        "params, =1",
        "params=(\"a\u{e9}\")",
    ] {
        assert_eq!(rule(value), None, "{value}");
    }
    assert_eq!(rule(&format!("params=(\"{}\")", "a".repeat(1024))), None);
    assert!(rule("params, future=(1 2);x, more=:aGk=:").is_some());
    assert!(rule("params=(\"a\"), params").is_some_and(|rule| !rule.counts_name(b"b")));
}

#[test]
fn lines_are_one_list_and_queries_are_bounded() {
    let mut fields = Fields::default();
    fields.push(b"No-Vary-Search", b"key-order");
    fields.push(b"no-vary-search", b"params=(\"a\")");
    let rule = SearchRule::read_rule(&fields).unwrap();
    assert_eq!(rule.canonical_query(Some(b"b=1&a=1&B=0")), Some(Some(b"B=0&b=1".to_vec())));
    let most = vec!["a=1"; MOST_PARAMETERS].join("&");
    assert_eq!(rule.canonical_query(Some(most.as_bytes())), Some(None));
    assert_eq!(rule.canonical_query(Some(format!("{most}&b").as_bytes())), None);
}

#[test]
fn a_canonical_form_is_its_own() {
    let rule = rule("key-order, params=(\"x\")").unwrap();
    for query in ["b=%41&a", "x&%ff=+&c=1", "a=%26&=", "=&=1"] {
        let once = rule.canonical_query(Some(query.as_bytes())).unwrap();
        assert_eq!(rule.canonical_query(once.as_deref()).unwrap(), once, "{query}");
    }
}
