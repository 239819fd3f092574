//! `check`: the findings of loading a configuration, and those that would keep it from running. One
//! answer for the command, the admin endpoint and whoever else wants to know before a reload.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::compile;
use crate::config::finding::MOST_FINDINGS;
use crate::config::list::{LARGEST, ServerFile};
use crate::config::schema::words::ServerAddress;
use crate::config::{self, Config, Finding, FindingReport, Loaded, Severity, Sources, Spanned};
use crate::files;

/// Loads a file as [`config::load`] does, and adds what would keep it from running.
///
/// # Errors
/// All findings, if one of them is an error.
pub fn check_file(path: &Path) -> Result<Loaded, FindingReport> {
    let Loaded { config, mut findings, sources } = add_findings(config::load(path)?, true)?;
    let sources = read_server_files(&config, sources, &mut findings);
    Ok(Loaded { config, findings, sources })
}

/// Looks into the files that servers are read from. A proxy starts whatever is wrong with them, and
/// goes on with what such a file said last, so all that is found is a warning.
fn read_server_files(
    config: &Config,
    mut sources: Sources,
    findings: &mut Vec<Finding>,
) -> Sources {
    let mut known: BTreeMap<&Path, Option<ServerFile>> = BTreeMap::new();
    for upstream in config.upstream.values() {
        let Some(elsewhere) = upstream.servers.elsewhere() else { continue };
        let Some(path) = elsewhere.source.file_path() else { continue };
        if !known.contains_key(&*path.value) {
            let (read, all) = read_server_file(path, sources, findings);
            sources = all;
            known.insert(&path.value, read);
        }
        if let Some(Some(file)) = known.get(&*path.value) {
            let outside = file.addresses().filter_map(|address| {
                let fits = match &address.value {
                    ServerAddress::Ip(at) => elsewhere.allows(*at),
                    ServerAddress::Name { .. } => true,
                    ServerAddress::Unix(_) => elsewhere.allow.is_empty(),
                };
                let message = format!("`{address}` is outside `allow` and is not used");
                let finding = || Finding::warning("outside_allow", address.place, message);
                (!fits).then(|| finding().related(path.place, "read from here"))
            });
            findings.extend(outside.take(MOST_FINDINGS));
        }
    }
    sources
}

/// Reads one of them, unless something in it is wrong.
fn read_server_file(
    path: &Spanned<PathBuf>,
    sources: Sources,
    findings: &mut Vec<Finding>,
) -> (Option<ServerFile>, Sources) {
    let name = path.value.display().to_string();
    let unreadable = |why: String| {
        Finding::warning("unreadable_file", path.place, format!("{name}: {why}")).help(
            "it is looked at several times a second; there are no servers until it can be read",
        )
    };
    let text = match files::read_text(&path.value, LARGEST) {
        Ok(text) => text,
        Err(why) => {
            findings.push(unreadable(why));
            return (None, sources);
        }
    };
    let (read, report) = ServerFile::read_text(&name, text, sources);
    let errors = report.errors();
    if report.more > 0 {
        let message = format!("{name}: {} more errors are not shown", report.more);
        let help = "nothing in it is used until all of them are mended";
        findings.push(Finding::warning("more_errors", path.place, message).help(help));
    }
    let found = report.findings.into_iter().take(MOST_FINDINGS);
    findings.extend(found.map(|finding| {
        match finding.severity {
            Severity::Warning => finding,
            Severity::Error => Finding { severity: Severity::Warning, ..finding }
                .related(path.place, "read from here; nothing in it is used until this is mended"),
        }
    }));
    (read.filter(|_| errors == 0), report.sources)
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

#[cfg(test)]
mod tests;
