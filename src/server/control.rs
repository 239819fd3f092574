//! The one thread that changes things: it puts reloads into effect, and looks after upstreams when
//! no request does.
//!
//! Reloads come from several sides (a changed file, a signal, the admin endpoint); here they happen
//! one after the other. New sockets are opened before the snapshot is swapped, so that a failure
//! leaves everything as it was; sockets that are not wanted any more are closed after it.

mod rounds;

use std::collections::HashSet;
use std::io;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use self::rounds::Outside;
pub(super) use self::rounds::Rounds;
use super::activation;
use super::listener::{self, ListenSite};
use super::members;
use super::names;
use super::service_manager;
use super::status::Status;
use super::worker::WorkerCommand;
use crate::clock::{self, Instant};
use crate::config::schema::discovery::Servers;
use crate::discovery::registry::Hear;
use crate::health::Supervisor;
use crate::net::Address;
use crate::pace;
use crate::reload::diff::{self, StayingCounts};
use crate::reload::{Prepared, ReloadOutcome, ReloadPlan, ReloadRefused, Reloader};
use crate::snapshot::{Snapshot, SnapshotStore};
use crate::upstream::affinity::{Affinity, LearnedAffinity};
use crate::upstream::membership::ServerChange;
use crate::upstream::{Membership, Upstream, upkeep};

/// The longest time that the end of the process waits for a change that is under way.
const FAREWELL: Duration = Duration::from_secs(2);
/// A command to the thread.
#[derive(Debug)]
pub enum ControlCommand {
    /// Read the file again.
    Reload {
        /// Whatever `shrink_guard` says.
        force: bool,
        /// The sender of the answer for whoever wants to know how it went.
        reply: Option<oneshot::Sender<ReloadOutcome>>,
    },
    /// Go back to the configuration before.
    Rollback {
        /// The sender of the answer for whoever wants to know how it went.
        reply: Option<oneshot::Sender<ReloadOutcome>>,
    },
    /// Give a server another weight.
    Weigh {
        /// The upstream's name.
        upstream: String,
        /// The server's name or address.
        server: String,
        /// From 1 to 65535.
        weight: NonZeroU16,
        /// The caller who wants to know how it went: `false` when there is no such server.
        reply: oneshot::Sender<bool>,
    },
    /// Open the files of logs anew.
    Reopen,
    /// Look whether sources have sent anything. Whoever wants to know that it was done gets an
    /// answer.
    Follow {
        /// Who wants to know.
        reply: Option<oneshot::Sender<()>>,
    },
    /// Look at files and names: some have changed.
    LookOutside,
    /// End.
    Stop,
}

/// Everything that a reload changes.
#[derive(Debug)]
pub(super) struct ControlParts {
    pub(super) store: SnapshotStore,
    pub(super) status: Arc<Status>,
    pub(super) health: Supervisor,
    pub(super) reloader: Reloader,
    pub(super) workers: Vec<mpsc::Sender<WorkerCommand>>,
    /// The sockets that are open.
    pub(super) sites: Vec<ListenSite>,
    /// The addresses at which the proxy itself listens.
    pub(super) own: Vec<Address>,
    /// Snapshots that requests may still be at work with. They are freed here: freeing thousands of
    /// routes would hold up a worker.
    pub(super) retired: Vec<Arc<Snapshot>>,
    /// The same for the servers of upstreams.
    pub(super) past: Vec<Arc<Membership>>,
    /// The looks at what no command tells of.
    pub(super) rounds: Rounds,
}

/// The running thread; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Control {
    commands: SyncSender<ControlCommand>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    pub(super) fn start_thread(
        parts: ControlParts,
        (commands, received): (SyncSender<ControlCommand>, Receiver<ControlCommand>),
    ) -> io::Result<Self> {
        // A full line is looked at in a moment anyway.
        for bell in parts.reloader.outside_bells() {
            let line = commands.clone();
            bell.answer_by(move || _ = line.try_send(ControlCommand::LookOutside));
        }
        let line = commands.clone();
        let follow = move || _ = line.try_send(ControlCommand::Follow { reply: None });
        parts.reloader.source_bell().answer_by(follow);
        let thread = std::thread::Builder::new().name("control".into());
        let thread = Some(thread.spawn(move || parts.handle_commands(&received))?);
        Ok(Self { commands, thread })
    }
}

/// Commands that may wait for the thread.
const COMMANDS: usize = 64;
/// The longest time that a worker may take until there is room for another order.
const PATIENCE: Duration = Duration::from_secs(5);

/// Gives a worker an order, waiting for a moment if it has too many already.
fn give_order(worker: &mpsc::Sender<WorkerCommand>, order: WorkerCommand) {
    let mut order = order;
    let until = clock::now() + PATIENCE;
    loop {
        match worker.try_send(order) {
            // An error means that the worker has ended, and the process is about to.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => return,
            Err(mpsc::error::TrySendError::Full(again)) => order = again,
        }
        if clock::now() >= until {
            tracing::error!("a worker takes no orders");
            return;
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// The two ends of the line to the thread.
pub(super) fn command_line() -> (SyncSender<ControlCommand>, Receiver<ControlCommand>) {
    sync_channel(COMMANDS)
}

impl Control {
    /// Ends the thread, which removes the files of Unix sockets. One that hangs in a file system is
    /// not waited for.
    pub(super) fn end_thread(mut self) {
        let deadline = clock::now() + FAREWELL;
        // It may have other things to do first; that nobody listens means that it has ended
        // already.
        while let Err(TrySendError::Full(_)) = self.commands.try_send(ControlCommand::Stop)
            && clock::now() < deadline
        {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        let ended = |thread: &JoinHandle<()>| thread.is_finished() || clock::now() >= deadline;
        while self.thread.as_ref().is_some_and(|thread| !ended(thread)) {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        if let Some(thread) = self.thread.take().filter(JoinHandle::is_finished) {
            // A defect in it has been reported by the panic itself.
            let _ended = thread.join();
        }
    }
}

impl ControlParts {
    fn handle_commands(mut self, commands: &Receiver<ControlCommand>) {
        pace::stand_back();
        pace::can_wait();
        loop {
            match commands.recv_timeout(self.rounds.time_left(clock::now())) {
                Ok(ControlCommand::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    return self.remove_sockets();
                }
                Ok(command) => {
                    self.obey_command(command);
                    self.rounds.hasten_look(clock::now());
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            // The line may have been full when a source sent something.
            self.follow_sources();
            let now = clock::now();
            if self.rounds.time_left(now).is_zero() {
                self.look_around(now);
            }
        }
    }

    fn obey_command(&mut self, command: ControlCommand) {
        match command {
            // Who was told that it takes too long, was not told that it will happen all the same.
            ControlCommand::Reload { reply: Some(reply), .. }
            | ControlCommand::Rollback { reply: Some(reply) }
                if reply.is_closed() => {}
            ControlCommand::Weigh { reply, .. } if reply.is_closed() => {}
            ControlCommand::Reload { force, reply } => {
                if force {
                    self.believe_sources();
                }
                send_reply(reply, self.reload_configuration(force));
            }
            ControlCommand::Rollback { reply } => send_reply(reply, self.roll_back()),
            ControlCommand::Weigh { upstream, server, weight, reply } => {
                // Who asked may have gone.
                let _gone = reply.send(self.set_weight((&upstream, &server), weight));
            }
            ControlCommand::Reopen => self.reopen_logs(),
            ControlCommand::Follow { reply } => {
                self.follow_sources();
                send_reply(reply, ());
            }
            ControlCommand::LookOutside => self.rounds.ask_outside(),
            ControlCommand::Stop => {}
        }
    }

    /// Does what is due, and sets the time of the next look.
    fn look_around(&mut self, now: Instant) {
        self.retired.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        self.past.retain(|members| Arc::strong_count(members) > 1);
        for upstream in &self.store.load().upstreams {
            upkeep::end_ejections(upstream, now);
        }
        let whole = self.rounds.begin_outside(now);
        if whole {
            self.follow_names();
            self.look_after_sources();
            if self.reloader.has_changed() {
                self.reload_configuration(false);
            }
        }
        if self.rounds.begin_sweep(now) {
            self.forget_idle_keys();
        }
        let (now, snapshot) = (clock::now(), self.store.load());
        let left =
            snapshot.upstreams.iter().filter_map(|upstream| upkeep::time_left(upstream, now));
        let waits = !whole || !self.retired.is_empty() || !self.past.is_empty();
        let watched = waits || snapshot.upstreams.iter().any(|upstream| is_watched(upstream));
        let outside = if watched { Outside::Watched } else { Outside::Rings };
        self.rounds.set_next(now, left.min(), outside);
    }

    /// Forgets idle keys of rate limits and sessions.
    fn forget_idle_keys(&self) {
        let snapshot = self.store.load();
        for limit in snapshot.limits() {
            limit.state.forget_idle();
        }
        for upstream in &snapshot.upstreams {
            let members = upstream.members();
            let learned = members.sticky.as_ref().and_then(Affinity::as_learned);
            learned.into_iter().for_each(LearnedAffinity::forget_idle);
        }
    }

    /// Puts servers where their names lead now. That is no reload.
    fn follow_names(&mut self) {
        let current = self.store.load_full();
        let away = names::unreachable_hosts(&current, &self.reloader);
        self.reloader.names().hurry_lookups(away, names::UNREACHABLE);
        if !self.reloader.names().has_changed() {
            return;
        }
        self.reloader.tell_records();
        for upstream in &current.upstreams {
            self.arrange_upstream(upstream);
        }
        names::note_faults(&current, &self.reloader.found_servers());
    }

    fn reopen_logs(&self) {
        if let Some(access) = &self.store.load().access {
            access.sink.request_reopen();
        }
    }

    fn remove_sockets(&self) {
        self.sites.iter().for_each(|site| remove_socket(&site.address));
    }

    fn reload_configuration(&mut self, force: bool) -> ReloadOutcome {
        service_manager::tell_reloading();
        let current = self.store.load_full();
        let outcome = match self.reloader.read_files(&current, force) {
            Ok(ReloadPlan::Switch(prepared)) => self.put_into_effect(&current, Ok(*prepared)),
            Ok(ReloadPlan::Nothing(why)) => self.report_unchanged(&current, why),
            Err(refused) => self.put_into_effect(&current, Err(refused)),
        };
        service_manager::tell_ready();
        outcome
    }

    /// Answers that what is asked for is what runs: that is no reload.
    fn report_unchanged(&self, current: &Snapshot, why: &'static str) -> ReloadOutcome {
        self.status.reloads.last_error.store(None);
        tracing::info!(generation = current.generation, why, "nothing to reload");
        let (changes, stays) = diff::diff_configs(&current.shown, &current.shown);
        ReloadOutcome {
            ok: true,
            generation: current.generation,
            changes,
            stays,
            drains: Vec::new(),
            error: String::new(),
            note: why.to_owned(),
        }
    }

    fn roll_back(&mut self) -> ReloadOutcome {
        let current = self.store.load_full();
        let prepared = self.reloader.go_back(&current);
        self.put_into_effect(&current, prepared)
    }

    /// Gives a server another weight; `false` when there is no such server.
    fn set_weight(&mut self, (upstream, server): (&str, &str), weight: NonZeroU16) -> bool {
        let current = self.store.load_full();
        let found = current.upstreams.iter().find(|known| *known.name == *upstream);
        let Some(found) = found else { return false };
        if self.reloader.set_weight((upstream, server), weight).is_err() {
            return false;
        }
        self.arrange_upstream(found);
        tracing::info!(upstream, server, weight, "weight given");
        true
    }

    fn put_into_effect(
        &mut self,
        current: &Snapshot,
        prepared: Result<Prepared, ReloadRefused>,
    ) -> ReloadOutcome {
        let result = prepared.and_then(|prepared| self.switch_snapshot(current, prepared));
        let counts = &self.status.reloads;
        let outcome = match result {
            Ok(outcome) => {
                counts.accepted.fetch_add(1, Ordering::Relaxed);
                counts.last_error.store(None);
                let changes: Vec<String> =
                    outcome.changes.iter().map(ToString::to_string).collect();
                tracing::info!(
                    generation = outcome.generation,
                    changes = changes.join("; "),
                    "configuration reloaded"
                );
                outcome
            }
            Err(refused) => {
                counts.refused.fetch_add(1, Ordering::Relaxed);
                let error = refused.to_string();
                tracing::error!(%error, "reload refused; the running configuration goes on");
                counts.last_error.store(Some(Arc::new(error.clone())));
                ReloadOutcome {
                    ok: false,
                    generation: current.generation,
                    changes: Vec::new(),
                    stays: StayingCounts::default(),
                    drains: Vec::new(),
                    error,
                    note: String::new(),
                }
            }
        };
        counts.remember_reload(&outcome);
        self.reloader.follow_running();
        names::note_faults(&self.store.load(), &self.reloader.found_servers());
        members::note_supplies(&self.reloader, &self.store.load());
        outcome
    }

    /// Opens what is new, swaps, closes what is gone.
    fn switch_snapshot(
        &mut self,
        current: &Snapshot,
        prepared: Prepared,
    ) -> Result<ReloadOutcome, ReloadRefused> {
        let sites = listener::list_sites(&prepared.config, &prepared.snapshot);
        let (snapshot, changes, stays, accepted) = prepared.into_parts();
        let drains = diff::drained_servers(&changes);
        let is_open = |site: &ListenSite| self.sites.iter().any(|open| open.is_same_place(site));
        let new: Vec<ListenSite> = sites.iter().filter(|site| !is_open(site)).cloned().collect();
        let bound = listener::bind_sites(&new, &self.sites, self.workers.len())
            .map_err(|error| ReloadRefused::Bind(error.to_string()))?;
        let gone: Vec<ListenSite> = self
            .sites
            .iter()
            .filter(|open| !sites.iter().any(|s| s.is_same_place(open)))
            .cloned()
            .collect();
        let generation = snapshot.generation;
        snapshot.bound_caches();
        self.retired.push(self.store.swap(Arc::new(snapshot)));
        for (worker, sockets) in self.workers.iter().zip(bound.per_worker) {
            give_order(worker, WorkerCommand::Open(sockets));
        }
        for (name, address) in &bound.names {
            tracing::info!(%address, listener = %name, "listening");
        }
        self.close_sites(&gone);
        self.update_socket_access(&sites);
        let now = self.store.load();
        self.health.follow_upstreams(&now.upstreams);
        forget_names(current, &now);
        drop(now);
        self.sites = sites;
        self.reloader.note_accepted(accepted);
        self.own.retain(|own| !gone.iter().any(|site| site.address == *own));
        self.own.extend(bound.names.into_iter().map(|(_, address)| address));
        self.note_own();
        let config = self.reloader.running();
        members::let_register(&self.status.registry, config, &self.store.load(), Hear::Later);
        let (error, note) = (String::new(), String::new());
        Ok(ReloadOutcome { ok: true, generation, changes, stays, drains, error, note })
    }

    /// Tells those who have to know at which addresses the proxy itself listens.
    pub(super) fn note_own(&mut self) {
        let own: Vec<_> = self.own.iter().filter_map(Address::tcp).collect();
        self.reloader.note_own(own.clone());
        self.status.registry.note_own(own);
    }

    /// Sets who may connect to a Unix socket that stays, where that has changed.
    fn update_socket_access(&self, sites: &[ListenSite]) {
        for site in sites {
            let before = self.sites.iter().find(|open| open.is_same_place(site));
            if let (Address::Unix(path), Some(before)) = (&site.address, before)
                && before.access != site.access
                && let Err(error) = listener::set_access(path, &site.access)
            {
                let (key, path) = ("listen.address", path.display());
                tracing::error!(%error, %path, key, "who may connect to a socket stays as it was");
            }
        }
    }

    fn close_sites(&self, gone: &[ListenSite]) {
        for site in gone {
            for worker in &self.workers {
                give_order(worker, WorkerCommand::Close(site.clone()));
            }
            remove_socket(&site.address);
            let (listener, address) = (&site.listener.name, &site.address);
            tracing::info!(%address, %listener, "listener closed; its connections are drained");
        }
    }
}

/// Returns whether time decides about servers of an upstream: their source may be held back, and
/// the name of one that takes no connections is looked up again.
fn is_watched(upstream: &Upstream) -> bool {
    let by_name = |server: &Arc<ServerChange>| server.spec.lookup.is_some();
    upstream.source != Servers::LIST || upstream.members().servers().iter().any(by_name)
}

/// Removes the file of a socket that nobody listens at any more. That of the service manager stays:
/// it goes on listening, and nobody could connect.
fn remove_socket(address: &Address) {
    if let Address::Unix(path) = address
        && !activation::has_socket(address)
    {
        // Somebody else may have removed it already.
        let _gone = std::fs::remove_file(path);
    }
}

/// Servers that a reload has removed no longer count as ejected, and keep no connections.
fn forget_names(old: &Snapshot, new: &Snapshot) {
    let stay: HashSet<u32> = new
        .upstreams
        .iter()
        .flat_map(|upstream| {
            let members = upstream.members();
            members.servers().iter().map(|server| server.endpoint.id).collect::<Vec<_>>()
        })
        .collect();
    for upstream in &old.upstreams {
        let members = upstream.members();
        let gone = members.servers().iter().filter(|server| !stay.contains(&server.endpoint.id));
        gone.for_each(|server| upstream.dismiss_server(server));
    }
}

fn send_reply<T>(reply: Option<oneshot::Sender<T>>, outcome: T) {
    if let Some(reply) = reply {
        // Who asked may have gone.
        let _gone = reply.send(outcome);
    }
}
