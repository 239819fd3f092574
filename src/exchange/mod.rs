//! One request and its response: what is known of it ([`Exchange`]), the two sides of it, how
//! bodies move between them, and every answer the proxy gives itself.
//!
//! The walk in [`crate::proxy`] sees a client only through [`sides::Client`]; who parsed the
//! request and in which protocol is decided elsewhere.

pub mod accept;
pub mod answer_wait;
pub mod deadline;
pub mod edits;
pub mod forward;
pub mod identity;
pub mod loops;
pub mod outcome;
mod pause;
mod peer;
pub mod pump;
pub mod queue;
pub mod refusal;
mod request_id;
pub mod sides;
pub mod stage;
pub mod stall;
pub mod target;
mod traits;
pub mod write_wait;

pub use deadline::Deadline;
pub use edits::{FieldPair, HeaderEdits};
pub use outcome::{Cut, Halt, Outcome};
pub use pause::{pause_for, yield_turn};
pub use peer::ClientPeer;
pub use pump::{Pump, PumpError};
pub use queue::Queue;
pub use refusal::{NoServerReason, Refusal};
pub use request_id::RequestId;
pub use sides::{Client, Emit, HeadError, Length, Outgoing, Sink, Source};
pub use traits::{BodyLimit, ClientGaps, RequestTraits};

use self::identity::Identity;
use self::outcome::Note;
use crate::clock::Instant;
use crate::wire::RequestHead;

/// A request as it came in.
#[derive(Debug, Clone, Copy)]
pub struct ReceivedRequest<'a> {
    /// The client that it came from.
    pub peer: &'a ClientPeer,
    /// The head, after the door.
    pub head: &'a RequestHead,
    /// The time when the head was complete.
    pub started: Instant,
}

/// A client's request, with all that is known of it before anybody asks what it is for, and the
/// note of why it failed. There is one for each request; whoever handles a part of it borrows it.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// The client that it came from.
    pub peer: &'a ClientPeer,
    /// The head, after the door.
    pub head: &'a RequestHead,
    /// The id by which it is found in logs.
    pub id: RequestId<'a>,
    /// The sender, as the listener and trusted proxies tell.
    pub identity: Identity<'a>,
    /// The time when the head was complete.
    pub started: Instant,
    /// The note of the last failure.
    pub cause: Note,
}

impl<'a> Exchange<'a> {
    /// Returns whether the method is `HEAD`, so that no response has a body.
    #[must_use]
    pub fn is_head(&self) -> bool {
        self.head.method() == b"HEAD"
    }
}
