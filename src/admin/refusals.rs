//! `/refusals`: the last exchanges that did not end well, by code.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::telemetry::history::History;
use crate::telemetry::refusals::Remembered;

/// The whole document: by code, the newest first. So many are kept of each code that a flood of one
/// leaves the others.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Refusals(BTreeMap<&'static str, Vec<Remembered>>);

/// Reads them.
#[must_use]
pub fn collect_refusals(history: &History) -> Refusals {
    Refusals(history.latest().collect())
}
