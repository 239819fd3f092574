//! Idle connections to servers, per worker.
//!
//! A stack per server: the connection used last is used next, so a quiet hour leaves few of them
//! open, and the rest ages out at the bottom. There is no task per idle connection. Whether the
//! server closed it, or sent something nobody asked for, is looked at when it is taken and once a
//! second.

use std::sync::atomic::Ordering;
use std::task::Context;
use std::time::Duration;

use super::Endpoint;
use super::links::Links;
use super::reuse::{self, ReuseVerdict};
use crate::clock::{self, Instant};
use crate::h1::H1Origin;
use crate::net::MadeWith;

/// The demand of a request on a connection that is not fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// Any: the request can be sent again.
    Any,
    /// A proven one: the request cannot be sent again, and has a body or not.
    Proven {
        /// True if a body follows the head.
        body: bool,
    },
}

/// A connection out of the stack.
#[derive(Debug)]
pub struct TakenConnection {
    /// The connection.
    pub origin: Box<H1Origin>,
    /// The request's head has to go first, and its body only when the server did not close.
    pub probation: bool,
}

/// All idle connections of one worker, and those that are shared.
#[derive(Debug, Default)]
pub struct IdleConnections {
    /// The connections that speak HTTP/2.
    pub links: Links,
    /// By the slot of the server.
    stacks: Vec<IdleStack>,
}

/// The idle connections to one server.
#[derive(Debug, Default)]
struct IdleStack {
    /// The server's id: another one may have had its slot before.
    owner: u32,
    #[expect(clippy::vec_box, reason = "connections move between stack and task all the time")]
    idle: Vec<Box<H1Origin>>,
}

impl IdleConnections {
    /// Takes a connection to `endpoint` that meets the demand; `None` means that a fresh one is
    /// needed.
    pub fn take_idle(
        &mut self,
        cx: &mut Context<'_>,
        endpoint: &Endpoint,
        demand: Demand,
        made_with: MadeWith,
        now: Instant,
    ) -> Option<TakenConnection> {
        let stack = self.stacks.get_mut(endpoint.slot.index()?)?;
        if stack.owner != endpoint.id {
            return None;
        }
        let stack = &mut stack.idle;
        let probation = match demand {
            Demand::Any => false,
            Demand::Proven { body } => {
                match endpoint.reuse.verdict_at(now, endpoint.requests.load(Ordering::Relaxed)) {
                    ReuseVerdict::Trusted => false,
                    ReuseVerdict::Candidate if body => true,
                    ReuseVerdict::Candidate | ReuseVerdict::Unproven | ReuseVerdict::Suspect => {
                        return None;
                    }
                }
            }
        };
        // Usually the last one is. The others age out.
        while let Some(at) = stack.iter().rposition(|origin| origin.made_with == made_with) {
            let last = stack.get(at)?;
            let idle = now.saturating_duration_since(last.idle_since());
            if demand != Demand::Any && !reuse::is_proven(idle, last.advertised_timeout()) {
                // It is still good for others, and those below it are older.
                return None;
            }
            let mut origin = stack.remove(at);
            if idle < allowed_idle(&origin) && origin.is_quiet(cx) {
                return Some(TakenConnection { origin, probation });
            }
        }
        None
    }

    /// Puts a connection to rest for so long unless `endpoint` has enough of them. Its `idle` limit
    /// is shared out among the workers.
    pub fn put_idle(
        &mut self,
        endpoint: &Endpoint,
        mut origin: Box<H1Origin>,
        (limit, kept_for): (usize, Duration),
        now: Instant,
    ) {
        let Some(slot) = endpoint.slot.index() else { return };
        if self.stacks.len() <= slot {
            self.stacks.resize_with(slot + 1, IdleStack::default);
        }
        let Some(IdleStack { owner, idle: stack }) = self.stacks.get_mut(slot) else { return };
        if *owner != endpoint.id {
            // Whoever had the slot before is gone.
            stack.clear();
            *owner = endpoint.id;
        }
        let kept =
            origin.advertised_timeout() != Some(Duration::ZERO) && !endpoint.open.is_wanted();
        if stack.len() < limit && kept && !endpoint.open.is_retired() {
            origin.put_to_rest(now, kept_for);
            stack.push(origin);
        }
    }

    /// Drops connections that are too old or no longer quiet. Called once a second.
    pub fn sweep_idle(&mut self, cx: &mut Context<'_>, now: Instant) {
        for IdleStack { idle, .. } in &mut self.stacks {
            idle.retain_mut(|origin| {
                now.saturating_duration_since(origin.idle_since()) < allowed_idle(origin)
                    && !origin.is_retired()
                    && origin.is_quiet(cx)
            });
        }
        self.links.sweep_stale(now);
    }

    /// Closes one connection to each server that somebody waits for.
    pub fn let_go(&mut self) {
        for IdleStack { idle: stack, .. } in &mut self.stacks {
            if stack.last().is_some_and(|origin| origin.is_wanted()) {
                stack.pop();
            }
        }
        self.links.sweep_stale(clock::now());
    }

    /// Closes so many idle connections, whoever they lead to: those that have been idle longest,
    /// one server after the other.
    pub fn let_go_of(&mut self, count: usize) {
        let mut left = count;
        while left > 0 && self.stacks.iter().any(|stack| !stack.idle.is_empty()) {
            let some = self.stacks.iter_mut().map(|stack| &mut stack.idle);
            for idle in some.filter(|idle| !idle.is_empty()).take(left) {
                idle.remove(0);
                left -= 1;
            }
        }
        self.links.let_go_of(left);
    }

    /// Closes everything.
    pub fn close_all(&mut self) {
        self.stacks.clear();
        self.links.close_all();
    }
}

fn allowed_idle(origin: &H1Origin) -> Duration {
    let Some(told) = origin.advertised_timeout() else { return origin.kept_for() };
    // A margin of a second would leave nothing of a timeout of one.
    origin.kept_for().min(told.saturating_sub(reuse::ADVERTISED_MARGIN).max(told / 2))
}
