//! Keeps one checker per server that is to be checked, as the configuration has it.

mod checkers;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::mpsc;

use self::checkers::Checkers;
use crate::clock;
use crate::endpoint::{Endpoint, standing};
use crate::health::recovery::Recovery;
use crate::upstream::membership::{MemberChange as Members, ServerChange};
use crate::upstream::{Check, Upstream, UpstreamState};

/// Checks under way at a time; the others wait for a moment.
const AT_ONCE: usize = 64;
/// The share by which the pause between two checks strays from what was configured.
const JITTER: f64 = 0.1;
/// The pause between two looks of a start-up for servers that were not checked.
const LOOK: Duration = Duration::from_millis(2);

/// A server that is to be checked.
#[derive(Debug, Clone)]
pub struct CheckSubject {
    /// The server.
    pub endpoint: Arc<Endpoint>,
    /// The state of its upstream, whose waiting requests want to know when a server comes back.
    pub state: Arc<UpstreamState>,
    /// The check that it is asked.
    pub check: Arc<Check>,
}

/// The thread on which all checks run. It ends when this is dropped.
#[derive(Debug)]
pub struct Supervisor {
    orders: Option<mpsc::Sender<HealthCommand>>,
    /// Servers whose first check has not ended.
    unchecked: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

/// The orders of the thread.
#[derive(Debug)]
enum HealthCommand {
    /// The servers to look after from now on.
    All(Vec<CheckSubject>, Vec<Arc<Upstream>>),
    /// Servers that are new or to be asked something else, and the ids of those that left.
    Some(Vec<CheckSubject>, Vec<u32>),
}

impl Supervisor {
    /// Starts the thread.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn start_thread() -> io::Result<Self> {
        let (orders, mut received) = mpsc::channel::<HealthCommand>(16);
        let unchecked = Arc::new(AtomicUsize::new(0));
        let counter = unchecked.clone();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("health".into()).spawn(move || {
            runtime.block_on(async {
                let mut checkers = Checkers::new(counter);
                let mut recovery = Recovery::new(clock::now());
                loop {
                    tokio::select! {
                        order = received.recv() => {
                            match order {
                                Some(HealthCommand::All(subjects, upstreams)) => {
                                    checkers.follow_subjects(subjects);
                                    recovery.follow_upstreams(upstreams);
                                }
                                Some(HealthCommand::Some(joined, left)) => {
                                    checkers.change_subjects(joined, &left);
                                    recovery.look_soon();
                                }
                                None => break,
                            }
                        }
                        () = recovery.await_look() => recovery.ask_due_servers(clock::now()),
                    }
                }
            });
        })?;
        Ok(Self { orders: Some(orders), unchecked, thread: Some(thread) })
    }

    /// Checks the servers of these upstreams that are to be checked from now on. Servers for which
    /// nothing changed do not notice.
    pub fn follow_upstreams(&self, upstreams: &[Arc<Upstream>]) {
        let subjects = upstreams.iter().flat_map(|upstream| {
            let members = upstream.members();
            let subjects =
                members.servers().iter().filter_map(|server| check_subject(upstream, server));
            subjects.collect::<Vec<_>>()
        });
        let subjects: Vec<CheckSubject> = subjects.collect();
        let new =
            |s: &&CheckSubject| s.endpoint.standing.reason_bits().has_any(standing::UNCHECKED);
        self.unchecked.store(subjects.iter().filter(new).count(), Ordering::Release);
        self.send_command(HealthCommand::All(subjects, upstreams.to_vec()));
    }

    /// Checks the servers that have joined an upstream, and no longer those that have left.
    pub fn change_members(&self, upstream: &Upstream, change: &Members) {
        let joined = change.joined.iter().chain(&change.rechecked);
        let joined: Vec<CheckSubject> =
            joined.filter_map(|server| check_subject(upstream, server)).collect();
        let left: Vec<u32> = change.left.iter().map(|server| server.endpoint.id).collect();
        if upstream.arrangement.check.is_some() && !(joined.is_empty() && left.is_empty()) {
            self.send_command(HealthCommand::Some(joined, left));
        }
    }

    fn send_command(&self, order: HealthCommand) {
        if let Some(orders) = &self.orders {
            // An error means that the thread is gone, with the process about to be.
            let _sent = orders.blocking_send(order);
        }
    }

    /// Waits until every server was checked once, at most so long.
    pub fn first_round(&self, most: Duration) {
        let end = clock::now() + most;
        while self.unchecked.load(Ordering::Acquire) > 0 && clock::now() < end {
            std::thread::park_timeout(LOOK);
        }
    }
}

/// Returns what is to be checked of a server. Who has no address cannot be asked.
fn check_subject(upstream: &Upstream, server: &ServerChange) -> Option<CheckSubject> {
    let check = server.check.clone().filter(|_| !server.endpoint.addresses.is_empty())?;
    Some(CheckSubject { endpoint: server.endpoint.clone(), state: upstream.state.clone(), check })
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // A defect in it has been reported by the panic itself.
            let _ended = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
