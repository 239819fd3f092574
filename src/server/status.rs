//! What the process knows about itself, shared with the admin endpoint.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::SystemTime;

use crate::snapshot::Store;

/// Counters and states of the whole process.
#[derive(Debug)]
pub struct Status {
    /// The configuration in use.
    pub store: Store,
    /// Number of worker threads.
    pub workers: usize,
    /// When the process started.
    pub started: SystemTime,
    /// New work is welcome.
    pub ready: AtomicBool,
    /// Per listener, in the order of the file.
    pub listeners: Box<[ListenerStatus]>,
    /// Requests read, those that were refused included.
    pub requests: AtomicU64,
    /// Requests that ended in a defect of the proxy.
    pub panics: AtomicU64,
}

/// Counters of one listener.
#[derive(Debug, Default)]
pub struct ListenerStatus {
    /// Connections open now.
    pub open: AtomicU32,
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections closed at once because too many were open.
    pub refused: AtomicU64,
}

impl Status {
    /// A process that has just started.
    #[must_use]
    pub fn new(store: Store, workers: usize) -> Self {
        let count = store.load().listeners.len();
        Self {
            store,
            workers,
            started: SystemTime::now(),
            ready: AtomicBool::new(false),
            listeners: (0..count).map(|_| ListenerStatus::default()).collect(),
            requests: AtomicU64::new(0),
            panics: AtomicU64::new(0),
        }
    }
}
