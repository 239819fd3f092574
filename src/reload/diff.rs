//! What changes between two configurations, in the words of the file.
//!
//! It compares what is in effect, defaults filled in, so moving a table to another line or writing a
//! default out is no change. Secrets are masked before they get here: that one of them changed does not show.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::config::Config;
use crate::snapshot::matching;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// What happened to it.
    pub kind: Kind,
    /// `listener`, `upstream`, `route`, … or a table there is only one of.
    pub what: String,
    /// Its name; empty for a table there is only one of.
    pub name: String,
    /// Which of its keys differ.
    pub keys: Vec<String>,
    /// It takes effect only when the process starts again.
    pub restart: bool,
}

/// What happened to something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It is new.
    Added,
    /// It is gone; what it still does is finished.
    Removed,
    /// It goes on with other settings.
    Changed,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.kind {
            Kind::Added => '+',
            Kind::Removed => '-',
            Kind::Changed => '~',
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

/// A configuration as it is compared: by what, then by name.
pub type Shown = BTreeMap<String, BTreeMap<String, Json>>;

/// Prepares a configuration for [`diff`].
#[must_use]
pub fn shown(config: &Config) -> Shown {
    let Config {
        include: _,
        runtime,
        admin,
        log,
        redis,
        listen,
        upstream,
        route,
        limit,
        auth,
        cache,
    } = config;
    let mut all = Shown::new();
    let mut one = |what: &str, name: String, value: Json| {
        all.entry(what.to_owned()).or_default().insert(name, value);
    };
    one("runtime", String::new(), json(runtime));
    one("admin", String::new(), json(admin));
    one("log", String::new(), json(log));
    one("redis", String::new(), json(redis));
    for listener in listen {
        let first = listener.address.first().map(|a| a.value.to_string()).unwrap_or_default();
        one("listener", listener.name.as_ref().map_or(first, |n| n.value.clone()), json(listener));
    }
    for written in route {
        one("route", matching::name(written), json(written));
    }
    for (name, value) in upstream {
        one("upstream", name.value.clone(), json(value));
    }
    for (name, value) in limit {
        one("limit", name.value.clone(), json(value));
    }
    for (name, value) in auth {
        one("auth", name.value.clone(), json(value));
    }
    for (name, value) in cache {
        one("cache", name.value.clone(), json(value));
    }
    all
}

/// What goes on as it was: how many of each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stays {
    /// Listeners.
    pub listeners: usize,
    /// Routes.
    pub routes: usize,
    /// Upstreams; that their servers change does not count.
    pub upstreams: usize,
    /// Servers, with all that is known about them and their connections.
    pub servers: usize,
}

impl fmt::Display for Stays {
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

/// What goes on as it was.
#[must_use]
pub fn stays(old: &Shown, new: &Shown) -> Stays {
    let (old, new) = (by_server(old), by_server(new));
    let same = |what: &str| {
        let (Some(old), Some(new)) = (old.get(what), new.get(what)) else { return 0 };
        new.iter().filter(|(name, value)| old.get(*name) == Some(value)).count()
    };
    Stays {
        listeners: same("listener"),
        routes: same("route"),
        upstreams: same("upstream"),
        servers: same("server"),
    }
}

/// What gets nothing new any more and finishes what it has.
#[must_use]
pub fn drains(changes: &[Change]) -> Vec<String> {
    let gone = changes.iter().filter(|change| change.kind == Kind::Removed);
    let drained = gone.filter(|change| matches!(&*change.what, "listener" | "server"));
    drained.map(|change| format!("{} {}", change.what, change.name)).collect()
}

/// The same with each server beside its upstream instead of in it, so that servers are compared one
/// by one.
fn by_server(all: &Shown) -> Shown {
    let mut all = all.clone();
    let mut servers = BTreeMap::new();
    for (upstream, value) in all.get_mut("upstream").into_iter().flatten() {
        let Some(table) = value.as_object_mut() else { continue };
        if let Some(Json::Array(_)) = table.get("servers")
            && let Some(Json::Array(list)) = table.remove("servers")
        {
            for server in list {
                let name = server.get("name").and_then(Json::as_str);
                let id = name.or_else(|| server.get("address").and_then(Json::as_str));
                servers.insert(format!("{upstream}/{}", id.unwrap_or_default()), server);
            }
        }
    }
    all.insert("server".to_owned(), servers);
    all
}

/// What changes from one configuration to another.
#[must_use]
pub fn diff(old: &Shown, new: &Shown) -> Vec<Change> {
    let (old, new) = (&by_server(old), &by_server(new));
    let nothing = BTreeMap::new();
    let mut changes = Vec::new();
    for (what, after) in new {
        let before = old.get(what).unwrap_or(&nothing);
        for (name, value) in after {
            match before.get(name) {
                None => changes.push(change(Kind::Added, what, name, Vec::new())),
                Some(old) if old != value => {
                    changes.push(change(Kind::Changed, what, name, keys(old, value)));
                }
                Some(_) => {}
            }
        }
    }
    for (what, before) in old {
        let after = new.get(what).unwrap_or(&nothing);
        let gone = before.keys().filter(|name| !after.contains_key(*name));
        changes.extend(gone.map(|name| change(Kind::Removed, what, name, Vec::new())));
    }
    changes
}

fn change(kind: Kind, what: &str, name: &str, keys: Vec<String>) -> Change {
    let restart =
        what == "admin" || keys.iter().any(|key| matches!(&**key, "workers" | "level" | "format"));
    Change { kind, what: what.to_owned(), name: name.to_owned(), keys, restart }
}

/// The keys in which two tables differ.
fn keys(old: &Json, new: &Json) -> Vec<String> {
    let (Json::Object(old), Json::Object(new)) = (old, new) else { return Vec::new() };
    let all = old.keys().chain(new.keys().filter(|key| !old.contains_key(*key)));
    all.filter(|key| old.get(*key) != new.get(*key)).cloned().collect()
}

/// What cannot be shown is equal to itself: a change in it does not show.
fn json(value: &impl Serialize) -> Json {
    serde_json::to_value(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(old: &str, new: &str) -> Vec<String> {
        let shown = |text| shown(&crate::config::load_str("t.toml", text).unwrap().config);
        diff(&shown(old), &shown(new)).iter().map(ToString::to_string).collect()
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
        let stays = stays(&old, &new);
        assert_eq!(stays.to_string(), "1 listener, 0 routes, 0 upstreams, 1 server");
        assert_eq!(drains(&diff(&old, &new)), ["server b/127.0.0.1:2"]);
        assert_eq!(drains(&diff(&new, &old)).len(), 3);
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
