//! The keys of one table, and values that take several of them.

use schemars::SchemaGenerator;
use serde_json::{Map, Value as Json};

use super::{Reader, Shape};
use crate::finding::Finding;
use crate::shown::Replaced;
use crate::source::Place;
use crate::suggest::{did_you_mean, nearest};
use crate::tree::{TableEntry, TreeNode, Value};

/// Several keys of one table that are read as one value, such as the action of a route.
pub trait KeyGroup: Sized {
    /// The keys it reads.
    const KEYS: &'static [&'static str];

    /// Reads them.
    fn read(table: &TableReader<'_>, reader: &mut Reader) -> Option<Self>;

    /// Returns whether two of them mean the same.
    fn same(&self, other: &Self) -> bool;

    /// Adds them to the schema of the table.
    fn describe(generator: &mut SchemaGenerator, schema: &mut Map<String, Json>);
}

impl KeyGroup for Place {
    const KEYS: &'static [&'static str] = &[];

    fn read(table: &TableReader<'_>, _: &mut Reader) -> Option<Self> {
        Some(table.place)
    }

    fn same(&self, _: &Self) -> bool {
        true
    }

    fn describe(_: &mut SchemaGenerator, _: &mut Map<String, Json>) {}
}

impl KeyGroup for Replaced {
    const KEYS: &'static [&'static str] = &[];

    fn read(table: &TableReader<'_>, _: &mut Reader) -> Option<Self> {
        Some(Self::below(table.entries))
    }

    fn same(&self, _: &Self) -> bool {
        true
    }

    fn describe(_: &mut SchemaGenerator, _: &mut Map<String, Json>) {}
}

/// The message about a key that must be there and is not.
pub(crate) fn missing_text(key: &str) -> String {
    format!("missing key `{key}`")
}

/// The keys of one table.
#[derive(Debug, Clone, Copy)]
pub struct TableReader<'a> {
    /// The table, or its header.
    pub place: Place,
    pub(super) entries: &'a [TableEntry],
}

impl<'a> TableReader<'a> {
    /// The table in `node`; anything else is reported.
    pub(crate) fn of(node: &'a TreeNode, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Table(entries) => Some(Self { place: node.place, entries }),
            _ => reader.mismatch(node, "a table"),
        }
    }

    /// The top of a file.
    pub(crate) fn root(entries: &'a [TableEntry]) -> Self {
        Self { place: Place::NOWHERE, entries }
    }

    /// The entry of `key`, if it is written.
    pub(crate) fn get(&self, key: &str) -> Option<&'a TableEntry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Reports every key that is in none of `known`.
    pub(crate) fn refuse_unknown(&self, known: &[&[&'static str]], reader: &mut Reader) {
        let names = || known.iter().flat_map(|keys| keys.iter().copied());
        for entry in self.entries.iter().filter(|entry| names().all(|name| name != entry.key)) {
            if reader.is_full() {
                reader.dropped += 1;
                continue;
            }
            let belongs = reader.belongs(&entry.key, self.place);
            let meant = nearest(&entry.key, names()).filter(|key| self.get(key).is_none());
            if let Some(key) = meant.filter(|_| belongs.is_none()) {
                reader.broken.insert(self.place);
                reader.misspelt.entry(self.place).or_default().insert(key);
            }
            let direct = reader.trail.last().is_some_and(|last| names().any(|key| key == last));
            let named = reader.named_help().filter(|_| direct);
            let near = || did_you_mean(&entry.key, names());
            let help = belongs.or(named).or_else(near).unwrap_or_else(|| {
                format!("valid keys are {}", names().collect::<Vec<_>>().join(", "))
            });
            let message = format!("unknown key `{}`", entry.key);
            reader.report(Finding::error("unknown_key", entry.key_place, message).help(help));
        }
    }

    /// Reads the value of a name that the file chose.
    pub(super) fn element<T: Shape>(&self, entry: &TableEntry, reader: &mut Reader) -> Option<T> {
        reader.enter(&entry.key);
        let read = T::read_node(&entry.value, reader);
        reader.leave();
        reader.lost += usize::from(read.is_none());
        read
    }

    /// A key that must be there.
    pub(crate) fn required<T: Shape>(&self, key: &'static str, reader: &mut Reader) -> Option<T> {
        let Some(entry) = self.get(key) else {
            let message = missing_text(key);
            reader.report(Finding::error("missing_key", self.place, message));
            return None;
        };
        self.value(entry, reader)
    }

    /// Reads a value, and notes when something of it is lost.
    fn value<T: Shape>(&self, entry: &TableEntry, reader: &mut Reader) -> Option<T> {
        let lost = reader.lost;
        reader.enter(&entry.key);
        let read = T::read_node(&entry.value, reader);
        reader.leave();
        if read.is_none() || reader.lost > lost {
            reader.broken.insert(self.place);
        }
        read
    }

    /// A key with a default. An unreadable value is reported and the default stands in for it, so
    /// that the rest of the table is still looked at.
    #[expect(clippy::unnecessary_wraps, reason = "the same shape as `required`, for `table!`")]
    pub(crate) fn or<T: Shape>(
        &self,
        key: &'static str,
        reader: &mut Reader,
        default: impl FnOnce() -> T,
    ) -> Option<T> {
        let read = self.get(key).and_then(|entry| self.value(entry, reader));
        Some(read.unwrap_or_else(default))
    }
}
