//! A body that is compressed on its way from a server to a client.

use std::task::{Context, Poll};

use super::compress::Compressor;
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
pub struct Encoding<'a> {
    compressor: Compressor<'a>,
    room: Box<[u8]>,
    /// The part of `room` that is to be sent.
    ready: std::ops::Range<usize>,
    stage: Stage,
    /// Bytes since others had their turn.
    spent: usize,
    /// Something has been taken and not been given yet.
    held: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Taking,
    /// The server pauses: what it sent must not wait for what has not come.
    Flushing,
    Ending,
    Ended,
}

impl<'a> Encoding<'a> {
    /// Compresses what is read through it.
    #[must_use]
    pub fn new(compressor: Compressor<'a>) -> Self {
        let room = vec![0; ROOM].into_boxed_slice();
        Self { compressor, room, ready: 0..0, stage: Stage::Taking, spent: 0, held: false }
    }

    /// The body of `source`, compressed.
    pub fn of<'s, S>(&'s mut self, source: &'s mut S) -> Encoded<'s, 'a, S> {
        Encoded { source, encoding: self }
    }

    fn flush(&mut self, then: Stage) -> Result<(), BodyError> {
        let (made, all) = self.compressor.flush(&mut self.room, then == Stage::Ended)?;
        self.ready = 0..made;
        if all {
            self.stage = then;
            self.held = false;
        }
        Ok(())
    }
}

/// A source and how it is compressed.
pub struct Encoded<'s, 'a, S> {
    source: &'s mut S,
    encoding: &'s mut Encoding<'a>,
}

impl<S: Source> Source for Encoded<'_, '_, S> {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, BodyError>> {
        let Self { source, encoding } = self;
        loop {
            if !encoding.ready.is_empty() {
                return Poll::Ready(Ok(Fill::Data));
            }
            match encoding.stage {
                Stage::Taking => match source.poll_fill(cx) {
                    Poll::Ready(Ok(Fill::Data)) => {
                        if encoding.spent >= TURN {
                            encoding.spent = 0;
                            cx.waker().wake_by_ref();
                            return Poll::Pending;
                        }
                        let data = source.data();
                        let piece = data.get(..ROOM).unwrap_or(data);
                        let (taken, made) =
                            encoding.compressor.encode(piece, &mut encoding.room)?;
                        if taken == 0 && made == 0 {
                            let stuck = std::io::Error::from(std::io::ErrorKind::WriteZero);
                            return Poll::Ready(Err(stuck.into()));
                        }
                        source.consume(taken);
                        encoding.spent += taken;
                        encoding.ready = 0..made;
                        encoding.held = true;
                    }
                    Poll::Ready(Ok(Fill::End)) => encoding.stage = Stage::Ending,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending if encoding.held => encoding.stage = Stage::Flushing,
                    Poll::Pending => return Poll::Pending,
                },
                Stage::Flushing => encoding.flush(Stage::Taking)?,
                Stage::Ending => encoding.flush(Stage::Ended)?,
                Stage::Ended => return Poll::Ready(Ok(Fill::End)),
            }
        }
    }

    fn data(&self) -> &[u8] {
        self.encoding.room.get(self.encoding.ready.clone()).unwrap_or_default()
    }

    fn consume(&mut self, n: usize) {
        let ready = &mut self.encoding.ready;
        ready.start = ready.end.min(ready.start + n);
    }

    fn trailers(&mut self) -> Result<Option<Fields>, Fault> {
        self.source.trailers()
    }
}
