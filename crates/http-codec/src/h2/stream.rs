//! The life of one stream (RFC 9113 §5.1): where it stands, and which frames may come and go there.
//!
//! What a frame does in each state. "Stream error" answers with RST_STREAM, "connection error" with
//! GOAWAY; both are charged to the budget of floods. Pushed streams do not exist here, so neither
//! do the reserved states.
//!
//! ```text
//! received        Idle               Open           HalfClosedLocal  HalfClosedRemote  Closed
//! HEADERS         begins a stream *  message        message          stream error      as below
//! DATA            connection error   message        message          stream error      as below
//! .. END_STREAM   HalfClosedRemote * HalfClosedRem. Closed(Complete) -                 -
//! RST_STREAM      connection error   Closed(Reset)  Closed(Reset)    Closed(Reset) **  charged
//! WINDOW_UPDATE   connection error   more credit    charged          more credit       charged
//! PRIORITY        charged            charged        charged          charged           charged
//!
//! sent            Idle               Open           HalfClosedLocal  HalfClosedRemote  Closed
//! HEADERS         Open ***           message        nothing          message           nothing
//! DATA            nothing            message        nothing          message           error
//! .. END_STREAM   HalfClosedLocal    HalfClosedLoc. nothing          Closed(Complete)  error
//! RST_STREAM      nothing            Closed(Cancel) Closed(Cancel)   Closed(Cancel)    nothing
//! ```
//!
//! `*` at a server, for a number above all earlier ones; anything else on an idle stream is a
//! connection error. `**` a response that has ended is whole, whatever the server says after it:
//! `Closed(Stopped)`. `***` at a client. A server has nothing to say on an idle stream.
//!
//! A message on a closed stream, by who closed it: this side (it may have been under way) is
//! discarded, and charged where it carries next to nothing; a reset of the other side's own, a
//! stream error STREAM_CLOSED; the end of both messages, a connection error STREAM_CLOSED.

use std::collections::VecDeque;

use super::Ended;
use crate::frames::ErrorCode;
use crate::{Fault, ResponseFault};

/// Streams that were closed by a reset and are remembered, at 8 bytes each.
const REMEMBERED: usize = 512;

/// A state of RFC 9113 §5.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StreamState {
    /// Nothing was sent on it.
    #[default]
    Idle,
    /// Both sides may send.
    Open,
    /// A stream on which this side has said all.
    HalfClosedLocal,
    /// The other side has said all.
    HalfClosedRemote,
    /// Neither side may send.
    Closed(StreamEnd),
}

/// A reason why a stream is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamEnd {
    /// Both sides have said all.
    Complete,
    /// A server had said all and wants no more of the request: its response is whole.
    Stopped,
    /// The other side broke it off.
    Reset(ErrorCode),
    /// The other side has not looked at it, and never will (RFC 9113 §8.7).
    Unprocessed,
    /// A stream that this side broke off.
    Cancelled,
    /// A request that is none (RFC 9113 §8.1.1). Until the answer to it has been sent, this is what
    /// its reader sees of a stream that is not closed yet.
    Malformed(Fault),
    /// A response that is none.
    Invalid(ResponseFault),
    /// With its connection.
    Connection(Ended),
}

/// A part of a message that no state allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Misplaced {
    /// A part that was under way when this side broke the stream off.
    Late,
    /// A stream error of type STREAM_CLOSED.
    Stream,
    /// A connection error.
    Connection(ErrorCode),
}

impl StreamState {
    /// Returns whether a part of a message may come.
    pub(super) fn check_receives(self) -> Result<(), Misplaced> {
        match self {
            StreamState::Open | StreamState::HalfClosedLocal => Ok(()),
            StreamState::Idle => Err(Misplaced::Connection(ErrorCode::PROTOCOL_ERROR)),
            StreamState::HalfClosedRemote => Err(Misplaced::Stream),
            StreamState::Closed(end) => Err(end.misplaced_part()),
        }
    }

    /// Returns whether a part of a message may be sent.
    pub(super) fn may_send(self) -> bool {
        matches!(self, StreamState::Open | StreamState::HalfClosedRemote)
    }

    /// Returns whether the other side's message has come to its end.
    pub(super) fn is_received(self) -> bool {
        matches!(
            self,
            StreamState::HalfClosedRemote
                | StreamState::Closed(StreamEnd::Complete | StreamEnd::Stopped)
        )
    }

    /// Returns whether this side's message has been sent to its end.
    pub(super) fn is_sent(self) -> bool {
        matches!(self, StreamState::HalfClosedLocal | StreamState::Closed(StreamEnd::Complete))
    }

    /// Tells why nothing more comes of it, unless both messages are whole.
    pub(super) fn break_reason(self) -> Option<StreamEnd> {
        match self {
            StreamState::Closed(StreamEnd::Complete) => None,
            StreamState::Closed(end) => Some(end),
            StreamState::Idle
            | StreamState::Open
            | StreamState::HalfClosedLocal
            | StreamState::HalfClosedRemote => None,
        }
    }

    /// A head was sent or received on an idle stream.
    pub(super) fn open_stream(&mut self) {
        if *self == StreamState::Idle {
            *self = StreamState::Open;
        }
    }

    /// END_STREAM was received where a message may come.
    pub(super) fn receive_end(&mut self) {
        *self = match *self {
            StreamState::Open => StreamState::HalfClosedRemote,
            StreamState::HalfClosedLocal => StreamState::Closed(StreamEnd::Complete),
            other => other,
        };
    }

    /// END_STREAM was sent.
    pub(super) fn send_end(&mut self) {
        *self = match *self {
            StreamState::Open => StreamState::HalfClosedLocal,
            StreamState::HalfClosedRemote => StreamState::Closed(StreamEnd::Complete),
            other => other,
        };
    }

    /// Either side breaks it off. `false` when it was closed already: the first end counts.
    pub(super) fn close_stream(&mut self, end: StreamEnd) -> bool {
        let closes = !matches!(self, StreamState::Closed(_));
        if closes {
            *self = StreamState::Closed(end);
        }
        closes
    }
}

impl StreamEnd {
    fn misplaced_part(self) -> Misplaced {
        match self {
            StreamEnd::Complete => Misplaced::Connection(ErrorCode::STREAM_CLOSED),
            StreamEnd::Stopped | StreamEnd::Reset(_) | StreamEnd::Unprocessed => Misplaced::Stream,
            StreamEnd::Cancelled
            | StreamEnd::Malformed(_)
            | StreamEnd::Invalid(_)
            | StreamEnd::Connection(_) => Misplaced::Late,
        }
    }
}

/// Streams that are gone and did not end by themselves, the last ones.
#[derive(Debug, Default)]
pub(super) struct ClosedStreams(VecDeque<(u32, bool)>);

impl ClosedStreams {
    /// A stream is forgotten that is, or was, in this state.
    pub(super) fn note_closed(&mut self, id: u32, state: StreamState) {
        match state.check_receives() {
            Err(Misplaced::Late) => self.remember_id(id, true),
            Err(Misplaced::Stream) => self.remember_id(id, false),
            Ok(()) | Err(Misplaced::Connection(_)) => {}
        }
    }

    /// Notes that this side has broken a stream off.
    pub(super) fn note_reset(&mut self, id: u32) {
        self.remember_id(id, true);
    }

    fn remember_id(&mut self, id: u32, here: bool) {
        if self.0.iter().rev().take(4).any(|known| *known == (id, here)) {
            return;
        }
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back((id, here));
    }

    /// Tells what a part of a message is on a stream that is gone.
    pub(super) fn misplaced_part(&self, id: u32) -> Misplaced {
        match self.0.iter().rev().find(|(known, _)| *known == id) {
            Some((_, true)) => Misplaced::Late,
            Some((_, false)) => Misplaced::Stream,
            None => Misplaced::Connection(ErrorCode::STREAM_CLOSED),
        }
    }

    /// Keeps the memory of few, while nothing is under way.
    pub(super) fn release_memory(&mut self) {
        if self.0.capacity() > REMEMBERED / 4 {
            self.0.drain(..self.0.len().saturating_sub(REMEMBERED / 8));
            self.0.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests;
