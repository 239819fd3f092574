//! Chunked bodies: the decoder against a reference that works on whole lines.
//!
//! The reference knows three answers. A body is complete, or it can still become complete, or it
//! cannot; the decoder must give the same one for every prefix, and the same data.

use super::{Plan, show};
use http_codec::chunked::ChunkedDecoder;

const MAX_EXTENSION_BYTES: usize = 4096;
const MAX_TRAILER_BYTES: usize = 8192;

/// What a body amounts to.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Data, bytes used, and the trailer section.
    Complete(Vec<u8>, usize, Vec<u8>),
    Incomplete,
    Refused,
}

/// Panics when a rule is broken.
pub fn check(input: &[u8]) {
    let Some((plan, wire)) = Plan::split(input) else { return };
    let expected = reference(wire);
    for feed in plan.feeds(wire) {
        let got = decode(&feed, 0);
        assert_eq!(got, expected, "{} in {} pieces", show(wire), feed.len());
    }
    assert_eq!(decode(&[wire], plan.piece), expected, "moved down: {}", show(wire));
}

/// Whether a body is taken, refused, or waits for more.
pub fn verdict(input: &[u8]) -> &'static str {
    match Plan::split(input).map(|(_, wire)| decode(&[wire], 0)) {
        Some(Verdict::Complete(..)) => "ok",
        Some(Verdict::Refused) => "no",
        Some(Verdict::Incomplete) | None => "cut",
    }
}

/// Decodes pieces, each of which stands `gap` bytes behind where its data is to go.
fn decode(pieces: &[&[u8]], gap: usize) -> Verdict {
    let mut decoder = ChunkedDecoder::default();
    let (mut data, mut used) = (Vec::new(), 0);
    for piece in pieces {
        let mut buf = vec![b'#'; gap + 1];
        buf.extend_from_slice(piece);
        let Ok(progress) = decoder.decode(&mut buf, 1, gap + 1) else { return Verdict::Refused };
        assert!((1..=progress.raw).contains(&progress.data_end));
        assert!(progress.raw <= buf.len());
        assert_eq!(buf[0], b'#', "data before the buffer's part was written");
        assert_eq!(&buf[progress.raw..], &piece[progress.raw - gap - 1..], "the rest was changed");
        assert_eq!(progress.done, decoder.is_done());
        data.extend_from_slice(&buf[1..progress.data_end]);
        used += progress.raw - gap - 1;
        if progress.done {
            return Verdict::Complete(data, used, decoder.trailers().to_vec());
        }
        assert_eq!(progress.raw, buf.len(), "bytes of an unfinished body were left");
    }
    Verdict::Incomplete
}

/// RFC 9112 §7.1 line by line.
pub fn reference(wire: &[u8]) -> Verdict {
    let (mut at, mut room, mut data) = (0, MAX_EXTENSION_BYTES, Vec::new());
    loop {
        let line = match line(&wire[at..]) {
            Line::Whole(line) => line,
            Line::Begun(line) => return waiting(viable(line, room)),
            Line::AlmostWhole(line) => return waiting(size(line, room).is_some()),
            Line::Broken => return Verdict::Refused,
        };
        let Some((n, extension)) = size(line, room) else { return Verdict::Refused };
        room -= extension;
        at += line.len() + 2;
        if n == 0 {
            return trailer_section(wire, at, data);
        }
        let available = wire.len() - at;
        if n > available as u64 {
            return Verdict::Incomplete;
        }
        let end = at + usize::try_from(n).unwrap_or(available);
        data.extend_from_slice(&wire[at..end]);
        let after = &wire[end..];
        if !after.starts_with(b"\r\n") {
            return waiting(b"\r\n".starts_with(after));
        }
        at = end + 2;
    }
}

fn trailer_section(wire: &[u8], start: usize, data: Vec<u8>) -> Verdict {
    let mut at = start;
    loop {
        let (line, whole) = match line(&wire[at..]) {
            Line::Whole(line) => (line, true),
            Line::Begun(line) | Line::AlmostWhole(line) => (line, false),
            Line::Broken => return Verdict::Refused,
        };
        if !line.is_empty() && (at - start + line.len() > MAX_TRAILER_BYTES || line.contains(&0)) {
            return Verdict::Refused;
        }
        if !whole {
            return Verdict::Incomplete;
        }
        if line.is_empty() {
            return Verdict::Complete(data, at + 2, wire[start..at].to_vec());
        }
        at += line.len() + 2;
    }
}

fn waiting(can_become_complete: bool) -> Verdict {
    if can_become_complete { Verdict::Incomplete } else { Verdict::Refused }
}

/// The first line of what arrived.
enum Line<'a> {
    /// It ends in CRLF.
    Whole(&'a [u8]),
    /// Its end has not arrived.
    Begun(&'a [u8]),
    /// Its CR has arrived and its LF has not.
    AlmostWhole(&'a [u8]),
    /// A CR without LF, or the other way round.
    Broken,
}

fn line(bytes: &[u8]) -> Line<'_> {
    match bytes.iter().position(|b| matches!(b, b'\r' | b'\n')) {
        None => Line::Begun(bytes),
        Some(at) => match &bytes[at..] {
            [b'\r', b'\n', ..] => Line::Whole(&bytes[..at]),
            [b'\r'] => Line::AlmostWhole(&bytes[..at]),
            _ => Line::Broken,
        },
    }
}

/// A size line without its CRLF: the size and the length of its extension, which may be `room`.
fn size(line: &[u8], room: usize) -> Option<(u64, usize)> {
    let digits = line.iter().position(|b| *b == b';').unwrap_or(line.len());
    let (digits, extension) = line.split_at(digits);
    let hex = (1..=16).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    let n = i64::from_str_radix(std::str::from_utf8(digits).ok().filter(|_| hex)?, 16).ok()?;
    let valid = extension.len() <= room && balanced(extension);
    Some((u64::try_from(n).ok().filter(|_| valid)?, extension.len()))
}

/// Printable, and every quoted string is closed.
fn balanced(extension: &[u8]) -> bool {
    let mut bytes = extension.iter();
    while let Some(byte) = bytes.next() {
        if !printable(*byte) {
            return false;
        }
        if *byte == b'"' {
            loop {
                match bytes.next() {
                    Some(b'"') => break,
                    Some(b'\\') if bytes.next().is_some_and(|b| printable(*b)) => {}
                    Some(b) if *b != b'\\' && printable(*b) => {}
                    _ => return false,
                }
            }
        }
    }
    true
}

fn printable(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// Whether the beginning of a size line has an ending with which it is valid.
fn viable(begun: &[u8], room: usize) -> bool {
    let extension = begun.iter().position(|b| *b == b';').map_or(0, |at| begun.len() - at);
    let endings = [&b""[..], b"0", b"\"", b"a\""];
    extension <= room && endings.iter().any(|e| size(&[begun, *e].concat(), usize::MAX).is_some())
}
