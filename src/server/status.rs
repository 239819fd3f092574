//! What the process knows about itself, shared with the admin endpoint.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use arc_swap::{ArcSwap, ArcSwapOption};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::sync::mpsc;

use super::collector::Desk;
use super::worker::WorkerCommand;
use crate::clock;
use crate::discovery::registry::Registry;
use crate::reload::ReloadOutcome;
use crate::snapshot::SnapshotStore;
use crate::telemetry::process::unix_seconds;

/// Counters and states of the whole process.
#[derive(Debug)]
pub struct Status {
    /// The configuration in use.
    pub store: SnapshotStore,
    /// The place for questions about what the workers count.
    pub desk: Desk,
    /// Number of worker threads.
    pub workers: usize,
    /// The senders of orders to workers, once they run.
    pub orders: OnceLock<Box<[mpsc::Sender<WorkerCommand>]>>,
    /// The start of the process.
    pub started: SystemTime,
    /// New work is welcome.
    pub ready: AtomicBool,
    /// Told when a call asks for a drain.
    pub drain: Notify,
    /// The counts of reloads by their result.
    pub reloads: Reloads,
    /// Requests read, those that were refused included.
    pub requests: AtomicU64,
    /// Requests that ended in a defect of the proxy.
    pub panics: AtomicU64,
    /// The servers that have registered themselves.
    pub registry: Registry,
}

/// The results of reloads.
#[derive(Debug, Default)]
pub struct Reloads {
    /// Configurations that came into effect.
    pub accepted: AtomicU64,
    /// Configurations that did not.
    pub refused: AtomicU64,
    /// The reason why the last one failed; empty when it did not.
    pub last_error: ArcSwapOption<String>,
    /// The latest of them, the newest last.
    pub latest: ArcSwap<Vec<Reload>>,
}

/// Reloads that are remembered.
const LATEST: usize = 20;

/// One reload.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Reload {
    /// The time, in seconds since 1970.
    pub at: f64,
    /// True if it came into effect.
    pub ok: bool,
    /// The generation that ran afterwards.
    pub generation: u64,
    /// The differences.
    pub changes: Vec<String>,
    /// The reason of a refusal; empty otherwise.
    pub error: String,
}

impl Reloads {
    /// Remembers how a reload went. Only one thread does.
    pub fn remember_reload(&self, outcome: &ReloadOutcome) {
        let mut latest = Vec::clone(&self.latest.load());
        latest.push(Reload {
            at: unix_seconds(clock::wall()),
            ok: outcome.ok,
            generation: outcome.generation,
            changes: outcome.changes.iter().map(ToString::to_string).collect(),
            error: outcome.error.clone(),
        });
        if latest.len() > LATEST {
            latest.remove(0);
        }
        self.latest.store(Arc::new(latest));
    }
}

impl Status {
    /// A process that has just started.
    #[must_use]
    pub fn new(store: SnapshotStore, desk: Desk, workers: usize, registry: Registry) -> Self {
        Self {
            store,
            desk,
            workers,
            orders: OnceLock::new(),
            started: clock::wall(),
            ready: AtomicBool::new(false),
            drain: Notify::new(),
            reloads: Reloads::default(),
            requests: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            registry,
        }
    }
}
