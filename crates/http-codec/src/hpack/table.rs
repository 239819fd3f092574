//! The two tables of HPACK: the one that is always there (RFC 7541, appendix A) and the one that a
//! connection fills.

use std::collections::VecDeque;

use super::decode::{FieldMeaning, Pseudo};
use super::{OVERHEAD, TABLE};
use crate::known::Known;

/// An entry that is always there.
pub(super) type Static = (&'static [u8], &'static [u8], FieldMeaning);

/// From index 1 on.
pub(super) const STATIC: [Static; 61] = [
    (b":authority", b"", FieldMeaning::Pseudo(Pseudo::Authority)),
    (b":method", b"GET", FieldMeaning::Pseudo(Pseudo::Method)),
    (b":method", b"POST", FieldMeaning::Pseudo(Pseudo::Method)),
    (b":path", b"/", FieldMeaning::Pseudo(Pseudo::Path)),
    (b":path", b"/index.html", FieldMeaning::Pseudo(Pseudo::Path)),
    (b":scheme", b"http", FieldMeaning::Pseudo(Pseudo::Scheme)),
    (b":scheme", b"https", FieldMeaning::Pseudo(Pseudo::Scheme)),
    (b":status", b"200", FieldMeaning::Pseudo(Pseudo::Status)),
    (b":status", b"204", FieldMeaning::Pseudo(Pseudo::Status)),
    (b":status", b"206", FieldMeaning::Pseudo(Pseudo::Status)),
    (b":status", b"304", FieldMeaning::Pseudo(Pseudo::Status)),
    (b":status", b"400", FieldMeaning::Pseudo(Pseudo::Status)),
    (b":status", b"404", FieldMeaning::Pseudo(Pseudo::Status)),
    (b":status", b"500", FieldMeaning::Pseudo(Pseudo::Status)),
    (b"accept-charset", b"", FieldMeaning::Field(Known::Other)),
    (b"accept-encoding", b"gzip, deflate", FieldMeaning::Field(Known::Other)),
    (b"accept-language", b"", FieldMeaning::Field(Known::Other)),
    (b"accept-ranges", b"", FieldMeaning::Field(Known::Other)),
    (b"accept", b"", FieldMeaning::Field(Known::Other)),
    (b"access-control-allow-origin", b"", FieldMeaning::Field(Known::Other)),
    (b"age", b"", FieldMeaning::Field(Known::Other)),
    (b"allow", b"", FieldMeaning::Field(Known::Other)),
    (b"authorization", b"", FieldMeaning::Field(Known::Authorization)),
    (b"cache-control", b"", FieldMeaning::Field(Known::Other)),
    (b"content-disposition", b"", FieldMeaning::Field(Known::Other)),
    (b"content-encoding", b"", FieldMeaning::Field(Known::Other)),
    (b"content-language", b"", FieldMeaning::Field(Known::Other)),
    (b"content-length", b"", FieldMeaning::Field(Known::ContentLength)),
    (b"content-location", b"", FieldMeaning::Field(Known::Other)),
    (b"content-range", b"", FieldMeaning::Field(Known::Other)),
    (b"content-type", b"", FieldMeaning::Field(Known::Other)),
    (b"cookie", b"", FieldMeaning::Field(Known::Cookie)),
    (b"date", b"", FieldMeaning::Field(Known::Date)),
    (b"etag", b"", FieldMeaning::Field(Known::Other)),
    (b"expect", b"", FieldMeaning::Field(Known::Expect)),
    (b"expires", b"", FieldMeaning::Field(Known::Other)),
    (b"from", b"", FieldMeaning::Field(Known::Other)),
    (b"host", b"", FieldMeaning::Field(Known::Host)),
    (b"if-match", b"", FieldMeaning::Field(Known::Other)),
    (b"if-modified-since", b"", FieldMeaning::Field(Known::Other)),
    (b"if-none-match", b"", FieldMeaning::Field(Known::Other)),
    (b"if-range", b"", FieldMeaning::Field(Known::Other)),
    (b"if-unmodified-since", b"", FieldMeaning::Field(Known::Other)),
    (b"last-modified", b"", FieldMeaning::Field(Known::Other)),
    (b"link", b"", FieldMeaning::Field(Known::Other)),
    (b"location", b"", FieldMeaning::Field(Known::Location)),
    (b"max-forwards", b"", FieldMeaning::Field(Known::MaxForwards)),
    (b"proxy-authenticate", b"", FieldMeaning::Field(Known::ProxyAuthenticate)),
    (b"proxy-authorization", b"", FieldMeaning::Field(Known::ProxyAuthorization)),
    (b"range", b"", FieldMeaning::Field(Known::Other)),
    (b"referer", b"", FieldMeaning::Field(Known::Other)),
    (b"refresh", b"", FieldMeaning::Field(Known::Other)),
    (b"retry-after", b"", FieldMeaning::Field(Known::Other)),
    (b"server", b"", FieldMeaning::Field(Known::Server)),
    (b"set-cookie", b"", FieldMeaning::Field(Known::SetCookie)),
    (b"strict-transport-security", b"", FieldMeaning::Field(Known::Other)),
    (b"transfer-encoding", b"", FieldMeaning::Field(Known::TransferEncoding)),
    (b"user-agent", b"", FieldMeaning::Field(Known::Other)),
    (b"vary", b"", FieldMeaning::Field(Known::Other)),
    (b"via", b"", FieldMeaning::Field(Known::Via)),
    (b"www-authenticate", b"", FieldMeaning::Field(Known::Other)),
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
static NAMES: [u8; 128] = static_names();

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "worked out by the compiler"
)]
const fn static_names() -> [u8; 128] {
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
    pub(super) is: FieldMeaning,
    pub(super) sound: bool,
}

/// Entries that a connection has added, the newest one first.
#[derive(Debug)]
pub(super) struct HpackTable {
    /// The bytes of the entries, the oldest ones first; what stands before those has been
    /// forgotten.
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
    pub(super) fn entry_at(&self, nth: usize) -> Option<HpackEntry> {
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
    pub(super) fn resize_table(&mut self, most: usize) {
        self.most = most;
        self.shrink_to(most);
    }

    /// Adds an entry; one that is larger than the table empties it (RFC 7541 §4.4).
    pub(super) fn add_entry(
        &mut self,
        name: TableMatch<'_>,
        value: &[u8],
        is: FieldMeaning,
        sound: bool,
    ) {
        let length = match name {
            TableMatch::Text(text) => text.len(),
            TableMatch::Entry(entry) => usize::from(entry.name),
        };
        let size = length + value.len() + OVERHEAD;
        if size > self.most {
            self.shrink_to(0);
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
        self.shrink_to(self.most - size);
        let (Ok(name), Ok(value)) = (u16::try_from(length), u16::try_from(value.len())) else {
            return;
        };
        self.size += size;
        self.entries.push_front(HpackEntry { at, name, value, is, sound });
        self.drop_old();
    }

    fn shrink_to(&mut self, to: usize) {
        while self.size > to {
            let Some(entry) = self.entries.pop_back() else { break };
            self.size -= usize::from(entry.name) + usize::from(entry.value) + OVERHEAD;
        }
    }

    /// Drops what was forgotten once it is as much as the rest.
    fn drop_old(&mut self) {
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

    /// Gives back what entries needed that are gone: a table of 4 KiB never needs three times as
    /// much for long.
    pub(super) fn release_memory(&mut self) {
        if self.bytes.capacity() > 3 * TABLE {
            self.drop_forgotten(0);
            self.bytes.shrink_to_fit();
        }
    }
}
