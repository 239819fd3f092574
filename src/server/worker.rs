//! One worker: a thread with its own runtime, its own listening sockets and its own connections.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::task::{Context as TaskContext, Poll, Waker};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, spawn_local};

use super::entrance::{self, AcceptContext};
use super::errand::Errand;
use super::handshake::Handshakes;
use super::listener::{Acceptor, ListenSite, Listening};
use super::status::Status;
use crate::clock::{self, Random};
use crate::h1::client::Closing;
use crate::net::{held, stalls};
use crate::snapshot::{CurrentSnapshot, SnapshotStore};
use crate::telemetry::ledger::Interval;
use crate::upstream::membership;
use crate::worker::Worker;

/// The pause between two sweeps of idle connections to servers.
const SWEEP: Duration = Duration::from_secs(1);
/// Responses that are looked at with each sweep while memory is scarce.
const LOOKS: usize = 256;
/// The pause between two looks of a worker that drains.
const DRAIN_LOOK: Duration = Duration::from_millis(5);

/// The things that a worker is started with.
#[derive(Debug)]
pub struct WorkerContext {
    /// The number of the worker.
    pub index: usize,
    /// The signals between all of them.
    pub peers: Arc<[Notify]>,
    /// The configuration in use.
    pub store: SnapshotStore,
    /// The state that is reported.
    pub status: Arc<Status>,
    /// The orders that it gets while it runs.
    pub orders: mpsc::Receiver<WorkerCommand>,
    /// Becomes true when a drain begins.
    pub stopped: watch::Receiver<bool>,
}

/// The things that all tasks of a worker share.
pub struct Local {
    /// The worker's own state.
    pub worker: Rc<Worker>,
    /// The configuration in use.
    pub current: CurrentSnapshot,
    /// The state that is reported.
    pub status: Arc<Status>,
    /// TLS handshakes under way.
    pub handshakes: Handshakes,
}

/// Starts a worker.
///
/// # Errors
/// When the thread or its runtime cannot be made.
pub fn spawn_worker(
    context: WorkerContext,
    sockets: Vec<Listening>,
) -> io::Result<thread::JoinHandle<()>> {
    let name = format!("worker-{}", context.index);
    thread::Builder::new().name(name).spawn(move || {
        let mut builder = Builder::new_current_thread();
        match builder.enable_io().enable_time().build_local(LocalOptions::default()) {
            Ok(runtime) => {
                let local = runtime.block_on(run_worker(context, sockets));
                // Whatever is still under way ends here, and is written down.
                drop(runtime);
                local.worker.access.hand_on(&local.worker.ledger);
            }
            Err(error) => tracing::error!(%error, "a worker could not start"),
        }
    })
}

async fn run_worker(context: WorkerContext, sockets: Vec<Listening>) -> Rc<Local> {
    let WorkerContext { index, peers, store, status, mut orders, mut stopped } = context;
    let local = Rc::new(Local {
        worker: Rc::new(Worker::new(index, peers, Random::from_entropy())),
        current: CurrentSnapshot::new(store.clone()),
        status,
        handshakes: Handshakes::default(),
    });
    let mut acceptors = Acceptors { local: local.clone(), open: Vec::new() };
    acceptors.open_acceptors(sockets);
    let sweeper = spawn_local(sweep_connections(local.clone()));
    let reclaimer = spawn_local(reclaim_connections(local.clone()));
    let scribe = spawn_local({
        let local = local.clone();
        async move { local.worker.access.keep_moving(&local.worker.ledger).await }
    });
    loop {
        tokio::select! {
            biased;
            // An error means that the sender is gone, which is as good as being told to stop.
            _ = stopped.wait_for(|stop| *stop) => break,
            Some(order) = orders.recv() => match order {
                WorkerCommand::Open(sockets) => acceptors.open_acceptors(sockets),
                WorkerCommand::Close(site) => acceptors.close_acceptors(&site).await,
                WorkerCommand::Run(errand) => {
                    spawn_local(errand.run_errand(local.clone()));
                }
                WorkerCommand::HandOver(reply) => hand_over(&local, &reply),
            },
        }
    }
    acceptors.close_all().await;
    local.worker.close_idle();
    let end = clock::now() + store.load().drain;
    while local.worker.seats.open_count() > 0 && clock::now() < end {
        tokio::time::sleep(DRAIN_LOOK).await;
    }
    sweeper.abort();
    reclaimer.abort();
    scribe.abort();
    local
}

fn hand_over(local: &Local, reply: &SyncSender<Box<Interval>>) {
    // There is room for one reply to each order that may be waiting. Nobody collects any more when
    // the process is about to end.
    let _gone = reply.try_send(local.worker.ledger.hand_over());
}

/// Orders that may wait for a worker.
pub const ORDERS: usize = 64;

/// An order to a worker that runs.
#[derive(Debug)]
pub enum WorkerCommand {
    /// Accept on these too.
    Open(Vec<Listening>),
    /// Do not accept there any more; connections end after their current response.
    Close(ListenSite),
    /// Walk a request of the proxy's own.
    Run(Errand),
    /// Hand over what was counted.
    HandOver(SyncSender<Box<Interval>>),
}

/// The listening sockets of a worker.
struct Acceptors {
    local: Rc<Local>,
    open: Vec<Accepting>,
}

struct Accepting {
    site: ListenSite,
    stop: watch::Sender<bool>,
    /// Set when the connections that came in here are to end.
    closing: Rc<Closing>,
    task: JoinHandle<()>,
}

impl Acceptors {
    fn open_acceptors(&mut self, sockets: Vec<Listening>) {
        for listening in sockets {
            let site = listening.site.clone();
            match Acceptor::new(listening) {
                Ok(acceptor) => {
                    let (stop, stopped) = watch::channel(false);
                    let closing = Rc::new(Closing::new(site.listener.counts.room.clone()));
                    let door =
                        AcceptContext { listener: site.listener.clone(), closing: closing.clone() };
                    let task = spawn_local(entrance::accept_connections(
                        self.local.clone(),
                        acceptor,
                        door,
                        stopped,
                    ));
                    self.open.push(Accepting { site, stop, closing, task });
                }
                Err(error) => tracing::error!(%error, "a listener could not be used"),
            }
        }
    }

    async fn close_acceptors(&mut self, site: &ListenSite) {
        while let Some(at) = self.open.iter().position(|open| open.site.is_same_place(site)) {
            let accepting = self.open.swap_remove(at);
            accepting.end_connections(&self.local).await;
        }
    }

    async fn close_all(&mut self) {
        for accepting in self.open.drain(..) {
            accepting.end_connections(&self.local).await;
        }
    }
}

impl Accepting {
    /// Stops accepting once nobody waits, then ends connections after their current response, and
    /// those that stay idle within a third of the time that a drain may take.
    async fn end_connections(self, local: &Local) {
        self.stop.send_replace(true);
        // A defect in the task has been reported by the panic itself.
        let _ended = self.task.await;
        let drain = local.current.get_snapshot().drain;
        self.closing.begin_closing(clock::now(), drain / 3);
        local.worker.seats.wake_all();
    }
}

/// Lets go of idle connections when another worker needs their place.
async fn reclaim_connections(local: Rc<Local>) {
    loop {
        local.worker.wait_for_reclaim().await;
        local.make_wanted_room();
        local.make_wanted_memory().await;
    }
}

/// Drops idle connections to servers that are too old or were closed.
async fn sweep_connections(local: Rc<Local>) {
    let mut tick = tokio::time::interval(SWEEP);
    loop {
        tick.tick().await;
        held::tell_changes();
        stalls::look_ahead(LOOKS);
        poll_fn(|_| {
            // Not this task's waker: an idle connection must wake nobody.
            let mut quiet = TaskContext::from_waker(Waker::noop());
            local.worker.connections.borrow_mut().sweep_idle(&mut quiet, clock::now());
            membership::sweep_held();
            local.worker.quotas.report_dropped(clock::now());
            Poll::Ready(())
        })
        .await;
    }
}
