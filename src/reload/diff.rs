//! What changes between two configurations, in the words of the file.
//!
//! It compares what is in effect, defaults filled in, so moving a table to another line or writing
//! a default out is no change. Of secrets only fingerprints get here, and they do not leave it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::config::schema::needs_restart;
use crate::config::shown::{Shown, plain};
use crate::pace;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigChange {
    /// The kind of the change.
    pub kind: ChangeKind,
    /// `listener`, `upstream`, `route`, … or a table there is only one of.
    pub what: String,
    /// The name of the table; empty for one there is only one of.
    pub name: String,
    /// The keys that differ.
    pub keys: Vec<String>,
    /// True if it takes effect only when the process starts again.
    pub restart: bool,
}

/// The kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// A table that is new.
    Added,
    /// A table that is gone; what it still does is finished.
    Removed,
    /// A table that goes on with other settings.
    Changed,
}

impl fmt::Display for ConfigChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.kind {
            ChangeKind::Added => '+',
            ChangeKind::Removed => '-',
            ChangeKind::Changed => '~',
        };
        write!(f, "{sign} {}", self.what)?;
        if !self.name.is_empty() {
            write!(f, " {}", self.name)?;
        }
        if !self.keys.is_empty() {
            write!(f, ": {}", self.keys.join(", "))?;
        }
        if self.restart { write!(f, " (needs a restart)") } else { Ok(()) }
    }
}

/// The number of each that goes on as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StayingCounts {
    /// Listeners.
    pub listeners: usize,
    /// Routes.
    pub routes: usize,
    /// Upstreams; that their servers change does not count.
    pub upstreams: usize,
    /// Servers, with all that is known about them and their connections.
    pub servers: usize,
}

impl fmt::Display for StayingCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { listeners, routes, upstreams, servers } = *self;
        let all = [
            (listeners, "listener"),
            (routes, "route"),
            (upstreams, "upstream"),
            (servers, "server"),
        ];
        for (at, (count, what)) in all.into_iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{count} {what}{}", if count == 1 { "" } else { "s" })?;
        }
        Ok(())
    }
}

/// Returns what gets nothing new any more and finishes what it has.
#[must_use]
pub fn drained_servers(changes: &[ConfigChange]) -> Vec<String> {
    let gone = changes.iter().filter(|change| change.kind == ChangeKind::Removed);
    let drained = gone.filter(|change| matches!(&*change.what, "listener" | "server"));
    drained.map(|change| format!("{} {}", change.what, change.name)).collect()
}

/// A configuration with each server beside its upstream instead of in it, so that servers are
/// compared one by one. All but the upstreams is borrowed: a file may have thousands of routes.
type ServersApart<'a> = BTreeMap<&'a str, BTreeMap<Cow<'a, str>, Cow<'a, str>>>;

fn take_apart(all: &Shown) -> ServersApart<'_> {
    let mut servers = BTreeMap::new();
    let mut apart = ServersApart::new();
    for (what, tables) in all {
        let mut plain = BTreeMap::new();
        for (name, table) in tables {
            pace::step();
            let mut text = Cow::Borrowed(table.get());
            if what == "upstream" {
                let mut upstream = parse_json(table.get());
                if let Some(list) = listed_servers(&mut upstream) {
                    for server in list {
                        let word = |key| server.get(key).and_then(Json::as_str);
                        let id = word("name").or_else(|| word("address")).unwrap_or_default();
                        let id = Cow::Owned(format!("{name}/{id}"));
                        servers.insert(id, Cow::Owned(server.to_string()));
                    }
                    text = Cow::Owned(upstream.to_string());
                }
            }
            plain.insert(Cow::Borrowed(&**name), text);
        }
        apart.insert(what, plain);
    }
    apart.insert("server", servers);
    apart
}

/// Takes the servers out of an upstream, if they are listed there.
fn listed_servers(upstream: &mut Json) -> Option<Vec<Json>> {
    let table = upstream.as_object_mut()?;
    match table.get_mut("servers")? {
        Json::Array(list) => {
            let list = std::mem::take(list);
            table.shift_remove("servers");
            Some(list)
        }
        _ => None,
    }
}

/// Our own text; if it were no JSON, it would be shown as null.
fn parse_json(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_default()
}

/// Compares two configurations: what changes from one to the other, and what does not.
#[must_use]
pub fn diff_configs(old: &Shown, new: &Shown) -> (Vec<ConfigChange>, StayingCounts) {
    let (old, new) = (take_apart(old), take_apart(new));
    let nothing = BTreeMap::new();
    let mut changes = Vec::new();
    let mut stays = StayingCounts::default();
    for (what, after) in &new {
        let before = old.get(what).unwrap_or(&nothing);
        for (name, value) in after {
            pace::step();
            match before.get(name) {
                None => changes.push(new_change(ChangeKind::Added, what, name, Vec::new())),
                Some(old) if old != value => {
                    changes.push(new_change(
                        ChangeKind::Changed,
                        what,
                        name,
                        changed_keys(old, value),
                    ));
                }
                Some(_) => match *what {
                    "listener" => stays.listeners += 1,
                    "route" => stays.routes += 1,
                    "upstream" => stays.upstreams += 1,
                    "server" => stays.servers += 1,
                    _ => {}
                },
            }
        }
    }
    for (what, before) in &old {
        let after = new.get(what).unwrap_or(&nothing);
        let gone = before.keys().filter(|name| !after.contains_key(*name));
        changes.extend(gone.map(|name| new_change(ChangeKind::Removed, what, name, Vec::new())));
    }
    (changes, stays)
}

fn new_change(kind: ChangeKind, what: &str, name: &str, keys: Vec<String>) -> ConfigChange {
    let restart = keys.iter().any(|key| needs_restart(what, key)) || what == "admin";
    ConfigChange { kind, what: what.to_owned(), name: plain(name), keys, restart }
}

/// The keys in which two tables differ.
fn changed_keys(old: &str, new: &str) -> Vec<String> {
    let (Json::Object(old), Json::Object(new)) = (parse_json(old), parse_json(new)) else {
        return Vec::new();
    };
    let all = old.keys().chain(new.keys().filter(|key| !old.contains_key(*key)));
    all.filter(|key| old.get(*key) != new.get(*key)).cloned().collect()
}

#[cfg(test)]
mod tests;
