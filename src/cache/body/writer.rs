//! The writing side of a body: parts as they come, and its end.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use tokio::sync::Notify;

use super::{
    BodyForm, BodyLink, CUT, CachedBody, ChainWish, HeldBytes, NextPart, OPEN, SharedBody, WHOLE,
};
use crate::cache::memory::{BodyPiece, StoreMemory};
use crate::wire::head::Fields;

/// The writing side of a body; dropping it before its end cuts the body.
#[derive(Debug)]
pub struct BodyWriter {
    shared: Arc<SharedBody>,
    last: Arc<BodyLink>,
    /// Alive as long as somebody has the body.
    wish: Weak<ChainWish>,
}

/// Makes a body and its writer.
#[must_use]
pub fn new_body() -> (BodyWriter, CachedBody) {
    let shared = Arc::new(SharedBody::default());
    let first = BodyLink::new(None, None);
    let wish = Arc::new(ChainWish { shared: shared.clone() });
    let writer = BodyWriter { shared, last: first.clone(), wish: Arc::downgrade(&wish) };
    (writer, CachedBody(BodyForm::Chain { wish, first }))
}

impl BodyWriter {
    /// Appends a part; an empty one is nothing.
    pub fn push_part(&mut self, data: Bytes) {
        if !data.is_empty() {
            self.push_piece(Arc::new(self.new_piece(data)));
        }
    }

    /// Appends a part if a cache has room for it, of whose `most` bytes it takes what it needs: the
    /// one response whose body this is owns it. Returns whether there was room; it is appended as
    /// one that nobody counts otherwise.
    pub fn push_counted(&mut self, data: Bytes, memory: &Arc<StoreMemory>, most: u64) -> bool {
        if data.is_empty() {
            return true;
        }
        let piece = self.new_piece(data);
        let counted = memory.take_bytes(piece.size(), most);
        if counted {
            piece.add_owner();
            piece.set_counted(memory);
        }
        self.push_piece(Arc::new(piece));
        counted
    }

    fn new_piece(&self, data: Bytes) -> BodyPiece {
        match self.last.piece {
            None => BodyPiece::new(data, None),
            Some(_) => BodyPiece::new_part(data),
        }
    }

    fn push_piece(&mut self, piece: Arc<BodyPiece>) {
        let bytes = piece.data().len();
        self.shared.held.fetch_add(bytes, Ordering::AcqRel);
        self.shared.size.fetch_add(piece.size(), Ordering::AcqRel);
        self.shared.written.fetch_add(bytes as u64, Ordering::Release);
        let held = HeldBytes { bytes, shared: self.shared.clone() };
        let link = BodyLink::new(Some(piece), Some(held));
        let _set_once = self.last.next.set(NextPart::Part(link.clone()));
        self.last = link;
        self.shared.grown.notify_waiters();
    }

    /// Ends the body as whole, with what follows it.
    pub fn finish_body(self, trailers: Option<&Fields>) {
        if let Some(trailers) = trailers {
            // What grew while it was received is as large as it must be in a copy.
            let _set_once = self.shared.trailers.set(trailers.clone());
        }
        self.end_body(NextPart::End, WHOLE);
    }

    fn end_body(&self, how: NextPart, state: u8) {
        if self.shared.state.load(Ordering::Acquire) == OPEN {
            let _set_once = self.last.next.set(how);
            self.shared.state.store(state, Ordering::Release);
            self.shared.grown.notify_waiters();
        }
    }

    /// Bytes that readers or the store still hold.
    #[must_use]
    pub fn held(&self) -> usize {
        self.shared.held.load(Ordering::Acquire)
    }

    /// Returns whether somebody reads, or still may begin to.
    #[must_use]
    pub fn has_readers(&self) -> bool {
        // In this order: whoever begins to read has the body until then.
        self.wish.strong_count() > 0 || self.shared.readers.load(Ordering::Acquire) > 0
    }

    /// Returns what tells of a freed part or a reader that left.
    #[must_use]
    pub fn freed(&self) -> Arc<Notify> {
        self.shared.freed.clone()
    }
}

impl Drop for BodyWriter {
    fn drop(&mut self) {
        self.end_body(NextPart::Cut, CUT);
    }
}
