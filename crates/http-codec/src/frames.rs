//! The frames of HTTP/2 (RFC 9113 §4 and §6).

/// The first bytes of a client (§3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The head of a frame.
pub const HEAD: usize = 9;
/// The most that a frame carries unless something else is agreed on, which it never is here
/// (§6.5.2).
pub const MOST: usize = 16_384;
/// The largest window, and the largest number of a stream.
pub const LARGEST: u32 = 0x7fff_ffff;
/// The window of every stream and connection at first.
pub const WINDOW: u32 = 65_535;

/// Types of frames.
pub mod kind {
    #![expect(missing_docs, reason = "named as in RFC 9113 §6")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub mod flag {
    #![expect(missing_docs, reason = "named as in RFC 9113 §6")]
    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
    pub const PRIORITY: u8 = 32;
}

/// Settings (RFC 9113 §6.5.2, RFC 8441 §3).
pub mod setting {
    #![expect(missing_docs, reason = "named as in RFC 9113 §6.5.2")]
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const ENABLE_PUSH: u16 = 2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const MAX_FRAME_SIZE: u16 = 5;
    pub const MAX_HEADER_LIST_SIZE: u16 = 6;
    pub const ENABLE_CONNECT_PROTOCOL: u16 = 8;
}

/// The reason for which a stream or a connection ends (RFC 9113 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    #![expect(missing_docs, reason = "named as in RFC 9113 §7")]
    pub const NO_ERROR: Self = Self(0);
    pub const PROTOCOL_ERROR: Self = Self(1);
    pub const INTERNAL_ERROR: Self = Self(2);
    pub const FLOW_CONTROL_ERROR: Self = Self(3);
    pub const STREAM_CLOSED: Self = Self(5);
    pub const FRAME_SIZE_ERROR: Self = Self(6);
    pub const REFUSED_STREAM: Self = Self(7);
    pub const CANCEL: Self = Self(8);
    pub const COMPRESSION_ERROR: Self = Self(9);
    pub const ENHANCE_YOUR_CALM: Self = Self(11);
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    /// The bytes that follow.
    pub length: usize,
    /// One of [`kind`], or something that nobody knows.
    pub kind: u8,
    /// [`flag`]s.
    pub flags: u8,
    /// The stream; 0 is the connection.
    pub stream: u32,
}

impl FrameHead {
    /// Reads one, if it is there.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, s0, s1, s2, s3] = *bytes.first_chunk::<HEAD>()?;
        Some(Self {
            length: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & LARGEST,
        })
    }

    /// Returns the bytes of the head.
    #[must_use]
    pub fn bytes(&self) -> [u8; HEAD] {
        let [_, a, b, c] = u32::try_from(self.length).unwrap_or_default().to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        [a, b, c, self.kind, self.flags, s0, s1, s2, s3]
    }

    /// Returns whether it has a flag.
    #[must_use]
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Appends a whole frame.
pub fn put(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&FrameHead { length: payload.len(), kind, flags, stream }.bytes());
    out.extend_from_slice(payload);
}

/// Appends SETTINGS.
pub fn put_settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    let mut payload = Vec::with_capacity(6 * settings.len());
    for (id, value) in settings {
        payload.extend_from_slice(&id.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    put(out, kind::SETTINGS, 0, 0, &payload);
}

/// The settings in a frame.
pub fn settings(payload: &[u8]) -> impl Iterator<Item = (u16, u32)> {
    let (settings, _) = payload.as_chunks::<6>();
    settings.iter().map(|[a, b, c, d, e, f]| {
        (u16::from_be_bytes([*a, *b]), u32::from_be_bytes([*c, *d, *e, *f]))
    })
}

/// The number that a frame begins with.
#[must_use]
pub fn number(payload: &[u8]) -> Option<u32> {
    payload.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes))
}

/// Returns what is between the padding of DATA and HEADERS. `None` when the padding is longer than
/// the frame (§6.1).
#[must_use]
pub fn unpadded(head: FrameHead, payload: &[u8]) -> Option<&[u8]> {
    if !head.has(flag::PADDED) {
        return Some(payload);
    }
    let (padding, rest) = payload.split_first()?;
    rest.get(..rest.len().checked_sub(usize::from(*padding))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_nine_bytes() {
        let head = FrameHead { length: 0x01_02_03, kind: kind::DATA, flags: 1, stream: 7 };
        assert_eq!(head.bytes(), [1, 2, 3, 0, 1, 0, 0, 0, 7]);
        assert_eq!(FrameHead::read(&head.bytes()), Some(head));
        assert_eq!(FrameHead::read(&head.bytes()[..8]), None);
        // The first bit of a stream's number means nothing (§4.1).
        assert_eq!(FrameHead::read(&[0, 0, 0, 0, 0, 0x80, 0, 0, 7]).unwrap().stream, 7);
    }

    #[test]
    fn padding_is_no_longer_than_its_frame() {
        let head = FrameHead { length: 4, kind: kind::DATA, flags: flag::PADDED, stream: 1 };
        assert_eq!(unpadded(head, &[1, b'a', b'b', 0]), Some(&b"ab"[..]));
        assert_eq!(unpadded(head, &[3, 0, 0, 0]), Some(&b""[..]));
        assert_eq!(unpadded(head, &[4, 0, 0, 0]), None);
        assert_eq!(unpadded(head, &[]), None);
        assert_eq!(unpadded(FrameHead { flags: 0, ..head }, &[4, 0]), Some(&[4, 0][..]));
    }
}
