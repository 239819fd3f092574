//! HTTP/2 towards clients: the frames are h2's, and a stream looks to the walk like any other client.

pub mod client;
pub mod head;

pub use client::H2Client;
