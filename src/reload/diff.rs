//! What changes between two configurations, in the words of the file.
//!
//! It compares what is in effect, defaults filled in, so moving a table to another line or writing a
//! default out is no change. Of secrets only fingerprints get here, and they do not leave it.

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

/// A configuration with each server beside its upstream instead of in it, so that servers are compared one
/// by one. All but the upstreams is borrowed: a file may have thousands of routes.
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
mod tests {
    use super::*;
    use crate::config::shown::shown;

    fn lines(old: &str, new: &str) -> Vec<String> {
        let shown = |text| shown(&crate::config::load_str("t.toml", text).unwrap().config);
        diff_configs(&shown(old), &shown(new)).0.iter().map(ToString::to_string).collect()
    }

    const OLD: &str = r#"
        [[listen]]
        address = "127.0.0.1:1"
        [upstream.a]
        servers = ["127.0.0.1:2"]
        [upstream.b]
        servers = ["127.0.0.1:2"]
        [[route]]
        path = "/a"
        upstream = "a"
        [[route]]
        path = "/b"
        upstream = "b"
    "#;

    #[test]
    fn the_same_written_differently_is_no_change() {
        let other = OLD.replace(
            "servers = [\"127.0.0.1:2\"]",
            "servers = [{ address = \"127.0.0.1:2\", weight = 1 }]\nbalance = \"least_request\"",
        );
        assert_eq!(lines(OLD, OLD), Vec::<String>::new());
        assert_eq!(lines(OLD, &other), Vec::<String>::new());
    }

    #[test]
    fn changes_are_named_in_the_words_of_the_file() {
        let new = r#"
            [runtime]
            workers = 3
            [[listen]]
            address = "127.0.0.1:1"
            [[listen]]
            name = "second"
            address = "127.0.0.1:9"
            [upstream.a]
            servers = ["127.0.0.1:2", "127.0.0.1:3"]
            balance = "random"
            [upstream.c]
            servers = ["127.0.0.1:2"]
            [[route]]
            path = "/a"
            upstream = "a"
            timeout = { total = "5s" }
            [[route]]
            path = "/c"
            upstream = "c"
        "#;
        assert_eq!(
            lines(OLD, new),
            [
                "+ listener second",
                "~ route /a: timeout",
                "+ route /c",
                "~ runtime: workers (needs a restart)",
                "+ server a/127.0.0.1:3",
                "+ server c/127.0.0.1:2",
                "~ upstream a: balance",
                "+ upstream c",
                "- route /b",
                "- server b/127.0.0.1:2",
                "- upstream b",
            ]
        );
        let shown = |text| shown(&crate::config::load_str("t.toml", text).unwrap().config);
        let (old, new) = (shown(OLD), shown(new));
        let (changes, stays) = diff_configs(&old, &new);
        assert_eq!(stays.to_string(), "1 listener, 0 routes, 0 upstreams, 1 server");
        assert_eq!(drained_servers(&changes), ["server b/127.0.0.1:2"]);
        assert_eq!(drained_servers(&diff_configs(&new, &old).0).len(), 3);
    }

    #[test]
    fn a_server_that_changes_is_named() {
        let new = OLD.replacen("\"127.0.0.1:2\"", "{ address = \"127.0.0.1:2\", weight = 5 }", 1);
        assert_eq!(lines(OLD, &new), ["~ server a/127.0.0.1:2: weight"]);
    }

    #[test]
    fn what_needs_a_restart_says_so() {
        let log = |text: &str| lines(OLD, &format!("[log]\n{text}\n{OLD}"));
        assert_eq!(log("access = 'stdout'"), ["~ log: access"]);
        assert_eq!(log("level = 'debug'"), ["~ log: level (needs a restart)"]);
    }
}
