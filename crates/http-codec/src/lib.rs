//! HTTP as bytes and events, without I/O.
//!
//! Slices and limits go in, typed verdicts come out; nothing here reads a socket, a clock or a
//! configuration. Both sides of the proxy use it: [`request`] for what clients send, [`response`]
//! for what servers send, [`framing`] for where a message ends, [`chunked`] for chunked bodies and
//! [`encode`] for what leaves. Header tokens are found by `httparse`; everything an edge must be
//! strict about on top of that is decided here and listed, with its RFC section, in [`fault`]. Of
//! HTTP/2 there are [`frames`], the compression of heads, [`hpack`], and a connection with its
//! streams, [`h2`].

pub mod chunked;
pub mod encode;
pub mod fault;
pub mod frames;
pub mod framing;
pub mod grpc;
pub mod h2;
pub mod head;
pub mod hpack;
pub mod known;
pub mod pairs;
pub mod remains;
pub mod request;
pub mod response;
pub mod scan;
pub mod trailers;
mod words;

pub use chunked::{ChunkedDecoder, Sender};
pub use fault::{Fault, ResponseFault};
pub use framing::Framing;
pub use head::{Fields, RequestHead, ResponseHead, Version};
pub use known::Known;
