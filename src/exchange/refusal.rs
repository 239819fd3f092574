//! Every answer the proxy gives itself: status, stable code, title, and the configuration key that
//! would change it. One row each; clients and dashboards rely on the codes.

use serde::Serialize;
use thiserror::Error;

use super::deadline::Deadline;
use crate::exchange::target::TargetFault;
use crate::wire::Fault;

/// A reason why an exchange was not answered by a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The bytes are not an acceptable HTTP request.
    #[error("{0}")]
    Malformed(Fault),
    /// The request target or `Host` makes no sense.
    #[error("{0}")]
    Target(TargetFault),
    /// The head makes no sense otherwise; says why.
    #[error("{0}")]
    BadRequest(&'static str),
    /// What a redirect or a rewrite makes of the target is longer than a head may be: filled in
    /// several times, a path grows (RFC 9110 §15.5.15).
    #[error("the request target is too long for what is made of it")]
    MadeTooLong,
    /// The head or the body did not arrive in time.
    #[error("the request was not completed in time")]
    RequestTimeout(Deadline),
    /// `TRACE`, `CONNECT`.
    #[error("the method is not allowed here")]
    Method,
    /// An `Expect` other than `100-continue`.
    #[error("the expectation cannot be met")]
    Expectation,
    /// A WebSocket handshake of another version.
    #[error("websocket version 13 is required")]
    WebSocketVersion,
    /// No route matches.
    #[error("no route matches the request")]
    NoRoute,
    /// The client is not known.
    #[error("valid credentials are required")]
    Unauthenticated,
    /// The client is known and may not.
    #[error("the client may not do this")]
    NotAllowed,
    /// Nobody can say who the client is.
    #[error("credentials cannot be verified now")]
    AuthUnavailable,
    /// More requests than the rate allows.
    #[error("too many requests in this time")]
    RateLimited,
    /// The state that is shared between instances cannot be asked.
    #[error("the shared rate limit cannot be reached")]
    LimitUnavailable,
    /// More requests at a time than allowed.
    #[error("too many requests at a time")]
    ConcurrencyLimited,
    /// The request body exceeds a limit; carries its key.
    #[error("the request body is larger than allowed")]
    BodyTooLarge(&'static str),
    /// The upstream has no server that can be used; says why.
    #[error("{0}")]
    NoServer(NoServerReason),
    /// The host is not one of the certificate that the client was shown.
    #[error("the host does not belong to this TLS connection: connect to it by its own name")]
    Misdirected,
    /// As many connections are open as may be, and none of them is idle.
    #[error("as many connections are open as may be, and none of them is idle")]
    Crowded,
    /// The client has as many connections open as one may have.
    #[error("this client has as many connections open as one may have")]
    ClientConnections,
    /// Requests under way hold as much memory as they may.
    #[error("requests under way hold as much memory as they may")]
    Overloaded,
    /// As many requests wait for a server as may.
    #[error("all servers are busy and the queue is full")]
    QueueFull,
    /// No server had room in time.
    #[error("all servers were busy for too long")]
    QueueTimeout,
    /// The circuit breaker is open.
    #[error("the circuit breaker is open after failures of the servers")]
    BreakerOpen,
    /// Connecting to the server failed.
    #[error("could not connect to a server")]
    Connect,
    /// The server took too long; carries the timeout's key.
    #[error("the server did not answer {}", deadline_phrase(*.0))]
    UpstreamTimeout(Deadline),
    /// The server closed the connection before it answered.
    #[error("the server closed the connection without an answer")]
    UpstreamClosed,
    /// The server's answer is not a valid response.
    #[error("the server sent an invalid response")]
    UpstreamInvalid,
    /// The request has been through this route before, or through more proxies than it may (RFC
    /// 5842 §7.2).
    #[error("the request has come back to where it was sent from")]
    Loop,
    /// The client wants a stored response or none (`only-if-cached`, RFC 9111 §5.2.1.7).
    #[error("no stored response can be used, and the request allows no other")]
    NotCached,
    /// The route is closed to all but a few clients for a while.
    #[error("closed for maintenance")]
    Maintenance,
    /// A route that serves files has none for the request.
    #[error("{0}")]
    File(FileFault),
    /// A defect in the proxy itself; only this request is lost.
    #[error("internal error")]
    Internal,
}

/// Tells which deadline has passed, as far as a client is told: its own, or one.
fn deadline_phrase(deadline: Deadline) -> &'static str {
    if deadline == Deadline::Client { "within grpc-timeout" } else { "in time" }
}

/// A reason why no server was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NoServerReason {
    /// No servers: an empty list, or a subset nobody belongs to.
    #[error("there is no server")]
    Nobody,
    /// The usable ones have as many requests as they may have.
    #[error("all servers are busy")]
    Full,
    /// The usable ones already failed this request.
    #[error("all servers failed this request")]
    Tried,
    /// The strategy binds the request to no server or to one that cannot be used.
    #[error("the request has no key, or its server cannot be used")]
    Bound,
    /// Active checks failed everywhere, or have not ended yet.
    #[error("no server is healthy")]
    Unhealthy,
    /// The names of all of them lead nowhere.
    #[error("the name of no server leads to an address")]
    Unresolved,
    /// All were ejected, or are unhealthy otherwise.
    #[error("all servers were ejected after failures")]
    Ejected,
    /// Nothing new is sent to any of them.
    #[error("all servers are draining or disabled")]
    Draining,
}

/// The reason why there is no file for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FileFault {
    /// A method other than `GET` and `HEAD`.
    #[error("files can be read only")]
    Method,
    /// No such file.
    #[error("there is no such file")]
    Missing,
    /// Not to be read.
    #[error("the file may not be read")]
    Forbidden,
    /// Not to be read now.
    #[error("the file cannot be read now")]
    Unavailable,
    /// Not the one that the client means (RFC 9110 §15.5.13).
    #[error("the file is another one by now")]
    Changed,
    /// Not that long (RFC 9110 §15.5.17).
    #[error("the file is not that long")]
    Range,
}

/// A refusal as it looks from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusalRow {
    /// HTTP status.
    pub status: u16,
    /// Stable machine-readable code.
    pub code: &'static str,
    /// Short text for people; the same for all refusals with this code.
    pub title: &'static str,
    /// The configuration key that would change it, for the log.
    pub key: Option<&'static str>,
}

impl Refusal {
    /// The row of this refusal.
    #[must_use]
    pub fn row(self) -> RefusalRow {
        let (status, code, title, key) = match self {
            Refusal::Malformed(fault) => return malformed_row(fault),
            Refusal::Target(fault) => (400, "bad_request", "Bad request", target_key(fault)),
            Refusal::BadRequest(_) => (400, "bad_request", "Bad request", None),
            Refusal::MadeTooLong => return malformed_row(Fault::TargetTooLong),
            Refusal::RequestTimeout(of) => {
                (408, "request_timeout", "The request took too long to arrive", of.config_key())
            }
            Refusal::Method => (405, "method_not_allowed", "Method not allowed", None),
            Refusal::Expectation => (417, "expectation_failed", "Expectation failed", None),
            Refusal::WebSocketVersion => (426, "upgrade_required", "Upgrade required", None),
            Refusal::Misdirected => (
                421,
                "misdirected_request",
                "Wrong host for this connection",
                Some("listen.strict.sni"),
            ),
            Refusal::NoRoute => (404, "no_route", "No route", Some("route")),
            Refusal::Unauthenticated => {
                (401, "auth_required", "Authentication required", Some("auth"))
            }
            Refusal::NotAllowed => (403, "not_allowed", "Not allowed", Some("auth")),
            Refusal::AuthUnavailable => {
                (503, "auth_unavailable", "Authentication unavailable", Some("auth"))
            }
            Refusal::RateLimited => (429, "rate_limited", "Too many requests", Some("limit")),
            Refusal::LimitUnavailable => {
                (503, "limit_unavailable", "Rate limit unavailable", Some("redis.on_error"))
            }
            Refusal::ConcurrencyLimited => (
                429,
                "concurrency_limited",
                "Too many requests at a time",
                Some("route.concurrency"),
            ),
            Refusal::BodyTooLarge(key) => {
                (413, "body_too_large", "Request body too large", Some(key))
            }
            Refusal::NoServer(miss) => return no_server(miss),
            Refusal::Crowded => return overloaded_row("listen.limits.connections"),
            Refusal::ClientConnections => (
                429,
                "too_many_connections",
                "Too many connections",
                Some("listen.limits.connections_per_client"),
            ),
            Refusal::Overloaded => return overloaded_row("runtime.request_memory"),
            Refusal::QueueFull => {
                (503, "queue_full", "Queue full", Some("upstream.limits.pending"))
            }
            Refusal::QueueTimeout => {
                (503, "queue_timeout", "Queue timeout", Some("upstream.limits.pending_timeout"))
            }
            Refusal::BreakerOpen => {
                (503, "breaker_open", "Circuit breaker open", Some("upstream.breaker"))
            }
            Refusal::Connect => {
                (502, "upstream_connect", "Could not reach the server", Some("upstream.servers"))
            }
            Refusal::UpstreamTimeout(deadline) => {
                (504, "upstream_timeout", "The server took too long", deadline.config_key())
            }
            Refusal::UpstreamClosed => {
                (502, "upstream_closed", "The server closed the connection", Some("upstream.retry"))
            }
            Refusal::UpstreamInvalid => {
                (502, "upstream_invalid", "The server sent an invalid response", None)
            }
            Refusal::Loop => (508, "loop_detected", "Loop detected", Some("upstream.servers")),
            Refusal::NotCached => (504, "not_cached", "Not in the cache", Some("route.cache")),
            Refusal::Maintenance => {
                (503, "in_maintenance", "Closed for maintenance", Some("route.maintenance"))
            }
            Refusal::File(fault) => return file_row(fault),
            Refusal::Internal => (500, "internal_error", "Internal error", None),
        };
        RefusalRow { status, code, title, key }
    }

    /// Returns whether something is full that may have room a moment later, of which the client is
    /// told with `Retry-After`. One of a rate limit says when itself.
    #[must_use]
    pub fn is_of_a_limit(self) -> bool {
        matches!(
            self,
            Refusal::Crowded
                | Refusal::ClientConnections
                | Refusal::Overloaded
                | Refusal::ConcurrencyLimited
                | Refusal::QueueFull
                | Refusal::QueueTimeout
                | Refusal::NoServer(NoServerReason::Full)
                | Refusal::File(FileFault::Unavailable)
        )
    }

    /// Returns whether the connection cannot be used for another request: nobody knows where one
    /// starts.
    #[must_use]
    pub fn closes_connection(self) -> bool {
        match self {
            Refusal::Malformed(_)
            | Refusal::Target(_)
            | Refusal::BadRequest(_)
            | Refusal::RequestTimeout(_)
            | Refusal::Method
            | Refusal::Expectation
            | Refusal::BodyTooLarge(_)
            | Refusal::Crowded
            | Refusal::ClientConnections
            | Refusal::Internal => true,
            Refusal::WebSocketVersion
            | Refusal::MadeTooLong
            | Refusal::Unauthenticated
            | Refusal::NotAllowed
            | Refusal::AuthUnavailable
            | Refusal::RateLimited
            | Refusal::LimitUnavailable
            | Refusal::ConcurrencyLimited
            | Refusal::Misdirected
            | Refusal::NoRoute
            | Refusal::NoServer(_)
            | Refusal::Overloaded
            | Refusal::QueueFull
            | Refusal::QueueTimeout
            | Refusal::BreakerOpen
            | Refusal::Connect
            | Refusal::UpstreamTimeout(_)
            | Refusal::UpstreamClosed
            | Refusal::UpstreamInvalid
            | Refusal::Loop
            | Refusal::NotCached
            | Refusal::File(_)
            | Refusal::Maintenance => false,
        }
    }

    /// The body of the answer, `application/problem+json` (RFC 9457).
    #[must_use]
    pub fn problem_body(self, request_id: &str) -> Vec<u8> {
        let RefusalRow { status, code, title, key: _ } = self.row();
        let detail = self.to_string();
        Problem { status, title, code, detail: &detail, request_id }.problem_document()
    }
}

/// A problem document (RFC 9457).
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Problem<'a> {
    /// The status of the answer.
    pub status: u16,
    /// Short text for people; the same for all with this code.
    pub title: &'a str,
    /// Stable machine-readable code.
    pub code: &'a str,
    /// Text for people about this very answer.
    pub detail: &'a str,
    /// The request's id.
    pub request_id: &'a str,
}

impl Problem<'_> {
    /// The document, with a line end.
    #[must_use]
    pub fn problem_document(&self) -> Vec<u8> {
        let mut body = serde_json::to_vec(self).unwrap_or_default();
        body.push(b'\n');
        body
    }
}

fn overloaded_row(key: &'static str) -> RefusalRow {
    RefusalRow { status: 503, code: "proxy_overloaded", title: "Proxy overloaded", key: Some(key) }
}

fn file_row(fault: FileFault) -> RefusalRow {
    let root = Some("route.files.root");
    let (status, code, title, key) = match fault {
        FileFault::Method => (405, "method_not_allowed", "Method not allowed", Some("route.files")),
        FileFault::Missing => (404, "file_not_found", "File not found", root),
        FileFault::Forbidden => (403, "file_forbidden", "File not readable", root),
        FileFault::Unavailable => (503, "file_unavailable", "File not available", root),
        FileFault::Changed => (412, "precondition_failed", "Precondition failed", None),
        FileFault::Range => (416, "range_not_satisfiable", "Range not satisfiable", None),
    };
    RefusalRow { status, code, title, key }
}

fn no_server(miss: NoServerReason) -> RefusalRow {
    let (code, title, key) = match miss {
        NoServerReason::Nobody => ("no_server", "No server", "upstream.servers"),
        NoServerReason::Unhealthy | NoServerReason::Full | NoServerReason::Tried => {
            ("no_healthy_server", "No healthy server", "upstream.health")
        }
        NoServerReason::Unresolved => {
            ("no_healthy_server", "No healthy server", "upstream.servers")
        }
        NoServerReason::Ejected => ("servers_ejected", "All servers are ejected", "upstream.eject"),
        NoServerReason::Draining => {
            ("servers_draining", "All servers are draining", "upstream.servers")
        }
        NoServerReason::Bound => {
            ("no_server_for_key", "No server for this key", "upstream.balance")
        }
    };
    RefusalRow { status: 503, code, title, key: Some(key) }
}

/// The key that lets a target pass that is refused.
fn target_key(fault: TargetFault) -> Option<&'static str> {
    match fault {
        TargetFault::Escape | TargetFault::Ambiguous => Some("route.path_encoding"),
        TargetFault::NotNormal => Some("listen.strict.path"),
        TargetFault::Form
        | TargetFault::Character
        | TargetFault::AboveRoot
        | TargetFault::DotSegment
        | TargetFault::HostCount
        | TargetFault::Host
        | TargetFault::HostMismatch => None,
    }
}

fn malformed_row(fault: Fault) -> RefusalRow {
    let status = fault.status();
    let (code, title, key) = match status {
        414 => ("uri_too_long", "Request target too long", Some("listen.limits.header_bytes")),
        431 if fault == Fault::TooManyFields => {
            ("headers_too_large", "Request header fields too large", Some("listen.limits.headers"))
        }
        431 => (
            "headers_too_large",
            "Request header fields too large",
            Some("listen.limits.header_bytes"),
        ),
        400 if fault == Fault::Tls => ("bad_request", "Bad request", Some("listen.tls")),
        501 => ("not_implemented", "Not implemented", None),
        _ if fault == Fault::Underscore => {
            ("bad_request", "Bad request", Some("listen.strict.underscores"))
        }
        505 => ("version_not_supported", "HTTP version not supported", None),
        _ => ("bad_request", "Bad request", None),
    };
    RefusalRow { status, code, title, key }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_the_contract_are_pinned() {
        let rows = [
            (Refusal::NoRoute, 404, "no_route"),
            (Refusal::NoServer(NoServerReason::Unhealthy), 503, "no_healthy_server"),
            (Refusal::NoServer(NoServerReason::Unresolved), 503, "no_healthy_server"),
            (Refusal::Connect, 502, "upstream_connect"),
            (Refusal::UpstreamTimeout(Deadline::FirstByte), 504, "upstream_timeout"),
            (Refusal::Loop, 508, "loop_detected"),
            (Refusal::BodyTooLarge("x"), 413, "body_too_large"),
            (Refusal::BadRequest("x"), 400, "bad_request"),
            (Refusal::Malformed(Fault::BareLf), 400, "bad_request"),
            (Refusal::Malformed(Fault::TooManyFields), 431, "headers_too_large"),
        ];
        for (refusal, status, code) in rows {
            assert_eq!((refusal.row().status, refusal.row().code), (status, code));
        }
    }

    #[test]
    fn the_body_is_a_problem_document() {
        let body = Refusal::NoRoute.problem_body("r-1");
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value["status"], 404);
        assert_eq!(value["code"], "no_route");
        assert_eq!(value["title"], "No route");
        assert_eq!(value["request_id"], "r-1");
    }
}
