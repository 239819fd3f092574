//! What a failed attempt says of the request and the server.

use crate::exchange::{Deadline, Refusal};

/// A reason for an attempt's failure before any response was passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection; nothing was sent.
    Connect,
    /// No connection in time; nothing was sent.
    ConnectTimeout,
    /// No connection, for want of something of the proxy's own: descriptors, ports, memory. Nothing
    /// was sent, and nothing is known about the server.
    NoSocket,
    /// The server says that it did not process the request (RFC 9113 §6.8, §8.7).
    Unprocessed,
    /// A kept-alive connection turned out to be dead: closed without a byte of an answer.
    Stale {
        /// True if the server provably did not process the request.
        unprocessed: bool,
    },
    /// A reused connection on which the server did not ask for the body; it was not sent.
    Unasked,
    /// A fresh connection was closed without an answer.
    Closed,
    /// The server calls the request malformed and gives no other answer (RFC 9113 §8.1.1). What a
    /// client made malformed is the same everywhere.
    Rejected,
    /// No answer in time; carries the key.
    Timeout(Deadline),
    /// The answer is not a valid response.
    Invalid,
    /// A response with a status that counts as a failure.
    Status(u16),
    /// A gRPC call that ended with this status, which is not 0, before its first message.
    Grpc(u8),
}

impl Failure {
    /// Returns what a client is told when nothing else can be done. `None` for a response that can
    /// be passed on.
    #[must_use]
    pub fn to_refusal(self) -> Option<Refusal> {
        match self {
            Failure::Connect | Failure::NoSocket => Some(Refusal::Connect),
            Failure::ConnectTimeout => Some(Refusal::UpstreamTimeout(Deadline::Connect)),
            Failure::Stale { .. }
            | Failure::Unprocessed
            | Failure::Unasked
            | Failure::Closed
            | Failure::Rejected => Some(Refusal::UpstreamClosed),
            Failure::Timeout(deadline) => Some(Refusal::UpstreamTimeout(deadline)),
            Failure::Invalid => Some(Refusal::UpstreamInvalid),
            Failure::Status(_) | Failure::Grpc(_) => None,
        }
    }

    /// Returns whether the server provably did not process the request.
    #[must_use]
    pub fn is_unprocessed(self) -> bool {
        match self {
            Failure::Connect
            | Failure::ConnectTimeout
            | Failure::NoSocket
            | Failure::Unprocessed
            | Failure::Unasked => true,
            Failure::Stale { unprocessed } => unprocessed,
            Failure::Closed
            | Failure::Rejected
            | Failure::Timeout(_)
            | Failure::Invalid
            | Failure::Status(_)
            | Failure::Grpc(_) => false,
        }
    }
}

/// The reasons for sending requests once more, by [`Failure::reason_index`].
pub const REASONS: [&str; 9] =
    ["connect", "timeout", "reset", "invalid", "status", "grpc", "stale", "unasked", "unprocessed"];

impl Failure {
    /// The place of the reason in [`REASONS`].
    #[must_use]
    pub fn reason_index(self) -> usize {
        match self {
            Failure::Connect | Failure::ConnectTimeout | Failure::NoSocket => 0,
            Failure::Timeout(_) => 1,
            Failure::Closed | Failure::Rejected => 2,
            Failure::Invalid => 3,
            Failure::Status(_) => 4,
            Failure::Grpc(_) => 5,
            Failure::Stale { .. } => 6,
            Failure::Unasked => 7,
            Failure::Unprocessed => 8,
        }
    }
}
