//! Empty lists and tables where one would have to mean either nobody or everybody: the program that
//! wrote the file had none to write, and a route for no client must not become one for all.

use crate::finding::Finding;
use crate::tree::{TableEntry, TreeNode, Value};

/// The place of a list or a table, `*` for any key and for every element of an array, and what
/// leaving it out means.
const PLACES: &[(&str, &str)] = &[
    ("route.*.listen", "all listeners"),
    ("route.*.host", "all hosts"),
    ("route.*.path", "all paths"),
    ("route.*.method", "all methods"),
    ("route.*.client", "all clients"),
    ("route.*.headers", "requests with any headers"),
    ("route.*.query", "requests with any query"),
    ("route.*.cookies", "requests with any cookies"),
    ("route.*.client_cert", "clients without a certificate too"),
    ("route.*.subset", "all servers"),
    ("route.*.limit.key", "the client's address"),
    ("route.*.limit.*.key", "the client's address"),
    ("route.*.concurrency.key", "the whole route"),
    ("route.*.cache.key", "host, path and query"),
    ("limit.*.key", "the client's address"),
    ("cache.*.key", "host, path and query"),
    ("auth.*.jwt.audience", "any audience"),
    ("auth.*.jwt.algorithms", "RS256 and ES256"),
    ("upstream.*.servers.allow", "any network"),
    ("upstream.*.health.status", "200 to 299"),
];

/// Reports every list and table of [`PLACES`] that is empty.
pub(crate) fn empty_values(root: &[TableEntry]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, otherwise) in PLACES {
        let steps: Vec<&str> = path.split('.').collect();
        in_table(root, &steps, otherwise, &mut findings);
    }
    findings
}

fn in_table(entries: &[TableEntry], steps: &[&str], otherwise: &str, found: &mut Vec<Finding>) {
    let Some((step, rest)) = steps.split_first() else { return };
    for entry in entries.iter().filter(|entry| *step == "*" || entry.key == *step) {
        in_value(&entry.value, rest, otherwise, found);
    }
}

fn in_value(node: &TreeNode, steps: &[&str], otherwise: &str, found: &mut Vec<Finding>) {
    let mut report = |kind: &str| {
        let message = format!("an empty {kind} here would mean either nothing or everything");
        let help = format!("leave the key out for {otherwise}");
        found.push(Finding::error("bad_value", node.place, message).help(help));
    };
    match (steps.split_first(), &node.value) {
        (None, Value::Array(items)) if items.is_empty() => report("list"),
        (None, Value::Table(entries)) if entries.is_empty() => report("table"),
        (Some(_), Value::Table(entries)) => in_table(entries, steps, otherwise, found),
        (Some((&"*", rest)), Value::Array(items)) => {
            for item in items {
                in_value(item, rest, otherwise, found);
            }
        }
        _ => {}
    }
}
