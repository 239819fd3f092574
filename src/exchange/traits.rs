//! The traits of a request that decide how it is forwarded, whoever sent it: a client, or the proxy
//! on its own behalf.

use std::time::Duration;

use super::deadline::Deadline;
use super::outcome::Note;
use super::request_id::RequestId;
use crate::clock::{self, Instant};
use crate::net::Ends;
use crate::wire::Fields;

/// A limit on the body of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimit {
    /// The most that it may have.
    pub bytes: u64,
    /// The configuration key that says so.
    pub key: &'static str,
}

/// The longest waits for a client in the middle of an exchange; `None` waits without end.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClientGaps {
    /// Between two parts of the request body.
    pub body: Option<Duration>,
    /// Between two movements of the client while a response is written
    /// ([`super::write_wait`]).
    pub write: Option<Duration>,
}

/// The traits of one request. They do not change between attempts.
#[derive(Debug)]
pub struct RequestTraits<'a> {
    /// The id, for the log.
    pub id: &'a RequestId<'a>,
    /// The beginning of the exchange.
    pub started: Instant,
    /// The moment at which the client stops waiting, if it said so.
    pub deadline: Option<Instant>,
    /// The method is `HEAD`.
    pub head_request: bool,
    /// The method is safe: it asks for nothing but an answer.
    pub safe: bool,
    /// Sending it twice does no harm.
    pub repeatable: bool,
    /// True for a call of gRPC.
    pub grpc: bool,
    /// The client waits for 100 before it sends the body.
    pub expects_continue: bool,
    /// The protocol the client wants to switch to.
    pub upgrade: Option<&'a [u8]>,
    /// The fields as they were received; `None` for what the proxy made itself.
    pub received: Option<&'a Fields>,
    /// The two ends of the client's connection, for servers that are told.
    pub ends: Option<&'a Ends>,
    /// The limit on the body.
    pub body_limit: BodyLimit,
    /// The waits for the client.
    pub gaps: ClientGaps,
    /// The note of the cause of a failure, for the log.
    pub cause: &'a Note,
}

impl<'a> RequestTraits<'a> {
    /// Those of a request that begins now and that no client waits for: with a body that is there
    /// already, because of the configuration key `key`. It is neither safe nor repeatable.
    #[must_use]
    pub fn detached(id: &'a RequestId<'a>, key: &'static str, cause: &'a Note) -> Self {
        Self {
            id,
            started: clock::now(),
            deadline: None,
            head_request: false,
            safe: false,
            repeatable: false,
            grpc: false,
            expects_continue: false,
            upgrade: None,
            received: None,
            ends: None,
            body_limit: BodyLimit { bytes: u64::MAX, key },
            gaps: ClientGaps::default(),
            cause,
        }
    }

    /// The end of the exchange with `timeout.total`, and what sets it.
    #[must_use]
    pub fn end(&self, total: Option<Duration>) -> (Option<Instant>, Deadline) {
        let total = clock::deadline(self.started, total);
        match (total, self.deadline) {
            (total, Some(told)) if total.is_none_or(|total| told < total) => {
                (Some(told), Deadline::Client)
            }
            (total, _) => (total, Deadline::Total),
        }
    }
}
