//! The files of a configuration: reading, `include`, and putting several files together.
//!
//! Whoever may write an included file may be wrong or hostile, so only regular files are read, up
//! to a size, up to a number, and never twice.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use super::finding::Finding;
use super::source::{Place, Sources};
use super::substitute::{self, OutsideValue};
use super::tree::{self, TableEntry, Value};
use machine::files;

/// The largest file that is read: 40 000 routes of a hundred bytes. What is read of it takes forty
/// times as much.
pub const FILE_LIMIT: u64 = 4 << 20;

/// The most bytes all files may have together.
const TOTAL_LIMIT: usize = 16 << 20;

/// The most files.
pub const MOST_FILES: usize = 1_024;

/// Tables whose keys are names; each file may add some.
const NAMED: [&str; 5] = ["upstream", "limit", "headers", "auth", "cache"];

/// Gathers the files of one configuration into one tree.
pub(crate) struct GatheredFiles<'a> {
    pub(crate) sources: Sources,
    pub(crate) findings: Vec<Finding>,
    outside: OutsideValue<'a>,
    root: Vec<TableEntry>,
    /// The place of each key of the root in it.
    known: HashMap<String, usize>,
    /// The place at which each name of a named table is defined: (table, name).
    defined: BTreeMap<(String, String), Place>,
    /// Files by their real path, and whether they are still being read.
    seen: BTreeMap<PathBuf, bool>,
    total: usize,
}

impl<'a> GatheredFiles<'a> {
    pub(crate) fn new(outside: OutsideValue<'a>) -> Self {
        Self {
            sources: Sources::default(),
            findings: Vec::new(),
            outside,
            root: Vec::new(),
            known: HashMap::new(),
            defined: BTreeMap::new(),
            seen: BTreeMap::new(),
            total: 0,
        }
    }

    /// The root table of all files, the sources and what was found so far.
    pub(crate) fn finish(self) -> (Vec<TableEntry>, Sources, Vec<Finding>) {
        (self.root, self.sources, self.findings)
    }

    /// Adds a file and what it includes. `asked` is the pattern that named it.
    pub(crate) fn add_file(&mut self, path: &Path, asked: Place) {
        let name = path.display().to_string();
        let bytes = match files::read_bounded(path, FILE_LIMIT) {
            Ok(bytes) => bytes,
            Err(why) => {
                let message = format!("cannot read `{name}`: {why}");
                self.findings.push(Finding::error("unreadable_file", asked, message));
                return;
            }
        };
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if let Some(open) = self.seen.get(&real) {
            let (code, message) = if *open {
                ("include_cycle", format!("`{name}` includes itself"))
            } else {
                ("included_twice", format!("`{name}` is included twice"))
            };
            self.findings.push(Finding::error(code, asked, message));
            return;
        }
        self.total = self.total.saturating_add(bytes.len());
        if self.seen.len() >= MOST_FILES || self.total > TOTAL_LIMIT {
            let message = format!("more than {MOST_FILES} files or 16 MiB of configuration");
            self.findings.push(Finding::error("too_large", asked, message));
            return;
        }
        self.seen.insert(real.clone(), true);
        self.add_bytes(&name, bytes, path.parent());
        self.seen.insert(real, false);
    }

    /// Adds the content of a file. Includes are relative to `directory`.
    pub(crate) fn add_bytes(&mut self, name: &str, bytes: Vec<u8>, directory: Option<&Path>) {
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                // Up to the first wrong byte, both texts have the same offsets.
                let lossy = String::from_utf8_lossy(error.as_bytes()).into_owned();
                let file = self.sources.add(name, lossy);
                let place = Place::new(file, valid..valid + '\u{fffd}'.len_utf8());
                self.findings.push(
                    Finding::error("not_utf8", place, "this file is not UTF-8 text")
                        .label("this byte is not"),
                );
                return;
            }
        };
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        let file = self.sources.add(name, text.clone());
        if let Some(at) = text.find('\0') {
            let place = Place::new(file, at..at + 1);
            self.findings.push(Finding::error("syntax", place, "this file contains a NUL byte"));
            return;
        }
        let mut entries = tree::parse(file, &text, &mut self.findings);
        let named = substitute::replace(&mut entries, &text, self.outside, &mut self.findings);
        named.into_iter().for_each(|path| self.sources.name(path));
        brackets(&mut entries, &mut self.findings);
        let patterns = include_patterns(&entries);
        self.merge(entries);
        for (pattern, place) in patterns {
            self.include(&pattern, place, directory);
        }
    }

    fn include(&mut self, pattern: &str, place: Place, directory: Option<&Path>) {
        let mut refuse = |code, message: String, help: &str| {
            let finding = Finding::error(code, place, message);
            self.findings.push(if help.is_empty() { finding } else { finding.help(help) });
        };
        if !self.outside.files {
            return refuse("bad_value", "files are not read here".into(), "");
        }
        // `**` would walk whole trees, such as /proc, before it finds anything.
        if pattern.contains("**") {
            return refuse("bad_value", "`**` is not allowed in an include".into(), "use `*`");
        }
        let directory = directory.unwrap_or(Path::new("")).display().to_string();
        let full = match directory.as_str() {
            _ if pattern.starts_with('/') => pattern.to_owned(),
            "" => pattern.to_owned(),
            directory => format!("{}/{pattern}", glob::Pattern::escape(directory)),
        };
        self.sources.expect(full.clone());
        let paths: Vec<_> = match glob::glob(&full) {
            Ok(paths) => paths.filter_map(Result::ok).take(MOST_FILES + 1).collect(),
            Err(error) => {
                let message = format!("\"{pattern}\" is not a file pattern: {}", error.msg);
                return refuse("bad_value", message, "");
            }
        };
        if paths.is_empty() && !pattern.contains(['*', '?', '[']) {
            let help = "a pattern with `*` may match nothing, a plain path may not";
            return refuse("unreadable_file", format!("there is no file `{pattern}`"), help);
        }
        for path in paths {
            self.add_file(&path, place);
        }
    }

    fn merge(&mut self, entries: Vec<TableEntry>) {
        for mut entry in entries {
            if NAMED.contains(&entry.key.as_str()) {
                self.drop_second_definitions(&mut entry);
            }
            let known = self.known.get(&entry.key).and_then(|at| self.root.get_mut(*at));
            let Some(first) = known else {
                self.known.insert(entry.key.clone(), self.root.len());
                self.root.push(entry);
                continue;
            };
            let named = NAMED.contains(&entry.key.as_str());
            match (&mut first.value.value, entry.value.value) {
                (Value::Array(all), Value::Array(more)) => all.extend(more),
                (Value::Table(all), Value::Table(more)) if named => all.extend(more),
                _ => self.findings.push(
                    Finding::error(
                        "duplicate_name",
                        entry.key_place,
                        format!("`{}` is defined twice", entry.key),
                    )
                    .related(first.key_place, "first defined here"),
                ),
            }
        }
    }

    fn drop_second_definitions(&mut self, entry: &mut TableEntry) {
        let Value::Table(names) = &mut entry.value.value else { return };
        names.retain(|name| {
            let place = name.key_place;
            let first = *self.defined.entry((entry.key.clone(), name.key.clone())).or_insert(place);
            if first != place {
                let message = format!("{} `{}` is defined twice", entry.key, name.key);
                let finding = Finding::error("duplicate_name", place, message);
                self.findings.push(finding.related(first, "first defined here"));
            }
            first == place
        });
    }
}

/// Puts right, and reports, tables whose header has one bracket too few or too many, so that what
/// is in them is looked at all the same.
fn brackets(entries: &mut [TableEntry], findings: &mut Vec<Finding>) {
    let mut wrong = |place, found: String, right: String| {
        let message = format!("{found} is written {right}");
        findings.push(Finding::error("bad_value", place, message).help(format!("write {right}")));
    };
    for entry in entries {
        let key = entry.key.as_str();
        match &mut entry.value.value {
            Value::Table(_) if matches!(key, "listen" | "route") => {
                wrong(entry.key_place, format!("[{key}]"), format!("[[{key}]]"));
                let one = entry.value.clone();
                entry.value.value = Value::Array(vec![one]);
            }
            Value::Array(items) if matches!(key, "runtime" | "admin" | "log" | "redis") => {
                wrong(entry.key_place, format!("[[{key}]]"), format!("[{key}]"));
                entry.value.value = items.first().map_or(Value::Unreadable, |it| it.value.clone());
            }
            Value::Table(names) if NAMED.contains(&key) => {
                for name in names {
                    let Value::Array(items) = &name.value.value else { continue };
                    let (table, own) = (key, name.key.as_str());
                    if items.iter().all(|item| matches!(item.value, Value::Table(_))) {
                        wrong(
                            name.key_place,
                            format!("[[{table}.{own}]]"),
                            format!("[{table}.{own}]"),
                        );
                        let first = items.first().map(|item| item.value.clone());
                        name.value.value = first.unwrap_or(Value::Unreadable);
                    }
                }
            }
            Value::Array(_) if NAMED.contains(&key) => {
                wrong(entry.key_place, format!("[[{key}]]"), format!("[{key}.NAME]"));
                entry.value.value = Value::Unreadable;
            }
            _ => {}
        }
    }
}

/// Returns what a file includes. Values of the wrong kind are reported when the root is read.
fn include_patterns(entries: &[TableEntry]) -> Vec<(String, Place)> {
    let include = entries.iter().find(|entry| entry.key == "include");
    let Some(Value::Array(items)) = include.map(|entry| &entry.value.value) else {
        return Vec::new();
    };
    items
        .iter()
        .filter_map(|item| match &item.value {
            Value::String(pattern) => Some((pattern.clone(), item.place)),
            _ => None,
        })
        .collect()
}
