//! The configuration: from TOML text to a typed, checked [`Config`] or a [`FindingReport`] of
//! everything that is wrong with it.
//!
//! Files become trees with places (`files`, `tree`), `${…}` is replaced inside their values
//! (`substitute`), the merged tree becomes structs (`read`, `schema`), and `check` looks at what
//! types cannot say. Nothing stops at the first mistake. What a [`Config`] means is for the rooms
//! that compile it.

mod check;
mod files;
pub mod finding;
mod json;
pub mod list;
pub mod matching;
pub mod read;
pub mod reference;
mod render;
pub mod schema;
pub mod shown;
pub mod source;
mod substitute;
pub mod suggest;
pub mod tree;

use std::path::Path;

use self::check::{ReadExtent, SeenNames};
use self::files::GatheredFiles;
pub use self::files::{FILE_LIMIT, MOST_FILES};
pub use self::finding::{Finding, FindingReport, Severity};
use self::read::{Reader, TableReader};
pub use self::render::TextColour;
pub use self::schema::Config;
pub use self::source::{Place, Position, Sources, Spanned};
use self::substitute::OutsideValue;

/// The files in which a configuration is looked for when none is named.
pub const DEFAULT_FILES: [&str; 2] = ["./tidegate.toml", "/etc/tidegate/tidegate.toml"];

/// A configuration that may be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The checked configuration, defaults filled in.
    pub config: Config,
    /// Warnings; there are no errors among them.
    pub findings: Vec<Finding>,
    /// The files it was read from.
    pub sources: Sources,
}

/// Loads a file and all it includes, with variables of this process. The certificates that it names
/// are not looked at.
///
/// # Errors
/// All findings, if one of them is an error.
pub fn load(path: &Path) -> Result<Loaded, FindingReport> {
    load_and_inspect(path, |_| Vec::new())
}

/// As [`load`], with what `inspect` finds in a configuration that can be read: for whoever runs it,
/// what its files hold.
///
/// # Errors
/// All findings, if one of them is an error.
pub fn load_and_inspect(
    path: &Path,
    inspect: impl FnOnce(&Config) -> Vec<Finding>,
) -> Result<Loaded, FindingReport> {
    let outside = OutsideValue { variable: &substitute::process_variable, files: true };
    let mut gathering = GatheredFiles::new(outside);
    gathering.add_file(path, Place::NOWHERE);
    settle(gathering, inspect)
}

/// Loads a configuration from text that may come from elsewhere: `include` and `${file:…}` are
/// errors in it, so that it cannot make this process read files.
///
/// # Errors
/// All findings, if one of them is an error.
pub fn load_str(name: &str, text: &str) -> Result<Loaded, FindingReport> {
    load_bytes(name, text.as_bytes())
}

/// As [`load_str`], for bytes that may not even be text.
///
/// # Errors
/// All findings, if one of them is an error.
pub fn load_bytes(name: &str, bytes: &[u8]) -> Result<Loaded, FindingReport> {
    load_from(name, bytes, &substitute::process_variable)
}

/// As [`load_bytes`], for whoever may not know the variables of this process: they are put in only
/// with `may_read`.
///
/// # Errors
/// All findings, if one of them is an error.
pub fn load_foreign(name: &str, bytes: &[u8], may_read: bool) -> Result<Loaded, FindingReport> {
    let none = |_: &str| None;
    let variable: &dyn Fn(&str) -> Option<String> =
        if may_read { &substitute::process_variable } else { &none };
    load_from(name, bytes, variable)
}

fn load_from(
    name: &str,
    bytes: &[u8],
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, FindingReport> {
    let outside = OutsideValue { variable, files: false };
    let mut gathering = GatheredFiles::new(outside);
    if bytes.len() as u64 > FILE_LIMIT {
        let message = format!("it is larger than {} KiB", FILE_LIMIT >> 10);
        gathering.findings.push(Finding::error("too_large", Place::NOWHERE, message));
    } else {
        gathering.add_bytes(name, bytes.to_vec(), None);
    }
    settle(gathering, |_| Vec::new())
}

/// The JSON schema of a configuration file, without the keys that this version refuses.
#[must_use]
pub fn json_schema() -> schemars::Schema {
    let mut schema = whole_schema();
    // A name for editors and validators that keep schemas apart; nothing is fetched from it.
    schema.insert("$id".into(), "urn:tidegate:configuration".into());
    schema.insert("title".into(), "tidegate".into());
    check::leave_out_unavailable(&mut schema);
    schema
}

/// The JSON schema of all keys that are read.
fn whole_schema() -> schemars::Schema {
    let settings = schemars::generate::SchemaSettings::draft2020_12();
    settings.into_generator().into_root_schema_for::<Config>()
}

/// Reads and checks what was gathered.
fn settle(
    gathering: GatheredFiles<'_>,
    inspect: impl FnOnce(&Config) -> Vec<Finding>,
) -> Result<Loaded, FindingReport> {
    let (root, sources, findings) = gathering.finish();
    // A file that could not be read is missing from the tree, and what the others refer to may be
    // in it. What is left is read, for its own mistakes, but not checked.
    let broken = findings.iter().any(|finding| {
        matches!(finding.code, "syntax" | "not_utf8" | "unreadable_file" | "too_large")
    });
    if broken && root.is_empty() {
        return Err(FindingReport::new(findings, sources, 0));
    }
    let mut reader = Reader::new(findings, sources);
    let config = Config::read_table(&TableReader::root(&root), &mut reader);
    let Reader { mut findings, dropped, sources, broken: torn, deserted, misspelt, .. } = reader;
    // What is written in the wrong table, or wrongly, is not missing besides.
    findings.retain(|f| f.code != "missing_key" || !deserted.contains(&f.place));
    findings.retain(|f| {
        let advised = |key: &str| {
            f.help.as_deref().is_some_and(|help| help.split([' ', ',']).any(|word| word == key))
        };
        let is_it = |key: &&str| f.message == read::missing_text(key) || advised(key);
        f.code != "missing_key" || !misspelt.get(&f.place).is_some_and(|k| k.iter().any(is_it))
    });
    if let Some(config) = config.as_ref().filter(|_| !broken) {
        let read = if findings.is_empty() { ReadExtent::Whole } else { ReadExtent::Partly };
        let checked = check::run(config, &SeenNames::of(&root), read).into_iter();
        // What seems to be missing from a table may be what could not be read of it.
        findings.extend(checked.filter(|finding| !torn.contains(&finding.place)));
        findings.extend(inspect(config));
        if read == ReadExtent::Whole {
            findings.extend(check::idle_keys(&root));
        }
    }
    findings.extend(check::unavailable(&root));
    findings.extend(check::empty_values(&root));
    let report = FindingReport::new(findings, sources, dropped);
    match config {
        Some(config) if report.errors() == 0 => {
            Ok(Loaded { config, findings: report.findings, sources: report.sources })
        }
        _ => Err(report),
    }
}
