//! Asks servers that did not take a connection whether they take one again.
//!
//! A refused connection says at once that a server is down; that it is up again has to be asked. A
//! connection that is opened and closed costs little, so it is asked soon and often, and the server
//! gets requests again long before the time of an ejection is over. What else is wrong with a
//! server, active checks and ejections find out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;

use crate::clock::{self, Instant};
use crate::endpoint::{Endpoint, standing};
use crate::net::Stream;
use crate::upstream::{Upstream, outlier};

/// The pause between two looks while servers are unreachable.
const LOOK: Duration = Duration::from_millis(100);
/// The longest time without a look while none is known to be: that one is rings.
const SELDOM: Duration = Duration::from_mins(1);
/// The longest pause between two questions to one server; the first one is a look long.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// The time that a server may take to accept.
const PATIENCE: Duration = Duration::from_secs(1);
/// Questions under way at a time; the others wait for the next look.
const AT_ONCE: usize = 64;

/// The servers that do not take connections.
#[derive(Debug)]
pub(super) struct Recovery {
    upstreams: Vec<Arc<Upstream>>,
    away: HashMap<u32, AwayServer>,
    /// The moment of the next look, whatever else wakes the thread.
    look: Instant,
}

/// A server that does not take connections.
#[derive(Debug)]
struct AwayServer {
    /// The moment at which it is asked next.
    next: Instant,
    pause: Duration,
    /// The question that is under way.
    question: Option<AbortHandle>,
}

impl Recovery {
    /// Looks after nothing yet.
    pub(super) fn new(now: Instant) -> Self {
        Self { upstreams: Vec::new(), away: HashMap::new(), look: now }
    }

    /// Waits until it is time to look again, or until a server becomes unreachable where none has
    /// been.
    pub(super) async fn await_look(&self) {
        match self.away.is_empty() {
            true => tokio::select! {
                () = standing::await_lost() => {}
                () = tokio::time::sleep_until(self.look) => {}
            },
            false => tokio::time::sleep_until(self.look).await,
        }
    }

    /// Looks after the servers of these upstreams from now on.
    pub(super) fn follow_upstreams(&mut self, upstreams: Vec<Arc<Upstream>>) {
        self.upstreams = upstreams;
        self.look_soon();
    }

    /// Looks at once: there may be servers now that were unreachable before.
    pub(super) fn look_soon(&mut self) {
        self.look = clock::now();
    }

    /// Asks those that are due, and sets the time of the next look.
    pub(super) fn ask_due_servers(&mut self, now: Instant) {
        let mut before = std::mem::take(&mut self.away);
        let asked = |away: &&AwayServer| away.question.as_ref().is_some_and(|q| !q.is_finished());
        let mut room = AT_ONCE.saturating_sub(before.values().filter(asked).count());
        for upstream in &self.upstreams {
            for member in upstream.members().members() {
                let endpoint = &member.endpoint;
                let away = before.remove(&endpoint.id);
                if !endpoint.standing.reason_bits().has_any(standing::UNREACHABLE) {
                    if away.is_some() {
                        welcome_back(upstream, endpoint);
                    }
                    continue;
                }
                let first = AwayServer { next: now, pause: LOOK, question: None };
                let mut away = away.unwrap_or(first);
                let asked = away.question.as_ref().is_some_and(|q| !q.is_finished());
                if now >= away.next && !asked && room > 0 {
                    room -= 1;
                    let question = tokio::spawn(ask_again(upstream.clone(), endpoint.clone()));
                    away.question = Some(question.abort_handle());
                    away.next = now + away.pause;
                    away.pause = (away.pause * 3 / 2).min(LONGEST_PAUSE);
                }
                self.away.insert(endpoint.id, away);
            }
        }
        self.look = now + if self.away.is_empty() { SELDOM } else { LOOK };
    }
}

/// Opens a connection to a server and closes it.
async fn ask_again(upstream: Arc<Upstream>, endpoint: Arc<Endpoint>) {
    for address in &endpoint.addresses {
        let connected = tokio::time::timeout(PATIENCE, Stream::connect_to(address)).await;
        if matches!(connected, Ok(Ok(_))) {
            if endpoint.standing.mark_reached(clock::now()) {
                welcome_back(&upstream, &endpoint);
            }
            return;
        }
    }
}

/// The server takes connections again: what it was ejected for is over.
fn welcome_back(upstream: &Upstream, endpoint: &Endpoint) {
    if !outlier::readmit_server(upstream, endpoint, "it takes connections again") {
        upstream.state.queue.release_all();
        let (upstream, server) = (&upstream.name, &endpoint.name);
        tracing::debug!(%upstream, %server, "the server takes connections again");
    }
}
