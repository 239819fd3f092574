//! JSON text as the same tree that TOML becomes, so that both are read alike and their mistakes
//! have places.
//!
//! The library parses; it is asked for one level at a time, because what it hands out of each value
//! is a piece of the text, and where that is says where the value is written.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::finding::Finding;
use super::source::Place;
use super::tree::{TableEntry, TreeNode, Value};

/// Levels of tables and arrays. Each one is looked at once more for every level above it.
const DEEPEST: usize = 8;

/// Parses the text of file number `file`. What is wrong with it goes to `findings`.
pub(crate) fn parse(file: u32, text: &str, findings: &mut Vec<Finding>) -> Option<TreeNode> {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(root) => Some(convert((file, text), root.get(), 0, findings)),
        Err(error) => {
            let at = offset(text, error.line(), error.column());
            let message = error.to_string();
            // The place is said by other means.
            let message = message.split(" at line ").next().unwrap_or_default().to_owned();
            findings.push(Finding::error("syntax", Place::new(file, at..at + 1), message));
            None
        }
    }
}

/// The byte that the library means, whose lines and columns begin with 1; a column of 0 is the end
/// of the line before.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let start = match line.checked_sub(2) {
        Some(ends) => text.match_indices('\n').nth(ends).map_or(0, |(at, _)| at + 1),
        None => 0,
    };
    (start + column.saturating_sub(1)).min(text.len().saturating_sub(1))
}

fn convert(of: (u32, &str), raw: &str, depth: usize, findings: &mut Vec<Finding>) -> TreeNode {
    let (file, text) = of;
    let start = (raw.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
    let place = Place::new(file, start..start.saturating_add(raw.len()));
    let mut below = |raw: &str| convert(of, raw, depth + 1, findings);
    let value = match raw.as_bytes().first() {
        Some(b'{' | b'[') if depth == DEEPEST => {
            findings.push(Finding::error("bad_value", place, "this is nested too deeply"));
            Value::Unreadable
        }
        Some(b'{') => match serde_json::from_str::<Pairs<'_>>(raw) {
            Ok(Pairs(pairs)) => {
                let mut entries: Vec<TableEntry> = Vec::with_capacity(pairs.len());
                for (key, raw) in pairs {
                    let value = below(raw.get());
                    entries.push(TableEntry { key, key_place: value.place, value });
                }
                repeated(&mut entries, findings);
                Value::Table(entries)
            }
            Err(_) => Value::Unreadable,
        },
        Some(b'[') => match serde_json::from_str::<Vec<&RawValue>>(raw) {
            Ok(items) => Value::Array(items.into_iter().map(|raw| below(raw.get())).collect()),
            Err(_) => Value::Unreadable,
        },
        _ => scalar(place, raw, findings),
    };
    TreeNode { place, value, replaced: false }
}

fn scalar(place: Place, raw: &str, findings: &mut Vec<Finding>) -> Value {
    let mut refuse = |message: &str| {
        findings.push(Finding::error("bad_value", place, message));
        Value::Unreadable
    };
    match serde_json::from_str::<serde_json::Value>(raw) {
        Ok(serde_json::Value::String(text)) => Value::String(text),
        Ok(serde_json::Value::Bool(flag)) => Value::Boolean(flag),
        Ok(serde_json::Value::Null) => refuse("null is no value; leave the key out"),
        Ok(serde_json::Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Value::Integer(number),
            (None, Some(number)) => Value::Float(number),
            (None, None) => refuse("this number does not fit"),
        },
        Ok(serde_json::Value::Array(_) | serde_json::Value::Object(_)) => Value::Unreadable,
        // A string with half of a surrogate pair, or a number of a thousand digits.
        Err(_) => refuse("this value cannot be read"),
    }
}

/// Reports keys that are there twice; nobody can tell which one was meant.
fn repeated(entries: &mut Vec<TableEntry>, findings: &mut Vec<Finding>) {
    let mut seen = std::collections::HashSet::new();
    entries.retain(|entry| {
        let first = seen.insert(entry.key.clone());
        if !first {
            let message = format!("`{}` is there twice", entry.key);
            findings.push(Finding::error("syntax", entry.key_place, message));
        }
        first
    });
}

/// The keys of a table in their order, with the text of their values.
struct Pairs<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;

        impl<'de> Visitor<'de> for All {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(All)
    }
}
