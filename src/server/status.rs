//! What the process knows about itself, shared with the admin endpoint.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::SystemTime;

use arc_swap::ArcSwapOption;

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
    /// How reloads went.
    pub reloads: Reloads,
    /// Requests read, those that were refused included.
    pub requests: AtomicU64,
    /// Requests that ended in a defect of the proxy.
    pub panics: AtomicU64,
}

/// How reloads went.
#[derive(Debug, Default)]
pub struct Reloads {
    /// Configurations that came into effect.
    pub accepted: AtomicU64,
    /// Configurations that did not.
    pub refused: AtomicU64,
    /// Why the last one did not; empty when the last one did.
    pub last_error: ArcSwapOption<String>,
}

impl Status {
    /// A process that has just started.
    #[must_use]
    pub fn new(store: Store, workers: usize) -> Self {
        Self {
            store,
            workers,
            started: SystemTime::now(),
            ready: AtomicBool::new(false),
            reloads: Reloads::default(),
            requests: AtomicU64::new(0),
            panics: AtomicU64::new(0),
        }
    }
}
