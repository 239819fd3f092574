//! `check`: the findings of loading a configuration, and those that would keep it from running. One answer for the
//! command, the admin endpoint and whoever else wants to know before a reload.

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

/// Looks into the files that servers are read from. A proxy starts whatever is wrong with them, and goes on with what
/// such a file said last, so all that is found is a warning.
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
mod tests {
    use super::*;

    /// The lines of what is found in a configuration beside a file with this text, and whether it loads.
    fn found(list: Option<&str>) -> (bool, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        let (path, config) =
            (directory.path().join("app.list"), directory.path().join("tidegate.toml"));
        if let Some(list) = list {
            std::fs::write(&path, list).unwrap();
        }
        let text = format!(
            "[[listen]]\naddress = '127.0.0.1:0'\n[upstream.app]\nservers = {{ file = '{0}' }}\n\
             [upstream.same]\nservers = {{ file = '{0}', allow = ['10.0.0.0/24'] }}\n\
             [[route]]\nupstream = 'app'\n[[route]]\npath = '/same'\nupstream = 'same'\n",
            path.display()
        );
        std::fs::write(&config, text).unwrap();
        let checked = check_file(&config);
        let loads = checked.is_ok();
        let report = match checked {
            Ok(loaded) => FindingReport::of(loaded.findings, loaded.sources),
            Err(report) => report,
        };
        let folder = format!("{}/", directory.path().display());
        let lines = report.lines().replace(&folder, "");
        // The last line is their number.
        let mut lines: Vec<String> = lines.lines().map(str::to_owned).collect();
        lines.retain(|line| !line.starts_with("  help: "));
        assert!(lines.pop().is_some_and(|last| last.starts_with("0 errors, ")));
        (loads, lines)
    }

    #[test]
    fn what_is_wrong_in_a_file_of_servers_is_told_with_its_place_and_keeps_nothing_from_running() {
        assert_eq!(found(Some("servers = ['10.0.0.1:80']")), (true, Vec::new()));
        let outside = "app.list:1:12: warning[outside_allow]: `10.0.1.1:80` is outside `allow` and is not used";
        assert_eq!(found(Some("servers = ['10.0.1.1:80']")), (true, vec![outside.to_owned()]));
        let (loads, lines) = found(Some(
            "servers = [\n  '10.0.0.1:80',\n  '0.0.0.0:80',\n  '224.0.0.1:80',\n  '10.0.0.2',\n]\nmore = 1\n",
        ));
        assert!(loads);
        let begins = [
            "app.list:3:3: warning[unspecified_address]: `0.0.0.0:80` is no address of a server",
            "app.list:4:3: warning[unusable_address]: nobody can connect to `224.0.0.1:80`",
            "app.list:5:3: warning[bad_value]: \"10.0.0.2\" is not a server address",
            "app.list:7:1: warning[unknown_key]: ",
        ];
        assert_eq!(lines.len(), begins.len(), "each once, though two upstreams read it: {lines:?}");
        for (line, begin) in lines.iter().zip(begins) {
            assert!(line.starts_with(begin), "{line}");
        }
        let wrong = format!("servers = [{}]", "'10.0.0.2',".repeat(MOST_FINDINGS + 200));
        let (loads, lines) = found(Some(&wrong));
        assert!(loads);
        let more =
            "tidegate.toml:4:20: warning[more_errors]: app.list: 200 more errors are not shown";
        assert_eq!(lines[0], more);
        assert!(lines[1].starts_with("app.list:1:12: warning[bad_value]: "), "{}", lines[1]);
        let (loads, lines) = found(None);
        assert!(loads);
        let expected =
            ["tidegate.toml:4:20: warning[unreadable_file]: app.list: there is no such file"];
        assert_eq!(lines, expected);
    }
}
