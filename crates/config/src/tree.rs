//! TOML text as a tree whose every key and value knows its place.
//!
//! This is the only file that sees the TOML parser. The tree sits between text and schema so that
//! `${…}` can be replaced inside values, and several files merged, without losing a position.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::finding::Finding;
use super::source::Place;

/// A value and its place.
#[derive(Debug, Clone)]
pub struct TreeNode {
    /// The place of the value. For `[table]` and `[[array]]` this is the header.
    pub place: Place,
    /// The value.
    pub value: Value,
    /// True if `${…}` was replaced in it: it may be a secret, so messages do not repeat it.
    pub replaced: bool,
}

/// The kinds of TOML values. Numbers that do not fit are reported and become `Unreadable`.
#[derive(Debug, Clone)]
pub enum Value {
    /// Text, after replacement of `${…}`.
    String(String),
    /// A whole number of 64 bits.
    Integer(i64),
    /// A number with a fraction or an exponent.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// A date or a time; no key takes one.
    Datetime,
    /// `[a, b]` or repeated `[[name]]` tables.
    Array(Vec<TreeNode>),
    /// Keys and values.
    Table(Vec<TableEntry>),
    /// A value that was already reported; readers pass over it in silence.
    Unreadable,
}

/// One `key = value`.
#[derive(Debug, Clone)]
pub struct TableEntry {
    /// The key.
    pub key: String,
    /// The place of the key.
    pub key_place: Place,
    /// The value.
    pub value: TreeNode,
}

impl Value {
    /// The kind, as a noun phrase for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Boolean(_) => "a boolean",
            Self::Datetime => "a date",
            Self::Array(_) => "an array",
            Self::Table(_) => "a table",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Up to this size all syntax errors are looked for. Beyond it, garbage of 16 MiB would cost
/// gigabytes of errors, and the first one has to do.
const RECOVERABLE: usize = 256 << 10;

/// Syntax errors of a file that are shown.
const MOST_SYNTAX_ERRORS: usize = 20;

/// Parses the text of file number `file`. Syntax errors go to `findings`; a file that
/// has one is not read any further. Nesting is bounded by the parser (80 levels).
pub(crate) fn parse(file: u32, text: &str, findings: &mut Vec<Finding>) -> Vec<TableEntry> {
    if text.len() > RECOVERABLE
        && let Err(error) = DeTable::parse(text)
    {
        findings.push(syntax(file, text, &error));
        return Vec::new();
    }
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut errors: Vec<_> = errors.iter().map(|error| syntax(file, text, error)).collect();
    errors.sort_by_key(|error| error.place);
    // What follows the first error of a line is mostly its consequence.
    let mut last_line = None;
    errors.retain(|error| {
        let before = text.get(..error.place.span().start).unwrap_or(text);
        let line = before.bytes().rposition(|byte| byte == b'\n').map_or(0, |at| at + 1);
        last_line.replace(line) != Some(line)
    });
    errors.truncate(MOST_SYNTAX_ERRORS);
    if !errors.is_empty() {
        // Values guessed from broken text would only cause misleading findings.
        findings.extend(errors);
        return Vec::new();
    }
    convert_table(file, root.into_inner(), findings)
}

fn syntax(file: u32, text: &str, error: &toml::de::Error) -> Finding {
    let span = error.span().unwrap_or(text.len()..text.len());
    Finding::error("syntax", Place::new(file, span), error.message().trim().replace('\n', ", "))
}

fn convert_table(file: u32, table: DeTable<'_>, findings: &mut Vec<Finding>) -> Vec<TableEntry> {
    table
        .into_iter()
        .map(|(key, value)| TableEntry {
            key_place: Place::new(file, key.span()),
            key: key.into_inner().into_owned(),
            value: convert(file, value, findings),
        })
        .collect()
}

fn convert(file: u32, value: Spanned<DeValue<'_>>, findings: &mut Vec<Finding>) -> TreeNode {
    let place = Place::new(file, value.span());
    let value = match value.into_inner() {
        DeValue::String(text) => Value::String(text.into_owned()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => {
                findings.push(
                    Finding::error("bad_value", place, "this number does not fit")
                        .help("integers go from -9223372036854775808 to 9223372036854775807"),
                );
                Value::Unreadable
            }
        },
        DeValue::Float(number) => number.as_str().parse().map_or(Value::Unreadable, Value::Float),
        DeValue::Boolean(flag) => Value::Boolean(flag),
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Array(items) => {
            Value::Array(items.into_iter().map(|item| convert(file, item, findings)).collect())
        }
        DeValue::Table(table) => Value::Table(convert_table(file, table, findings)),
    };
    TreeNode { place, value, replaced: false }
}
