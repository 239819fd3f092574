//! The reading side of a body: one reader's place in it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::Notify;

use super::{BodyForm, BodyLink, CachedBody, NextPart, SharedBody};
use crate::cache::memory::BodyPiece;
use crate::wire::head::Fields;

/// The answer to a reader who looks for more.
#[derive(Debug, PartialEq, Eq)]
pub enum BodyPart {
    /// The next part.
    Data(Bytes),
    /// The end of a whole body.
    End,
    /// The end of a body that was cut.
    Cut,
    /// Nothing yet.
    Later,
}

/// One reader's place in a body.
#[derive(Debug)]
pub struct CachedBodyReader(ReaderForm);

#[derive(Debug)]
enum ReaderForm {
    Chain(ChainReader),
    Whole { body: Arc<BodyPiece>, is_done: bool },
}

/// One reader's place in a chain of parts.
#[derive(Debug)]
struct ChainReader {
    shared: Arc<SharedBody>,
    at: Arc<BodyLink>,
}

impl CachedBody {
    /// Reads it from its first byte.
    #[must_use]
    pub fn new_reader(&self) -> CachedBodyReader {
        CachedBodyReader(match &self.0 {
            BodyForm::Chain { wish, first } => {
                let shared = wish.shared.clone();
                shared.readers.fetch_add(1, Ordering::AcqRel);
                ReaderForm::Chain(ChainReader { shared, at: first.clone() })
            }
            BodyForm::Whole(body) => {
                ReaderForm::Whole { body: body.clone(), is_done: body.data().is_empty() }
            }
        })
    }
}

impl CachedBodyReader {
    /// Takes the next part, if it is there.
    pub fn take_part(&mut self) -> BodyPart {
        match &mut self.0 {
            ReaderForm::Chain(reader) => reader.take_part(),
            ReaderForm::Whole { is_done: true, .. } => BodyPart::End,
            ReaderForm::Whole { body, is_done } => {
                *is_done = true;
                BodyPart::Data(body.data().clone())
            }
        }
    }

    /// The fields behind the body, once it has ended.
    #[must_use]
    pub fn trailers(&self) -> Option<&Fields> {
        match &self.0 {
            ReaderForm::Chain(reader) => reader.shared.trailers.get(),
            ReaderForm::Whole { body, .. } => body.trailers(),
        }
    }

    /// Returns whether there is something to take.
    #[must_use]
    pub fn has_more(&self) -> bool {
        match &self.0 {
            ReaderForm::Chain(reader) => reader.at.next.get().is_some(),
            ReaderForm::Whole { .. } => true,
        }
    }

    /// Returns what tells of more; to be asked for before [`CachedBodyReader::take_part`] finds
    /// nothing.
    #[must_use]
    pub fn grown(&self) -> Arc<Notify> {
        match &self.0 {
            ReaderForm::Chain(reader) => reader.shared.grown.clone(),
            // Nobody waits for more of it.
            ReaderForm::Whole { .. } => Arc::default(),
        }
    }
}

impl ChainReader {
    fn take_part(&mut self) -> BodyPart {
        match self.at.next.get() {
            None => BodyPart::Later,
            Some(NextPart::End) => BodyPart::End,
            Some(NextPart::Cut) => BodyPart::Cut,
            Some(NextPart::Part(next)) => {
                let next = next.clone();
                self.at = next;
                let data = self.at.piece.as_ref().map(|piece| piece.data().clone());
                BodyPart::Data(data.unwrap_or_default())
            }
        }
    }
}

impl Drop for ChainReader {
    fn drop(&mut self) {
        self.shared.readers.fetch_sub(1, Ordering::AcqRel);
        self.shared.freed.notify_one();
    }
}
