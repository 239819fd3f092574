//! From tree to schema: reads every key it can and reports every one it cannot.
//!
//! serde stops at the first error, and its `flatten` and `untagged` lose positions. Here a type
//! says how it is read ([`Shape`]), a failing key falls back to its default so that its siblings
//! are still read, and the same declaration gives the JSON schema, so the two cannot disagree.
//! Tables are declared with `table!` and `settings!`, closed sets of words with `words!`.

mod declare;
mod properties;
mod table;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use schemars::{Schema, SchemaGenerator};
use serde_json::{Value as Json, json};

use super::finding::{Finding, MOST_FINDINGS};
use super::source::{Place, Sources};
use super::tree::{TreeNode, Value};

pub(crate) use self::declare::{
    group, key_name, not_one_of, schema_name, serialize_as_text, settings, table, words,
};
pub(crate) use self::properties::{Properties, any_of, schema_of};
pub(crate) use self::table::missing_text;
pub use self::table::{KeyGroup, TableReader};

/// Collects findings while values are read.
#[derive(Debug, Default)]
pub struct Reader {
    /// The first of them: nobody reads thousands, and words for each would take minutes and
    /// gigabytes.
    pub(crate) findings: Vec<Finding>,
    /// The number of further findings.
    pub(crate) dropped: usize,
    /// Regular expressions that were read.
    patterns: usize,
    /// The text that places point into.
    pub(crate) sources: Sources,
    /// Tables of which a value could not be read: what seems to be missing there may have been
    /// that.
    pub(crate) broken: BTreeSet<Place>,
    /// Tables that a key belongs to which is written in another one.
    pub(crate) deserted: BTreeSet<Place>,
    /// Keys that are probably meant by unknown ones, by their table.
    pub(crate) misspelt: BTreeMap<Place, BTreeSet<&'static str>>,
    /// Elements of arrays and tables that could not be read.
    lost: usize,
    /// The keys that lead to what is being read; an element of an array has none.
    trail: Vec<String>,
    /// The tables that what is being read is in.
    above: Vec<TableLevel>,
}

/// A table that another one is in.
#[derive(Debug)]
struct TableLevel {
    label: String,
    place: Place,
    keys: Vec<&'static str>,
}

/// A type that can be read from a tree and described as JSON schema.
pub trait Shape: Sized {
    /// Reads the value. `None` means that it could not be read and that this was reported.
    fn read_node(node: &TreeNode, reader: &mut Reader) -> Option<Self>;

    /// Returns the schema of what [`Shape::read_node`] accepts.
    fn json_schema(generator: &mut SchemaGenerator) -> Schema;
}

/// A type written as one string with an inner form, such as a duration or an address.
pub trait WordReader: Sized {
    /// A noun phrase for messages: "a duration".
    const WHAT: &'static str;
    /// A correct spelling for messages, without quotes.
    const EXAMPLE: &'static str;

    /// Reads the text.
    ///
    /// # Errors
    /// What is wrong with it, and advice if there is some.
    fn parse_word(text: &str) -> Result<Self, WrongValue>;

    /// Returns what a bare number was probably meant to be, without quotes. `None` where no number
    /// can be.
    fn from_number(_number: i64) -> Option<String> {
        None
    }

    /// True if reading one takes so much that their number is bounded.
    const COSTLY: bool = false;

    /// Keywords of the JSON schema besides `"type": "string"`.
    fn schema_keywords() -> Json {
        json!({})
    }
}

/// A reason why a [`WordReader`] could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongValue {
    /// The fault, lowercase, without the text itself.
    pub message: String,
    /// The text to write instead.
    pub help: Option<String>,
}

impl WrongValue {
    /// Without advice of its own; the example of the type will be shown.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    /// With advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Without the text itself, which may be a secret from elsewhere.
    fn without(self, text: &str) -> Self {
        match self.message.contains(text) || self.help.as_ref().is_some_and(|h| h.contains(text)) {
            true if !text.is_empty() => {
                Self::new(self.message.replace(text, "…")).help("it comes from `${…}`")
            }
            _ => self,
        }
    }
}

impl Reader {
    /// With what was found before anything was read.
    pub(crate) fn new(mut findings: Vec<Finding>, sources: Sources) -> Self {
        let dropped = findings.len().saturating_sub(MOST_FINDINGS);
        findings.truncate(MOST_FINDINGS);
        Self { findings, dropped, sources, ..Self::default() }
    }

    /// Begins to read what a key leads to; an empty one is an element of an array.
    fn enter(&mut self, key: &str) {
        self.trail.push(key.to_owned());
    }

    fn leave(&mut self) {
        self.trail.pop();
    }

    /// Begins to read the keys of a table. Ended by [`Reader::close`].
    pub(crate) fn open(&mut self, place: Place, known: &[&[&'static str]]) {
        let keys: Vec<&str> =
            self.trail.iter().map(String::as_str).filter(|key| !key.is_empty()).collect();
        let path = keys.join(".");
        let label = match self.trail.last().map(String::as_str) {
            None => "the top of the file".to_owned(),
            Some("") => format!("[[{path}]]"),
            Some(_) => format!("[{path}]"),
        };
        let keys = known.iter().flat_map(|keys| keys.iter().copied()).collect();
        self.above.push(TableLevel { label, place, keys });
    }

    pub(crate) fn close(&mut self) {
        self.above.pop();
    }

    /// Notes where a key belongs that is written below a sub-table and meant for the table around
    /// it.
    fn belongs(&mut self, key: &str, table: Place) -> Option<String> {
        let level = self.above.iter().rev().find(|level| level.keys.contains(&key))?;
        let text = self.sources.file(table).and_then(|file| file.text.get(table.span()));
        let header = text.is_some_and(|text| text.starts_with('['));
        let line = self.sources.position(table).filter(|_| header).map(|at| at.line);
        let place = line.map_or_else(String::new, |line| format!(", above line {line}"));
        self.deserted.insert(level.place);
        Some(format!("`{key}` belongs to {}{place}", level.label))
    }

    /// Returns how a table of a name that the file chooses begins, where what is being read is one.
    fn named_help(&self) -> Option<String> {
        let [table, key] = self.trail.as_slice() else { return None };
        let named = ["upstream", "limit", "headers", "auth", "cache"].contains(&&**table);
        named.then(|| format!("if `{key}` is no name, write [{table}.NAME] in place of [{table}]"))
    }

    /// Returns whether further findings are counted only.
    pub(crate) fn is_full(&self) -> bool {
        self.findings.len() >= MOST_FINDINGS
    }

    /// Keeps a finding, or counts it.
    pub(crate) fn report(&mut self, finding: Finding) {
        if self.is_full() {
            self.dropped += 1;
        } else {
            self.findings.push(finding);
        }
    }

    /// Reports a value of the wrong kind.
    pub(crate) fn mismatch<T>(&mut self, node: &TreeNode, wanted: &str) -> Option<T> {
        if !matches!(node.value, Value::Unreadable) {
            let found = node.value.kind();
            self.report(
                Finding::error(
                    "bad_value",
                    node.place,
                    format!("expected {wanted}, found {found}"),
                )
                .label(format!("expected {wanted}"))
                .maybe_help(self.named_help().filter(|_| wanted == "a table")),
            );
        }
        None
    }

    /// Reports a value of the right kind that is not acceptable.
    pub(crate) fn bad<T>(
        &mut self,
        node: &TreeNode,
        message: String,
        help: Option<String>,
    ) -> Option<T> {
        self.report(Finding::error("bad_value", node.place, message).maybe_help(help));
        None
    }
}
