//! What operators are told of exchanges that did not end well: a log line each, and the last ones
//! of every code for `/refusals`.
//!
//! A client can cause any number of them, so each worker writes a few lines per kind and second and
//! counts the rest, and remembers a few per code and second.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::ledger::Ledger;
use super::process::unix_seconds;
use crate::clock::{self, Instant};
use crate::endpoint::Endpoint;
use crate::exchange::outcome::Cause;
use crate::exchange::{Deadline, Outcome};
use crate::wire::{Known, RequestHead};

/// Lines per kind, second and worker.
const LINES: u32 = 10;
/// The most that is written of a text that a client chose, in bytes.
const LONGEST: usize = 256;

/// The lines of one kind that a worker has written in the current second.
#[derive(Debug, Default)]
struct Quota {
    since: Cell<Option<Instant>>,
    written: Cell<u32>,
    dropped: Cell<u64>,
}

impl Quota {
    fn is_over(&self, now: Instant) -> bool {
        let since = self.since.get();
        since.is_none_or(|since| now.saturating_duration_since(since) >= Duration::from_secs(1))
    }

    fn take_line(&self, now: Instant) -> Option<u64> {
        if self.is_over(now) {
            self.since.set(Some(now));
            self.written.set(0);
        }
        if self.written.get() >= LINES {
            self.dropped.set(self.dropped.get() + 1);
            return None;
        }
        self.written.set(self.written.get() + 1);
        Some(self.dropped.replace(0))
    }
}

/// The lines that a worker may still write, by their kind. Kinds are words of the program's own, so
/// there are few.
#[derive(Debug, Default)]
pub struct Quotas(RefCell<HashMap<&'static str, Quota>>);

impl Quotas {
    /// Returns whether one more line of this kind may be written; if so, how many were left out
    /// before it.
    pub fn take_line(&self, kind: &'static str, now: Instant) -> Option<u64> {
        self.0.borrow_mut().entry(kind).or_default().take_line(now)
    }

    /// Tells of lines that were left out and that no later line has told of.
    pub fn report_dropped(&self, now: Instant) {
        for (kind, quota) in self.0.borrow().iter() {
            if quota.dropped.get() > 0 && quota.is_over(now) {
                let left_out = quota.dropped.replace(0);
                tracing::info!(kind, left_out, "log lines left out");
            }
        }
    }
}

/// An exchange that did not end well, and all that is known of it.
#[derive(Debug, Clone, Copy)]
pub struct RefusedEnding<'a> {
    /// The end of the exchange.
    pub outcome: Outcome,
    /// The status in the access log.
    pub status: u16,
    /// The id of the request.
    pub request_id: &'a str,
    /// The address of the client.
    pub client: &'a str,
    /// The listener that it came in by.
    pub listener: &'a str,
    /// The head of the request, or what could be made out of it.
    pub head: &'a RequestHead,
    /// The route that matched.
    pub route: Option<&'a str>,
    /// The upstream asked last.
    pub upstream: Option<&'a str>,
    /// The server asked last.
    pub server: Option<&'a Endpoint>,
    /// The cause of the failure beyond the outcome, where known.
    pub cause: Option<&'a Cause>,
}

/// One of the last exchanges of its code that did not end well.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Remembered {
    /// The time of its end, in seconds since 1970.
    pub time: f64,
    /// The id of the request.
    pub request_id: String,
    /// The end of the exchange, in a word of the access log.
    pub outcome: &'static str,
    /// The reason, in a word.
    pub code: &'static str,
    /// The status in the access log.
    pub status: u16,
    /// The address of the client.
    pub client: String,
    /// The listener that it came in by.
    pub listener: String,
    /// The method of the request; null when that could not be read.
    pub method: Option<String>,
    /// The host it named.
    pub host: Option<String>,
    /// The path of the request, without the query.
    pub path: Option<String>,
    /// The route that matched.
    pub route: Option<String>,
    /// The upstream asked last.
    pub upstream: Option<String>,
    /// The server asked last.
    pub server: Option<String>,
    /// The address of that server.
    pub address: Option<String>,
    /// The reason, in a sentence.
    pub reason: String,
    /// The configuration key that would change it.
    pub key: Option<&'static str>,
}

impl RefusedEnding<'_> {
    /// The key that would change it.
    #[must_use]
    pub fn config_key(&self) -> Option<&'static str> {
        self.cause.and_then(|cause| cause.key).or(self.outcome.outcome_row().key)
    }

    /// Writes the log line, if its kind has not used up what it may write, and remembers it.
    #[cold]
    pub fn log_ending(&self, quotas: &Quotas, ledger: &Ledger) {
        let row = self.outcome.outcome_row();
        let Some(code) = row.code else { return };
        if self.outcome == Outcome::ClientGone {
            return;
        }
        if let Some(left_out) = quotas.take_line(code, clock::now()) {
            self.write_line(code, left_out);
        }
        ledger.remember_exchange(code, || self.remembered_exchange(code));
    }

    fn reason_text(&self) -> Cow<'_, str> {
        match (self.cause, self.outcome) {
            (Some(cause), _) => printable_text(cause.text.as_bytes()),
            (None, outcome) => outcome.reason_sentence().into(),
        }
    }

    fn write_line(&self, code: &'static str, left_out: u64) {
        let (client, listener, request_id) = (self.client, self.listener, self.request_id);
        let said = self.said_line();
        let (method, host, path) =
            (said.method.as_deref(), said.host.as_deref(), said.path.as_deref());
        let (route, upstream) = (self.route, self.upstream);
        let server = self.server.map(|server| &*server.name);
        let address = self.server.map(Endpoint::where_it_is);
        let (status, key) = (self.status, self.config_key());
        let cause = &*self.reason_text();
        // Texts are recorded as such: what is written of them is quoted and escaped.
        macro_rules! line {
            ($level:ident, $what:literal) => {
                tracing::$level!(
                    status, code, client, listener, method, host, path, route, upstream, server,
                    address, cause, key, request_id, left_out, $what
                )
            };
        }
        match self.outcome {
            Outcome::Refused(_) if status >= 500 => line!(warn, "request refused"),
            Outcome::Refused(_) => line!(info, "request refused"),
            Outcome::ServerCut(_) => line!(warn, "response cut by the server"),
            Outcome::Timeout(Deadline::Tunnel) => line!(info, "tunnel ended by a timeout"),
            Outcome::Timeout(_) => line!(warn, "response ended by a timeout"),
            Outcome::ProxyCut(_) => line!(warn, "response cut by the proxy"),
            Outcome::Whole | Outcome::ClientGone => {}
        }
    }

    fn said_line(&self) -> SaidLine<'_> {
        let head = self.head;
        let path = head.target().split(|byte| *byte == b'?').next().unwrap_or_default();
        let text =
            |bytes: &'_ [u8]| (!bytes.is_empty()).then(|| printable_text(bytes).into_owned());
        SaidLine {
            method: (!head.method().is_empty()).then(|| printable_text(head.method())),
            host: text(head.fields.first(Known::Host).unwrap_or_default()),
            path: text(path),
        }
    }

    fn remembered_exchange(&self, code: &'static str) -> Remembered {
        let SaidLine { method, host, path } = self.said_line();
        Remembered {
            time: unix_seconds(clock::wall()),
            request_id: printable_text(self.request_id.as_bytes()).into_owned(),
            outcome: self.outcome.outcome_row().outcome,
            code,
            status: self.status,
            client: self.client.to_owned(),
            listener: self.listener.to_owned(),
            method: method.map(Cow::into_owned),
            host,
            path,
            route: self.route.map(str::to_owned),
            upstream: self.upstream.map(str::to_owned),
            server: self.server.map(|server| server.name.to_string()),
            address: self.server.map(Endpoint::where_it_is),
            reason: self.reason_text().into_owned(),
            key: self.config_key(),
        }
    }
}

/// The request as far as the client told it.
struct SaidLine<'a> {
    method: Option<Cow<'a, str>>,
    host: Option<String>,
    path: Option<String>,
}

/// A text that somebody else chose: bounded, and without anything that could move a cursor or turn
/// a line around.
fn printable_text(text: &[u8]) -> Cow<'_, str> {
    let short = text.get(..LONGEST).unwrap_or(text);
    let plain = |c: char| c.is_ascii_graphic() || c == ' ' || c.is_alphanumeric();
    match String::from_utf8_lossy(short) {
        Cow::Borrowed(clean) if short.len() == text.len() && clean.chars().all(plain) => {
            Cow::Borrowed(clean)
        }
        other => {
            let mut safe = String::with_capacity(other.len() + 3);
            for c in other.chars() {
                if plain(c) { safe.push(c) } else { safe.extend(c.escape_unicode()) }
            }
            if short.len() < text.len() {
                safe.push_str("...");
            }
            Cow::Owned(safe)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_counted_instead_of_written() {
        let quotas = Quotas::default();
        let written =
            (0..100).filter(|_| quotas.take_line("flood", clock::now()).is_some()).count();
        assert_eq!(written, 10);
        assert_eq!(
            quotas.take_line("other", clock::now()),
            Some(0),
            "another kind has lines of its own"
        );
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(quotas.take_line("flood", clock::now()), Some(90));
        assert_eq!(quotas.take_line("flood", clock::now()), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_no_later_line_tells_of_is_reported_once() {
        let quotas = Quotas::default();
        let left_out = |quotas: &Quotas| quotas.0.borrow()["flood"].dropped.get();
        for _ in 0..15 {
            let _written = quotas.take_line("flood", clock::now());
        }
        quotas.report_dropped(clock::now());
        assert_eq!(left_out(&quotas), 5, "the second is not over");
        tokio::time::advance(Duration::from_secs(1)).await;
        quotas.report_dropped(clock::now());
        assert_eq!(left_out(&quotas), 0);
    }

    #[test]
    fn what_others_chose_cannot_leave_its_place() {
        assert_eq!(printable_text(b"/a b%20\"\\"), "/a b%20\"\\");
        assert_eq!(printable_text("/ü\u{202e}\x1b[1m\n".as_bytes()), "/ü\\u{202e}\\u{1b}[1m\\u{a}");
        assert_eq!(printable_text(b"\xff"), "\\u{fffd}");
        assert_eq!(printable_text(&[b'a'; 300]), format!("{}...", "a".repeat(256)));
    }
}
