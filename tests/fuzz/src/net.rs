//! The budget that a connection's buffers count in.

#[path = "../../../src/net/held.rs"]
pub mod held;
