use regex::Regex;

use super::*;

fn fill(text: &str) -> String {
    let template = Template::new(text, &["id"]).unwrap();
    let values = TemplateValues { host: b"a.test", path: b"/p/7", query: Some(b"q=1"), rest: b"" };
    let mut out = Vec::new();
    template.write_filled(&mut out, &values, |_| b"7");
    String::from_utf8(out).unwrap()
}

#[test]
fn places_are_filled_in() {
    assert_eq!(fill("https://{host}{path}"), "https://a.test/p/7");
    assert_eq!(fill("/orders/{id}?{query}"), "/orders/7?q=1");
    assert_eq!(fill(""), "");
}

#[test]
fn mistakes_are_told_apart() {
    let error = |text| Template::new(text, &["id"]).unwrap_err();
    assert_eq!(error("/{id"), TemplateError::Brace);
    assert_eq!(error("/id}"), TemplateError::Brace);
    assert_eq!(error("/{ix}"), TemplateError::Unknown("ix".into()));
}

#[test]
fn c9_header_values_are_text_and_names_in_single_braces() {
    use TemplatePiece::{Name, Text};
    let names = [Text("a"), Name("id"), Text("b"), Name("jwt.sub"), Name("header.x-y")];
    assert_eq!(split_pieces("a{id}b{jwt.sub}{header.x-y}"), names);
    assert_eq!(split_pieces("{{id}"), [Text("{"), Text("id}")]);
    assert_eq!(split_pieces("x{{{id}"), [Text("x"), Text("{"), Name("id")]);
    for text in ["{\"group\":[1]}", "{", "{}", "{ id }", "{1}", "}{", "a{b", "plain"] {
        assert_eq!(split_pieces(text), [Text(text)], "{text}");
    }
    assert_eq!(split_pieces(""), []);
}

#[test]
fn groups_are_written_as_in_what_replaces_a_match() {
    let regex = Regex::new(r"^/(\d+)/(?<name>[a-z]+)$").unwrap();
    for (text, written) in [
        ("/new/$1", "/new/{1}"),
        ("/new/${1}x", "/new/{1}x"),
        ("/$name/$2", "/{name}/{name}"),
        ("/{name}?a=$$1", "/{name}?a=$1"),
        ("/$1x", "/{1x}"),
        ("/$", "/{}"),
        ("/$3", "/{3}"),
    ] {
        assert_eq!(named_groups(text, &regex), written, "{text}");
    }
    assert_eq!(group_names(&regex).collect::<Vec<_>>(), ["1", "name"]);
}

#[test]
fn captures_are_found_by_segment() {
    assert_eq!(capture_names("/a/{id}/b{x}/{y}/*").collect::<Vec<_>>(), ["id", "y"]);
}
