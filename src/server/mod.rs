//! Starts everything in order, waits for the end, and stops everything in order.

pub mod activation;
pub mod collector;
pub mod connection;
pub mod control;
mod entrance;
pub mod errand;
mod handshake;
pub mod limits;
pub mod listener;
mod members;
mod names;
mod occupant;
mod otlp;
mod pressure;
mod proxied;
#[cfg(fuzzing)]
pub mod rig;
mod service_manager;
pub mod shutdown;
pub mod status;
mod streams;
pub mod worker;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{Notify, mpsc, watch};

use self::control::{Control, ControlCommand, ControlParts, Rounds};
use self::listener::BindError;
use self::status::Status;
use crate::clock;
use crate::config::schema::process::Admin;
use crate::config::{Config, Finding, Sources};
use crate::discovery::registry::Registry;
use crate::health::Supervisor;
use crate::machine;
use crate::net::{Address, open, room};
use crate::reload::Reloader;
use crate::snapshot::{SnapshotStore, compile};

/// The longest wait of a start for the first health checks. Servers that take longer are taken for
/// unhealthy until they have answered.
const FIRST_ROUND: Duration = Duration::from_secs(3);
/// The time beyond the drain that a worker may take to end before the process goes without it.
const WORKER_GRACE: Duration = Duration::from_secs(1);

/// A reason why the proxy did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The configuration does not hold together.
    #[error("the configuration cannot be used")]
    Config(Vec<Finding>),
    /// The service manager did not hand over what it said.
    #[error("{0}")]
    Activation(String),
    /// A listener could not be opened.
    #[error("{0}")]
    Bind(#[from] BindError),
    /// The admin endpoint could not be opened.
    #[error("admin endpoint: {0}")]
    Admin(BindError),
    /// Threads or signals could not be set up.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// A proxy that runs until it is told to stop.
#[derive(Debug)]
pub struct RunningServer {
    /// The places at which clients come in: the listener's name and an address that it is bound to.
    pub listening: Vec<(Arc<str>, Address)>,
    /// The address of the admin endpoint.
    pub admin: Option<Address>,
    /// The state that the proxy reports about itself.
    pub status: Arc<Status>,
    /// The sender of commands, reloads among them.
    pub commands: SyncSender<ControlCommand>,
    store: SnapshotStore,
    control: Control,
    stop: watch::Sender<bool>,
    workers: Vec<std::thread::JoinHandle<()>>,
}

/// Opens the admin endpoint, which lives above this room and looks down on it.
pub type OpenAdmin =
    fn(&Admin, Arc<Status>, SyncSender<ControlCommand>) -> Result<Address, BindError>;

/// Starts a proxy with a configuration that was read from `file`, if it was. `open_admin` is called
/// where the configuration has an admin endpoint.
///
/// # Errors
/// [`StartError`]; nothing is left running.
pub fn start_server(
    config: &Config,
    file: Option<&Path>,
    sources: &Sources,
    open_admin: OpenAdmin,
) -> Result<RunningServer, StartError> {
    activation::take_over().map_err(StartError::Activation)?;
    let descriptors = limits::raise_descriptors();
    let connections = limits::connection_limit(descriptors, machine::usable_memory());
    room::limit_all(connections);
    open::limit_all(connections);
    // Before anything is read for it: what changes from now on is a change.
    let mut reloader = Reloader::new(file, config, sources, connections)?;
    let found = reloader.learn_servers(config);
    let store = compile::compile_first(config, &found, connections).map_err(StartError::Config)?;
    names::note_faults(&store.load(), &found);
    let workers = worker_count(config);
    let sites = listener::list_sites(config, &store.load());
    note_unused(config, &sites);
    let bound = listener::bind_sites(&sites, &[], workers)?;
    let registry = Registry::start(reloader.lists().updates().clone())?;
    members::supply_first_servers(&mut reloader, &registry, &store);
    let (desk, questions) = collector::new_desk();
    let status = Arc::new(Status::new(store.clone(), desk, workers, registry));
    let line = control::command_line();
    let commands = line.0.clone();
    let admin = match &config.admin {
        Some(admin) => {
            Some(open_admin(admin, status.clone(), commands.clone()).map_err(StartError::Admin)?)
        }
        None => None,
    };
    let health = Supervisor::start_thread()?;
    health.follow_upstreams(&store.load().upstreams);
    // Clients wait in the listening sockets' queues meanwhile.
    health.first_round(FIRST_ROUND);
    let peers: Arc<[Notify]> = (0..workers).map(|_| Notify::new()).collect();
    let (stop, stopped) = watch::channel(false);
    let mut threads = Vec::new();
    let mut orders = Vec::new();
    for (index, sockets) in bound.per_worker.into_iter().enumerate() {
        let (order, ordered) = mpsc::channel(worker::ORDERS);
        orders.push(order);
        let context = worker::WorkerContext {
            index,
            peers: peers.clone(),
            store: store.clone(),
            status: status.clone(),
            orders: ordered,
            stopped: stopped.clone(),
        };
        threads.push(worker::spawn_worker(context, sockets)?);
    }
    for (name, address) in &bound.names {
        tracing::info!(%address, listener = %name, "listening");
    }
    if let Some(address) = &admin {
        tracing::info!(%address, "admin listening");
    }
    // The line is set once; before that nobody can have been told of a worker.
    let _first = status.orders.set(orders.clone().into());
    collector::start_collector(store.clone(), orders.clone(), questions)?;
    let mut parts = ControlParts {
        store: store.clone(),
        status: status.clone(),
        health,
        reloader,
        workers: orders,
        sites,
        own: own_addresses(&bound.names, admin.as_ref()),
        retired: Vec::new(),
        past: Vec::new(),
        rounds: Rounds::new(clock::now()),
    };
    parts.note_own();
    let control = Control::start_thread(parts, line)?;
    status.ready.store(true, Ordering::Release);
    service_manager::tell_ready();
    Ok(RunningServer {
        listening: bound.names,
        admin,
        status,
        commands,
        store,
        control,
        stop,
        workers: threads,
    })
}

/// The number of workers that a configuration asks for.
fn worker_count(config: &Config) -> usize {
    let written = config.runtime.workers.as_ref();
    written.map_or_else(machine::usable_cpus, |workers| usize::from(workers.value.get()))
}

/// The addresses at which this process listens.
fn own_addresses(listening: &[(Arc<str>, Address)], admin: Option<&Address>) -> Vec<Address> {
    listening.iter().map(|(_, address)| address).chain(admin).cloned().collect()
}

/// Says which sockets of the service manager are of no use to this configuration.
fn note_unused(config: &Config, sites: &[listener::ListenSite]) {
    let admin = config.admin.as_ref().map(|admin| compile::listen_address(&admin.address.value));
    for address in activation::unused_sockets(sites.iter().map(|site| &site.address).chain(&admin))
    {
        let key = "listen.address";
        tracing::warn!(%address, key, "nothing listens on a socket of the service manager");
    }
}

impl RunningServer {
    /// Reports not to be ready, goes on for `runtime.drain_delay`, stops accepting, lets what is
    /// under way finish for as long as `runtime.drain` allows, and ends.
    pub fn drain_and_stop(self) {
        let (allowed, delay) = {
            let snapshot = self.store.load();
            (snapshot.drain, snapshot.drain_delay)
        };
        self.status.ready.store(false, Ordering::Release);
        service_manager::tell_stopping();
        tracing::info!(?allowed, ?delay, "draining");
        std::thread::sleep(delay);
        self.stop.send_replace(true);
        let deadline = clock::now() + allowed + WORKER_GRACE;
        while clock::now() < deadline && self.workers.iter().any(|w| !w.is_finished()) {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        self.control.end_thread();
        if let Some(access) = &self.store.load().access {
            access.sink.flush_lines(WORKER_GRACE);
        }
        if let Some(tracing) = &self.store.load().trace {
            tracing.exporter.flush_spans(WORKER_GRACE);
        }
        tracing::info!("stopped");
    }
}
