//! What a reload leads to: another configuration, nothing, or a refusal.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::{Config, FindingReport};
use crate::reload::diff::{ConfigChange, StayingCounts};
use crate::snapshot::Snapshot;
use crate::snapshot::weights::Weights;

/// The plan that reading the files again leads to.
#[derive(Debug)]
pub enum ReloadPlan {
    /// To nothing: what runs is what they say, or what an operator went back to.
    Nothing(&'static str),
    /// To another configuration.
    Switch(Box<Prepared>),
}

/// The origin of a configuration that may run.
#[derive(Debug)]
pub(super) enum ReloadOrigin {
    /// The files.
    Files,
    /// The configurations before.
    Before,
}

/// A configuration that may run.
#[derive(Debug)]
pub struct Prepared {
    /// As written.
    pub config: Arc<Config>,
    /// Compiled.
    pub snapshot: Snapshot,
    /// The differences.
    pub changes: Vec<ConfigChange>,
    /// The number of each that goes on as it was.
    pub stays: StayingCounts,
    pub(super) origin: ReloadOrigin,
    /// The weights that an operator has changed, if this comes to run.
    pub(super) weights: Weights,
}

/// A reason why a configuration may not run.
#[derive(Debug, Error)]
pub enum ReloadRefused {
    /// The configuration does not load.
    #[error("{}", .0.lines())]
    Report(FindingReport),
    /// The change would remove too much.
    #[error(
        "{what} would go from {from} to {to}, which `runtime.shrink_guard` does not allow; \
         force it if it is meant"
    )]
    Shrinks {
        /// Routes or servers, all of them or those of an upstream.
        what: String,
        /// The number there is.
        from: usize,
        /// The number there would be.
        to: usize,
    },
    /// A listener cannot be opened.
    #[error("{0}")]
    Bind(String),
    /// No such server is known.
    #[error("no server `{0}`")]
    NoServer(String),
    /// No file is read, or nothing is left to go back to.
    #[error("{0}")]
    Nothing(&'static str),
}

/// The end of a reload, as it is told to whoever asked for it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReloadOutcome {
    /// True if it runs.
    pub ok: bool,
    /// The generation that runs now.
    pub generation: u64,
    /// The differences.
    pub changes: Vec<ConfigChange>,
    /// The number of each that goes on as it was.
    pub stays: StayingCounts,
    /// The things that get nothing new any more and finish what they have.
    pub drains: Vec<String>,
    /// The reason of a refusal; empty otherwise.
    pub error: String,
    /// The reason why nothing was done although nothing is wrong; empty otherwise.
    #[serde(default)]
    pub note: String,
}

/// The parts of a [`Prepared`] that runs which are to be remembered.
#[derive(Debug)]
pub struct Accepted {
    pub(super) config: Arc<Config>,
    pub(super) origin: ReloadOrigin,
    pub(super) weights: Weights,
}

impl Prepared {
    /// The snapshot, and what is to be remembered once it runs.
    #[must_use]
    pub fn into_parts(self) -> (Snapshot, Vec<ConfigChange>, StayingCounts, Accepted) {
        let Self { config, snapshot, changes, stays, origin, weights } = self;
        (snapshot, changes, stays, Accepted { config, origin, weights })
    }
}
