//! A parsed head: the bytes as received and where its parts are.
//!
//! Names and values are ranges into one buffer, so parsing allocates nothing once the buffer has
//! grown to the size of usual heads, and forwarding copies ranges instead of rebuilding a map.
//! Order, case and repetition of fields are kept. HTTP/2 heads take the same form at their edge.

use super::encode;
use super::known::{self, Known};

/// The HTTP version of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
    /// HTTP/2
    Http2,
}

/// A range of a head's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FieldSpan {
    start: u32,
    len: u32,
}

#[derive(Debug, Clone, Copy)]
struct Field {
    name: FieldSpan,
    value: FieldSpan,
    known: Known,
    never_indexed: bool,
}

/// An ordered list of header fields and the bytes they point into.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    bytes: Vec<u8>,
    list: Vec<Field>,
    seen: u64,
    /// Any of them is never indexed.
    guarded: bool,
}

/// One field of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldRef<'a> {
    /// As received.
    pub name: &'a [u8],
    /// Without surrounding white space.
    pub value: &'a [u8],
    /// The meaning of the name to the proxy.
    pub known: Known,
    /// The sender does not want it in any table of HPACK (RFC 7541 §6.2.3).
    pub never_indexed: bool,
}

impl Fields {
    /// Forgets everything but keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.list.clear();
        self.seen = 0;
        self.guarded = false;
    }

    /// Appends a field, copying its bytes.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let name_span = self.store_bytes(name);
        let value_span = self.store_bytes(value);
        self.push_spans(name_span, value_span, known::lookup(name));
    }

    /// The same with a name whose meaning is known already.
    pub fn push_known(&mut self, name: &[u8], value: &[u8], known: Known) {
        let name = self.store_bytes(name);
        let value = self.store_bytes(value);
        self.push_spans(name, value, known);
    }

    /// The field that was appended last must not get into any table of HPACK.
    pub fn guard_last(&mut self) {
        if let Some(last) = self.list.last_mut() {
            last.never_indexed = true;
            self.guarded = true;
        }
    }

    /// Returns whether a field of this name, whatever its case, must not get into any table of
    /// HPACK.
    #[must_use]
    pub fn guards(&self, name: &[u8]) -> bool {
        self.guarded
            && self
                .list
                .iter()
                .any(|f| f.never_indexed && self.at(f.name).eq_ignore_ascii_case(name))
    }

    /// Drops the fields that `keep` does not keep; their bytes stay until the head is used again.
    pub fn retain(&mut self, mut keep: impl FnMut(FieldRef<'_>) -> bool) {
        let Self { bytes, list, seen, .. } = self;
        let before = list.len();
        let at = |span: FieldSpan| {
            let start = span.start as usize;
            bytes.get(start..start + span.len as usize).unwrap_or_default()
        };
        list.retain(|f| {
            let (known, never_indexed) = (f.known, f.never_indexed);
            keep(FieldRef { name: at(f.name), value: at(f.value), known, never_indexed })
        });
        if list.len() != before {
            *seen = list.iter().fold(0, |seen, f| seen | 1 << f.known as u8);
        }
    }

    /// Returns how many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Returns whether there are no fields.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Returns whether a known field is present. One bit test.
    #[inline]
    #[must_use]
    pub fn has(&self, known: Known) -> bool {
        self.seen & (1 << known as u8) != 0
    }

    /// All fields in the order in which they arrived.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = FieldRef<'_>> {
        self.list.iter().map(|f| FieldRef {
            name: self.at(f.name),
            value: self.at(f.value),
            known: f.known,
            never_indexed: f.never_indexed,
        })
    }

    /// Appends the lines of all fields that `keep` keeps, neighbours with one copy. A line that did
    /// not arrive as `name: value` is written like that.
    pub fn write_lines(&self, out: &mut Vec<u8>, keep: &mut dyn FnMut(FieldRef<'_>) -> bool) {
        let mut run: Option<(usize, usize)> = None;
        for f in &self.list {
            let (known, never_indexed) = (f.known, f.never_indexed);
            let (name, value) = (self.at(f.name), self.at(f.value));
            let field = FieldRef { name, value, known, never_indexed };
            if !keep(field) {
                continue;
            }
            let start = f.name.start as usize;
            let name_end = start + f.name.len as usize;
            let value_end = (f.value.start + f.value.len) as usize;
            let plain = f.value.start as usize == name_end + 2
                && self.bytes.get(name_end..name_end + 2) == Some(b": ")
                && self.bytes.get(value_end..value_end + 2) == Some(b"\r\n");
            run = match run {
                Some((from, to)) if plain && to == start => Some((from, value_end + 2)),
                other => {
                    if let Some((from, to)) = other {
                        out.extend_from_slice(self.bytes.get(from..to).unwrap_or_default());
                    }
                    if plain {
                        Some((start, value_end + 2))
                    } else {
                        encode::field(out, field.name, field.value);
                        None
                    }
                }
            };
        }
        if let Some((from, to)) = run {
            out.extend_from_slice(self.bytes.get(from..to).unwrap_or_default());
        }
    }

    /// The values of a known field, in order.
    #[inline]
    pub fn values(&self, known: Known) -> impl DoubleEndedIterator<Item = &[u8]> {
        let present = self.has(known);
        self.list.iter().filter(move |f| present && f.known == known).map(|f| self.at(f.value))
    }

    /// The first value of a known field.
    #[inline]
    #[must_use]
    pub fn first(&self, known: Known) -> Option<&[u8]> {
        if !self.has(known) {
            return None;
        }
        self.list.iter().find(|f| f.known == known).map(|f| self.at(f.value))
    }

    /// Returns whether any line of a comma-separated known field lists `token`, whatever its case.
    #[must_use]
    pub fn lists(&self, known: Known, token: &[u8]) -> bool {
        self.values(known).any(|v| list_items(v).any(|item| item.eq_ignore_ascii_case(token)))
    }

    /// The values of any field by name, whatever its case.
    pub fn named<'a, 'n>(&'a self, name: &'n [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.list
            .iter()
            .filter(move |f| self.at(f.name).eq_ignore_ascii_case(name))
            .map(|f| self.at(f.value))
    }

    /// Memory held, in bytes.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity() + self.list.capacity() * size_of::<Field>()
    }

    #[inline]
    pub(super) fn at(&self, span: FieldSpan) -> &[u8] {
        let start = span.start as usize;
        self.bytes.get(start..start + span.len as usize).unwrap_or_default()
    }

    pub(super) fn store_bytes(&mut self, bytes: &[u8]) -> FieldSpan {
        let span = new_span(self.bytes.len(), bytes.len());
        self.bytes.extend_from_slice(bytes);
        span
    }

    #[inline]
    pub(super) fn push_spans(&mut self, name: FieldSpan, value: FieldSpan, known: Known) {
        self.seen |= 1 << known as u8;
        self.list.push(Field { name, value, known, never_indexed: false });
    }
}

/// Returns where `part`, a sub-slice of `whole`, lies in it.
#[inline]
pub(super) fn span_of(whole: &[u8], part: &[u8]) -> FieldSpan {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    new_span(start, part.len())
}

fn new_span(start: usize, len: usize) -> FieldSpan {
    // Heads are limited to far less than 4 GiB before they get here.
    FieldSpan {
        start: u32::try_from(start).unwrap_or(u32::MAX),
        len: u32::try_from(len).unwrap_or_default(),
    }
}

/// The items of a comma-separated list without surrounding white space. Empty items are skipped
/// (RFC 9110 §5.6.1.2).
pub fn list_items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|item| !item.is_empty())
}

/// A request line and its fields.
#[derive(Debug, Default)]
pub struct RequestHead {
    /// The header fields.
    pub fields: Fields,
    pub(super) method: FieldSpan,
    pub(super) target: FieldSpan,
    /// The version the client speaks.
    pub version: Version,
}

impl RequestHead {
    /// Builds a head from parts, for protocols that do not send HTTP/1 bytes and for tests.
    pub fn set(&mut self, method: &[u8], target: &[u8], version: Version) {
        self.fields.clear();
        self.method = self.fields.store_bytes(method);
        self.target = self.fields.store_bytes(target);
        self.version = version;
    }

    /// The method as received. Methods are case-sensitive.
    #[inline]
    #[must_use]
    pub fn method(&self) -> &[u8] {
        self.fields.at(self.method)
    }

    /// The request target as received.
    #[inline]
    #[must_use]
    pub fn target(&self) -> &[u8] {
        self.fields.at(self.target)
    }
}

/// A status line and its fields.
#[derive(Debug, Clone, Default)]
pub struct ResponseHead {
    /// The header fields.
    pub fields: Fields,
    /// 100 to 599.
    pub status: u16,
    pub(super) reason: FieldSpan,
    /// The version the server speaks.
    pub version: Version,
}

impl ResponseHead {
    /// Starts a head that is built here instead of received.
    pub fn set(&mut self, status: u16, reason: &[u8]) {
        self.fields.clear();
        self.status = status;
        self.reason = self.fields.store_bytes(reason);
        self.version = Version::Http11;
    }

    /// The reason phrase as received; may be empty.
    #[must_use]
    pub fn reason(&self) -> &[u8] {
        self.fields.at(self.reason)
    }
}

/// Copies `head` into `fields` so that spans of `head` are spans of the copy.
pub(super) fn copy_head(fields: &mut Fields, head: &[u8]) {
    fields.clear();
    fields.bytes.extend_from_slice(head);
}

#[cfg(test)]
mod tests;
