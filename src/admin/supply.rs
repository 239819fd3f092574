//! The state of the source of an upstream's servers, as `/stats` shows it.

use std::time::{SystemTime, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::Serialize;

use crate::upstream::{Supply, Upstream};

/// The source that an upstream's servers are found by.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SupplyStats {
    /// What is wrong with it, or with some of what it says; null when nothing is. What it told
    /// last stays in use.
    fault: Option<String>,
    /// The moment at which it last named other servers, in seconds since 1970; null before that.
    since: Option<u64>,
    /// The seconds for which it says that this may be believed; null where it says nothing of it.
    ttl: Option<f64>,
}

impl SupplyStats {
    /// Returns the state of an upstream's source; `None` where servers are written in the
    /// configuration.
    pub(super) fn from_upstream(upstream: &Upstream) -> Option<Self> {
        let supply = upstream.state.supply.load();
        let Supply { fault, ttl, since } = &**supply.as_ref()?;
        let seconds = |at: &SystemTime| at.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        Some(Self {
            fault: fault.as_deref().map(str::to_owned),
            since: since.as_ref().map(seconds),
            ttl: ttl.map(|ttl| ttl.as_secs_f64()),
        })
    }
}
