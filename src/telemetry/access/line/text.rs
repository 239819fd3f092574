//! Text in a line: quoted, escaped, or as JSON.

use std::io::Write as _;
use std::time::Duration;

pub(super) fn put_format(out: &mut Vec<u8>, what: std::fmt::Arguments<'_>) {
    // Writing to memory cannot fail.
    let _ok = out.write_fmt(what);
}

/// Milliseconds with three decimals.
pub(super) fn put_millis(out: &mut Vec<u8>, time: Duration) {
    let micros = time.as_micros();
    put_format(out, format_args!("{}.{:03}", micros / 1000, micros % 1000));
}

/// Printable ASCII but quotes and backslashes; the rest as `\xHH`.
pub(super) fn put_quoted(out: &mut Vec<u8>, text: &[u8]) {
    for &byte in text {
        if matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\' {
            out.push(byte);
        } else {
            put_format(out, format_args!("\\x{byte:02X}"));
        }
    }
}

/// A value that may need quotes.
pub(super) fn put_word(out: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|b| matches!(b, b'!'..=b'~') && b != b'"' && b != b'\\') {
        out.extend_from_slice(text.as_bytes());
    } else {
        out.push(b'"');
        put_quoted(out, text.as_bytes());
        out.push(b'"');
    }
}

/// A JSON string; bytes that are not UTF-8 become U+FFFD.
pub(super) fn json_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for chunk in text.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' | '\\' => {
                    out.push(b'\\');
                    out.push(char as u8);
                }
                // C0, DEL and C1 controls, and the two line ends that JavaScript knows besides.
                '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
                    put_format(out, format_args!("\\u{:04x}", u32::from(char)));
                }
                _ => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}
