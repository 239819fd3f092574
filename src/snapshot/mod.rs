//! One immutable, compiled configuration, and how workers get at it.
//!
//! A request works on one [`Snapshot`] from start to finish. State that outlives configuration is
//! not in here: it belongs to the endpoints, which a new snapshot takes over from the old one.

mod access;
mod auth;
mod cache;
pub mod check;
pub mod compile;
pub mod listener;
pub mod pages;
mod policies;
mod redis;
pub mod rewrite;
pub mod route;
pub mod servers;
mod target;
mod trace;
mod upstream;
pub mod weights;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use arc_swap::cache::Cache;

use crate::cache::route::RouteCache;
use crate::config::shown::Shown;
use crate::policy::limit::Limit;
use crate::policy::shared::Redis;
use crate::route::RouteTable;
use crate::telemetry::access::AccessLog;
use crate::telemetry::trace::Tracing;
use crate::upstream::Upstream;

pub use listener::Listener;
pub use route::Route;

/// One compiled configuration.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts accepted configurations, from 1.
    pub generation: u64,
    /// The table that leads from requests to routes.
    pub table: RouteTable<Arc<Route>>,
    /// All routes, in the order of the file.
    pub routes: Box<[Arc<Route>]>,
    /// Listeners in the order of the file; connections know theirs by id.
    pub listeners: Box<[Arc<Listener>]>,
    /// Upstreams, sorted by name.
    pub upstreams: Box<[Arc<Upstream>]>,
    /// True if any of them tells its servers whose connections are.
    pub announces: bool,
    /// The configuration in effect, defaults filled in, secrets masked.
    pub shown: Shown,
    /// The Redis that instances share.
    pub redis: Option<Arc<Redis>>,
    /// The access log, if there is one.
    pub access: Option<AccessLog>,
    /// The tracing of requests, if there is any.
    pub trace: Option<Tracing>,
    /// The query parameters that may hold tokens, which are not written down.
    pub masked_query: Box<[Box<[u8]>]>,
    /// The fields by which servers are told who a client is, in lower case; clients cannot send
    /// them.
    pub identity_fields: Box<[Box<[u8]>]>,
    /// The time that a shutdown waits for what is under way.
    pub drain: Duration,
    /// The time that it goes on accepting before that.
    pub drain_delay: Duration,
    /// The most bytes that requests under way hold together.
    pub request_memory: usize,
}

impl Snapshot {
    /// Sets the bounds of all caches to what this configuration says, now that it runs.
    pub fn bound_caches(&self) {
        for cache in self.routes.iter().filter_map(|route| route.cache.as_ref()) {
            let (memory, entries) = cache.bounds;
            cache.store.set_bounds(memory, entries);
        }
    }

    /// The rate limits, each once, sorted by name.
    pub fn limits(&self) -> impl Iterator<Item = &Limit> {
        let policies = self.routes.iter().filter_map(|route| route.policies.as_deref());
        let limits = policies.flat_map(|policies| policies.limits.iter());
        limits.map(|limit| (&*limit.name, limit)).collect::<BTreeMap<_, _>>().into_values()
    }

    /// The caches, each once, sorted by name.
    pub fn caches(&self) -> impl Iterator<Item = &RouteCache> {
        let caches = self.routes.iter().filter_map(|route| route.cache.as_deref());
        caches.map(|cache| (&*cache.store.name, cache)).collect::<BTreeMap<_, _>>().into_values()
    }

    /// The listener with this id; `None` once it is gone.
    #[must_use]
    pub fn listener(&self, id: u16) -> Option<&Arc<Listener>> {
        self.listeners.iter().find(|listener| listener.id == id)
    }
}

/// The place of the current snapshot, for everyone.
pub type SnapshotStore = Arc<ArcSwap<Snapshot>>;

/// A snapshot that one request holds on to: cloning it touches nothing that other workers touch.
pub type SnapshotRef = Rc<Arc<Snapshot>>;

/// A worker's view of the current snapshot. Looking at it reads one shared word and writes none.
pub struct CurrentSnapshot {
    cache: RefCell<Cache<SnapshotStore, Arc<Snapshot>>>,
    held: RefCell<SnapshotRef>,
}

impl CurrentSnapshot {
    /// A view of `store`.
    #[must_use]
    pub fn new(store: SnapshotStore) -> Self {
        let held = Rc::new(store.load_full());
        Self { cache: RefCell::new(Cache::new(store)), held: RefCell::new(held) }
    }

    /// The snapshot for one request.
    #[must_use]
    pub fn get_snapshot(&self) -> SnapshotRef {
        let mut cache = self.cache.borrow_mut();
        let newest = cache.load();
        if !Arc::ptr_eq(newest, &self.held.borrow()) {
            // The reference count that all workers share changes once per reload, not per request.
            *self.held.borrow_mut() = Rc::new(newest.clone());
        }
        self.held.borrow().clone()
    }
}
