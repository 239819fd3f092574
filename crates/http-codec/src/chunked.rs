//! The chunked transfer coding (RFC 9112 §7.1), decoded in place and strictly.
//!
//! A decoder that forgives disagrees with some other decoder about where the body ends, and that is
//! request smuggling. So: CRLF only, 1 to 16 hex digits, no space around them, extensions dropped
//! and bounded, data exactly as long as announced. One thing is forgiven, and to the proxy's own
//! servers alone: blanks behind a size, which old ones pad it with (squid #1914, akka-http #1812).
//! No decoder reads those as another size, and the client gets chunks that are written anew.
//! Decoding in place leaves the data of many small chunks as one contiguous slice, which goes out
//! with one write.

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
mod tests;
