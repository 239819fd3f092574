//! A body that one task receives and any number of others read meanwhile, on any thread; and what
//! is kept of it once it is whole.
//!
//! While it is received it is a chain of chunks: whoever reads holds the link it has come to, so
//! chunks that nobody can want any more free themselves. A body that is being stored keeps its
//! first link and with it the whole chain; one that is only passed on lets go of it, and its writer
//! then waits for the slowest reader. Nothing is locked: a link is set once.

mod reader;
mod writer;

use std::ops::Deref;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::Notify;

pub use self::reader::{BodyPart, CachedBodyReader};
pub use self::writer::{BodyWriter, new_body};
use super::memory::{BodyPiece, StoreMemory};
use crate::wire::head::Fields;

/// One part of a body and where the next one will be.
#[derive(Debug)]
struct BodyLink {
    /// The part; the first link of a chain has none.
    piece: Option<Arc<BodyPiece>>,
    /// Counts the part as held until it is freed.
    _held: Option<HeldBytes>,
    next: OnceLock<NextPart>,
}

/// The part that follows.
#[derive(Debug, Clone)]
enum NextPart {
    Part(Arc<BodyLink>),
    /// The body is whole.
    End,
    /// The body was cut.
    Cut,
}

impl BodyLink {
    fn new(piece: Option<Arc<BodyPiece>>, held: Option<HeldBytes>) -> Arc<Self> {
        Arc::new(Self { piece, _held: held, next: OnceLock::new() })
    }

    fn next_link(&self) -> Option<&Self> {
        match self.next.get() {
            Some(NextPart::Part(next)) => Some(next),
            Some(NextPart::End | NextPart::Cut) | None => None,
        }
    }
}

impl Drop for BodyLink {
    /// Frees a long chain link by link, because each freeing the next would need a stack as long
    /// as the body.
    fn drop(&mut self) {
        let mut next = self.next.take();
        while let Some(NextPart::Part(link)) = next {
            next = Arc::into_inner(link).and_then(|mut link| link.next.take());
        }
    }
}

/// Bytes of parts that are not freed yet.
#[derive(Debug)]
struct HeldBytes {
    bytes: usize,
    shared: Arc<SharedBody>,
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.shared.held.fetch_sub(self.bytes, Ordering::AcqRel);
        self.shared.freed.notify_one();
    }
}

/// The state that writer and readers of one body share.
#[derive(Debug, Default)]
struct SharedBody {
    /// Tells readers of a new part, the end or the cut.
    grown: Arc<Notify>,
    /// Tells the writer of freed parts and of readers that left.
    freed: Arc<Notify>,
    /// Bytes of parts that are not freed.
    held: AtomicUsize,
    /// Readers that have neither ended nor left.
    readers: AtomicUsize,
    /// Bytes written so far.
    written: AtomicU64,
    /// Memory that all of its parts take.
    size: AtomicU64,
    /// One of [`OPEN`], [`WHOLE`] and [`CUT`]; only the writer sets it, after the last link.
    state: AtomicU8,
    /// Fields behind the body, set before its end.
    trailers: OnceLock<Fields>,
}

/// More may come.
const OPEN: u8 = 0;
/// The writer has ended the body as whole.
const WHOLE: u8 = 1;
/// The writer has cut the body.
const CUT: u8 = 2;

/// A body from its first byte on: what is stored of it, or is on its way into the store.
#[derive(Debug, Clone)]
pub struct CachedBody(BodyForm);

#[derive(Debug, Clone)]
enum BodyForm {
    /// A writer ends it, or has ended it.
    Chain { wish: Arc<ChainWish>, first: Arc<BodyLink> },
    /// No writer ever had to do with it: it needs a fifth of the memory.
    Whole(Arc<BodyPiece>),
}

/// Whoever has a body that is still coming may begin to read it at any time: until then it is
/// wanted as much as by its readers.
#[derive(Debug)]
struct ChainWish {
    shared: Arc<SharedBody>,
}

impl Drop for ChainWish {
    fn drop(&mut self) {
        self.shared.freed.notify_one();
    }
}

impl CachedBody {
    /// A body that is whole already.
    #[must_use]
    pub fn whole(data: Bytes) -> Self {
        Self::whole_with(data, None)
    }

    /// A body that is whole already, and what follows it.
    #[must_use]
    pub fn whole_with(data: Bytes, trailers: Option<&Fields>) -> Self {
        Self(BodyForm::Whole(Arc::new(BodyPiece::new(data, trailers))))
    }

    /// Returns whether it is in one piece, as [`CachedBody::put_together`] makes it.
    #[must_use]
    pub fn is_one_piece(&self) -> bool {
        matches!(self.0, BodyForm::Whole(_))
    }

    /// The same body in one piece that takes as much memory as it is long; `None` while it is not
    /// whole. What came in one part, whose length was known, is not copied.
    #[must_use]
    pub fn put_together(&self, is_exact: bool) -> Option<Self> {
        let BodyForm::Chain { first, .. } = &self.0 else { return Some(self.clone()) };
        if !self.is_whole() {
            return None;
        }
        if let Some(only) = first.next_link()
            && is_exact
            && only.next_link().is_none()
            && self.trailers().is_none()
        {
            return only.piece.clone().map(|piece| Self(BodyForm::Whole(piece)));
        }
        let mut data = Vec::with_capacity(self.pieces().map(|piece| piece.data().len()).sum());
        self.pieces().for_each(|piece| data.extend_from_slice(piece.data()));
        Some(Self::whole_with(Bytes::from(data), self.trailers()))
    }

    /// What has come of it so far.
    fn pieces(&self) -> impl Iterator<Item = &Arc<BodyPiece>> {
        let (first, whole) = match &self.0 {
            BodyForm::Chain { first, .. } => (first.next_link(), None),
            BodyForm::Whole(body) => (None, Some(body)),
        };
        let links = std::iter::successors(first, |link| link.next_link());
        links.filter_map(|link| link.piece.as_ref()).chain(whole)
    }

    /// Memory that what has come of it takes, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        match &self.0 {
            BodyForm::Chain { wish, .. } => wish.shared.size.load(Ordering::Acquire),
            BodyForm::Whole(body) => body.size(),
        }
    }

    /// The part of [`CachedBody::size`] that no cache counts so far.
    #[must_use]
    pub fn uncounted_size(&self) -> u64 {
        match &self.0 {
            BodyForm::Whole(body) if !body.is_counted() => body.size(),
            BodyForm::Chain { .. } | BodyForm::Whole(_) => 0,
        }
    }

    /// Bytes received so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        match &self.0 {
            BodyForm::Chain { wish, .. } => wish.shared.written.load(Ordering::Acquire),
            BodyForm::Whole(body) => body.data().len() as u64,
        }
    }

    /// The fields behind it, once it has ended.
    #[must_use]
    pub fn trailers(&self) -> Option<&Fields> {
        match &self.0 {
            BodyForm::Chain { wish, .. } => wish.shared.trailers.get(),
            BodyForm::Whole(body) => body.trailers(),
        }
    }

    /// Returns whether it was received to its end.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        match &self.0 {
            BodyForm::Chain { wish, .. } => wish.shared.state.load(Ordering::Acquire) == WHOLE,
            BodyForm::Whole(_) => true,
        }
    }
}

/// The body of a response that a cache has, or is about to have: while there is one, the response
/// answers for its bytes.
#[derive(Debug)]
pub struct OwnedBody(CachedBody);

impl OwnedBody {
    /// A body as that of a response.
    #[must_use]
    pub fn new(body: CachedBody) -> Self {
        body.pieces().for_each(|piece| piece.add_owner());
        Self(body)
    }

    /// Notes that its [`CachedBody::uncounted_size`] was taken of a memory.
    pub fn set_counted(&self, memory: &Arc<StoreMemory>) {
        if let BodyForm::Whole(piece) = &self.0.0
            && !piece.is_counted()
        {
            piece.set_counted(memory);
        }
    }
}

impl Deref for OwnedBody {
    type Target = CachedBody;

    fn deref(&self) -> &CachedBody {
        &self.0
    }
}

impl Drop for OwnedBody {
    fn drop(&mut self) {
        // Parts that come now are counted by nobody: only who stores them has them counted, and
        // has the response too.
        let counted = self.0.pieces().filter(|piece| piece.is_counted());
        counted.for_each(|piece| piece.remove_owner());
    }
}

#[cfg(test)]
mod tests;
