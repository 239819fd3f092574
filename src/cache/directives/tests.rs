use super::*;

fn response(lines: &[(&str, &str)]) -> ResponseDirectives {
    ResponseDirectives::read(&fields(lines))
}

fn fields(lines: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in lines {
        fields.push(name.as_bytes(), value.as_bytes());
    }
    fields
}

fn max_age(value: &str) -> Option<u64> {
    response(&[("cache-control", value)]).max_age
}

#[test]
fn numbers_are_digits_and_nothing_else_is_fresh() {
    assert_eq!(max_age("max-age=3600"), Some(3600));
    assert_eq!(max_age("MaX-AgE=\"7\", foo"), Some(7));
    assert_eq!(max_age("max-age=003600"), Some(3600));
    assert_eq!(max_age("max-age=99999999999999999999999"), Some(FOREVER));
    for bad in
        ["max-age=-1", "max-age='3600'", "max-age=3600.0", "max-age=a100", "max-age=", "max-age"]
    {
        assert_eq!(max_age(bad), Some(0), "{bad}");
    }
    assert_eq!(max_age("public"), None);
}

#[test]
fn of_two_values_the_stricter_counts() {
    assert_eq!(max_age("max-age=1, max-age=100"), Some(1));
    let lines = [("cache-control", "max-age=100"), ("cache-control", "max-age=1")];
    assert_eq!(response(&lines).max_age, Some(1));
}

#[test]
fn quoted_strings_hide_commas_and_directives() {
    assert_eq!(max_age("ext=\"max-age=3600, x\", max-age=1"), Some(1));
    assert_eq!(max_age("max-age=1, ext=\"a\\\", max-age=3600\""), Some(1));
    let read = response(&[("cache-control", "no-cache=\"Set-Cookie, x-a\", private=\"b\"")]);
    assert!(!read.no_cache && !read.private);
    assert_eq!(read.no_cache_fields, [Box::from(&b"set-cookie"[..]), Box::from(&b"x-a"[..])]);
    assert_eq!(read.private_fields, [Box::from(&b"b"[..])]);
}

#[test]
fn an_unfinished_quote_swallows_the_rest_of_its_line() {
    let read =
        response(&[("cache-control", "a=\"max-age=1, no-store"), ("cache-control", "private")]);
    assert!(!read.no_store && read.private && read.max_age.is_none());
}

#[test]
fn the_targeted_field_replaces_the_general_one() {
    let lines = [("cdn-cache-control", "max-age=10, public"), ("cache-control", "no-store")];
    let read = response(&lines);
    assert!(read.targeted && read.public && !read.no_store);
    assert_eq!(read.max_age, Some(10));
}

#[test]
fn a_malformed_targeted_field_is_ignored() {
    for bad in [
        "max-age=",
        "max-age=\"5\"",
        "max-age=1.5",
        "max-age",
        "Max-Age=5",
        "no-store=1",
        "max-age=&",
    ] {
        let read = response(&[("cdn-cache-control", bad), ("cache-control", "max-age=3")]);
        assert!(!read.targeted && read.max_age == Some(3), "{bad}");
    }
}

#[test]
fn unknown_members_of_a_targeted_field_are_ignored() {
    for unknown in ["other=5", "other=-5", "other=1.5", "other=\"5\"", "other=a", "other"] {
        let field = format!("{unknown}, max-age=7");
        let read = response(&[("cdn-cache-control", &field), ("cache-control", "max-age=3")]);
        assert!(read.targeted && read.max_age == Some(7), "{unknown}");
    }
}

#[test]
fn pragma_counts_only_where_there_is_no_cache_control() {
    let read = |lines: &[(&str, &str)]| RequestDirectives::read(&fields(lines));
    assert!(read(&[("pragma", "no-cache")]).no_cache);
    assert!(!read(&[("pragma", "no-cache"), ("cache-control", "max-age=5")]).no_cache);
    let asked = read(&[("cache-control", "max-stale, min-fresh=3, only-if-cached, max-age=1")]);
    assert_eq!((asked.max_stale, asked.min_fresh), (Some(u64::MAX), Some(3)));
    assert!(asked.only_if_cached && asked.max_age == Some(1));
    assert_eq!(read(&[("cache-control", "max-stale=x")]).max_stale, Some(0));
}
