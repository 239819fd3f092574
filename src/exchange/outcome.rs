//! The ways in which an exchange ends. There is one list of them; the access log, the log, the
//! counters, traces and `/refusals` all say what it says.
//!
//! [`Outcome::outcome_row`] is the table: a word, a stable code and the configuration key that
//! would change it. HAProxy's termination states and Envoy's response flags tell the same in
//! letters.

use std::cell::RefCell;
use std::fmt::Display;

use super::deadline::Deadline;
use super::refusal::Refusal;

/// The end of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The client was sent everything that there was to send.
    Whole,
    /// The client closed its connection, or reset its stream, before it had everything.
    ClientGone,
    /// The server ended its response in the middle of it.
    ServerCut(Cut),
    /// A deadline ended a response that had begun.
    Timeout(Deadline),
    /// The proxy answered itself.
    Refused(Refusal),
    /// The proxy ended a response in the middle of it.
    ProxyCut(Halt),
}

/// The way in which a server ended a response in the middle of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The connection was closed in an orderly way, or the stream ended, before the announced end
    /// of the body.
    Closed,
    /// The connection or the stream was reset.
    Reset,
    /// The framing of the body was invalid.
    Invalid,
}

/// A reason for the proxy to end a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Halt {
    /// The process ended, and a drain lasts no longer.
    Drain,
    /// A defect of the proxy.
    Defect,
    /// The client had taken nothing for a while, and others needed the memory that was held for it.
    Stalled,
    /// The refusal that would have been the answer, had the response not begun.
    Refusal(Refusal),
}

/// The words for an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutcomeRow {
    /// One of [`OUTCOMES`].
    pub outcome: &'static str,
    /// A stable code for programs; `None` for [`Outcome::Whole`] alone.
    pub code: Option<&'static str>,
    /// The configuration key that would change it, if one would.
    pub key: Option<&'static str>,
}

/// The words of all outcomes, by [`Outcome::index`].
pub const OUTCOMES: [&str; 6] =
    ["whole", "client_gone", "server_cut", "timeout", "refused", "proxy_cut"];

/// The reasons of `tidegate_server_cuts_total`, by [`Outcome::cut_index`].
pub const CUTS: [&str; 4] = ["closed", "reset", "invalid", "timeout"];

impl Outcome {
    /// The place of its word in [`OUTCOMES`].
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Outcome::Whole => 0,
            Outcome::ClientGone => 1,
            Outcome::ServerCut(_) => 2,
            Outcome::Timeout(_) => 3,
            Outcome::Refused(_) => 4,
            Outcome::ProxyCut(_) => 5,
        }
    }

    /// The place in [`CUTS`] of a response that its server did not end as it should; `None` for all
    /// others.
    #[must_use]
    pub fn cut_index(self) -> Option<usize> {
        match self {
            Outcome::ServerCut(Cut::Closed) => Some(0),
            Outcome::ServerCut(Cut::Reset) => Some(1),
            Outcome::ServerCut(Cut::Invalid) => Some(2),
            Outcome::Timeout(Deadline::Gap | Deadline::Total) => Some(3),
            Outcome::Whole
            | Outcome::ClientGone
            | Outcome::Timeout(_)
            | Outcome::Refused(_)
            | Outcome::ProxyCut(_) => None,
        }
    }

    /// Returns the words for it.
    #[must_use]
    pub fn outcome_row(self) -> OutcomeRow {
        let (code, key) = match self {
            Outcome::Whole => (None, None),
            Outcome::ClientGone => (Some("client_closed"), None),
            Outcome::ServerCut(cut) => (Some(cut.stable_code()), Some("upstream.eject")),
            Outcome::Timeout(deadline) => (Some(deadline.stable_code()), deadline.config_key()),
            Outcome::Refused(refusal) | Outcome::ProxyCut(Halt::Refusal(refusal)) => {
                let row = refusal.row();
                (Some(row.code), row.key)
            }
            Outcome::ProxyCut(Halt::Drain) => (Some("proxy_stopped"), Some("runtime.drain")),
            Outcome::ProxyCut(Halt::Defect) => (Some("internal_error"), None),
            Outcome::ProxyCut(Halt::Stalled) => {
                (Some("client_stalled"), Some("runtime.request_memory"))
            }
        };
        OutcomeRow { outcome: OUTCOMES.get(self.index()).copied().unwrap_or_default(), code, key }
    }

    /// A sentence for people.
    #[must_use]
    pub fn reason_sentence(self) -> String {
        match self {
            Outcome::Whole => "the client has everything".to_owned(),
            Outcome::ClientGone => "the client closed its connection".to_owned(),
            Outcome::ServerCut(Cut::Closed) => {
                "the server closed the connection inside its response".to_owned()
            }
            Outcome::ServerCut(Cut::Reset) => "the server reset its response".to_owned(),
            Outcome::ServerCut(Cut::Invalid) => {
                "the framing of the server's response is invalid".to_owned()
            }
            Outcome::Timeout(Deadline::ClientWrite) => {
                "the client took nothing for too long".to_owned()
            }
            Outcome::Timeout(Deadline::Total) => "the exchange took longer than it may".to_owned(),
            Outcome::Timeout(Deadline::Client) => "the client's deadline has passed".to_owned(),
            Outcome::Timeout(Deadline::Tunnel) => "nothing came through the tunnel".to_owned(),
            Outcome::Timeout(_) => "the server sent nothing for too long".to_owned(),
            Outcome::Refused(refusal) | Outcome::ProxyCut(Halt::Refusal(refusal)) => {
                refusal.to_string()
            }
            Outcome::ProxyCut(Halt::Drain) => "the process ended".to_owned(),
            Outcome::ProxyCut(Halt::Defect) => "a defect of the proxy".to_owned(),
            Outcome::ProxyCut(Halt::Stalled) => {
                "the client took nothing while others needed the memory".to_owned()
            }
        }
    }

    /// The status of HTTP that would tell it, to be turned into one of gRPC.
    #[must_use]
    pub fn http_status(self) -> u16 {
        match self {
            Outcome::Whole => 200,
            Outcome::ClientGone => 499,
            Outcome::ServerCut(_) => 502,
            Outcome::Timeout(_) => 504,
            Outcome::Refused(refusal) | Outcome::ProxyCut(Halt::Refusal(refusal)) => {
                refusal.row().status
            }
            Outcome::ProxyCut(Halt::Drain | Halt::Stalled) => 503,
            Outcome::ProxyCut(Halt::Defect) => 500,
        }
    }
}

impl Cut {
    fn stable_code(self) -> &'static str {
        match self {
            Cut::Closed => "response_truncated",
            Cut::Reset => "response_reset",
            Cut::Invalid => "response_invalid",
        }
    }
}

/// The last failure of an exchange in words that no client is told: the system's, or those of TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The words.
    pub text: Box<str>,
    /// The configuration key that would change it, where it is another one than the outcome's.
    pub key: Option<&'static str>,
}

/// The note of the cause of an exchange's last failure. Nothing is allocated unless something
/// fails.
#[derive(Debug, Default)]
pub struct Note(RefCell<Option<Cause>>);

impl Note {
    /// Notes it, in the place of an earlier one.
    #[cold]
    pub fn set_cause(&self, text: impl Display, key: Option<&'static str>) {
        *self.0.borrow_mut() = Some(Cause { text: text.to_string().into(), key });
    }

    /// Forgets it: what follows is another attempt.
    pub fn clear_cause(&self) {
        self.0.take();
    }

    /// Takes what was noted last.
    #[must_use]
    pub fn take_cause(&self) -> Option<Cause> {
        self.0.take()
    }
}

#[cfg(test)]
mod tests;
