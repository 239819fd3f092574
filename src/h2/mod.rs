//! HTTP/2 on both sides: a connection is a [`state::State`] and a task that reads and writes its
//! socket, and a stream looks like any other client or server.

pub mod client;
pub mod connection;
mod drive;
mod handle;
pub mod link;
pub mod origin;
#[cfg(test)]
mod simulation;
mod waiters;

pub use client::H2Client;
pub use connection::Connection;
pub use http_codec::h2 as state;
pub use link::Link;
pub use origin::H2Origin;
pub use waiters::Waiters;

use crate::clock;

/// Whole seconds on the process's clock.
fn clock_seconds() -> u64 {
    clock::millis(clock::now()) / 1000
}
