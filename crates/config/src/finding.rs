//! What a check has to say, as data: a severity, a stable code, a place and the words.
//!
//! Findings are collected, never thrown, so that one run reports everything. How they look is
//! decided in `render`.

use super::source::{Place, Sources};

/// Findings that are shown. A generated file with a mistake per line has more than anyone reads.
pub const MOST_FINDINGS: usize = 1_000;

/// The weight of a finding: it refuses the configuration, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration does not load.
    Error,
    /// The configuration loads; something in it is probably not meant.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing worth saying about a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The weight: it refuses the file, or not.
    pub severity: Severity,
    /// A stable word for machines, such as `unknown_key`.
    pub code: &'static str,
    /// One line: what is wrong.
    pub message: String,
    /// The text that it is about; [`Place::NOWHERE`] when no text could be read.
    pub place: Place,
    /// Words below the caret.
    pub label: Option<String>,
    /// The text to write instead.
    pub help: Option<String>,
    /// Other places that belong to it, each with its words.
    pub related: Vec<(Place, String)>,
}

impl Finding {
    /// An error at `place`.
    pub fn error(code: &'static str, place: Place, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            place,
            label: None,
            help: None,
            related: Vec::new(),
        }
    }

    /// A warning at `place`.
    pub fn warning(code: &'static str, place: Place, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, place, message) }
    }

    /// With words below the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// With advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With advice, if there is some.
    #[must_use]
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }

    /// With another place that belongs to it.
    #[must_use]
    pub fn related(mut self, place: Place, label: impl Into<String>) -> Self {
        self.related.push((place, label.into()));
        self
    }
}

/// The reasons why a configuration did not load: its findings, and the text they point into.
#[derive(Debug, Clone, Default)]
pub struct FindingReport {
    /// All findings, in the order of the files and of their lines.
    pub findings: Vec<Finding>,
    /// The files.
    pub sources: Sources,
    /// Errors that were counted and not kept.
    pub more: usize,
}

impl FindingReport {
    /// Makes a report of these findings, in the order they have.
    #[must_use]
    pub fn of(findings: Vec<Finding>, sources: Sources) -> Self {
        Self { findings, sources, more: 0 }
    }

    /// A report in reading order, without repetitions.
    #[must_use]
    pub fn new(mut findings: Vec<Finding>, sources: Sources, more: usize) -> Self {
        findings.sort_by_key(|finding| (finding.place, finding.severity));
        findings.dedup();
        Self { findings, sources, more }
    }

    /// Returns how many errors it has.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.count(Severity::Error) + self.more
    }

    /// Returns how many warnings it has.
    #[must_use]
    pub fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}
