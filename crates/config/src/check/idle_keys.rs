//! Keys that another key of their table makes useless, or that do nothing without one, whatever
//! their value is. A warning each.

use crate::finding::Finding;
use crate::tree::{TableEntry, Value};

/// Keys of `health` that checks of a kind do not look at, with what such checks do.
const CHECKS: [(&str, &[&str], &str); 2] = [
    ("tcp", &["path", "status", "body", "method", "headers"], "only connects"),
    ("grpc", &["status", "body", "method"], "goes by the status of gRPC"),
];

/// Reports every such key.
pub(crate) fn idle_keys(root: &[TableEntry]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(upstreams) = table_of(root, "upstream") else { return findings };
    for entry in upstreams {
        let Value::Table(upstream) = &entry.value.value else { continue };
        if let Some(health) = table_of(upstream, "health") {
            check_health(health, &mut findings);
        }
        if let Some(limits) = table_of(upstream, "limits") {
            check_queue(limits, &mut findings);
        }
    }
    findings
}

fn check_health(health: &[TableEntry], findings: &mut Vec<Finding>) {
    let Some(Value::String(kind)) = value_of(health, "kind") else { return };
    let Some((_, useless, does)) = CHECKS.iter().find(|(name, ..)| name == kind) else { return };
    for entry in health.iter().filter(|entry| useless.contains(&&*entry.key)) {
        let message = format!("`health.{}` has no effect: a check by {kind} {does}", entry.key);
        let finding = Finding::warning("no_effect", entry.key_place, message);
        findings.push(finding.help("leave it out, or write kind = \"http\""));
    }
}

fn check_queue(limits: &[TableEntry], findings: &mut Vec<Finding>) {
    let capped = |key| value_of(limits, key).is_some();
    if capped("requests") || capped("connections") {
        return;
    }
    for entry in limits.iter().filter(|entry| ["pending", "pending_timeout"].contains(&&*entry.key))
    {
        let message = format!("`limits.{}` has no effect: nobody waits for a server", entry.key);
        let finding = Finding::warning("no_effect", entry.key_place, message);
        findings.push(finding.help("add requests = 100, the most that a server gets at a time"));
    }
}

fn value_of<'t>(entries: &'t [TableEntry], key: &str) -> Option<&'t Value> {
    entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value.value)
}

fn table_of<'t>(entries: &'t [TableEntry], key: &str) -> Option<&'t [TableEntry]> {
    match value_of(entries, key) {
        Some(Value::Table(entries)) => Some(entries),
        _ => None,
    }
}
