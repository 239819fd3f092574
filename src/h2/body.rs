//! The two directions of a stream's body: DATA and trailers, each no faster than the other side of the proxy takes it.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;

use super::broken;
use super::fields::{self, Map};
use crate::net::{BodyError, Fill};
use crate::wire::Fault;
use crate::wire::head::Fields;

/// What is received.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    stream: Option<RecvStream>,
    data: Bytes,
    trailers: Option<HeaderMap>,
    received: u64,
}

impl Incoming {
    pub(super) fn new(stream: Option<RecvStream>) -> Self {
        Self { stream, ..Self::default() }
    }

    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, BodyError>> {
        loop {
            if !self.data.is_empty() {
                return Poll::Ready(Ok(Fill::Data));
            }
            let Some(stream) = &mut self.stream else { return Poll::Ready(Ok(Fill::End)) };
            match ready!(stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    self.received += data.len() as u64;
                    self.data = data;
                }
                Some(Err(error)) => return Poll::Ready(Err(BodyError::Io(broken(error)))),
                None => {
                    let trailers = ready!(stream.poll_trailers(cx));
                    self.trailers = trailers.map_err(|error| BodyError::Io(broken(error)))?;
                    self.stream = None;
                    return Poll::Ready(Ok(Fill::End));
                }
            }
        }
    }

    pub(super) fn data(&self) -> &[u8] {
        &self.data
    }

    pub(super) fn consume(&mut self, n: usize) {
        self.data.advance(n.min(self.data.len()));
        if let Some(stream) = &mut self.stream {
            // The other side may send as much again. A stream that is gone needs none.
            let _gone = stream.flow_control().release_capacity(n);
        }
    }

    pub(super) fn trailers(&mut self) -> Result<Option<Fields>, Fault> {
        self.trailers.take().map_or(Ok(None), |map| fields::trailers(&map))
    }

    /// Body bytes so far.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Whether nothing more will come.
    pub(super) fn is_done(&self) -> bool {
        self.data.is_empty() && self.stream.as_ref().is_none_or(RecvStream::is_end_stream)
    }
}

/// What is sent, once there is a stream for it.
#[derive(Debug, Default)]
pub(super) struct Sending {
    stream: Option<SendStream<Bytes>>,
    done: bool,
    sent: u64,
    /// Nothing waits for the other side to make room.
    pub(super) impatient: bool,
}

impl Sending {
    /// The head has been sent, and was all of it or not.
    pub(super) fn begin(&mut self, stream: SendStream<Bytes>, whole: bool) {
        self.stream = Some(stream);
        self.done = whole;
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Some(out) = self.stream.as_mut().filter(|_| !self.done) else {
            return Poll::Ready(Ok(data.len()));
        };
        // What the other side's windows have no room for waits here, and with it whoever sends it.
        out.reserve_capacity(data.len());
        if self.impatient && out.capacity() == 0 {
            // The rest is not said.
            return Poll::Ready(Ok(data.len()));
        }
        while out.capacity() == 0 {
            match ready!(out.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            }
        }
        let part = data.get(..out.capacity()).unwrap_or(data);
        out.send_data(Bytes::copy_from_slice(part), false).map_err(broken)?;
        self.sent += part.len() as u64;
        Poll::Ready(Ok(part.len()))
    }

    pub(super) fn finish(&mut self, trailers: Option<&Fields>) -> io::Result<()> {
        let Some(out) = self.stream.as_mut().filter(|_| !self.done) else { return Ok(()) };
        self.done = true;
        let ended = match trailers {
            Some(fields) => out.send_trailers(Map::of(fields)),
            None => out.send_data(Bytes::new(), true),
        };
        ended.map_err(broken)
    }

    /// Ready when the other side wants no more of it.
    pub(super) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Option<Poll<()>> {
        self.stream.as_mut().map(|out| out.poll_reset(cx).map(|_| ()))
    }

    /// Whether the end of it has been sent.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Body bytes so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Tells the other side that this will never be whole; `false` if there is no stream yet.
    pub(super) fn reset(&mut self, reason: Reason) -> bool {
        self.done = true;
        self.stream.as_mut().map(|out| out.send_reset(reason)).is_some()
    }
}
