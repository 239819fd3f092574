//! HTTP/2 on both sides: the frames are h2's, and a stream looks like any other client or server.

mod body;
pub mod client;
mod fields;
pub mod guard;
pub mod head;
pub mod link;
pub mod origin;

use std::io;

pub use client::H2Client;
pub use link::Link;
pub use origin::H2Origin;

fn broken(error: h2::Error) -> io::Error {
    error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into())
}
