//! One worker: a thread with its own runtime, its own listening sockets and its own connections.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::task::{Context as TaskContext, Poll, Waker};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, spawn_local};

use super::connection;
use super::handshake::Handshakes;
use super::listener::{Acceptor, Listening, Site};
use super::proxied::{self, Told};
use super::status::Status;
use super::streams;
use crate::clock::{self, Random};
use crate::gate::Peer;
use crate::h1::client::Closing;
use crate::net::{Ends, Stream};
use crate::snapshot::listener::Counts;
use crate::snapshot::{Current, Listener, Store};
use crate::telemetry::ledger::Interval;
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
    /// What it is told while it runs.
    pub orders: mpsc::UnboundedReceiver<Order>,
    /// Becomes true when a drain begins.
    pub stopped: watch::Receiver<bool>,
}

/// What all tasks of a worker share.
pub struct Local {
    /// The worker's own state.
    pub worker: Rc<Worker>,
    /// The configuration in use.
    pub current: Current,
    /// What is reported.
    pub status: Arc<Status>,
    /// TLS handshakes under way.
    pub handshakes: Handshakes,
}

/// Starts a worker.
///
/// # Errors
/// When the thread or its runtime cannot be made.
pub fn spawn(context: Context, sockets: Vec<Listening>) -> io::Result<thread::JoinHandle<()>> {
    let name = format!("worker-{}", context.index);
    thread::Builder::new().name(name).spawn(move || {
        let mut builder = Builder::new_current_thread();
        match builder.enable_io().enable_time().build_local(LocalOptions::default()) {
            Ok(runtime) => {
                let local = runtime.block_on(run(context, sockets));
                // Whatever is still under way ends here, and is written down.
                drop(runtime);
                local.worker.access.hand_on(&local.worker);
            }
            Err(error) => tracing::error!(%error, "a worker could not start"),
        }
    })
}

async fn run(context: Context, sockets: Vec<Listening>) -> Rc<Local> {
    let Context { index, peers, store, status, mut orders, mut stopped } = context;
    let local = Rc::new(Local {
        worker: Rc::new(Worker::new(index, peers, Random::from_entropy())),
        current: Current::new(store.clone()),
        status,
        handshakes: Handshakes::default(),
    });
    let mut acceptors = Acceptors { local: local.clone(), open: Vec::new() };
    acceptors.open(sockets);
    let sweeper = spawn_local(sweep(local.clone()));
    let reclaimer = spawn_local(reclaim(local.clone()));
    let scribe = spawn_local({
        let local = local.clone();
        async move { local.worker.access.keep_moving(&local.worker).await }
    });
    loop {
        tokio::select! {
            biased;
            // An error means that the sender is gone, which is as good as being told to stop.
            _ = stopped.wait_for(|stop| *stop) => break,
            Some(order) = orders.recv() => match order {
                Order::Open(sockets) => acceptors.open(sockets),
                Order::Close(site) => acceptors.close(&site).await,
                Order::HandOver(reply) => hand_over(&local, &reply),
            },
        }
    }
    acceptors.close_all().await;
    local.worker.close();
    let end = clock::now() + store.load().drain;
    while local.worker.open() > 0 && clock::now() < end {
        tokio::time::sleep(DRAIN_LOOK).await;
    }
    sweeper.abort();
    reclaimer.abort();
    scribe.abort();
    local
}

fn hand_over(local: &Local, reply: &Sender<Box<Interval>>) {
    // Nobody collects any more when the process is about to end.
    let _gone = reply.send(local.worker.ledger.hand_over());
}

/// What a worker is told while it runs.
#[derive(Debug)]
pub enum Order {
    /// Accept on these too.
    Open(Vec<Listening>),
    /// Do not accept there any more; connections end after their current response.
    Close(Site),
    /// Hand over what was counted.
    HandOver(Sender<Box<Interval>>),
}

/// The listening sockets of a worker.
struct Acceptors {
    local: Rc<Local>,
    open: Vec<Accepting>,
}

struct Accepting {
    site: Site,
    stop: watch::Sender<bool>,
    /// Set when the connections that came in here are to end.
    closing: Rc<Closing>,
    task: JoinHandle<()>,
}

impl Acceptors {
    fn open(&mut self, sockets: Vec<Listening>) {
        for listening in sockets {
            let site = listening.site.clone();
            match Acceptor::new(listening) {
                Ok(acceptor) => {
                    let (stop, stopped) = watch::channel(false);
                    let closing = Rc::new(Closing::default());
                    let door = Door { listener: site.listener.clone(), closing: closing.clone() };
                    let task = spawn_local(accept(self.local.clone(), acceptor, door, stopped));
                    self.open.push(Accepting { site, stop, closing, task });
                }
                Err(error) => tracing::error!(%error, "a listener could not be used"),
            }
        }
    }

    async fn close(&mut self, site: &Site) {
        while let Some(at) = self.open.iter().position(|open| open.site.same(site)) {
            let accepting = self.open.swap_remove(at);
            accepting.end(&self.local).await;
        }
    }

    async fn close_all(&mut self) {
        for accepting in self.open.drain(..) {
            accepting.end(&self.local).await;
        }
    }
}

impl Accepting {
    /// Stops accepting once nobody waits, then ends connections after their current response, and those that
    /// stay idle within a third of the time that a drain may take.
    async fn end(self, local: &Local) {
        self.stop.send_replace(true);
        // A defect in the task has been reported by the panic itself.
        let _ended = self.task.await;
        let drain = local.current.get().drain;
        self.closing.begin(clock::now(), drain / 3);
        local.worker.wake_all();
    }
}

/// Where connections come in.
struct Door {
    listener: Arc<Listener>,
    closing: Rc<Closing>,
}

/// Accepts until told to stop, then once more until nobody waits: a listening socket that is closed
/// resets the connections still in its queue.
async fn accept(
    local: Rc<Local>,
    acceptor: Acceptor,
    door: Door,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            biased;
            accepted = acceptor.accept() => match accepted {
                Ok((stream, peer)) => admit(&local, &door, stream, peer),
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

fn admit(local: &Rc<Local>, door: &Door, stream: Stream, from: Option<SocketAddr>) {
    let snapshot = local.current.get();
    // A listener that has just gone serves those who came before it with what it had.
    let settings = snapshot.listener(door.listener.id).unwrap_or(&door.listener).clone();
    let counts = &settings.counts;
    counts.accepted.fetch_add(1, Ordering::Relaxed);
    if counts.open.fetch_add(1, Ordering::Relaxed) >= settings.connections {
        counts.open.fetch_sub(1, Ordering::Relaxed);
        counts.refused.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let closing = door.closing.clone();
    let local = local.clone();
    let tells = snapshot.announces;
    spawn_local(async move {
        let _open = OpenConnection(settings.counts.clone());
        let (mut stream, mut ip) = (stream, from.map(|from| from.ip().to_canonical()));
        let mut told = None;
        if let Some(from) = ip.filter(|_| settings.proxy_protocol) {
            // Boxed, so that a connection does not hold the memory of its header for good.
            let Ok(said) = Box::pin(proxied::client(&mut stream, from, &settings)).await else {
                return;
            };
            ip = said.as_ref().map_or(ip, |told| Some(told.client.ip().to_canonical()));
            told = said;
        }
        // Nobody is told by what is not asked for.
        let ends = if tells { ends(told, from, &stream) } else { None };
        let (stream, tls) = match &settings.tls {
            None => (stream, None),
            Some(server) => {
                // Boxed, so that a connection does not hold the memory of its handshake for good.
                let of = (&*settings, ip);
                let quotas = &local.worker.quotas;
                let secure = local.handshakes.secure(stream, of, server, quotas);
                let secure = Box::pin(secure).await;
                let Some((stream, facts)) = secure else { return };
                (stream, Some(Box::new(facts)))
            }
        };
        let peer = Peer {
            ip,
            text: ip.map_or_else(|| "unix".into(), |ip| ip.to_string().into()),
            trusted: ip.map_or(settings.trusts_unix, |ip| settings.trusts(ip)),
            listener: settings.id,
            tls,
            ends,
        };
        match stream {
            stream if peer.tls.as_ref().is_some_and(|tls| tls.http2) => {
                // Boxed, so that other connections do not hold the memory of these.
                let parts = (Vec::new(), stream);
                Box::pin(streams::serve(&local, parts, peer, settings, closing)).await;
            }
            stream => connection::serve(&local, stream, peer, settings, closing).await,
        }
    });
}

/// Whose a connection is.
fn ends(told: Option<Told>, from: Option<SocketAddr>, stream: &Stream) -> Option<Box<Ends>> {
    let ends = match told {
        Some(Told { client, server, tlvs }) => Ends::new(client, server, tlvs.into_iter()),
        None => Ends::new(from?, stream.local_address()?, std::iter::empty()),
    };
    Some(Box::new(ends))
}

/// Counts a client connection until it is dropped.
struct OpenConnection(Arc<Counts>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
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
            local.worker.quotas.report(clock::now());
            Poll::Ready(())
        })
        .await;
    }
}
