//! The chunked transfer coding (RFC 9112 §7.1), decoded in place and strictly.
//!
//! A decoder that forgives disagrees with some other decoder about where the body ends, and that is
//! request smuggling. So: CRLF only, 1 to 16 hex digits, no space around them, extensions dropped
//! and bounded, data exactly as long as announced. One thing is forgiven, and to the proxy's own servers
//! alone: blanks behind a size, which old ones pad it with (squid #1914, akka-http #1812). No decoder
//! reads those as another size, and the client gets chunks that are written anew. Decoding in place leaves
//! the data of many small chunks as one contiguous slice, which goes out with one write.

use super::fault::Fault;

/// All extension bytes of one body together. Peers that do not bound them can be kept busy with
/// one byte of data per kilobyte sent (CVE-2023-39326).
const MAX_EXTENSION_BYTES: u32 = 4096;
/// The whole trailer section in bytes.
const MAX_TRAILER_BYTES: usize = 8192;
/// 16 hex digits fill 64 bits; more could only be leading zeros.
const MAX_SIZE_DIGITS: u8 = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChunkState {
    /// Reading the digits of a size, of which this many have been seen.
    Size(u8),
    /// Behind the digits of a size, among blanks.
    Blank,
    /// Inside an extension, outside quotes.
    Extension,
    /// Inside a quoted extension value; `true` right after a backslash.
    Quoted(bool),
    /// The size line's CR has been seen.
    SizeLf,
    /// Reading chunk data.
    Data,
    /// Expecting the CR after the data.
    DataCr,
    /// Expecting the LF after the data.
    DataLf,
    /// At the start of a trailer line, or of the empty line that ends the body.
    TrailerStart,
    /// Inside a trailer line.
    TrailerLine,
    /// A trailer line's CR has been seen.
    TrailerLf,
    /// The final empty line's CR has been seen.
    EndLf,
    /// The body is complete.
    Done,
}

/// Decodes one chunked body.
#[derive(Debug)]
pub struct ChunkedDecoder {
    state: ChunkState,
    left: u64,
    extension_bytes: u32,
    trailers: Vec<u8>,
    sender: Sender,
}

/// The sender of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sender {
    /// Anybody: nothing is forgiven.
    #[default]
    Client,
    /// One of the proxy's servers: blanks behind a chunk's size are.
    Server,
}

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self::new(Sender::default())
    }
}

/// The progress of a call to [`ChunkedDecoder::decode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkProgress {
    /// Decoded data ends here; it starts where the caller said.
    pub data_end: usize,
    /// Bytes from here on were not looked at: they belong to the next message.
    pub raw: usize,
    /// The body, trailer section included, is complete.
    pub done: bool,
}

impl ChunkedDecoder {
    /// At the start of a body.
    #[must_use]
    pub fn new(sender: Sender) -> Self {
        Self {
            state: ChunkState::Size(0),
            left: 0,
            extension_bytes: 0,
            trailers: Vec::new(),
            sender,
        }
    }

    /// Decodes `buf[raw..]` and moves the data found to `buf[out..]`, where `out <= raw`.
    ///
    /// # Errors
    /// A [`Fault`]; the decoder must not be used afterwards.
    pub fn decode(
        &mut self,
        buf: &mut [u8],
        out: usize,
        raw: usize,
    ) -> Result<ChunkProgress, Fault> {
        let mut out = out;
        let mut raw = raw;
        while self.state != ChunkState::Done {
            if self.state == ChunkState::Data {
                let available = buf.len().saturating_sub(raw);
                let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(available);
                if n == 0 {
                    break;
                }
                if out != raw {
                    buf.copy_within(raw..raw + n, out);
                }
                out += n;
                raw += n;
                self.left -= n as u64;
                if self.left == 0 {
                    self.state = ChunkState::DataCr;
                }
                continue;
            }
            let Some(byte) = buf.get(raw).copied() else { break };
            raw += 1;
            self.state = self.step_byte(byte)?;
        }
        Ok(ChunkProgress { data_end: out, raw, done: self.state == ChunkState::Done })
    }

    /// Returns whether the body, trailer section included, is complete.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == ChunkState::Done
    }

    /// The bytes of the trailer section without its final empty line; empty when there was none.
    #[must_use]
    pub fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    fn step_byte(&mut self, byte: u8) -> Result<ChunkState, Fault> {
        match self.state {
            ChunkState::Size(digits) => self.size_byte(byte, digits),
            ChunkState::Blank => match byte {
                b'\r' => Ok(ChunkState::SizeLf),
                b';' => self.extension_byte(ChunkState::Extension),
                b' ' | b'\t' => self.extension_byte(ChunkState::Blank),
                _ => Err(Fault::ChunkSize),
            },
            ChunkState::Extension => match byte {
                b'\r' => Ok(ChunkState::SizeLf),
                b'"' => self.extension_byte(ChunkState::Quoted(false)),
                b'\t' | b' '..=b'~' | 0x80.. => self.extension_byte(ChunkState::Extension),
                _ => Err(Fault::ChunkExtension),
            },
            ChunkState::Quoted(escaped) => match byte {
                b'"' if !escaped => self.extension_byte(ChunkState::Extension),
                b'\\' if !escaped => self.extension_byte(ChunkState::Quoted(true)),
                b'\t' | b' '..=b'~' | 0x80.. => self.extension_byte(ChunkState::Quoted(false)),
                _ => Err(Fault::ChunkExtension),
            },
            ChunkState::SizeLf if byte == b'\n' => {
                Ok(if self.left == 0 { ChunkState::TrailerStart } else { ChunkState::Data })
            }
            ChunkState::SizeLf => Err(Fault::ChunkSize),
            ChunkState::DataCr if byte == b'\r' => Ok(ChunkState::DataLf),
            ChunkState::DataLf if byte == b'\n' => Ok(ChunkState::Size(0)),
            ChunkState::DataCr | ChunkState::DataLf => Err(Fault::ChunkEnd),
            ChunkState::TrailerStart if byte == b'\r' => Ok(ChunkState::EndLf),
            ChunkState::TrailerStart | ChunkState::TrailerLine => self.trailer_byte(byte),
            ChunkState::TrailerLf if byte == b'\n' => {
                self.trailers.extend_from_slice(b"\r\n");
                Ok(ChunkState::TrailerStart)
            }
            ChunkState::EndLf if byte == b'\n' => Ok(ChunkState::Done),
            ChunkState::TrailerLf | ChunkState::EndLf => Err(Fault::Trailer),
            ChunkState::Data | ChunkState::Done => Ok(self.state),
        }
    }

    fn size_byte(&mut self, byte: u8, digits: u8) -> Result<ChunkState, Fault> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if digits > 0 => return Ok(ChunkState::SizeLf),
            b';' if digits > 0 => return self.extension_byte(ChunkState::Extension),
            b' ' | b'\t' if digits > 0 && self.sender == Sender::Server => {
                return self.extension_byte(ChunkState::Blank);
            }
            _ => return Err(Fault::ChunkSize),
        };
        if digits == 0 {
            self.left = 0;
        }
        // Beyond i64 some peers wrap around.
        if digits >= MAX_SIZE_DIGITS || self.left > (i64::MAX as u64) >> 4 {
            return Err(Fault::ChunkSize);
        }
        self.left = self.left << 4 | u64::from(digit);
        Ok(ChunkState::Size(digits + 1))
    }

    fn extension_byte(&mut self, next: ChunkState) -> Result<ChunkState, Fault> {
        self.extension_bytes += 1;
        if self.extension_bytes > MAX_EXTENSION_BYTES {
            return Err(Fault::ChunkExtension);
        }
        Ok(next)
    }

    fn trailer_byte(&mut self, byte: u8) -> Result<ChunkState, Fault> {
        match byte {
            b'\r' => return Ok(ChunkState::TrailerLf),
            b'\n' | 0 => return Err(Fault::Trailer),
            _ => {}
        }
        if self.trailers.len() >= MAX_TRAILER_BYTES {
            return Err(Fault::Trailer);
        }
        self.trailers.push(byte);
        Ok(ChunkState::TrailerLine)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Decoded = (Vec<u8>, usize, Vec<u8>);

    /// Feeds `input` in pieces of `step` bytes; the data, the rest, and the trailer section.
    fn decode(input: &[u8], step: usize) -> Result<Option<Decoded>, Fault> {
        decode_of(Sender::Client, input, step)
    }

    fn decode_of(sender: Sender, input: &[u8], step: usize) -> Result<Option<Decoded>, Fault> {
        let mut decoder = ChunkedDecoder::new(sender);
        let mut data = Vec::new();
        let mut used = 0;
        for piece in input.chunks(step.max(1)) {
            let mut piece = piece.to_vec();
            let progress = decoder.decode(&mut piece, 0, 0)?;
            data.extend_from_slice(&piece[..progress.data_end]);
            used += progress.raw;
            if progress.done {
                return Ok(Some((data, used, decoder.trailers().to_vec())));
            }
        }
        Ok(None)
    }

    #[test]
    fn chunks_become_one_slice_and_the_rest_is_left_alone() {
        let mut buf = b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\nGET /".to_vec();
        let progress = ChunkedDecoder::default().decode(&mut buf, 0, 0).unwrap();
        assert_eq!(&buf[..progress.data_end], b"hello world");
        assert_eq!(&buf[progress.raw..], b"GET /");
        assert!(progress.done);
    }

    #[test]
    fn trailers_are_kept() {
        let got = decode(b"1\r\na\r\n0\r\nA: b\r\nC: d\r\n\r\n", 1).unwrap().unwrap();
        assert_eq!(got.2, b"A: b\r\nC: d\r\n");
    }

    #[test]
    fn lenient_forms_are_refused() {
        for bad in [
            &b"5;x\nhello\r\n0\r\n\r\n"[..],
            b"5\nhello\r\n0\r\n\r\n",
            b"5\r\r;a\r\nhello\r\n",
            b"5;a=\rb\r\nhello\r\n",
            b"5;a=\"x\r\ny\"\r\nhello\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"5\r\nhello\r\n0\n\n",
            b"5\r\nhello!!\r\n0\r\n\r\n",
            b"5 5\r\nhello",
            b"0 junk\r\n\r\n",
            b"5 \r\nhello\r\n",
            b" 5\r\nhello\r\n",
            b"0x5\r\nhello\r\n",
            b"+5\r\nhello\r\n",
            b"-1\r\nhello\r\n",
            b"fffffffffffffffff\r\n",
            b"ffffffffffffffff\r\n",
            b"\r\nhello",
            b"00000000000000005\r\nhello\r\n",
            b"0\r\nA: b\nC: d\r\n\r\n",
            b"0\r\n\rX",
        ] {
            for step in [1, 3, 1000] {
                assert!(decode(bad, step).is_err(), "{:?}", String::from_utf8_lossy(bad));
            }
        }
    }

    #[test]
    fn s7_blanks_behind_a_size_are_forgiven_to_servers() {
        for step in [1, 2, 1000] {
            for fine in [
                &b"5  \r\nhello\r\n0\r\n\r\n"[..],
                b"5\t\r\nhello\r\n0 \t \r\n\r\n",
                b"5 ;x=y\r\nhello\r\n0\r\n\r\n",
            ] {
                let got = decode_of(Sender::Server, fine, step).unwrap().unwrap();
                assert_eq!((&got.0[..], got.1), (&b"hello"[..], fine.len()));
                assert_eq!(decode(fine, step), Err(Fault::ChunkSize));
            }
            for bad in [
                &b" 5\r\nhello\r\n"[..],
                b"5 5\r\nhello\r\n",
                b"5 \nhello\r\n",
                b"5 x\r\nhello\r\n",
                b" \r\nhello\r\n",
                b"5\x0b\r\nhello\r\n",
                b"5\r\nhello \r\n",
            ] {
                assert!(decode_of(Sender::Server, bad, step).is_err(), "{bad:?}");
            }
            let many = format!("5{}\r\nhello\r\n0\r\n\r\n", " ".repeat(5000));
            let many = decode_of(Sender::Server, many.as_bytes(), step);
            assert_eq!(many, Err(Fault::ChunkExtension));
        }
    }

    #[test]
    fn a_quoted_extension_ends_with_the_quote_that_is_not_escaped() {
        for fine in [
            &b"5;a=\"x;y\"\r\nhello\r\n0\r\n\r\n"[..],
            b"5;a=\"x\\\"y\";b\r\nhello\r\n0\r\n\r\n",
            b"5;a=\"\\\\\"\r\nhello\r\n0\r\n\r\n",
            b"5;a=\"\\\\\\\"\"\r\nhello\r\n0\r\n\r\n",
        ] {
            let got = decode(fine, 1).unwrap().unwrap();
            assert_eq!((&got.0[..], got.1), (&b"hello"[..], fine.len()), "{}", fine.escape_ascii());
        }
        for open in [
            &b"5;a=\"x\r\nhello\r\n0\r\n\r\n"[..],
            b"5;a=\"x\\\"\r\nhello\r\n0\r\n\r\n",
            b"5;a=\"x\\\\\\\"\r\nhello\r\n0\r\n\r\n",
            b"5;a=\"x\";\"\r\nhello\r\n0\r\n\r\n",
        ] {
            assert_eq!(decode(open, 1), Err(Fault::ChunkExtension), "{}", open.escape_ascii());
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(20_000));
        assert_eq!(decode(long.as_bytes(), 4096), Err(Fault::ChunkExtension));
        let many = "1;aaaa\r\nx\r\n".repeat(1000);
        assert_eq!(decode(many.as_bytes(), 4096), Err(Fault::ChunkExtension));
        let trailers = format!("0\r\n{}\r\n", "A: b\r\n".repeat(2000));
        assert_eq!(decode(trailers.as_bytes(), 4096), Err(Fault::Trailer));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_at_every_split(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            step in 1_usize..50,
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            let (data, used, _) = decode(&wire, step).unwrap().unwrap();
            prop_assert_eq!(data, chunks.concat());
            prop_assert_eq!(used, wire.len());
        }

        #[test]
        fn any_bytes_give_the_same_verdict_at_every_split(
            bytes in prop::collection::vec(prop::sample::select(b"0123aF;\"\\ \r\nxyz:".to_vec()), 0..60),
            step in 1_usize..10,
        ) {
            let whole = decode(&bytes, 1000);
            let split = decode(&bytes, step);
            prop_assert_eq!(whole, split);
        }
    }
}
