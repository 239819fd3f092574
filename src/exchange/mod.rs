//! One request and its response: the two sides of it, how bodies move between them, and every answer
//! the proxy gives itself.
//!
//! The walk in [`crate::proxy`] sees a client only through [`sides::Client`]; who parsed the request
//! and in which protocol is decided elsewhere.

pub mod accept;
pub mod deadline;
pub mod edits;
pub mod forward;
pub mod identity;
pub mod loops;
pub mod outcome;
mod pause;
pub mod pump;
pub mod queue;
pub mod refusal;
pub mod sides;
pub mod stage;
pub mod target;

pub use deadline::Deadline;
pub use edits::{FieldPair, HeaderEdits};
pub use outcome::{Cut, Halt, Outcome};
pub use pause::pause;
pub use pump::{Pump, PumpError};
pub use queue::Queue;
pub use refusal::{NoServerReason, Refusal};
pub use sides::{Client, Emit, HeadError, Length, Outgoing, Sink, Source};
