//! Replaces `${VAR}`, `${VAR:-default}` and `${file:/path}` inside string values.
//!
//! This happens after parsing, so what is put in can never become a key, a table or a second value,
//! whatever it contains. What is put in is not looked at again. `$${` stands for a literal `${`;
//! every other `$` stands for itself, so that regular expressions need no care. A default is used
//! when the variable is unset or empty, as in a shell, and ends at the first `}`.

use std::path::{Path, PathBuf};

use super::finding::{Finding, MOST_FINDINGS};
use super::source::Place;
use super::tree::{TableEntry, TreeNode, Value};
use machine::files;

/// The largest file that `${file:…}` puts in.
const FILE_LIMIT: u64 = 64 << 10;

/// Bytes that all replacements of a configuration may put in.
const TOTAL_LIMIT: usize = 16 << 20;

/// The things that a configuration may read besides its own text.
#[derive(Clone, Copy)]
pub(crate) struct OutsideValue<'a> {
    /// The value of an environment variable.
    pub(crate) variable: &'a dyn Fn(&str) -> Option<String>,
    /// True if files may be read, by `include` and `${file:…}`.
    pub(crate) files: bool,
}

/// The value of a variable of this process, if it is set and is text.
pub(crate) fn process_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Replaces in all values below `entries`, which were read from `text`. Returns the files that were
/// asked for.
pub(crate) fn replace(
    entries: &mut [TableEntry],
    text: &str,
    outside: OutsideValue<'_>,
    findings: &mut Vec<Finding>,
) -> Vec<PathBuf> {
    let mut replacer = Replacer { text, outside, findings, total: 0, files: Vec::new() };
    replacer.entries(entries);
    replacer.files
}

struct Replacer<'a> {
    text: &'a str,
    outside: OutsideValue<'a>,
    findings: &'a mut Vec<Finding>,
    total: usize,
    files: Vec<PathBuf>,
}

impl Replacer<'_> {
    fn entries(&mut self, entries: &mut [TableEntry]) {
        for entry in entries {
            self.node(&mut entry.value);
        }
    }

    /// Recursion is as deep as the parser lets values nest.
    fn node(&mut self, node: &mut TreeNode) {
        match &mut node.value {
            // With so many mistakes, one more makes no difference.
            Value::String(text) if text.contains("${") && self.findings.len() > MOST_FINDINGS => {
                node.value = Value::Unreadable;
            }
            Value::String(text) if text.contains("${") => match self.fill(text, node.place) {
                Some(filled) => {
                    node.replaced = true;
                    node.value = Value::String(filled);
                }
                None => node.value = Value::Unreadable,
            },
            Value::Array(items) => items.iter_mut().for_each(|item| self.node(item)),
            Value::Table(entries) => self.entries(entries),
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime
            | Value::Unreadable => {}
        }
    }

    /// The text with everything replaced; nothing if something could not be, which was reported.
    fn fill(&mut self, text: &str, place: Place) -> Option<String> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        let mut whole = true;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(literal) = before.strip_suffix('$') {
                filled.push_str(literal);
                filled.push_str("${");
                rest = after;
                continue;
            }
            filled.push_str(before);
            let Some((name, after)) = after.split_once('}') else {
                let finding = Finding::error("bad_variable", place, "`${` without a closing `}`");
                self.findings.push(finding.help("write \"$${\" for a literal \"${\""));
                return None;
            };
            rest = after;
            match self.look_up(name) {
                Ok(value) => {
                    self.total = self.total.saturating_add(value.len());
                    filled.push_str(&value);
                }
                Err(finding) => {
                    self.findings.push(Finding { place: self.narrow(place, name), ..*finding });
                    whole = false;
                }
            }
        }
        if self.total > TOTAL_LIMIT {
            let message = "all replacements together are larger than 16 MiB";
            self.findings.push(Finding::error("too_large", place, message));
            return None;
        }
        filled.push_str(rest);
        whole.then_some(filled)
    }

    fn look_up(&mut self, name: &str) -> Result<String, Box<Finding>> {
        let wrong = |code, message: String, help: &str| {
            let finding = Finding::error(code, Place::NOWHERE, message);
            Box::new(if help.is_empty() { finding } else { finding.help(help) })
        };
        if let Some(path) = name.strip_prefix("file:") {
            if !self.outside.files {
                return Err(wrong("unset_variable", "files are not read here".into(), ""));
            }
            self.files.push(path.into());
            return files::read_text(Path::new(path), FILE_LIMIT)
                // The line end that editors and `echo` leave is not part of a secret.
                .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
                .map_err(|why| {
                    wrong("unset_variable", format!("cannot read `{path}`: {why}"), "")
                });
        }
        let (name, default) = match name.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (name, None),
        };
        let legal = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !legal || name.is_empty() || name.as_bytes().first().is_some_and(u8::is_ascii_digit) {
            return Err(wrong(
                "bad_variable",
                format!("`{name}` is not a variable name"),
                "write ${NAME}, ${NAME:-default} or ${file:/path}, and \"$${\" for a literal \"${\"",
            ));
        }
        let value = (self.outside.variable)(name);
        match (value, default) {
            (Some(value), _) if !value.is_empty() => Ok(value),
            (_, Some(default)) => Ok(default.to_owned()),
            (Some(empty), None) => Ok(empty),
            (None, None) => {
                let advice = format!("set it, or write ${{{name}:-default}}");
                Err(wrong("unset_variable", format!("the variable `{name}` is not set"), &advice))
            }
        }
    }

    /// The place of `${name}` inside the value, when the source has it letter by letter.
    fn narrow(&self, place: Place, name: &str) -> Place {
        let written = format!("${{{name}}}");
        let found = self.text.get(place.span()).and_then(|value| value.find(&written));
        found.map_or(place, |at| {
            let start = place.span().start + at;
            Place::new(place.file, start..start + written.len())
        })
    }
}

#[cfg(test)]
mod tests;
