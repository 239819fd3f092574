//! `check`: the findings of loading a configuration, and those that would keep it from running. One answer for the
//! command, the admin endpoint and whoever else wants to know before a reload.

use std::path::Path;

use super::compile;
use crate::config::{self, FindingReport, Loaded};

/// Loads a file as [`config::load`] does, and adds what would keep it from running.
///
/// # Errors
/// All findings, if one of them is an error.
pub fn check_file(path: &Path) -> Result<Loaded, FindingReport> {
    add_findings(config::load(path)?, true)
}

/// As [`config::load_foreign`], with what would keep it from running.
///
/// # Errors
/// All findings, if one of them is an error.
pub fn check_bytes(name: &str, bytes: &[u8], may_read: bool) -> Result<Loaded, FindingReport> {
    add_findings(config::load_foreign(name, bytes, may_read)?, false)
}

/// Adds what keeps a configuration that loads from running.
fn add_findings(loaded: Loaded, files: bool) -> Result<Loaded, FindingReport> {
    let Loaded { config, mut findings, sources } = loaded;
    findings.extend(compile::inspect(&config, files));
    let report = FindingReport::new(findings, sources, 0);
    match report.errors() {
        0 => Ok(Loaded { config, findings: report.findings, sources: report.sources }),
        _ => Err(report),
    }
}
