use super::*;

fn matches(pattern: &str, path: &str) -> bool {
    PathPattern::parse_pattern(pattern).unwrap().matches_path(path.as_bytes())
}

#[test]
fn prefixes_match_by_segment() {
    for (path, expected) in
        [("/api", true), ("/api/", true), ("/api/x/y", true), ("/apix", false), ("/", false)]
    {
        assert_eq!(matches("/api/*", path), expected, "{path}");
    }
    assert!(matches("/*", "/") && matches("/*", "/x"));
}

#[test]
fn captures_take_one_segment_each() {
    let pattern = PathPattern::parse_pattern("/api/orders/{id}/items/{item}/*").unwrap();
    let path = b"/api/orders/42/items/7/x/y";
    assert!(pattern.matches_path(path));
    let captures = pattern.capture_path(path);
    assert_eq!(captures.captured_text(0, path), b"42");
    assert_eq!(captures.captured_text(1, path), b"7");
    assert_eq!(captures.captured_text(2, path), b"");
    assert!(!matches("/a/{id}", "/a/") && !matches("/a/{id}", "/a/1/2"));
    assert!(matches("/a/{id}/*", "/a/1"));
}

#[test]
fn patterns_are_brought_into_the_form_of_requests() {
    for (pattern, path) in [
        ("/café", "/caf%C3%A9"),
        ("/caf%c3%a9/*", "/caf%C3%A9/x"),
        ("/%41/{id}/a|b", "/A/7/a%7Cb"),
        ("/", "/"),
        ("/a/", "/a/"),
    ] {
        assert!(matches(pattern, path), "{pattern}");
    }
    assert!(!matches("/a/", "/a") && !matches("/a", "/a/"));
}

#[test]
fn mistakes_are_told_apart() {
    for (text, error) in [
        ("api", PathError::Relative),
        ("/a*", PathError::Star),
        ("/*/a", PathError::Star),
        ("/a{b}", PathError::Capture),
        ("/{}", PathError::Capture),
        ("/a//b", PathError::NeverMatches),
        ("/a//*", PathError::NeverMatches),
        ("/{a}/../b", PathError::NeverMatches),
        ("/a%2Fb", PathError::NeverMatches),
        ("/a\\b", PathError::NeverMatches),
        ("/50%", PathError::NeverMatches),
    ] {
        assert_eq!(PathPattern::parse_pattern(text).unwrap_err(), error, "{text}");
    }
    assert!(PathPattern::parse_pattern(&"/{a}".repeat(17)).is_err());
}
