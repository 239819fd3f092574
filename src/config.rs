//! The configuration: the crate of that name, and the look at certificates, which takes what TLS
//! takes.
//!
//! The crate turns text into checked data and links no proxy. What is loaded to run here is loaded
//! by [`load`], which refuses certificates that cannot be used as well.

use std::path::Path;

pub use ::config::*;

pub mod certificates;

/// Loads a file and all it includes, and looks at the certificates that it names.
///
/// # Errors
/// All findings, if one of them is an error.
pub fn load(path: &Path) -> Result<Loaded, FindingReport> {
    load_and_inspect(path, certificates::inspect)
}
