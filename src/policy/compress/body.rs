//! A body that is compressed on its way from a server to a client.

use std::task::{Context, Poll};

use super::Compressor;
use crate::exchange::Source;
use crate::net::{BodyError, Fill};
use crate::wire::Fault;
use crate::wire::head::Fields;

/// Bytes that are compressed at a time.
const ROOM: usize = 16 * 1024;
/// After so many bytes others on this thread get their turn: some tenths of a millisecond.
const TURN: usize = 32 * 1024;

/// The state of such a body.
#[derive(Debug)]
pub(super) struct CompressedBody<'a> {
    compressor: Compressor<'a>,
    room: Box<[u8]>,
    /// The part of `room` that is to be sent.
    ready: std::ops::Range<usize>,
    state: BodyState,
    /// Bytes since others had their turn.
    spent: usize,
    /// Something has been taken and not been given yet.
    held: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyState {
    Taking,
    /// The server pauses: what it sent must not wait for what has not come.
    Flushing,
    Ending,
    Ended,
}

impl<'a> CompressedBody<'a> {
    /// Compresses what is read through it.
    #[must_use]
    pub(super) fn new(compressor: Compressor<'a>) -> Self {
        let room = vec![0; ROOM].into_boxed_slice();
        Self { compressor, room, ready: 0..0, state: BodyState::Taking, spent: 0, held: false }
    }

    /// The body of `source`, compressed.
    pub(super) fn reader_of<'s, S>(&'s mut self, source: &'s mut S) -> BodyReader<'s, 'a, S> {
        BodyReader { source, body: self }
    }

    fn flush_compressor(&mut self, then: BodyState) -> Result<(), BodyError> {
        let (made, all) =
            self.compressor.flush_encoder(&mut self.room, then == BodyState::Ended)?;
        self.ready = 0..made;
        if all {
            self.state = then;
            self.held = false;
        }
        Ok(())
    }
}

/// A source and how it is compressed.
pub struct BodyReader<'s, 'a, S> {
    source: &'s mut S,
    body: &'s mut CompressedBody<'a>,
}

impl<S: Source> Source for BodyReader<'_, '_, S> {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, BodyError>> {
        let Self { source, body } = self;
        loop {
            if !body.ready.is_empty() {
                return Poll::Ready(Ok(Fill::Data));
            }
            match body.state {
                BodyState::Taking => match source.poll_fill(cx) {
                    Poll::Ready(Ok(Fill::Data)) => {
                        if body.spent >= TURN {
                            body.spent = 0;
                            cx.waker().wake_by_ref();
                            return Poll::Pending;
                        }
                        let data = source.body_data();
                        let piece = data.get(..ROOM).unwrap_or(data);
                        let (taken, made) = body.compressor.encode_piece(piece, &mut body.room)?;
                        if taken == 0 && made == 0 {
                            let stuck = std::io::Error::from(std::io::ErrorKind::WriteZero);
                            return Poll::Ready(Err(stuck.into()));
                        }
                        source.consume_body(taken);
                        body.spent += taken;
                        body.ready = 0..made;
                        body.held = true;
                    }
                    Poll::Ready(Ok(Fill::End)) => body.state = BodyState::Ending,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending if body.held => body.state = BodyState::Flushing,
                    Poll::Pending => return Poll::Pending,
                },
                BodyState::Flushing => body.flush_compressor(BodyState::Taking)?,
                BodyState::Ending => body.flush_compressor(BodyState::Ended)?,
                BodyState::Ended => return Poll::Ready(Ok(Fill::End)),
            }
        }
    }

    fn body_data(&self) -> &[u8] {
        self.body.room.get(self.body.ready.clone()).unwrap_or_default()
    }

    fn consume_body(&mut self, n: usize) {
        let ready = &mut self.body.ready;
        ready.start = ready.end.min(ready.start + n);
    }

    fn read_trailers(&mut self) -> Result<Option<Fields>, Fault> {
        self.source.read_trailers()
    }
}
