//! Answers of servers turned back: where a path was shortened or a host replaced on the way in,
//! what a response says of paths and hosts is brought into the client's terms on the way out, as
//! with `ProxyPassReverse` and `proxy_redirect`.
//!
//! Only what is known to be the server's own is touched: a path, a URL of the host that the server
//! was sent, or of the server's address. What already begins with the prefix that was taken off was
//! written by a server that heeds `X-Forwarded-Prefix`, and stays.

mod way;

use std::borrow::Cow;

use self::way::TurnedWay;
use crate::proxy::MatchedRoute;
use crate::proxy::rewrite::strip_prefix;
use crate::wire::ResponseHead;

impl MatchedRoute<'_, '_> {
    /// The head of a response with its fields turned back; `None` where nothing has to be.
    pub(super) fn turned_back(&self, head: &ResponseHead) -> Option<ResponseHead> {
        let rewrite = &self.route.rewrite;
        let answers = rewrite.answers.as_deref()?;
        if !head.fields.iter().any(|field| field_kind(field.name).is_some()) {
            return None;
        }
        let (stripped, prefix) = self.path_starts();
        let way = TurnedWay {
            stripped,
            prefix: &prefix,
            scheme: self.identity.scheme,
            public: self.identity.host.unwrap_or(self.target.sent_host()),
            sent: rewrite.host.as_deref().unwrap_or(self.target.sent_host()),
            answers,
        };
        let mut turned = ResponseHead::default();
        turned.set(head.status, head.reason());
        turned.version = head.version;
        for field in head.fields.iter() {
            let value = match field_kind(field.name) {
                Some(FieldKind::Reference) => way.turn_reference(field.value),
                Some(FieldKind::Cookie) => way.turn_cookie(field.value),
                None => Cow::Borrowed(field.value),
            };
            turned.fields.push_known(field.name, &value, field.known);
            if field.never_indexed {
                turned.fields.guard_last();
            }
        }
        Some(turned)
    }

    /// Returns what the client's path begins with, and what the server's begins with in its stead.
    /// Both are followed by the same rest; a path that is made in another way cannot be turned
    /// back, and both are empty.
    fn path_starts(&self) -> (&[u8], Vec<u8>) {
        let (rewrite, path) = (&self.route.rewrite, self.target.path());
        let mut prefix = Vec::new();
        let template = match &rewrite.path {
            Some(template) => template.has_rest().then_some(template),
            None => rewrite.prefix.as_ref(),
        };
        let start = match &rewrite.path {
            Some(_) => rewrite.rests.iter().find_map(|start| start.divide_path(path)),
            None => Some(strip_prefix(rewrite, path)),
        };
        let (Some((start, _)), true) = (start, template.is_some() || rewrite.path.is_none()) else {
            return (b"", prefix);
        };
        if let Some(template) = template {
            template.write_filled(&mut prefix, &self.template_values(), |n| self.capture_text(n));
        }
        // Which is what a template of nothing but the rest makes of none.
        if prefix == b"/" {
            prefix.clear();
        }
        (start, prefix)
    }

    /// Returns what servers are told was taken off the path, on a route that turns answers back.
    pub(super) fn forwarded_prefix(&self) -> Option<&[u8]> {
        self.route.rewrite.answers.as_ref()?;
        let (stripped, _) = strip_prefix(&self.route.rewrite, self.target.path());
        Some(stripped).filter(|stripped| !stripped.is_empty())
    }
}

enum FieldKind {
    Reference,
    Cookie,
}

fn field_kind(name: &[u8]) -> Option<FieldKind> {
    match name.len() {
        8 if name.eq_ignore_ascii_case(b"location") => Some(FieldKind::Reference),
        16 if name.eq_ignore_ascii_case(b"content-location") => Some(FieldKind::Reference),
        10 if name.eq_ignore_ascii_case(b"set-cookie") => Some(FieldKind::Cookie),
        _ => None,
    }
}

/// Puts a dot segment in front of a path that browsers would read as another host: one that begins
/// with two slashes, where they take `\` for a slash and leave control characters out (URL
/// Standard, "relative slash state").
pub(super) fn keep_on_host(path: &mut Vec<u8>) {
    if path.get(1).is_some_and(|byte| matches!(byte, b'/' | b'\\' | 0..=b' ')) {
        path.splice(0..0, *b"/.");
    }
}
