//! What the head of a message said about its body, and whether exactly that was written.
//!
//! Whoever writes a message counts with a [`BodyTally`], in HTTP/1 ([`super::Outbox`]) and in
//! HTTP/2 (`h2::handle`), towards servers and clients: a peer that waits for bytes which never come
//! would take the next message on the connection for them. A message that is not exactly what was
//! announced has failed, whoever is to blame; its connection or stream is broken off, and never
//! used again.

use std::io;

use thiserror::Error;

/// The way in which the bytes of a body follow the head of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFraming {
    /// So many bytes, as they are. 0 for a message without a body, whatever length its head tells.
    Exactly(u64),
    /// As chunks, up to one of size 0.
    Chunked,
    /// As they are, up to the end of the connection or stream.
    UntilClose,
}

/// The body that was written is not the one that the head announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the body is not as long as the head of its message said")]
pub struct Mismatch;

impl Mismatch {
    /// Returns whether a sink failed because of this, and not because its peer did.
    #[must_use]
    pub fn is_cause_of(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|cause| cause.is::<Self>())
    }
}

impl From<Mismatch> for io::Error {
    fn from(mismatch: Mismatch) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, mismatch)
    }
}

/// Counts the body of one message against its announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyTally {
    /// Bytes that are still owed; `None` where any number may follow.
    left: Option<u64>,
    stage: BodyStep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyStep {
    Open,
    Whole,
    Broken,
}

impl Default for BodyTally {
    /// Between two messages: nothing is owed.
    fn default() -> Self {
        Self { left: Some(0), stage: BodyStep::Whole }
    }
}

impl BodyTally {
    /// For a message whose head has been written.
    #[must_use]
    pub fn new(coding: BodyFraming) -> Self {
        let left = match coding {
            BodyFraming::Exactly(n) => Some(n),
            BodyFraming::Chunked | BodyFraming::UntilClose => None,
        };
        Self { left, stage: BodyStep::Open }
    }

    /// Asks before `n` bytes are written, none of which may be written on an error.
    ///
    /// # Errors
    /// [`Mismatch`] when they are more than was announced, or come after the end.
    #[inline]
    pub fn check_write(&mut self, n: usize) -> Result<(), Mismatch> {
        let fits = self.left.is_none_or(|left| n as u64 <= left);
        if n == 0 || fits && self.stage == BodyStep::Open {
            return Ok(());
        }
        self.stage = BodyStep::Broken;
        Err(Mismatch)
    }

    /// Counts bytes that were written after [`BodyTally::check_write`] had allowed them.
    #[inline]
    pub fn count_written(&mut self, n: usize) {
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(n as u64);
        }
    }

    /// Asks before the end of the message is written, which must not be on an error.
    ///
    /// # Errors
    /// [`Mismatch`] when less was written than was announced, or the message has failed before.
    #[inline]
    pub fn check_end(&mut self) -> Result<(), Mismatch> {
        if self.stage == BodyStep::Broken || self.left.is_some_and(|left| left > 0) {
            self.stage = BodyStep::Broken;
            return Err(Mismatch);
        }
        self.stage = BodyStep::Whole;
        Ok(())
    }

    /// Returns whether the message has ended, with exactly the announced bytes. True before the
    /// first message.
    #[inline]
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.stage == BodyStep::Whole
    }
}

#[cfg(test)]
mod tests;
