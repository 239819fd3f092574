//! HPACK (RFC 7541): how HTTP/2 writes the fields of a head.

mod decode;
mod encode;
mod huffman;
mod table;

pub use decode::{Broken, FieldMeaning, HpackDecoder, HpackField, Pseudo};
pub use encode::Encoder;

/// Bytes that an entry takes of a table beside its own (RFC 7541 §4.1).
const OVERHEAD: usize = 32;
/// The size of a table unless something else is agreed on (RFC 9113 §6.5.2). Nothing larger is ever
/// agreed on here.
pub const TABLE: usize = 4096;

/// Appends a number behind the bits of `first` above a prefix of `bits` bits (RFC 7541 §5.1).
#[inline]
fn put_number(out: &mut Vec<u8>, first: u8, bits: u8, n: usize) {
    let most = (1_usize << bits) - 1;
    if n < most {
        out.push(first | n.to_le_bytes()[0]);
    } else {
        put_long_number(out, first | most.to_le_bytes()[0], n - most);
    }
}

/// Appends a prefix that is full, and what it does not hold.
fn put_long_number(out: &mut Vec<u8>, first: u8, mut rest: usize) {
    let byte = |n: usize| n.to_le_bytes()[0];
    out.push(first);
    while rest >= 128 {
        out.push(byte(rest) | 128);
        rest >>= 7;
    }
    out.push(byte(rest));
}

#[cfg(test)]
mod tests;
