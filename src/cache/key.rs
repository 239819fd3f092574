//! What two requests must share to get the same stored response.
//!
//! A key is text, so that it can be compared whole and matched by a purge; a hash of it finds the
//! place in the table.

use std::hash::{Hash, Hasher};
use std::sync::OnceLock;

use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed, xxh3_128_with_seed};

use super::search::SearchRule;
use crate::clock::Random;
use crate::wire::head::{Fields, list_items};

/// The place of the scheme among a key's parts.
const SCHEME: usize = 1;
/// The place of the path among a key's parts.
const PATH: usize = 3;
/// The place of the query.
const QUERY: usize = 4;

/// A primary key (RFC 9111 §2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreKey {
    hash: u128,
    /// All parts, each behind its length.
    text: Box<[u8]>,
    host: (u32, u32),
    path: (u32, u32),
    query: Option<(u32, u32)>,
}

impl Hash for StoreKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

/// A key as it lies in a buffer, so that a stored response is found without asking for memory.
#[derive(Debug, Clone, Copy)]
pub struct KeyRef<'b> {
    hash: u128,
    text: &'b [u8],
}

/// Returns what hashes begin with: different in every process, so that nobody can make two that
/// collide.
fn hash_seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| Random::from_entropy().next_u64())
}

/// Returns the hash that keys of this path have as theirs.
#[must_use]
pub fn hash_path(path: &[u8]) -> u32 {
    xxh3_64_with_seed(path, hash_seed()) as u32
}

impl<'b> KeyRef<'b> {
    /// Writes a key into a buffer, in the place of what is there. The parts are those of
    /// [`StoreKey::new`], in its order.
    pub fn write_key<'p>(
        buffer: &'b mut Vec<u8>,
        parts: impl Iterator<Item = Option<&'p [u8]>>,
    ) -> Self {
        buffer.clear();
        for part in parts {
            buffer.push(u8::from(part.is_some()));
            let part = part.unwrap_or_default();
            let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
            buffer.extend_from_slice(&length.to_be_bytes());
            buffer.extend_from_slice(part);
        }
        Self::from_text(buffer)
    }

    fn from_text(text: &'b [u8]) -> Self {
        Self { hash: xxh3_128_with_seed(text, hash_seed()), text }
    }

    /// The hash that finds it.
    #[must_use]
    pub fn hash(&self) -> u128 {
        self.hash
    }

    /// Returns whether it is this one.
    #[must_use]
    pub fn is_key(&self, key: &StoreKey) -> bool {
        self.hash == key.hash && *self.text == *key.text
    }

    /// The same with the query in a rule's canonical form, written into a buffer; `None` where the
    /// query has none.
    pub fn to_canonical<'c>(
        self,
        rule: &SearchRule,
        buffer: &'c mut Vec<u8>,
    ) -> Option<KeyRef<'c>> {
        let part = |(start, length): (u32, u32)| {
            let start = start as usize;
            self.text.get(start..start + length as usize).unwrap_or_default()
        };
        let parts = || StoreKeyParts { text: self.text, at: 0 }.map(|place| place.map(part));
        let query = rule.canonical_query(parts().nth(QUERY).flatten())?;
        let parts = parts().enumerate();
        let canonical = parts.map(|(at, part)| if at == QUERY { query.as_deref() } else { part });
        Some(KeyRef::write_key(buffer, canonical))
    }

    /// A key of its own.
    #[must_use]
    pub fn to_key(self) -> StoreKey {
        let mut spans = [None; QUERY + 1];
        for (span, part) in spans.iter_mut().zip(StoreKeyParts { text: self.text, at: 0 }) {
            *span = part;
        }
        let [_, _, host, path, query] = spans;
        let (host, path) = (host.unwrap_or_default(), path.unwrap_or_default());
        StoreKey { hash: self.hash, text: self.text.into(), host, path, query }
    }
}

/// The places of a key's parts in its text: where each begins and how long it is.
struct StoreKeyParts<'b> {
    text: &'b [u8],
    at: usize,
}

impl Iterator for StoreKeyParts<'_> {
    type Item = Option<(u32, u32)>;

    fn next(&mut self) -> Option<Self::Item> {
        let head = self.text.get(self.at..self.at.checked_add(5)?)?;
        let (there, length) = head.split_first()?;
        let length = u32::from_be_bytes(length.try_into().ok()?);
        let start = self.at + 5;
        let end = start.checked_add(length as usize).filter(|end| *end <= self.text.len())?;
        self.at = end;
        Some((*there == 1).then_some((u32::try_from(start).ok()?, length)))
    }
}

impl StoreKey {
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
        let parts = [Some(cache.as_bytes()), Some(scheme), Some(host), Some(path), query];
        KeyRef::write_key(&mut Vec::new(), parts.into_iter().chain(extra.iter().copied())).to_key()
    }

    /// The key that these bytes are; `None` when they are none.
    #[must_use]
    pub fn from_bytes(text: &[u8]) -> Option<Self> {
        let mut places = StoreKeyParts { text, at: 0 };
        let count = places.by_ref().count();
        (count > QUERY && places.at == text.len()).then(|| KeyRef::from_text(text).to_key())
    }

    /// The same, borrowed.
    #[must_use]
    pub fn borrowed(&self) -> KeyRef<'_> {
        KeyRef { hash: self.hash, text: &self.text }
    }

    /// The hash that finds it.
    #[must_use]
    pub fn hash(&self) -> u128 {
        self.hash
    }

    fn part_at(&self, (start, length): (u32, u32)) -> &[u8] {
        let start = start as usize;
        self.text.get(start..start + length as usize).unwrap_or_default()
    }

    /// The host, in lower case.
    #[must_use]
    pub fn host(&self) -> &[u8] {
        self.part_at(self.host)
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        self.part_at(self.path)
    }

    /// A hash of the path: whoever looks for a path passes over most others without reading their
    /// keys.
    #[must_use]
    pub fn path_hash(&self) -> u32 {
        hash_path(self.path())
    }

    /// The query without `?`.
    #[must_use]
    pub fn query(&self) -> Option<&[u8]> {
        self.query.map(|query| self.part_at(query))
    }

    /// The URL, for people. What a key leaves out of it is left out.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = self.parts().nth(SCHEME).flatten().unwrap_or_default();
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
        let known = self.parts().enumerate().map(|(at, part)| match at {
            PATH => Some(path),
            QUERY => query,
            _ => part,
        });
        KeyRef::write_key(&mut Vec::new(), known).to_key()
    }

    /// The key under which a response with this rule is stored that was fetched for this one.
    #[must_use]
    pub fn to_canonical(&self, rule: &SearchRule) -> Option<Self> {
        self.borrowed().to_canonical(rule, &mut Vec::new()).map(KeyRef::to_key)
    }

    /// The parts in order.
    fn parts(&self) -> impl Iterator<Item = Option<&[u8]>> {
        StoreKeyParts { text: &self.text, at: 0 }
            .map(|place| place.map(|place| self.part_at(place)))
    }

    /// The bytes, for tiers that keep it elsewhere.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// Returns how many bytes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Returns whether it has none, which no key does.
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
pub fn variant_hash(names: &[Box<[u8]>], fields: &Fields) -> u64 {
    let mut hasher = Xxh3::with_seed(hash_seed());
    feed_selecting(names, fields, |bytes| hasher.update(bytes));
    hasher.digest()
}

/// Returns what [`variant_hash`] is a hash of, behind the names; the same in every process.
#[must_use]
pub fn selecting_bytes(names: &[Box<[u8]>], fields: &Fields) -> Vec<u8> {
    let mut bytes = Vec::new();
    for name in names {
        bytes.extend_from_slice(name);
        bytes.push(b'\n');
    }
    feed_selecting(names, fields, |more| bytes.extend_from_slice(more));
    bytes
}

fn feed_selecting(names: &[Box<[u8]>], fields: &Fields, mut put: impl FnMut(&[u8])) {
    for name in names {
        put(b"\0");
        if **name == *b"accept-encoding" {
            put(&[accepted_codings(fields)]);
            continue;
        }
        for line in fields.named(name) {
            // An empty line is a line all the same: it differs from none.
            put(b"\x01");
            for item in list_items(line) {
                put(item);
                put(b",");
            }
        }
    }
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
mod tests;
