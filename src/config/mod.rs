//! The configuration: from TOML text to a typed, checked [`Config`] or a [`Report`] of everything
//! that is wrong with it.
//!
//! Text becomes a tree with places (`tree`), the tree becomes structs (`read`, `schema`). Nothing
//! stops at the first mistake.

pub mod finding;
pub mod read;
pub mod schema;
pub mod source;
mod suggest;
pub mod tree;

pub use self::finding::{Finding, Report, Severity};
pub use self::schema::Config;
pub use self::source::{Place, Position, Sources, Spanned};

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

/// Loads a configuration from text.
///
/// # Errors
/// All findings, if one of them is an error.
pub fn load_str(name: &str, text: &str) -> Result<Loaded, Report> {
    let mut sources = Sources::default();
    let file = sources.add(name, text.to_owned());
    let mut reader = read::Reader::default();
    let entries = tree::parse(file, text, &mut reader.findings);
    let config = Config::read_table(&read::Table::root(&entries), &mut reader);
    let report = Report::new(reader.findings, sources);
    match config {
        Some(config) if report.errors() == 0 => {
            Ok(Loaded { config, findings: report.findings, sources: report.sources })
        }
        _ => Err(report),
    }
}
