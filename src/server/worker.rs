//! One worker: a thread with its own runtime, its own listening sockets and its own connections.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, watch};
use tokio::task::spawn_local;

use super::connection;
use super::listener::{Acceptor, Listening};
use super::status::{ListenerStatus, Status};
use crate::clock::{self, Random};
use crate::gate::Peer;
use crate::net::Stream;
use crate::snapshot::{Current, Store};
use crate::worker::Worker;

/// How long accepting pauses when the system has no descriptors or memory left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often idle connections to servers are looked through.
const SWEEP: Duration = Duration::from_secs(1);
/// How often a worker that drains looks whether it is done.
const DRAIN_LOOK: Duration = Duration::from_millis(5);

/// What a worker is started with.
#[derive(Debug)]
pub struct Context {
    /// Its number.
    pub index: usize,
    /// The signals between all of them.
    pub peers: Arc<[Notify]>,
    /// The configuration in use.
    pub store: Store,
    /// What is reported.
    pub status: Arc<Status>,
    /// Becomes true when a drain begins.
    pub stopped: watch::Receiver<bool>,
}

/// What all tasks of a worker share.
pub struct Local {
    /// The worker's own state.
    pub worker: Worker,
    /// The configuration in use.
    pub current: Current,
    /// What is reported.
    pub status: Arc<Status>,
}

/// Starts a worker.
///
/// # Errors
/// When the thread or its runtime cannot be made.
pub fn spawn(context: Context, sockets: Vec<Listening>) -> io::Result<JoinHandle<()>> {
    let name = format!("worker-{}", context.index);
    std::thread::Builder::new().name(name).spawn(move || {
        let mut builder = Builder::new_current_thread();
        match builder.enable_io().enable_time().build_local(LocalOptions::default()) {
            Ok(runtime) => runtime.block_on(run(context, sockets)),
            Err(error) => tracing::error!(%error, "a worker could not start"),
        }
    })
}

async fn run(context: Context, sockets: Vec<Listening>) {
    let Context { index, peers, store, status, mut stopped } = context;
    let local = Rc::new(Local {
        worker: Worker::new(index, peers, Random::from_entropy()),
        current: Current::new(store.clone()),
        status,
    });
    let mut accepting = Vec::new();
    for listening in sockets {
        let listener = listening.listener;
        match Acceptor::new(listening) {
            Ok(acceptor) => accepting.push(spawn_local(accept(
                local.clone(),
                acceptor,
                listener,
                stopped.clone(),
            ))),
            Err(error) => tracing::error!(%error, "a listener could not be used"),
        }
    }
    let sweeper = spawn_local(sweep(local.clone()));
    let reclaimer = spawn_local(reclaim(local.clone()));
    // An error means that the sender is gone, which is as good as being told to stop.
    let _stopped = stopped.wait_for(|stop| *stop).await;
    for task in accepting {
        // Each ends by itself once its queue is empty.
        let _ended = task.await;
    }
    local.worker.close();
    let end = clock::now() + store.load().drain;
    while local.worker.open() > 0 && clock::now() < end {
        tokio::time::sleep(DRAIN_LOOK).await;
    }
    sweeper.abort();
    reclaimer.abort();
}

/// Accepts until told to stop, then once more until nobody waits: a listening socket that is closed
/// resets the connections still in its queue.
async fn accept(
    local: Rc<Local>,
    acceptor: Acceptor,
    listener: u16,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            biased;
            accepted = acceptor.accept() => match accepted {
                Ok((stream, peer)) => admit(&local, stream, peer.map(|p| p.ip()), listener),
                Err(error) if is_connection_error(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "accepting connections is paused");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            _ = stopped.wait_for(|stop| *stop) => return,
        }
    }
}

/// Errors of one connection, not of the listener.
fn is_connection_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

fn admit(local: &Rc<Local>, stream: Stream, ip: Option<IpAddr>, listener: u16) {
    let snapshot = local.current.get();
    let index = usize::from(listener);
    let (Some(settings), Some(status)) =
        (snapshot.listeners.get(index), local.status.listeners.get(index))
    else {
        return;
    };
    status.accepted.fetch_add(1, Ordering::Relaxed);
    if status.open.fetch_add(1, Ordering::Relaxed) >= settings.connections {
        status.open.fetch_sub(1, Ordering::Relaxed);
        status.refused.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let peer = Peer {
        ip: ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)).to_canonical(),
        text: ip.map_or_else(|| "unix".into(), |ip| ip.to_canonical().to_string().into()),
        trusted: ip.is_some_and(|ip| settings.trusts(ip)),
        listener,
    };
    let settings = settings.clone();
    let local = local.clone();
    spawn_local(async move {
        let _open = OpenConnection { local: local.clone(), index };
        connection::serve(&local, stream, peer, settings).await;
    });
}

/// Counts a client connection until it is dropped.
struct OpenConnection {
    local: Rc<Local>,
    index: usize,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if let Some(ListenerStatus { open, .. }) = self.local.status.listeners.get(self.index) {
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Lets go of idle connections when another worker needs their place.
async fn reclaim(local: Rc<Local>) {
    loop {
        local.worker.reclaimed().await;
    }
}

/// Drops idle connections to servers that are too old or were closed.
async fn sweep(local: Rc<Local>) {
    let mut tick = tokio::time::interval(SWEEP);
    loop {
        tick.tick().await;
        poll_fn(|_| {
            // Not this task's waker: an idle connection must wake nobody.
            let mut quiet = TaskContext::from_waker(Waker::noop());
            local.worker.connections.borrow_mut().sweep(&mut quiet, clock::now());
            Poll::Ready(())
        })
        .await;
    }
}
