use super::*;
use crate::route::template::Template;
use crate::snapshot::rewrite::PathStart;

fn values(path: &str) -> TemplateValues<'_> {
    TemplateValues { host: b"", path: path.as_bytes(), query: None, rest: b"" }
}

fn apply(rewrite: &RouteRewrite, from: &str, capture: &'static str) -> Result<String, Refusal> {
    let mut out = Vec::new();
    rewrite_path(&mut out, rewrite, &values(from), false, 40, |_| capture.as_bytes())?;
    Ok(String::from_utf8(out).unwrap())
}

fn prefixes(strip: Option<&str>, prefix: Option<&str>) -> RouteRewrite {
    RouteRewrite {
        strip_prefix: strip.map(PathStart::new),
        prefix: prefix.map(|prefix| Template::of_path(prefix, &["id"]).unwrap()),
        ..RouteRewrite::default()
    }
}

fn rewritten(strip: Option<&str>, prefix: Option<&str>, from: &str) -> String {
    apply(&prefixes(strip, prefix), from, "7").unwrap()
}

fn by_regex(strip: Option<&str>, expression: &str, to: &str) -> RouteRewrite {
    let regex = Some((regex::Regex::new(expression).unwrap(), to.into()));
    RouteRewrite { regex, ..prefixes(strip, None) }
}

#[test]
fn prefixes_are_stripped_and_put_by_segment() {
    assert_eq!(rewritten(Some("/api"), None, "/api/x"), "/x");
    assert_eq!(rewritten(Some("/api"), None, "/api"), "/");
    assert_eq!(rewritten(Some("/api"), None, "/api/"), "/");
    assert_eq!(rewritten(Some("/api"), None, "/apix"), "/apix");
    assert_eq!(rewritten(None, Some("/v2"), "/x"), "/v2/x");
    assert_eq!(rewritten(None, Some("/v2"), "/"), "/v2/");
    assert_eq!(rewritten(Some("/api"), Some("/v2"), "/api/x/y"), "/v2/x/y");
    assert_eq!(rewritten(Some("/api"), Some("/v2"), "/api"), "/v2");
    assert_eq!(rewritten(Some("/"), Some("/v2"), "/x"), "/v2/x");
    assert_eq!(rewritten(Some("/t/{id}"), Some("/u/{id}"), "/t/7/x"), "/u/7/x");
}

#[test]
fn p6_a_slash_at_the_end_stays() {
    assert_eq!(rewritten(Some("/old"), Some("/new"), "/old/"), "/new/");
    assert_eq!(rewritten(Some("/old"), Some("/new"), "/old"), "/new");
    assert_eq!(rewritten(Some("/old"), Some("/new"), "/old/a/"), "/new/a/");
    assert_eq!(rewritten(None, Some("/new"), "/old/"), "/new/old/");
    assert_eq!(rewritten(Some("/old"), Some(""), "/old/"), "/");
    assert_eq!(rewritten(Some("/old"), Some(""), "/old"), "/");
}

#[test]
fn a_template_replaces_the_whole_path() {
    let template = Some(Template::of_path("/orders/{id}", &["id"]).unwrap());
    let rewrite = RouteRewrite { path: template, ..RouteRewrite::default() };
    assert_eq!(apply(&rewrite, "/o/7/x", "7").unwrap(), "/orders/7");
}

#[test]
fn c9_the_rest_of_a_path_goes_where_the_template_says() {
    let rewrite = RouteRewrite {
        path: Some(Template::of_path("/users/{id}/*", &["id"]).unwrap()),
        rests: ["/u/{id}", "/v"].map(PathStart::new).into(),
        ..RouteRewrite::default()
    };
    for (from, to) in [
        ("/u/7/a/b", "/users/7/a/b"),
        ("/u/7/", "/users/7/"),
        ("/u/7", "/users/7"),
        ("/v/x", "/users/7/x"),
    ] {
        assert_eq!(apply(&rewrite, from, "7").unwrap(), to);
    }
    let all = RouteRewrite {
        path: Some(Template::of_path("/*", &[]).unwrap()),
        rests: ["/u"].map(PathStart::new).into(),
        ..RouteRewrite::default()
    };
    assert_eq!(apply(&all, "/u", "").unwrap(), "/");
    assert_eq!(apply(&all, "/u/x", "").unwrap(), "/x");
}

#[test]
fn what_is_made_of_a_path_is_bounded() {
    let filled = |to: &str| RouteRewrite {
        path: Some(Template::of_path(to, &["id"]).unwrap()),
        ..RouteRewrite::default()
    };
    let too_long = Err(Refusal::MadeTooLong);
    let nine = "123456789";
    assert_eq!(
        apply(&filled("/{id}/{id}/{id}/{id}"), "/x", nine),
        Ok(format!("/{nine}").repeat(4))
    );
    assert_eq!(apply(&filled("/{id}/{id}/{id}/{id}/"), "/x", nine), too_long);
    assert_eq!(
        apply(&prefixes(None, Some("/{id}/{id}/{id}")), "/123456789", nine).map(|made| made.len()),
        Ok(40)
    );
    assert_eq!(apply(&prefixes(None, Some("/{id}/{id}/{id}")), "/123456789x", nine), too_long);
    let doubled = by_regex(None, "x", "$0$0");
    assert_eq!(apply(&doubled, "/xxxxxxxxxxxxxxxxxxx", ""), Ok("/".to_owned() + &"x".repeat(38)));
    assert_eq!(apply(&doubled, "/xxxxxxxxxxxxxxxxxxxx", ""), too_long);
    assert_eq!(
        apply(&by_regex(None, "b", "$0$0"), &format!("/{}", "x".repeat(39)), "")
            .map(|made| made.len()),
        Ok(40)
    );
}

#[test]
fn an_expression_replaces_what_it_finds_after_the_prefix() {
    let rewrite = by_regex(Some("/app"), r"^/old/(\d+)", "/new/$1");
    for (from, to) in [
        ("/app/old/5", "/new/5"),
        ("/app/old/5/edit", "/new/5/edit"),
        ("/app/old/x", "/old/x"),
        ("/app", "/"),
        ("/old/5", "/new/5"),
    ] {
        assert_eq!(apply(&rewrite, from, "").unwrap(), to);
    }
    assert_eq!(apply(&by_regex(None, "^/a", "b"), "/a/c", "").unwrap(), "/b/c");
    assert_eq!(apply(&by_regex(None, "^/$", "/index"), "/", "").unwrap(), "/index");
    assert_eq!(apply(&by_regex(None, "/+x", "//y"), "/x", "").unwrap(), "/y");
    for (expression, to, from) in
        [("^/x(.*)$", "/.$1", "/x./etc"), ("-", ".", "/--/x"), ("_", "%2f", "/a_b")]
    {
        assert!(apply(&by_regex(None, expression, to), from, "").is_err(), "{expression}");
    }
}
