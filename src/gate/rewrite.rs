//! `rewrite`: the path a server sees instead of the one that was matched.

use crate::route::template::Values;
use crate::snapshot::route::Rewrite;

/// Appends the rewritten path to `out`.
pub fn path<'a>(
    out: &mut Vec<u8>,
    rewrite: &Rewrite,
    values: &Values<'a>,
    capture: impl Fn(usize) -> &'a [u8],
) {
    if let Some(template) = &rewrite.path {
        template.write(out, values, capture);
        return;
    }
    let mut rest = values.path;
    if let Some(prefix) = &rewrite.strip_prefix
        && let Some(stripped) = rest.strip_prefix(&**prefix)
        && (stripped.is_empty() || stripped.starts_with(b"/"))
    {
        rest = stripped;
    }
    if let Some(prefix) = &rewrite.prefix {
        out.extend_from_slice(prefix);
    }
    if out.is_empty() && rest.is_empty() {
        rest = b"/";
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::template::Template;

    fn rewritten(strip: Option<&str>, prefix: Option<&str>, from: &str) -> String {
        let rewrite = Rewrite {
            strip_prefix: strip.map(|s| s.as_bytes().into()),
            prefix: prefix.map(|s| s.as_bytes().into()),
            ..Rewrite::default()
        };
        let mut out = Vec::new();
        let values = Values { host: b"", path: from.as_bytes(), query: None };
        path(&mut out, &rewrite, &values, |_| b"");
        String::from_utf8(out).unwrap()
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
        let rewrite = Rewrite {
            path: Some(Template::new("/orders/{id}", &["id"]).unwrap()),
            ..Rewrite::default()
        };
        let mut out = Vec::new();
        let values = Values { host: b"", path: b"/o/7/x", query: None };
        path(&mut out, &rewrite, &values, |_| b"7");
        assert_eq!(out, b"/orders/7");
    }
}
