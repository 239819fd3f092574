//! Servers that register themselves, each with a lease that it renews.
//!
//! [`lease`] is what is registered and until when it counts, [`book`] the leases of an upstream,
//! `keeper` the thread that keeps them and tells what servers there are, `shared` how instances
//! share them through Redis. They belong to no configuration: a reload finds them as they are.
//!
//! Renewals are the bulk of what comes in, and change nothing but a moment. Whoever gets one finds
//! the lease in what the thread has published and extends it there; the thread hears only of what
//! is new.

pub mod book;
mod keeper;
pub mod lease;
mod lines;
mod shared;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};

use self::book::{Refused, Registered, Settings};
use self::keeper::Keeper;
use self::lease::{Lease, Registration};
use super::{Updates, own};
use crate::clock;
use crate::policy::shared::Redis;

/// The longest wait for the thread, and for what other instances know.
const PATIENCE: Duration = Duration::from_secs(2);
/// Orders that wait for the thread.
const ORDERS: usize = 1024;

/// The registered servers of all upstreams, and the thread that keeps them. It ends when this is
/// dropped.
#[derive(Debug)]
pub struct Registry {
    shown: Arc<Shown>,
    orders: mpsc::Sender<Order>,
}

/// What the thread lets others see.
#[derive(Debug, Default)]
struct Shown {
    upstreams: ArcSwap<BTreeMap<Arc<str>, Arc<View>>>,
    /// The addresses at which the proxy itself listens.
    own: ArcSwap<Vec<SocketAddr>>,
}

/// The registered servers of one upstream.
#[derive(Debug)]
pub struct View {
    /// What may be registered.
    pub settings: Settings,
    /// The leases by id.
    pub leases: BTreeMap<Arc<str>, Arc<Lease>>,
    /// The registrations by what became of them.
    pub counts: Arc<Counts>,
}

/// What became of registrations at one upstream.
#[derive(Debug, Default)]
pub struct Counts {
    /// Servers that were not there before.
    pub registered: AtomicU64,
    /// Leases that were renewed.
    pub renewed: AtomicU64,
    /// Registrations that were refused.
    pub refused: AtomicU64,
    /// Leases that ran out.
    pub expired: AtomicU64,
    /// Servers that were removed by a call.
    pub removed: AtomicU64,
    /// The others that share the registrations cannot be heard: no lease runs out meanwhile.
    pub alone: AtomicBool,
}

/// Whether what other instances know of is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hear {
    /// It is heard once before anything goes on.
    First,
    /// It is heard in time.
    Later,
}

/// An order to the thread.
#[derive(Debug)]
enum Order {
    /// Keep books for these upstreams and no others, shared through this Redis.
    Follow {
        upstreams: BTreeMap<Arc<str>, Settings>,
        redis: Option<Box<Redis>>,
        hear: Hear,
        /// Who waits.
        tell: SyncSender<()>,
    },
    /// A registration.
    Register(Arc<str>, Arc<str>, Registration, oneshot::Sender<Result<Registered, Refused>>),
    /// A server leaves. Answered with whether it was there.
    Remove(Arc<str>, Arc<str>, oneshot::Sender<bool>),
}

impl Default for Registry {
    /// One without a thread, in which nobody can register.
    fn default() -> Self {
        Self { shown: Arc::default(), orders: mpsc::channel(1).0 }
    }
}

impl Registry {
    /// Starts the thread, which keeps no book yet and will send lists of servers as `updates`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn start(updates: Updates) -> io::Result<Self> {
        let (orders, received) = mpsc::channel(ORDERS);
        let shown: Arc<Shown> = Arc::default();
        let seen = shown.clone();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("registry".into()).spawn(move || {
            runtime.block_on(Keeper::new(seen, updates).run_keeper(received));
        })?;
        Ok(Self { shown, orders })
    }

    /// Keeps books for these upstreams and no others, and returns once servers can register. With
    /// `hear`, what other instances know of is there, too, unless they cannot be heard.
    pub fn follow(
        &self,
        upstreams: BTreeMap<Arc<str>, Settings>,
        redis: Option<Redis>,
        hear: Hear,
    ) {
        let (tell, told) = sync_channel(1);
        let redis = redis.map(Box::new);
        // Errors mean that the thread is gone, or that time is up.
        let _sent = self.orders.blocking_send(Order::Follow { upstreams, redis, hear, tell });
        let _in_time = told.recv_timeout(PATIENCE);
    }

    /// The registered servers of an upstream; `None` when servers cannot register there.
    #[must_use]
    pub fn view(&self, upstream: &str) -> Option<Arc<View>> {
        self.shown.upstreams.load().get(upstream).cloned()
    }

    /// Notes the addresses at which the proxy itself listens.
    pub fn note_own(&self, own: Vec<SocketAddr>) {
        self.shown.own.store(Arc::new(own));
    }

    /// Takes in a registration.
    ///
    /// # Errors
    /// [`Refused`]: everything stays as it was.
    pub async fn register(
        &self,
        upstream: &str,
        id: &str,
        said: Registration,
    ) -> Result<Registered, Refused> {
        let view = self.view(upstream).ok_or(Refused::NoRegistry)?;
        let known = view.leases.get(id);
        if known.is_some_and(|lease| lease.renew(&said, clock::now())) {
            view.counts.renewed.fetch_add(1, Relaxed);
            return Ok(Registered::Renewed);
        }
        let ordered = self.order(upstream, id, said).await;
        match &ordered {
            Ok(Registered::New) => &view.counts.registered,
            Ok(Registered::Changed | Registered::Renewed) => &view.counts.renewed,
            Err(refused) => {
                lines::tell_refused(upstream, id, refused);
                &view.counts.refused
            }
        }
        .fetch_add(1, Relaxed);
        ordered
    }

    async fn order(
        &self,
        upstream: &str,
        id: &str,
        said: Registration,
    ) -> Result<Registered, Refused> {
        if let Some(address) = said.address.filter(|address| self.shown.is_own(*address)) {
            return Err(Refused::Own(address));
        }
        let (reply, answer) = oneshot::channel();
        let order = Order::Register(upstream.into(), id.into(), said, reply);
        self.orders.try_send(order).map_err(|_| Refused::Busy)?;
        answer.await.unwrap_or(Err(Refused::Busy))
    }

    /// Removes a server; false when it was not there.
    ///
    /// # Errors
    /// [`Refused::NoRegistry`] and [`Refused::Busy`].
    pub async fn remove(&self, upstream: &str, id: &str) -> Result<bool, Refused> {
        let view = self.view(upstream).ok_or(Refused::NoRegistry)?;
        let (reply, answer) = oneshot::channel();
        let order = Order::Remove(upstream.into(), id.into(), reply);
        self.orders.try_send(order).map_err(|_| Refused::Busy)?;
        let removed = answer.await.map_err(|_| Refused::Busy)?;
        view.counts.removed.fetch_add(u64::from(removed), Relaxed);
        Ok(removed)
    }
}

impl Shown {
    /// Returns whether the proxy itself listens there.
    fn is_own(&self, address: SocketAddr) -> bool {
        self.own.load().iter().any(|listens| own::is_same_place(*listens, address, own::is_local))
    }
}

#[cfg(test)]
mod tests;
