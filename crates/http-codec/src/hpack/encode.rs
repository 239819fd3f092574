//! From fields to bytes.

use super::decode::{FieldMeaning, Pseudo};
use super::table::{self, HpackTable, TableMatch};
use super::{OVERHEAD, TABLE, huffman, put_number};
use crate::known::Known;
use crate::words;

/// Places for what was seen; two fields of one hash have places of their own.
const PLACES: usize = 256;

/// A field that was sent: what it hashes to and, if it was added to the table, which one it was,
/// counted from 1.
#[derive(Debug, Clone, Copy, Default)]
struct SeenFilter {
    hash: u32,
    nth: u32,
}

/// Writes the blocks of a connection one after the other.
///
/// A field is added to the table when it is sent for the second time: what never comes again (ids,
/// paths, lengths) does not push out what does. Fields that say who somebody is are never added, so
/// that nobody can find them out by guessing (RFC 7541 §7.1).
#[derive(Debug, Default)]
pub struct Encoder {
    table: HpackTable,
    /// The number that were added, ever.
    added: u32,
    seen: Vec<SeenFilter>,
    /// The name in lower case.
    name: Vec<u8>,
    /// The other side wants a table of another size: it is told so at the beginning of the next
    /// block.
    resize: Option<(usize, usize)>,
}

impl Encoder {
    /// The other side keeps a table of so many bytes at most.
    pub fn limit(&mut self, most: usize) {
        let most = most.min(TABLE);
        let smallest = self.resize.map_or(most, |(smallest, _)| smallest.min(most));
        if self.resize.is_some() || most != self.table.most() {
            self.resize = Some((smallest, most));
        }
    }

    /// Memory held, in bytes.
    #[must_use]
    pub fn held(&self) -> usize {
        self.table.held() + self.name.capacity() + self.seen.capacity() * size_of::<SeenFilter>()
    }

    /// Gives memory back that large fields needed.
    pub fn rest(&mut self) {
        self.table.release_memory();
        if self.name.capacity() > TABLE {
            self.name = Vec::new();
        }
    }

    /// Before the first field of a block.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        let Some((smallest, most)) = self.resize.take() else { return };
        // RFC 7541 §4.2: the smallest size that there was in between is told too.
        if smallest < most {
            self.table.resize_table(smallest);
            put_number(out, 0x20, 5, smallest);
        }
        self.table.resize_table(most);
        put_number(out, 0x20, 5, most);
    }

    /// `:status`
    pub fn status(&mut self, out: &mut Vec<u8>, status: u16) {
        let index = match status {
            200 => 8,
            204 => 9,
            206 => 10,
            304 => 11,
            400 => 12,
            404 => 13,
            500 => 14,
            _ => {
                self.put_pseudo(out, Pseudo::Status, itoa::Buffer::new().format(status).as_bytes());
                return;
            }
        };
        out.push(0x80 | index);
    }

    /// A pseudo-field of a request.
    pub fn put_pseudo(&mut self, out: &mut Vec<u8>, pseudo: Pseudo, value: &[u8]) {
        let whole = match (pseudo, value) {
            (Pseudo::Method, b"GET") => 2,
            (Pseudo::Method, b"POST") => 3,
            (Pseudo::Path, b"/") => 4,
            (Pseudo::Scheme, b"http") => 6,
            (Pseudo::Scheme, b"https") => 7,
            _ => {
                let name: &[u8] = match pseudo {
                    Pseudo::Authority => b":authority",
                    Pseudo::Method => b":method",
                    Pseudo::Path => b":path",
                    Pseudo::Protocol => b":protocol",
                    Pseudo::Scheme => b":scheme",
                    Pseudo::Status => b":status",
                };
                self.put_entry(out, name, value);
                return;
            }
        };
        out.push(0x80 | whole);
    }

    /// A field. Its name is written in lower case.
    pub fn field(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8], known: Known) {
        self.with_lower(name, |encoder, name| match known {
            Known::Authorization | Known::ProxyAuthorization | Known::Cookie | Known::SetCookie => {
                write_once(out, 0x10, name, value);
            }
            // No two are the same.
            Known::XRequestId | Known::Traceparent => write_once(out, 0, name, value),
            _ => encoder.put_entry(out, name, value),
        });
    }

    /// A field that nobody on the way may keep in a table. Its name is written in lower case.
    pub fn never_indexed(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
        self.with_lower(name, |_, name| write_once(out, 0x10, name, value));
    }

    /// Does something with a name in lower case, in which most names are already.
    #[inline]
    fn with_lower(&mut self, name: &[u8], then: impl FnOnce(&mut Self, &[u8])) {
        if words::has_upper(name) {
            let mut lower = std::mem::take(&mut self.name);
            lower.clear();
            lower.extend_from_slice(name);
            lower.make_ascii_lowercase();
            then(self, &lower);
            self.name = lower;
        } else {
            then(self, name);
        }
    }

    /// A field with its name in lower case: as a reference, if it is in the table.
    fn put_entry(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
        let size = name.len() + value.len() + OVERHEAD;
        // What would push out half of the others is worth none of them.
        if size > self.table.most() / 2 {
            write_once(out, 0, name, value);
            return;
        }
        if self.seen.is_empty() {
            self.seen.resize(PLACES, SeenFilter::default());
        }
        let hash = hash_field(name, value);
        let place = hash as usize % (PLACES / 2) * 2;
        let Some([first, second]) = self.seen.get_mut(place..place + 2) else { return };
        let (added, held) = (self.added, self.table.len());
        // How many were added after it.
        let since = |seen: &SeenFilter| added.wrapping_sub(seen.nth) as usize;
        let is_held = |seen: &SeenFilter| seen.nth != 0 && since(seen) < held;
        let found = [&mut *first, &mut *second].into_iter().find(|seen| seen.hash == hash);
        let Some(found) = found else {
            // Seen for the first time. Those that are in the table keep their places.
            if !is_held(first) {
                if !is_held(second) {
                    *second = *first;
                }
                *first = SeenFilter { hash, nth: 0 };
            } else if !is_held(second) {
                *second = SeenFilter { hash, nth: 0 };
            }
            write_once(out, 0, name, value);
            return;
        };
        let nth = since(found);
        if is_held(found)
            && let Some(entry) = self.table.entry_at(nth)
            && self.table.value(entry) == value
            && self.table.name(entry) == name
        {
            put_number(out, 0x80, 7, table::STATIC.len() + 1 + nth);
            return;
        }
        self.added = self.added.wrapping_add(1).max(1);
        found.nth = self.added;
        write_name(out, 0x40, 6, name);
        write_text(out, value, true);
        // What the name means is of interest only to who reads it.
        self.table.add_entry(TableMatch::Text(name), value, FieldMeaning::Bad, true);
    }
}

/// A literal that is no entry of the table.
fn write_once(out: &mut Vec<u8>, form: u8, name: &[u8], value: &[u8]) {
    write_name(out, form, 4, name);
    write_text(out, value, false);
}

/// The beginning of a literal: its name.
fn write_name(out: &mut Vec<u8>, form: u8, bits: u8, name: &[u8]) {
    if let Some(index) = table::index_of(name) {
        put_number(out, form, bits, index);
    } else {
        out.push(form);
        write_text(out, name, form == 0x40);
    }
}

/// A string; Huffman-coded if that is worth it, because it is sent once for many times.
fn write_text(out: &mut Vec<u8>, text: &[u8], small: bool) {
    let length = if small { huffman::encoded_length(text) } else { text.len() };
    if length < text.len() {
        put_number(out, 0x80, 7, length);
        huffman::encode_huffman(text, out);
    } else {
        put_number(out, 0, 7, text.len());
        out.extend_from_slice(text);
    }
}

/// Not secret: who makes fields of one hash spoils the compression of their own connection.
fn hash_field(name: &[u8], value: &[u8]) -> u32 {
    let hash = words::hash(words::hash(1, name), value);
    u32::try_from(hash >> 32).unwrap_or_default()
}
