//! What may be done to a response on its way to the client: a stage edits its head, wraps its body
//! and sees its end.
//!
//! Which stages a response passes, and in which order, is decided in one place: `policy::stages`. A
//! stage is a plain value; bodies are wrapped by types that the compiler knows, so that a response
//! without stages pays for none.

use std::sync::Arc;

use super::outcome::Outcome;
use super::sides::{Emit, Length, Source};
use crate::wire::ResponseHead;
use crate::wire::head::Fields;

/// A response that a client is sent in the stead of a server's answer.
#[derive(Debug)]
pub struct Substitute {
    /// The head of the response; framing fields are not in it.
    pub head: ResponseHead,
    /// The body of the response.
    pub body: Arc<[u8]>,
}

/// The share of a representation that a response brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SentShare {
    /// All of it, or to `HEAD` its fields.
    Whole,
    /// A part of it as the server has it, which no stage changes.
    Part,
    /// Nothing: the client has it.
    Unmodified,
}

impl SentShare {
    /// The share that an answer with this status brings.
    #[must_use]
    pub fn of(status: u16) -> Self {
        match status {
            304 => Self::Unmodified,
            206 => Self::Part,
            _ => Self::Whole,
        }
    }
}

/// One thing that is done to a response. Its methods are called in the order in which they stand
/// here, each at most once but for [`ResponseStage::write_fields`].
pub trait ResponseStage {
    /// Answers in the stead of the server, of whose answer this is the head; `None` passes that
    /// answer on.
    fn find_substitute(&self, _head: &ResponseHead) -> Option<Substitute> {
        None
    }

    /// Returns the head with another content than it came with; `None` leaves it as it is.
    fn edit_head(&self, _head: &ResponseHead) -> Option<ResponseHead> {
        None
    }

    /// Decides what is done to a response with this head. Returns the length that is announced,
    /// where the stages before announce `length`.
    fn announce_length(&mut self, _head: &ResponseHead, length: Length) -> Length {
        length
    }

    /// The same for less than the whole of what is stored with this head and this length: what is
    /// sent of it has the length that it has.
    fn announce_share(&mut self, _head: &ResponseHead, _whole: Length, _share: SentShare) {}

    /// Writes the fields of the head: through `inner` those of the stages before, changed and added
    /// to as need be.
    fn write_fields(&self, out: &mut dyn Emit, inner: &dyn Fn(&mut dyn Emit)) {
        inner(out);
    }

    /// Sees how the response ended. Returns trailers that tell a client of a response that was
    /// broken off what happened, where its protocol has a place for that.
    fn see_end(&mut self, _outcome: Outcome) -> Option<Fields> {
        None
    }
}

/// A stage that changes the bytes of a body too.
pub trait BodyStage: ResponseStage {
    /// The body as this stage passes it on.
    type Body<'s, S: Source + 's>: Source
    where
        Self: 's;

    /// The body of `source` as it is passed on; `None` passes it on as it is. Called anew for each
    /// poll: what is known of the body is kept by the stage.
    fn wrap_body<'s, S: Source>(&'s mut self, source: &'s mut S) -> Option<Self::Body<'s, S>>;
}
