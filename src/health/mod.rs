//! Active health checks: asks every server at intervals whether it is well.
//!
//! One checker per server and process, on a thread of its own, so that neither a slow server nor a
//! thousand of them can hold up a request. [`Check`](crate::upstream::Check) is what is asked,
//! [`probe`] how, [`tally`] what the answers mean, [`supervisor`] keeps the checkers in step with
//! the configuration. Beside them, `recovery` finds out when servers that refused a connection take
//! one again.

pub mod probe;
mod recovery;
pub mod supervisor;
pub mod tally;

pub use supervisor::Supervisor;
