//! The deadlines that can end an exchange. What a passed one means is decided by which it is, never
//! by the key that sets it: the key is for logs.

/// A deadline of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// Until the head of the request is there.
    RequestHead,
    /// Between two parts of the request's body.
    RequestBody,
    /// Between two movements of the client while a response is written.
    ClientWrite,
    /// Until the server is connected to.
    Connect,
    /// Between two movements of the server while a request is written.
    Send,
    /// From the end of the request to the end of the response's head.
    FirstByte,
    /// Between two parts of the response's body.
    Gap,
    /// One attempt.
    PerTry,
    /// The whole exchange.
    Total,
    /// The client's own, told in `grpc-timeout`.
    Client,
    /// Until something comes through a tunnel.
    Tunnel,
}

impl Deadline {
    /// The configuration key that sets it; `None` for those that no key does.
    #[must_use]
    pub fn config_key(self) -> Option<&'static str> {
        match self {
            Deadline::RequestHead => Some("listen.timeout.headers"),
            Deadline::RequestBody => Some("listen.timeout.body_gap"),
            Deadline::ClientWrite => Some("listen.timeout.write_gap"),
            Deadline::Connect => Some("upstream.timeout.connect"),
            Deadline::Send => Some("upstream.timeout.send"),
            Deadline::FirstByte => Some("upstream.timeout.first_byte"),
            Deadline::Gap => Some("upstream.timeout.gap"),
            Deadline::PerTry => Some("upstream.retry.per_try"),
            Deadline::Total => Some("upstream.timeout.total"),
            Deadline::Tunnel => Some("upstream.timeout.tunnel"),
            Deadline::Client => None,
        }
    }

    /// The stable code of a response that it ended.
    pub(super) fn stable_code(self) -> &'static str {
        match self {
            Deadline::Gap => "gap_timeout",
            Deadline::ClientWrite => "write_timeout",
            Deadline::Total => "total_timeout",
            Deadline::Client => "client_deadline",
            Deadline::Tunnel => "tunnel_timeout",
            Deadline::RequestHead
            | Deadline::RequestBody
            | Deadline::Connect
            | Deadline::Send
            | Deadline::FirstByte
            | Deadline::PerTry => "response_timeout",
        }
    }
}
