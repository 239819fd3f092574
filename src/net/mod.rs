//! Bytes between sockets and the codec: streams, borrowed buffers, body readers and writers,
//! timers.
//!
//! Nothing here knows about routes or servers. Everything is polled from one task per client
//! connection, on one thread, so there are no locks and no wake-ups between tasks.

pub mod address;
pub mod announced;
pub mod body;
pub mod buffer;
pub mod ends;
pub mod fetch;
pub mod inbox;
#[cfg(fuzzing)]
pub mod memory;
pub mod open;
pub mod outbox;
pub mod room;
pub mod seats;
pub mod stalls;
pub mod stream;
pub mod timer;
mod untaken;
mod waitlist;

pub use address::Address;
pub use announced::{BodyFraming, BodyTally, Mismatch};
pub use body::{BodyError, BodyReader, Fill};
pub use ends::{Announce, Ends, MadeWith};
pub use inbox::Inbox;
#[cfg(fuzzing)]
pub use memory::Memory;
pub use memory_budget::{self as held, MemoryReservation};
pub use open::{OpenConnections, Opened};
pub use outbox::Outbox;
pub use stream::{Stream, Transport};
pub use timer::Timer;
pub use untaken::count_untaken;
