//! From bytes to fields.

use super::TABLE;
use super::huffman;
use super::table::{self, HpackTable, TableMatch};
use crate::known::{self, Known};
use crate::request::is_token;

/// The block is not HPACK. What follows cannot be read either: the connection has to end (RFC 9113
/// §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

/// A field that is none of the message's own (RFC 9113 §8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pseudo {
    /// `:authority`
    Authority,
    /// `:method`
    Method,
    /// `:path`
    Path,
    /// `:protocol` (RFC 8441 §4)
    Protocol,
    /// `:scheme`
    Scheme,
    /// `:status`
    Status,
}

/// The meaning of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldMeaning {
    /// Of a pseudo-field.
    Pseudo(Pseudo),
    /// Of a field.
    Field(Known),
    /// No name at all: not a token, in upper case, or of a pseudo-field that nobody knows.
    Bad,
}

impl FieldMeaning {
    fn from_name(name: &[u8]) -> Self {
        match name {
            b":authority" => FieldMeaning::Pseudo(Pseudo::Authority),
            b":method" => FieldMeaning::Pseudo(Pseudo::Method),
            b":path" => FieldMeaning::Pseudo(Pseudo::Path),
            b":protocol" => FieldMeaning::Pseudo(Pseudo::Protocol),
            b":scheme" => FieldMeaning::Pseudo(Pseudo::Scheme),
            b":status" => FieldMeaning::Pseudo(Pseudo::Status),
            b"" => FieldMeaning::Bad,
            name if name.iter().all(|b| is_small(*b)) => FieldMeaning::Field(known::lookup(name)),
            _ => FieldMeaning::Bad,
        }
    }
}

/// One field as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HpackField<'a> {
    /// The name of the field.
    pub name: &'a [u8],
    /// The value of the field.
    pub value: &'a [u8],
    /// The meaning of the name.
    pub is: FieldMeaning,
    /// True if it was sent as a literal that is never indexed, and is to be passed on as one (RFC
    /// 7541 §6.2.3).
    pub never_indexed: bool,
    /// The value may be one: no control bytes, no white space around it (RFC 9113 §8.2.1).
    pub sound: bool,
}

/// Returns whether a value may be one.
fn is_sound(value: &[u8]) -> bool {
    let around = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    !around(value.first())
        && !around(value.last())
        // All of it, not up to the first: so the compiler makes it a few instructions for many
        // bytes.
        && !value.iter().fold(false, |bad, b| bad | (*b < b' ') & (*b != b'\t') | (*b == 0x7f))
}

/// Returns whether a byte may be in a name: of a token, and not in upper case.
fn is_small(byte: u8) -> bool {
    static SMALL: [bool; 256] = {
        let mut small = [false; 256];
        let mut byte = 0_usize;
        while byte < 256 {
            let this = byte.to_le_bytes()[0];
            small[byte] = is_token(this) && !this.is_ascii_uppercase();
            byte += 1;
        }
        small
    };
    SMALL.get(usize::from(byte)).copied().unwrap_or(false)
}

/// Reads the blocks of a connection one after the other.
#[derive(Debug, Default)]
pub struct HpackDecoder {
    table: HpackTable,
    /// The buffer in which Huffman-coded strings are written out.
    name: Vec<u8>,
    value: Vec<u8>,
}

/// The form of a literal: what becomes of it in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LiteralForm {
    Indexed,
    Once,
    Never,
}

/// A string in the block: where it is, and whether it is Huffman-coded.
type CodedText<'a> = (&'a [u8], bool);

impl HpackDecoder {
    /// Reads a whole block and hands out its fields in order. What is in the table stays there, so
    /// a block has to be read even if nobody wants it.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn decode(
        &mut self,
        block: &[u8],
        each: &mut dyn FnMut(HpackField<'_>),
    ) -> Result<(), Broken> {
        let mut rest = block;
        let mut resizes = 0;
        let mut begun = false;
        while let Some(first) = rest.first().copied() {
            match first {
                0x80.. => {
                    let index = read_number(&mut rest, 7)?;
                    self.decode_indexed(index, each)?;
                }
                0x40.. => self.decode_literal(&mut rest, 6, LiteralForm::Indexed, each)?,
                0x20.. => {
                    // RFC 7541 §4.2: at the beginning, and no more than two of them.
                    let most = read_number(&mut rest, 5)?;
                    resizes += 1;
                    if begun || most > TABLE || resizes > 2 {
                        return Err(Broken);
                    }
                    self.table.resize_table(most);
                    continue;
                }
                0x10.. => self.decode_literal(&mut rest, 4, LiteralForm::Never, each)?,
                _ => self.decode_literal(&mut rest, 4, LiteralForm::Once, each)?,
            }
            begun = true;
        }
        Ok(())
    }

    /// Memory held, in bytes.
    #[must_use]
    pub fn held(&self) -> usize {
        self.table.held() + self.name.capacity() + self.value.capacity()
    }

    /// Gives memory back that large fields needed.
    pub fn rest(&mut self) {
        self.table.release_memory();
        for room in [&mut self.name, &mut self.value] {
            if room.capacity() > TABLE {
                *room = Vec::new();
            }
        }
    }

    fn decode_indexed(
        &self,
        index: usize,
        each: &mut dyn FnMut(HpackField<'_>),
    ) -> Result<(), Broken> {
        if let Some((name, value, is)) = table::fixed_entry(index) {
            each(HpackField { name, value, is: *is, never_indexed: false, sound: true });
            return Ok(());
        }
        let entry = find_entry(&self.table, index)?;
        let (name, value) = (self.table.name(entry), self.table.value(entry));
        each(HpackField { name, value, is: entry.is, never_indexed: false, sound: entry.sound });
        Ok(())
    }

    fn decode_literal(
        &mut self,
        rest: &mut &[u8],
        bits: u8,
        form: LiteralForm,
        each: &mut dyn FnMut(HpackField<'_>),
    ) -> Result<(), Broken> {
        let index = read_number(rest, bits)?;
        let text = if index == 0 { Some(read_string(rest)?) } else { None };
        let (value, huffman) = read_string(rest)?;
        let value = read_text(value, huffman, &mut self.value)?;
        let sound = is_sound(value);
        let (name, is, from) = match (text, table::fixed_entry(index)) {
            (Some((name, huffman)), _) => {
                let name = read_text(name, huffman, &mut self.name)?;
                (name, FieldMeaning::from_name(name), TableMatch::Text(name))
            }
            (None, Some((name, _, is))) => (*name, *is, TableMatch::Text(name)),
            (None, None) => {
                let entry = find_entry(&self.table, index)?;
                (self.table.name(entry), entry.is, TableMatch::Entry(entry))
            }
        };
        each(HpackField { name, value, is, never_indexed: form == LiteralForm::Never, sound });
        if form == LiteralForm::Indexed {
            self.table.add_entry(from, value, is, sound);
        }
        Ok(())
    }
}

/// The entry with this index, which is behind those that are always there.
fn find_entry(table: &HpackTable, index: usize) -> Result<table::HpackEntry, Broken> {
    let nth = index.checked_sub(table::STATIC.len() + 1).ok_or(Broken)?;
    table.entry_at(nth).ok_or(Broken)
}

/// A string as it was before it was written.
fn read_text<'a>(text: &'a [u8], huffman: bool, room: &'a mut Vec<u8>) -> Result<&'a [u8], Broken> {
    if !huffman {
        return Ok(text);
    }
    room.clear();
    huffman::decode_huffman(text, room).ok_or(Broken)?;
    Ok(room)
}

/// A number behind a prefix of so many bits. None that matters here has more than four bytes.
fn read_number(rest: &mut &[u8], bits: u8) -> Result<usize, Broken> {
    let (first, mut tail) = rest.split_first().ok_or(Broken)?;
    let most = (1_usize << bits) - 1;
    let mut n = usize::from(*first) & most;
    if n == most {
        let mut shift = 0;
        loop {
            let (byte, after) = tail.split_first().ok_or(Broken)?;
            tail = after;
            n += usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
            if shift > 21 {
                return Err(Broken);
            }
        }
    }
    *rest = tail;
    Ok(n)
}

fn read_string<'a>(rest: &mut &'a [u8]) -> Result<CodedText<'a>, Broken> {
    let huffman = rest.first().ok_or(Broken)? & 0x80 != 0;
    let length = read_number(rest, 7)?;
    let (text, after) = rest.split_at_checked(length).ok_or(Broken)?;
    *rest = after;
    Ok((text, huffman))
}
