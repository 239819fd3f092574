//! The two tables of HPACK: the one that is always there (RFC 7541, appendix A) and the one that a connection fills.

use std::collections::VecDeque;

use super::decode::{Name, Pseudo};
use super::{OVERHEAD, TABLE};
use crate::known::Known;

/// An entry that is always there.
pub(super) type Static = (&'static [u8], &'static [u8], Name);

/// From index 1 on.
pub(super) const STATIC: [Static; 61] = [
    (b":authority", b"", Name::Pseudo(Pseudo::Authority)),
    (b":method", b"GET", Name::Pseudo(Pseudo::Method)),
    (b":method", b"POST", Name::Pseudo(Pseudo::Method)),
    (b":path", b"/", Name::Pseudo(Pseudo::Path)),
    (b":path", b"/index.html", Name::Pseudo(Pseudo::Path)),
    (b":scheme", b"http", Name::Pseudo(Pseudo::Scheme)),
    (b":scheme", b"https", Name::Pseudo(Pseudo::Scheme)),
    (b":status", b"200", Name::Pseudo(Pseudo::Status)),
    (b":status", b"204", Name::Pseudo(Pseudo::Status)),
    (b":status", b"206", Name::Pseudo(Pseudo::Status)),
    (b":status", b"304", Name::Pseudo(Pseudo::Status)),
    (b":status", b"400", Name::Pseudo(Pseudo::Status)),
    (b":status", b"404", Name::Pseudo(Pseudo::Status)),
    (b":status", b"500", Name::Pseudo(Pseudo::Status)),
    (b"accept-charset", b"", Name::Field(Known::Other)),
    (b"accept-encoding", b"gzip, deflate", Name::Field(Known::Other)),
    (b"accept-language", b"", Name::Field(Known::Other)),
    (b"accept-ranges", b"", Name::Field(Known::Other)),
    (b"accept", b"", Name::Field(Known::Other)),
    (b"access-control-allow-origin", b"", Name::Field(Known::Other)),
    (b"age", b"", Name::Field(Known::Other)),
    (b"allow", b"", Name::Field(Known::Other)),
    (b"authorization", b"", Name::Field(Known::Authorization)),
    (b"cache-control", b"", Name::Field(Known::Other)),
    (b"content-disposition", b"", Name::Field(Known::Other)),
    (b"content-encoding", b"", Name::Field(Known::Other)),
    (b"content-language", b"", Name::Field(Known::Other)),
    (b"content-length", b"", Name::Field(Known::ContentLength)),
    (b"content-location", b"", Name::Field(Known::Other)),
    (b"content-range", b"", Name::Field(Known::Other)),
    (b"content-type", b"", Name::Field(Known::Other)),
    (b"cookie", b"", Name::Field(Known::Cookie)),
    (b"date", b"", Name::Field(Known::Date)),
    (b"etag", b"", Name::Field(Known::Other)),
    (b"expect", b"", Name::Field(Known::Expect)),
    (b"expires", b"", Name::Field(Known::Other)),
    (b"from", b"", Name::Field(Known::Other)),
    (b"host", b"", Name::Field(Known::Host)),
    (b"if-match", b"", Name::Field(Known::Other)),
    (b"if-modified-since", b"", Name::Field(Known::Other)),
    (b"if-none-match", b"", Name::Field(Known::Other)),
    (b"if-range", b"", Name::Field(Known::Other)),
    (b"if-unmodified-since", b"", Name::Field(Known::Other)),
    (b"last-modified", b"", Name::Field(Known::Other)),
    (b"link", b"", Name::Field(Known::Other)),
    (b"location", b"", Name::Field(Known::Location)),
    (b"max-forwards", b"", Name::Field(Known::MaxForwards)),
    (b"proxy-authenticate", b"", Name::Field(Known::ProxyAuthenticate)),
    (b"proxy-authorization", b"", Name::Field(Known::ProxyAuthorization)),
    (b"range", b"", Name::Field(Known::Other)),
    (b"referer", b"", Name::Field(Known::Other)),
    (b"refresh", b"", Name::Field(Known::Other)),
    (b"retry-after", b"", Name::Field(Known::Other)),
    (b"server", b"", Name::Field(Known::Server)),
    (b"set-cookie", b"", Name::Field(Known::SetCookie)),
    (b"strict-transport-security", b"", Name::Field(Known::Other)),
    (b"transfer-encoding", b"", Name::Field(Known::TransferEncoding)),
    (b"user-agent", b"", Name::Field(Known::Other)),
    (b"vary", b"", Name::Field(Known::Other)),
    (b"via", b"", Name::Field(Known::Via)),
    (b"www-authenticate", b"", Name::Field(Known::Other)),
];

/// The entry with this index, counted from 1.
pub(super) fn fixed_entry(index: usize) -> Option<&'static Static> {
    static ROWS: [Static; 61] = STATIC;
    ROWS.get(index.checked_sub(1)?)
}

/// The index of a name that is always there.
pub(super) fn index_of(name: &[u8]) -> Option<usize> {
    let mut at = hash_name(name);
    loop {
        let index = usize::from(*NAMES.get(at)?);
        if index == 0 {
            return None;
        }
        if fixed_entry(index).is_some_and(|(known, ..)| *known == name) {
            return Some(index);
        }
        at = (at + 1) % NAMES.len();
    }
}

/// Indices of names, by what [`hash_name`] makes of them and wherever there was room behind.
static NAMES: [u8; 128] = names();

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "worked out by the compiler"
)]
const fn names() -> [u8; 128] {
    let mut names = [0; 128];
    // From the last one on, so that the first of several with one name is found.
    let mut index = 61;
    while index > 0 {
        let mut at = hash_name(STATIC[index - 1].0);
        while names[at] != 0 && !same_bytes(STATIC[names[at] as usize - 1].0, STATIC[index - 1].0) {
            at = (at + 1) % 128;
        }
        names[at] = index as u8;
        index -= 1;
    }
    names
}

#[expect(clippy::indexing_slicing, reason = "worked out by the compiler")]
const fn same_bytes(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut n = 0;
    while n < a.len() {
        if a[n] != b[n] {
            return false;
        }
        n += 1;
    }
    true
}

const fn hash_name(name: &[u8]) -> usize {
    match name {
        [first, .., middle, last] => {
            (name.len() * 7 + *first as usize * 5 + *middle as usize * 3 + *last as usize * 11)
                % 128
        }
        _ => 0,
    }
}

/// One that was added.
#[derive(Debug, Clone, Copy)]
pub(super) struct HpackEntry {
    at: usize,
    name: u16,
    value: u16,
    /// The meaning of its name, and whether its value may be in a field at all.
    pub(super) is: Name,
    pub(super) sound: bool,
}

/// Entries that a connection has added, the newest one first.
#[derive(Debug)]
pub(super) struct HpackTable {
    /// The bytes of the entries, the oldest ones first; what stands before those has been forgotten.
    bytes: Vec<u8>,
    entries: VecDeque<HpackEntry>,
    size: usize,
    most: usize,
}

impl Default for HpackTable {
    fn default() -> Self {
        Self { bytes: Vec::new(), entries: VecDeque::new(), size: 0, most: TABLE }
    }
}

/// The place of a new entry's name.
#[derive(Debug, Clone, Copy)]
pub(super) enum TableMatch<'a> {
    Text(&'a [u8]),
    /// The name of another entry.
    Entry(HpackEntry),
}

impl HpackTable {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// The entry that was added `nth` last, from 0.
    pub(super) fn get(&self, nth: usize) -> Option<HpackEntry> {
        self.entries.get(nth).copied()
    }

    pub(super) fn name(&self, entry: HpackEntry) -> &[u8] {
        self.bytes.get(entry.at..entry.at + usize::from(entry.name)).unwrap_or_default()
    }

    pub(super) fn value(&self, entry: HpackEntry) -> &[u8] {
        let start = entry.at + usize::from(entry.name);
        self.bytes.get(start..start + usize::from(entry.value)).unwrap_or_default()
    }

    /// From now on it may be this large.
    pub(super) fn resize(&mut self, most: usize) {
        self.most = most;
        self.shrink(most);
    }

    /// Adds an entry; one that is larger than the table empties it (RFC 7541 §4.4).
    pub(super) fn add(&mut self, name: TableMatch<'_>, value: &[u8], is: Name, sound: bool) {
        let length = match name {
            TableMatch::Text(text) => text.len(),
            TableMatch::Entry(entry) => usize::from(entry.name),
        };
        let size = length + value.len() + OVERHEAD;
        if size > self.most {
            self.shrink(0);
            return;
        }
        let at = self.bytes.len();
        // Before any is forgotten: that may be the one whose name it is.
        match name {
            TableMatch::Text(text) => self.bytes.extend_from_slice(text),
            TableMatch::Entry(entry) => {
                self.bytes.extend_from_within(entry.at..entry.at + usize::from(entry.name));
            }
        }
        self.bytes.extend_from_slice(value);
        self.shrink(self.most - size);
        let (Ok(name), Ok(value)) = (u16::try_from(length), u16::try_from(value.len())) else {
            return;
        };
        self.size += size;
        self.entries.push_front(HpackEntry { at, name, value, is, sound });
        self.tidy();
    }

    fn shrink(&mut self, to: usize) {
        while self.size > to {
            let Some(entry) = self.entries.pop_back() else { break };
            self.size -= usize::from(entry.name) + usize::from(entry.value) + OVERHEAD;
        }
    }

    /// Drops what was forgotten once it is as much as the rest.
    fn tidy(&mut self) {
        self.drop_forgotten(TABLE);
    }

    fn drop_forgotten(&mut self, from: usize) {
        let start = self.entries.back().map_or(self.bytes.len(), |oldest| oldest.at);
        if start > from {
            self.bytes.drain(..start);
            self.entries.iter_mut().for_each(|entry| entry.at -= start);
        }
    }

    pub(super) fn held(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<HpackEntry>()
    }

    /// Gives back what entries needed that are gone: a table of 4 KiB never needs three times as much for long.
    pub(super) fn rest(&mut self) {
        if self.bytes.capacity() > 3 * TABLE {
            self.drop_forgotten(0);
            self.bytes.shrink_to_fit();
        }
    }
}
