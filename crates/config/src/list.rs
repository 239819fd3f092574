//! Files with the servers of an upstream, which somebody else writes: `servers = { file = "…" }`.
//!
//! TOML or JSON with `servers` in the forms that the configuration itself has, or what Prometheus
//! reads (`file_sd`): an array of groups of targets. The content decides, not the name of the file:
//! neither form of JSON is TOML.

use std::collections::BTreeMap;

use super::check::{check_servers, warn_of_address};
use super::finding::{Finding, FindingReport};
use super::read::{Reader, Shape as _, TableReader, settings, table};
use super::schema::upstream::ServerConfig;
use super::schema::words::ServerAddress;
use super::source::{Place, Sources, Spanned};
use super::tree::{self, TableEntry, TreeNode, Value};
use super::{FILE_LIMIT, json};

/// The largest file: enough for a hundred thousand servers with labels.
pub const LARGEST: u64 = 4 * FILE_LIMIT;
/// The most servers of one file.
const MOST: usize = 100_000;

/// The content of a file with servers.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerFile {
    /// Servers as the configuration has them.
    Servers(Vec<ServerConfig>),
    /// Groups of targets as Prometheus has them.
    Targets(Vec<TargetGroup>),
}

settings! {
    /// A file with servers.
    pub struct ServerTable {
        /// All of them.
        servers: Vec<ServerConfig> = Vec::new(),
    }
}

table! {
    /// Targets that have their labels in common.
    pub struct TargetGroup {
        /// The addresses.
        targets: Vec<Spanned<ServerAddress>>,
        /// Their labels. Those that begin with two underscores are for programs.
        labels: BTreeMap<Spanned<String>, String> = BTreeMap::new(),
    }
}

impl ServerFile {
    /// Reads the text of a file that is called `name`.
    ///
    /// # Errors
    /// All findings, if one of them is an error.
    pub fn parse(name: &str, text: String) -> Result<Self, FindingReport> {
        let (read, report) = Self::read_text(name, text, Sources::default());
        match read {
            Some(read) if report.errors() == 0 => Ok(read),
            _ => Err(report),
        }
    }

    /// Reads such a text and tells all that is wrong with it. The text is added to `sources`, which
    /// are part of the report.
    #[must_use]
    pub fn read_text(
        name: &str,
        text: String,
        mut sources: Sources,
    ) -> (Option<Self>, FindingReport) {
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        let mut findings = Vec::new();
        let file = sources.add(name, text.clone());
        let root = match is_json(&text) {
            true => json::parse(file, &text, &mut findings),
            false => {
                let entries = tree::parse(file, &text, &mut findings);
                let place = Place::new(file, 0..text.len().min(1));
                Some(TreeNode { place, value: Value::Table(entries), replaced: false })
            }
        };
        let root = root.filter(|_| findings.is_empty());
        let mut reader = Reader::new(findings, sources);
        let read = root.and_then(|root| match &root.value {
            Value::Array(_) => Vec::read_node(&root, &mut reader).map(Self::Targets),
            Value::Table(entries) => read_servers(entries, &root, &mut reader).map(Self::Servers),
            _ => reader.mismatch(&root, "`servers`, or an array of groups of targets"),
        });
        let Reader { mut findings, dropped, sources, .. } = reader;
        if let Some(read) = &read {
            read.check(&mut findings);
        }
        (read, FindingReport::new(findings, sources, dropped))
    }

    /// The addresses of all servers, in their order.
    pub fn addresses(&self) -> impl Iterator<Item = &Spanned<ServerAddress>> {
        let (servers, groups): (&[ServerConfig], &[TargetGroup]) = match self {
            Self::Servers(servers) => (servers, &[]),
            Self::Targets(groups) => (&[], groups),
        };
        let targets = groups.iter().flat_map(|group| &group.targets);
        servers.iter().map(|server| &server.address).chain(targets)
    }

    fn check(&self, findings: &mut Vec<Finding>) {
        let number = match self {
            Self::Servers(servers) => {
                check_servers(servers, findings);
                servers.len()
            }
            Self::Targets(groups) => {
                let targets = groups.iter().flat_map(|group| &group.targets);
                targets.map(|target| warn_of_address(target, findings)).count()
            }
        };
        if number > MOST {
            let message = format!("{number} servers are too many; a file has at most {MOST}");
            findings.push(Finding::error("too_large", Place::NOWHERE, message));
        }
    }
}

/// The servers of a table. A file that says nothing of them is more likely another file than one
/// without servers.
fn read_servers(
    entries: &[TableEntry],
    root: &TreeNode,
    reader: &mut Reader,
) -> Option<Vec<ServerConfig>> {
    let read = ServerTable::read_table(&TableReader::root(entries), reader)?;
    if !entries.iter().any(|entry| entry.key == "servers") {
        let finding = Finding::error("missing_key", root.place, "`servers` is missing");
        reader
            .report(finding.help("write servers = [\"10.0.0.1:8080\"], or servers = [] for none"));
        return None;
    }
    Some(read.servers)
}

/// Returns whether a text is meant to be JSON: nothing of TOML begins with `{`, and its `[` is
/// followed by a name or another `[`.
fn is_json(text: &str) -> bool {
    let text = text.trim_start();
    let inner = text.strip_prefix('[').map(|rest| rest.trim_start().bytes().next());
    text.starts_with('{') || matches!(inner, Some(Some(b'{' | b']' | b'"') | None))
}

#[cfg(test)]
mod tests;
