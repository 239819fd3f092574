//! What two requests must share to get the same stored response.
//!
//! A key is text, so that it can be compared whole and matched by a purge; a hash of it finds the
//! place in the table.

use std::hash::{Hash, Hasher};

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::wire::head::{Fields, list_items};

/// The place of the scheme among a key's parts.
const SCHEME: usize = 1;
/// The place of the path among a key's parts.
const PATH: usize = 3;
/// The place of the query.
const QUERY: usize = 4;

/// A primary key (RFC 9111 §2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    hash: u128,
    /// All parts, each behind its length.
    text: Box<[u8]>,
    host: (u32, u32),
    path: (u32, u32),
    query: Option<(u32, u32)>,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

impl Key {
    /// Makes the key of a request. `extra` holds the values of whatever else the route adds, in the
    /// order of its configuration; an absent one is `None` and differs from an empty one.
    #[must_use]
    pub fn new(
        cache: &str,
        scheme: &[u8],
        host: &[u8],
        path: &[u8],
        query: Option<&[u8]>,
        extra: &[Option<&[u8]>],
    ) -> Self {
        let mut parts = vec![Some(cache.as_bytes()), Some(scheme), Some(host), Some(path), query];
        parts.extend_from_slice(extra);
        Self::of(&parts)
    }

    fn of(parts: &[Option<&[u8]>]) -> Self {
        let length: usize = parts.iter().flatten().map(|part| part.len()).sum();
        let mut text = Vec::with_capacity(length + 5 * parts.len());
        let mut spans = [(0, 0); QUERY + 1];
        for (at, part) in parts.iter().enumerate() {
            text.push(u8::from(part.is_some()));
            let part = part.unwrap_or_default();
            let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
            text.extend_from_slice(&length.to_be_bytes());
            if let Some(span) = spans.get_mut(at) {
                *span = (u32::try_from(text.len()).unwrap_or(u32::MAX), length);
            }
            text.extend_from_slice(part);
        }
        let [_, _, host, path, query] = spans;
        let query = parts.get(QUERY).is_some_and(Option::is_some).then_some(query);
        Self { hash: xxh3_128(&text), text: text.into_boxed_slice(), host, path, query }
    }

    /// The hash that finds it.
    #[must_use]
    pub fn hash(&self) -> u128 {
        self.hash
    }

    fn at(&self, (start, length): (u32, u32)) -> &[u8] {
        let start = start as usize;
        self.text.get(start..start + length as usize).unwrap_or_default()
    }

    /// The host, in lower case.
    #[must_use]
    pub fn host(&self) -> &[u8] {
        self.at(self.host)
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        self.at(self.path)
    }

    /// The query without `?`.
    #[must_use]
    pub fn query(&self) -> Option<&[u8]> {
        self.query.map(|query| self.at(query))
    }

    /// The URL, for people. What a key leaves out of it is left out.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = self.parts().get(SCHEME).copied().flatten().unwrap_or_default();
        let mut url = [scheme, b"://", self.host(), self.path()].concat();
        if let Some(query) = self.query() {
            url.push(b'?');
            url.extend_from_slice(query);
        }
        String::from_utf8_lossy(&url).into_owned()
    }

    /// The key of another URL of the same host, everything else being the same.
    #[must_use]
    pub fn with_path(&self, path: &[u8], query: Option<&[u8]>) -> Self {
        let mut parts = self.parts();
        if let Some(part) = parts.get_mut(PATH) {
            *part = Some(path);
        }
        if let Some(part) = parts.get_mut(QUERY) {
            *part = query.filter(|_| self.query.is_some() || query.is_some());
        }
        Self::of(&parts)
    }

    /// Its parts in order.
    fn parts(&self) -> Vec<Option<&[u8]>> {
        let mut parts = Vec::new();
        let mut rest = &*self.text;
        while let Some((head, after)) = rest.split_at_checked(5) {
            let (there, length) = match head {
                [there, length @ ..] => (*there == 1, length.try_into().map(u32::from_be_bytes)),
                [] => break,
            };
            let Some((part, after)) = after.split_at_checked(length.unwrap_or(0) as usize) else {
                break;
            };
            parts.push(there.then_some(part));
            rest = after;
        }
        parts
    }

    /// Its bytes, for tiers that keep it elsewhere.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// How many bytes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Whether it has none, which no key does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

/// The names that a response's `Vary` lists: in lower case, sorted, each once.
#[must_use]
pub fn vary_names(fields: &Fields) -> Box<[Box<[u8]>]> {
    let listed = fields.named(b"vary").flat_map(list_items);
    let mut names: Vec<Box<[u8]>> = listed.map(|name| name.to_ascii_lowercase().into()).collect();
    names.sort_unstable();
    names.dedup();
    names.into_boxed_slice()
}

/// The hash of a request's values of the fields that a response was selected by (RFC 9111 §4.1).
///
/// Lines of one field count as one list, and white space around commas not at all. For
/// `Accept-Encoding` only the codings count that can be answered with, in a fixed order.
#[must_use]
pub fn variant(names: &[Box<[u8]>], fields: &Fields) -> u64 {
    let mut hasher = Xxh3::new();
    for name in names {
        hasher.update(b"\0");
        if **name == *b"accept-encoding" {
            hasher.update(&[accepted_codings(fields)]);
            continue;
        }
        for line in fields.named(name) {
            // An empty line is a line all the same: it differs from none.
            hasher.update(b"\x01");
            for item in list_items(line) {
                hasher.update(item);
                hasher.update(b",");
            }
        }
    }
    hasher.digest()
}

/// The codings that a client accepts, as bits. Every coding that servers use has one.
fn accepted_codings(fields: &Fields) -> u8 {
    const KNOWN: [&[u8]; 6] = [b"gzip", b"br", b"zstd", b"deflate", b"compress", b"identity"];
    let mut bits = 0;
    for item in fields.named(b"accept-encoding").flat_map(list_items) {
        let mut parts = item.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let coding = parts.next().unwrap_or_default();
        let refused = parts.any(|part| {
            let value = part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q="));
            value.is_some_and(|value| value.iter().all(|b| matches!(b, b'0' | b'.')))
        });
        let coding = coding.strip_prefix(b"x-").unwrap_or(coding);
        for (at, known) in KNOWN.iter().enumerate() {
            let named = coding.eq_ignore_ascii_case(known);
            // "Not identity" is the one refusal that changes what may be sent.
            let counts = if *known == b"identity" { refused } else { !refused };
            if counts && (named || coding == b"*") {
                bits |= 1 << at;
            }
        }
    }
    bits
}

#[cfg(test)]
mod tests {
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
        variant(&vary_names(&vary), &fields(lines))
    }

    #[test]
    fn no_two_requests_that_differ_share_a_key() {
        let key = |host: &str, path: &str, query: Option<&str>, extra: &[Option<&[u8]>]| {
            Key::new(
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
}
