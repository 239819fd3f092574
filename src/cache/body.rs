//! A body that one task receives and any number of others read meanwhile, on any thread; and what
//! is kept of it once it is whole.
//!
//! While it is received it is a chain of chunks: whoever reads holds the link it has come to, so
//! chunks that nobody can want any more free themselves. A body that is being stored keeps its
//! first link and with it the whole chain; one that is only passed on lets go of it, and its writer
//! then waits for the slowest reader. Nothing is locked: a link is set once.

use std::ops::Deref;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use tokio::sync::Notify;

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

/// The writing side of a body; dropping it before its end cuts the body.
#[derive(Debug)]
pub struct BodyWriter {
    shared: Arc<SharedBody>,
    last: Arc<BodyLink>,
    /// Alive as long as somebody has the body.
    wish: Weak<ChainWish>,
}

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

#[cfg(test)]
mod tests;
