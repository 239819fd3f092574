//! The encoders, and how many bodies a worker compresses at a time.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use compression_codecs::brotli::params::EncoderParams;
use compression_codecs::flate::params::FlateEncoderParams;
use compression_codecs::zstd::params::CParameter;
use compression_codecs::{BrotliEncoder, EncodeV2, GzipEncoder, ZstdEncoder};
use compression_core::Level;
use compression_core::util::{PartialBuffer, WriteBuffer};

use super::coding::ContentCoding;

/// Bodies that a worker compresses at a time; each holds 0.3 MiB (gzip) to 2.4 MiB (br). Beyond
/// them responses go out as they are.
const MOST: u32 = 64;
/// A window of 256 KiB: what a body holds in memory, here and at the client, depends on it.
const WINDOW: u32 = 18;

/// The counts of a route's compression. They survive reloads.
#[derive(Debug, Default)]
pub struct CompressionCounts {
    /// Responses that were compressed.
    pub responses: AtomicU64,
    /// Responses that were not, because too many were under way.
    pub skipped: AtomicU64,
    /// Bytes before,
    pub taken: AtomicU64,
    /// and after.
    pub made: AtomicU64,
}

impl ContentCoding {
    /// Levels that a proxy can afford at line speed.
    fn new_encoder(self) -> Box<dyn EncodeV2> {
        match self {
            Self::Zstd => {
                Box::new(ZstdEncoder::new_with_params(3, &[CParameter::window_log(WINDOW)]))
            }
            Self::Brotli => {
                let parameters = EncoderParams::default().quality(Level::Precise(4));
                Box::new(BrotliEncoder::new(parameters.window_size(WINDOW as i32)))
            }
            Self::Gzip => {
                let level = flate2::Compression::new(5);
                Box::new(GzipEncoder::new(FlateEncoderParams::from(level)))
            }
        }
    }
}

thread_local! {
    static UNDER_WAY: Cell<u32> = const { Cell::new(0) };
}

/// A body that is being compressed.
pub struct Compressor<'a> {
    encoder: Box<dyn EncodeV2>,
    counts: &'a CompressionCounts,
}

impl fmt::Debug for Compressor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

/// Returns whether this worker compresses as many bodies as it may.
pub(super) fn is_at_limit() -> bool {
    UNDER_WAY.get() >= MOST
}

impl<'a> Compressor<'a> {
    /// Begins to compress a body.
    pub(super) fn begin_body(coding: ContentCoding, counts: &'a CompressionCounts) -> Self {
        counts.responses.fetch_add(1, Relaxed);
        UNDER_WAY.set(UNDER_WAY.get() + 1);
        Self { encoder: coding.new_encoder(), counts }
    }
}

impl Compressor<'_> {
    /// Takes from `input` and adds to `output`; how much of each.
    ///
    /// # Errors
    /// Those of the encoder.
    pub fn encode_piece(
        &mut self,
        input: &[u8],
        output: &mut [u8],
    ) -> std::io::Result<(usize, usize)> {
        let mut input = PartialBuffer::new(input);
        let mut output = WriteBuffer::new_initialized(output);
        self.encoder.encode(&mut input, &mut output)?;
        let (taken, made) = (input.written_len(), output.written_len());
        self.counts.taken.fetch_add(taken as u64, Relaxed);
        self.counts.made.fetch_add(made as u64, Relaxed);
        Ok((taken, made))
    }

    /// Adds what has been taken but not given yet, and with `end` the end; how much, and whether
    /// that is all.
    ///
    /// # Errors
    /// Those of the encoder.
    pub fn flush_encoder(
        &mut self,
        output: &mut [u8],
        end: bool,
    ) -> std::io::Result<(usize, bool)> {
        let mut output = WriteBuffer::new_initialized(output);
        let encoder = &mut self.encoder;
        let all = if end { encoder.finish(&mut output) } else { encoder.flush(&mut output) }?;
        self.counts.made.fetch_add(output.written_len() as u64, Relaxed);
        Ok((output.written_len(), all))
    }
}

impl Drop for Compressor<'_> {
    fn drop(&mut self) {
        UNDER_WAY.set(UNDER_WAY.get().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests;
