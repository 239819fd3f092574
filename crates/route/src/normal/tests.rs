use super::*;
use proptest::prelude::*;

#[test]
fn encoded_slashes_can_be_read_as_slashes() {
    let read =
        |path: &str| with_slashes(path.as_bytes()).map(|path| String::from_utf8(path).unwrap());
    assert_eq!(read("/admin%2fx").as_deref(), Some("/admin/x"));
    assert_eq!(read("/%2Fadmin%5cx%41").as_deref(), Some("/admin/xA"));
    assert_eq!(read("/a\\b/").as_deref(), Some("/a/b/"));
    for path in ["/a//b", "/a%2", "/a%252fb", "/a%2f%zz"] {
        assert_eq!(read(path), None, "{path}");
    }
}

#[test]
fn p2_dot_segments_are_seen_in_every_spelling() {
    for path in [
        "/.",
        "/..",
        "/a/./b",
        "/a/../b",
        "/a/%2e%2E/b",
        "/a/.%2e",
        "/a%2f..%2Fb",
        "/a%5c..",
        "/a\\..\\b",
        "/..;x/b",
        "/a/..%3bx",
        "/a%2f%2e",
        "/..%00",
    ] {
        assert!(has_dot_segments(path.as_bytes()), "{path}");
    }
    for path in [
        "/",
        "//",
        "/...",
        "/.a",
        "/a.",
        "/a..b/",
        "/..a",
        "/%2e%2e%2e",
        "/.well-known/x",
        "/a;..",
        "/a%2Fb",
        "/%2",
        "/%zz",
        "/a%252e%252e",
    ] {
        assert!(!has_dot_segments(path.as_bytes()), "{path}");
    }
}

proptest! {
    #[test]
    fn the_normal_form_is_its_own_normal_form(
        segments in prop::collection::vec("[a.%/;~25eEfF~:@|^]{0,6}", 0..6)
    ) {
        let raw = format!("/{}", segments.join("/"));
        if let Ok(once) = normalize_path(raw.as_bytes()) {
            prop_assert!(matches!(normalize_path(&once), Ok(Cow::Borrowed(_))));
            prop_assert!(once.starts_with(b"/"));
            let dots = once.split(|b| *b == b'/').any(|s| s == b"." || s == b"..");
            prop_assert!(!dots);
        }
    }

    #[test]
    fn what_is_copied_was_not_normal(raw in "/[aB./%;~2fe|]{0,12}") {
        if let Ok(Cow::Owned(normal)) = normalize_path(raw.as_bytes()) {
            prop_assert_ne!(normal, raw.as_bytes());
        }
    }

    #[test]
    fn a_literal_is_written_as_requests_are(segment in "[aB.%;~20efF:@|^ é{]{1,6}") {
        if let Ok(literal) = normalize_segment(segment.as_bytes()) {
            let path = [b"/", &*literal].concat();
            prop_assert!(matches!(normalize_path(&path), Ok(Cow::Borrowed(_))));
        }
    }
}
