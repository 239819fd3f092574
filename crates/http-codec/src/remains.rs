//! What can be made out of a head that could not be read, for those who have to find out who sent
//! it.
//!
//! Nothing is decided by it: such a request has been refused already. What is kept of each part is
//! bounded, because a head may be refused for its length.

use super::head::{RequestHead, Version};
use super::known::Known;

/// The most that is kept of one part, in bytes.
pub const LONGEST: usize = 1024;

/// Stores the request line and the host that these bytes begin with, or nothing.
pub fn make_out(bytes: &[u8], head: &mut RequestHead) {
    let line = bytes_until(bytes, b'\n');
    let mut words = line.split(|byte| *byte == b' ');
    let method = words.next().unwrap_or_default();
    let known = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'-';
    if method.is_empty() || method.len() > 32 || !method.iter().all(known) {
        head.set(b"", b"", Version::Http11);
        return;
    }
    let target = words.next().unwrap_or_default().trim_ascii_end();
    head.set(method, first_bytes(target), Version::Http11);
    let lines = bytes.get(line.len()..).unwrap_or_default().split(|byte| *byte == b'\n');
    let host = lines.take(LONGEST).find_map(|line| {
        let (name, value) = line.split_at_checked(5)?;
        name.eq_ignore_ascii_case(b"host:").then(|| value.trim_ascii())
    });
    if let Some(host) = host {
        head.fields.push_known(b"host", first_bytes(host), Known::Host);
    }
}

/// Returns whether a connection begins with a handshake of TLS (RFC 8446 §5.1).
#[must_use]
pub fn is_tls(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x16) && bytes.get(1).is_none_or(|major| *major == 3)
}

fn bytes_until(bytes: &[u8], end: u8) -> &[u8] {
    bytes.get(..memchr::memchr(end, bytes).unwrap_or(bytes.len())).unwrap_or_default()
}

/// The beginning of a part.
#[must_use]
pub fn first_bytes(part: &[u8]) -> &[u8] {
    part.get(..LONGEST).unwrap_or(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made_out(bytes: &[u8]) -> (Vec<u8>, Vec<u8>, Option<Vec<u8>>) {
        let mut head = RequestHead::default();
        head.set(b"GET", b"/the-one-before", Version::Http11);
        make_out(bytes, &mut head);
        let host = head.fields.first(Known::Host).map(<[u8]>::to_vec);
        (head.method().to_vec(), head.target().to_vec(), host)
    }

    #[test]
    fn a_request_line_and_a_host_are_found() {
        let cut = b"POST /a?b HTTP/1.1\r\nX: y\r\nhOST:  a.test \r\nCookie: 12";
        assert_eq!(made_out(cut), (b"POST".into(), b"/a?b".into(), Some(b"a.test".into())));
        assert_eq!(made_out(b"GET /lon"), (b"GET".into(), b"/lon".into(), None));
        assert_eq!(made_out(b"GET /x\nHost: b"), (b"GET".into(), b"/x".into(), Some(b"b".into())));
    }

    #[test]
    fn noise_leaves_nothing() {
        for noise in [&b""[..], b"\x16\x03\x01", b"G(T / HTTP/1.1\r\nHost: a", b" / HTTP/1.1"] {
            assert_eq!(made_out(noise), (vec![], vec![], None));
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let long = [b"GET /".to_vec(), vec![b'a'; 5000]].concat();
        assert_eq!(made_out(&long).1.len(), LONGEST);
    }

    #[test]
    fn a_handshake_of_tls_is_recognised() {
        assert!(is_tls(b"\x16") && is_tls(b"\x16\x03\x01\x02\0"));
        assert!(!is_tls(b"") && !is_tls(b"GET /") && !is_tls(b"\x16\x16"));
    }
}
