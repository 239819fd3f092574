//! What is in effect, as it is compared and shown: JSON by table and name, without secrets.
//!
//! What is secret is decided by what a value is and where it came from, not by a list of keys:
//! everything that was put in by `${…}`, passwords in URLs, values of fields that servers get,
//! tokens and keys. In the place of each stands a mask with a fingerprint that is keyed anew in
//! every process, so that a change of a secret is a difference; [`masked`] takes the fingerprints
//! off before anybody sees them.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;

use serde::Serialize;
use serde_json::Value as Json;
use serde_json::value::RawValue;

use super::Config;
use super::tree::{TableEntry, TreeNode, Value};
use crate::matching;
use machine::pace;

/// A configuration as it is compared: by what, then by name. JSON text, because that is compared a
/// thousand times and looked into where it differs.
pub type Shown = BTreeMap<String, BTreeMap<String, Box<RawValue>>>;

/// The text in the place of a secret.
const MASK: &str = "********";
/// The character that separates the mask from its fingerprint: no text of a configuration contains
/// it.
const SEPARATOR: char = '\u{1f}';
/// The same in JSON.
const ESCAPED: &str = "\\u001f";
/// Digits of a fingerprint.
const DIGITS: usize = 16;

/// Fields that servers get and that hold no secret.
const PLAIN: [&str; 7] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "content-type",
    "host",
    "user-agent",
];

/// Parts of names whose values are secrets more often than not.
const SECRET: [&str; 9] =
    ["auth", "cookie", "credential", "key", "passw", "secret", "session", "signature", "token"];

/// The places at which `${…}` put something in, as the keys that lead there from the root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replaced(Vec<Vec<String>>);

impl Replaced {
    /// Looks for all places below these entries.
    pub(crate) fn below(entries: &[TableEntry]) -> Self {
        let mut this = Self::default();
        this.table(entries, &mut Vec::new());
        this
    }

    fn table(&mut self, entries: &[TableEntry], path: &mut Vec<String>) {
        for entry in entries {
            path.push(entry.key.clone());
            self.node(&entry.value, path);
            path.pop();
        }
    }

    fn node(&mut self, node: &TreeNode, path: &mut Vec<String>) {
        match &node.value {
            Value::Table(entries) => self.table(entries, path),
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    path.push(at.to_string());
                    self.node(item, path);
                    path.pop();
                }
            }
            _ if node.replaced => self.0.push(path.clone()),
            _ => {}
        }
    }
}

/// A mask for a text, the same for the same text in one process.
#[must_use]
pub fn mask(text: &str) -> String {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    format!("{MASK}{SEPARATOR}{:0DIGITS$x}", KEY.hash_one(text))
}

/// A text without fingerprints.
#[must_use]
pub fn plain(text: &str) -> String {
    without(text, &SEPARATOR.to_string())
}

fn without(text: &str, separator: &str) -> String {
    let mut parts = text.split(separator);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(part.get(DIGITS..).unwrap_or_default());
    }
    out
}

/// A configuration as it may be shown.
#[must_use]
pub fn masked(shown: &Shown) -> Shown {
    let table = |text: &RawValue| match text.get().contains(ESCAPED) {
        true => RawValue::from_string(without(text.get(), ESCAPED)).unwrap_or_default(),
        false => text.to_owned(),
    };
    let tables = |tables: &BTreeMap<String, Box<RawValue>>| {
        tables.iter().map(|(name, text)| (plain(name), table(text))).collect()
    };
    shown.iter().map(|(what, all)| (what.clone(), tables(all))).collect()
}

/// Prepares a configuration to be compared.
#[must_use]
pub fn shown(config: &Config) -> Shown {
    let Config {
        replaced,
        include: _,
        runtime,
        admin,
        log,
        dns,
        redis,
        listen,
        upstream,
        route,
        limit,
        headers,
        auth,
        cache,
    } = config;
    let mut all = Shown::new();
    let mut one = |what: &str, name: String, value: Box<RawValue>| {
        all.entry(what.to_owned()).or_default().insert(name, value);
    };
    one("runtime", String::new(), json(runtime));
    one("admin", String::new(), json(admin));
    one("log", String::new(), json(log));
    one("dns", String::new(), json(dns));
    one("redis", String::new(), json(redis));
    for listener in listen {
        one("listener", listener.shown_name(), json(listener));
    }
    let names = matching::names(route);
    for (written, name) in route.iter().zip(names.iter().cloned()) {
        pace::step();
        one("route", name, json(written));
    }
    for (name, value) in upstream {
        one("upstream", name.value.clone(), json(value));
    }
    for (name, value) in limit {
        one("limit", name.value.clone(), json(value));
    }
    for (name, value) in headers {
        one("headers", name.value.clone(), json_at(value, "request_headers"));
    }
    for (name, value) in auth {
        one("auth", name.value.clone(), json(value));
    }
    for (name, value) in cache {
        one("cache", name.value.clone(), json(value));
    }
    for path in &replaced.0 {
        pace::step();
        hide(&mut all, (config, &names), path);
    }
    all
}

/// Masks what `${…}` put in at a path.
fn hide(all: &mut Shown, (config, routes): (&Config, &[String]), path: &[String]) {
    let Some((table, rest)) = path.split_first() else { return };
    let element = |rest: &[String]| rest.first().and_then(|at| at.parse::<usize>().ok());
    let (what, name, rest) = match table.as_str() {
        "listen" => {
            let listener = element(rest).and_then(|at| config.listen.get(at));
            ("listener", listener.map(|l| l.shown_name()), rest.get(1..))
        }
        "route" => {
            let name = element(rest).and_then(|at| routes.get(at));
            ("route", name.cloned(), rest.get(1..))
        }
        "upstream" | "limit" | "headers" | "auth" | "cache" => {
            (table.as_str(), rest.first().cloned(), rest.get(1..))
        }
        _ => (table.as_str(), Some(String::new()), Some(rest)),
    };
    let (Some(name), Some(rest)) = (name, rest) else { return };
    let Some(text) = all.get_mut(what).and_then(|tables| tables.get_mut(&name)) else { return };
    let mut value: Json = serde_json::from_str(text.get()).unwrap_or_default();
    at_path(&mut value, rest);
    *text = serde_json::value::to_raw_value(&value).unwrap_or_default();
}

/// Short forms are written out in what is shown: where the path does not lead on, all that is there
/// is masked.
fn at_path(value: &mut Json, path: &[String]) {
    let Some((step, rest)) = path.split_first() else { return all_of(value) };
    match value {
        Json::Object(table) => {
            let key = table.keys().find(|key| key.eq_ignore_ascii_case(step)).cloned();
            match key.and_then(|key| table.get_mut(&key)) {
                Some(inner) => at_path(inner, rest),
                None => all_of(value),
            }
        }
        Json::Array(items) => match step.parse::<usize>().ok().and_then(|at| items.get_mut(at)) {
            Some(inner) => at_path(inner, rest),
            None => all_of(value),
        },
        _ => all_of(value),
    }
}

fn all_of(value: &mut Json) {
    match value {
        Json::String(text) if !text.contains(SEPARATOR) => *text = mask(text),
        Json::Array(items) => items.iter_mut().for_each(all_of),
        Json::Object(table) => table.values_mut().for_each(all_of),
        _ => {}
    }
}

/// Writes a value as JSON. One that cannot be shown is equal to itself: a change in it does not
/// show.
fn json(value: &impl Serialize) -> Box<RawValue> {
    json_at(value, "")
}

/// As [`json`], for a value that stands at this key.
fn json_at(value: &impl Serialize, key: &str) -> Box<RawValue> {
    let text = serde_json::value::to_raw_value(value).unwrap_or_default();
    let tables =
        ["\"set\":{\"", "\"add\":{\"", "\"headers\":{\"", "\"query\":{\"", "\"cookies\":{\""];
    let url = text.get().contains("://") && text.get().contains(['@', '?']);
    if !url && !tables.iter().any(|start| text.get().contains(start)) {
        return text;
    }
    let mut value: Json = serde_json::from_str(text.get()).unwrap_or_default();
    by_kind(&mut value, key, "");
    serde_json::value::to_raw_value(&value).unwrap_or_default()
}

/// Masks what is a secret wherever it stands. `key` leads to the value, `above` to the table it is
/// in.
fn by_kind(value: &mut Json, key: &str, above: &str) {
    match value {
        Json::String(text) => {
            if let Some(hidden) = url(text) {
                *text = hidden;
            }
        }
        Json::Array(items) => items.iter_mut().for_each(|item| by_kind(item, key, above)),
        Json::Object(table) => {
            for (inner_key, inner) in table.iter_mut() {
                let sent = match (above, key) {
                    ("request_headers", "set" | "add") | ("health", "headers") => {
                        !PLAIN.contains(&inner_key.as_str())
                    }
                    ("response_headers", "set" | "add") => sensitive(inner_key),
                    (_, "headers" | "query" | "cookies") => sensitive(inner_key),
                    _ => false,
                };
                if sent { all_of(inner) } else { by_kind(inner, inner_key, key) }
            }
        }
        _ => {}
    }
}

fn sensitive(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET.iter().any(|part| name.contains(part))
}

/// A URL without its password, and without the values of parameters that are secrets.
fn url(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, after) = rest.split_at(end);
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) => format!("{}@{host}", mask(user)),
        None => authority.to_owned(),
    };
    let after = match after.split_once('?') {
        Some((path, query)) => {
            let pair = |pair: &str| match pair.split_once('=') {
                Some((name, value)) if sensitive(name) => format!("{name}={}", mask(value)),
                _ => pair.to_owned(),
            };
            let pairs: Vec<_> = query.split('&').map(pair).collect();
            format!("{path}?{}", pairs.join("&"))
        }
        None => after.to_owned(),
    };
    Some(format!("{scheme}://{authority}{after}"))
}

#[cfg(test)]
mod tests;
