//! What the types cannot say: references, duplicates, ranges and combinations.
//!
//! Every check is a function from the configuration to findings. None stops another one.

mod available;
mod empty;
mod idle;
mod idle_keys;
mod listen;
mod literal;
mod policy;
mod redis;
mod references;
mod route;
mod routes;
mod upstream;

use std::collections::BTreeSet;

pub(crate) use self::available::{leave_out as leave_out_unavailable, unavailable};
pub(crate) use self::empty::empty_values;
pub(crate) use self::idle_keys::idle_keys;
pub(crate) use self::upstream::{check_servers, warn_of_address};
use super::finding::Finding;
use super::schema::Config;
use super::tree::{TableEntry, Value};

/// All names that are defined somewhere, also by tables that could not be read: a reference to one
/// of those is not a second mistake.
#[derive(Debug, Default)]
pub(crate) struct SeenNames {
    pub(crate) upstream: BTreeSet<String>,
    pub(crate) limit: BTreeSet<String>,
    pub(crate) headers: BTreeSet<String>,
    pub(crate) auth: BTreeSet<String>,
    pub(crate) cache: BTreeSet<String>,
    pub(crate) listen: BTreeSet<String>,
    /// The admin endpoint has a token, readable or not.
    pub(crate) admin_token: bool,
}

impl SeenNames {
    pub(crate) fn of(root: &[TableEntry]) -> Self {
        let value =
            |key| root.iter().find(|entry| entry.key == key).map(|entry| &entry.value.value);
        let keys = |key| match value(key) {
            Some(Value::Table(names)) => names.iter().map(|name| name.key.clone()).collect(),
            _ => BTreeSet::new(),
        };
        let listen = match value("listen") {
            Some(Value::Array(listeners)) => listeners.iter().filter_map(name_of).collect(),
            _ => BTreeSet::new(),
        };
        Self {
            upstream: keys("upstream"),
            limit: keys("limit"),
            headers: keys("headers"),
            auth: keys("auth"),
            cache: keys("cache"),
            listen,
            admin_token: match value("admin") {
                Some(Value::Table(keys)) => keys.iter().any(|entry| entry.key == "token"),
                _ => false,
            },
        }
    }
}

fn name_of(node: &super::tree::TreeNode) -> Option<String> {
    let Value::Table(entries) = &node.value else { return None };
    entries.iter().find(|entry| entry.key == "name").and_then(|entry| match &entry.value.value {
        Value::String(name) => Some(name.clone()),
        _ => None,
    })
}

/// Checks that only make sense when everything could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadExtent {
    /// The configuration is complete.
    Whole,
    /// Something is missing from it and was reported.
    Partly,
}

/// All checks.
pub(crate) fn run(config: &Config, names: &SeenNames, read: ReadExtent) -> Vec<Finding> {
    let mut findings = Vec::new();
    listen::check(config, names, read, &mut findings);
    upstream::check(config, &mut findings);
    route::check(config, &mut findings);
    routes::check(config, read, &mut findings);
    literal::check(config, &mut findings);
    policy::check(config, &mut findings);
    references::check(config, names, read, &mut findings);
    if read == ReadExtent::Whole {
        idle::check(config, &mut findings);
    }
    findings
}
