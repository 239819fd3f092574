//! Configurations of tests: what a test is about is written, the rest is the same everywhere.
//!
//! A test whose subject is the text itself (what `check` says of it, where) keeps it as text.

use std::fmt::Display;
use std::path::Path;

use tempfile::TempDir;
use toml::{Table, Value};

use super::process::Tidegate;

/// Put together out of pieces of TOML. What no piece says is said at the end: an admin endpoint on
/// a port that the kernel chooses, `log.access = "off"`, `runtime.drain = "3s"`; a listener where
/// there is none, and an address for each without one; a route where there is none, and the first
/// upstream for each that neither names one nor answers itself.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Configuration {
    said: Table,
    upstreams: Vec<String>,
}

impl Configuration {
    /// One upstream, `app`, of this server.
    pub fn of(server: impl Display) -> Self {
        Self::default().upstream("app", [server], "")
    }

    /// Further lines of `[runtime]`.
    pub fn runtime(self, lines: &str) -> Self {
        self.within("runtime", lines)
    }

    /// Further lines of `[admin]`.
    pub fn admin(self, lines: &str) -> Self {
        self.within("admin", lines)
    }

    /// Further lines of `[log]`.
    pub fn log(self, lines: &str) -> Self {
        self.within("log", lines)
    }

    /// Another listener.
    pub fn listen(self, lines: &str) -> Self {
        self.toml(&format!("[[listen]]\n{lines}"))
    }

    /// Another upstream of these servers.
    pub fn upstream(
        self,
        name: &str,
        servers: impl IntoIterator<Item = impl Display>,
        lines: &str,
    ) -> Self {
        let servers = servers.into_iter().map(|server| Value::String(server.to_string())).collect();
        self.upstream_with(name, &format!("servers = {}\n{lines}", Value::Array(servers)))
    }

    /// Another upstream, whose lines say what its servers are.
    pub fn upstream_with(mut self, name: &str, lines: &str) -> Self {
        self.upstreams.push(name.to_owned());
        self.within(&format!("upstream.{name}"), lines)
    }

    /// Further lines of the upstream `app`.
    pub fn app(self, lines: &str) -> Self {
        self.within("upstream.app", lines)
    }

    /// Another route.
    pub fn route(self, lines: &str) -> Self {
        self.toml(&format!("[[route]]\n{lines}"))
    }

    /// Further lines of a table by name, such as `auth.staff`.
    pub fn within(self, table: &str, lines: &str) -> Self {
        self.toml(&format!("[{table}]\n{lines}"))
    }

    /// Anything else, with its tables.
    ///
    /// # Panics
    /// When it is no TOML, or says what another piece has said.
    pub fn toml(mut self, piece: &str) -> Self {
        let table: Table =
            piece.parse().unwrap_or_else(|why| panic!("a test's configuration: {why}\n{piece}"));
        merge(&mut self.said, table, "");
        self
    }

    /// The file. `{dir}` stands in it for the directory of the process.
    pub fn text(&self) -> String {
        let mut whole = self.said.clone();
        let defaults =
            "[admin]\naddress = '127.0.0.1:0'\n[log]\naccess = 'off'\n[runtime]\ndrain = '3s'";
        fill_up(&mut whole, defaults.parse().unwrap());
        for listener in tables(&mut whole, "listen") {
            fill_up(listener, "address = '127.0.0.1:0'".parse().unwrap());
        }
        for route in tables(&mut whole, "route") {
            let acts = ["upstream", "respond", "redirect", "files"];
            if !acts.iter().any(|action| route.contains_key(*action)) {
                let first = self.upstreams.first().expect("an upstream for a route without action");
                route.insert("upstream".to_owned(), Value::String(first.clone()));
            }
        }
        whole.to_string()
    }

    /// Starts the program with it and returns once every listener is open.
    pub fn start(&self) -> Tidegate {
        Tidegate::start(&self.text())
    }

    /// As [`Self::start`], in a directory that the test has filled before.
    pub fn start_in(&self, directory: TempDir) -> Tidegate {
        Tidegate::in_directory(directory, &self.text(), &[])
    }
}

/// Adds what is said to what has been said: tables are put together, listeners and routes come one
/// after the other.
fn merge(into: &mut Table, from: Table, path: &str) {
    for (key, value) in from {
        let place = format!("{path}{key}");
        match (into.get_mut(&key), value) {
            (None, value) => drop(into.insert(key, value)),
            (Some(Value::Table(into)), Value::Table(from)) => {
                merge(into, from, &format!("{place}."))
            }
            (Some(Value::Array(into)), Value::Array(from))
                if ["listen", "route"].contains(&&*place) =>
            {
                into.extend(from);
            }
            (Some(before), value) => panic!("`{place}` is {before}, and then {value}"),
        }
    }
}

/// Adds what has not been said.
fn fill_up(into: &mut Table, defaults: Table) {
    for (key, value) in defaults {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(into)), Value::Table(value)) => fill_up(into, value),
            (Some(_), _) => {}
            (None, value) => drop(into.insert(key, value)),
        }
    }
}

/// The tables of an array, which has at least one.
fn tables<'t>(whole: &'t mut Table, name: &str) -> impl Iterator<Item = &'t mut Table> {
    let one = || Value::Array(vec![Value::Table(Table::new())]);
    let array = whole.entry(name).or_insert_with(one).as_array_mut().unwrap();
    array.iter_mut().map(|table| table.as_table_mut().unwrap())
}

/// A configuration written as text, with `{dir}` and these values put in.
///
/// # Panics
/// When a value is put in nowhere, or when something in braces is neither one of them nor known to
/// the program.
pub(crate) fn fill_in(text: &str, directory: &Path, values: &[(&str, &dyn Display)]) -> String {
    let mut text = text.replace("{dir}", &directory.display().to_string());
    for (name, value) in values {
        let place = format!("{{{name}}}");
        assert!(text.contains(&place), "no {place} in the configuration, which is\n{text}");
        text = text.replace(&place, &value.to_string());
    }
    let known = known_names(&text);
    let mut rest = text.as_str();
    while let Some(at) = rest.find('{') {
        let after = &rest[at + 1..];
        let end = after.find(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && c != '_');
        let name = &after[..end.unwrap_or(after.len())];
        let doubled = text[..text.len() - rest.len() + at].ends_with('{');
        let is_place = !name.is_empty() && !doubled && after[name.len()..].starts_with('}');
        let number = name.bytes().all(|byte| byte.is_ascii_digit());
        assert!(
            !is_place || number || known.iter().any(|known| known == name),
            "{{{name}}} has no value in the configuration, which is\n{text}"
        );
        rest = after;
    }
    text
}

/// What the program itself puts in: facts about a request, and captures of the routes.
fn known_names(text: &str) -> Vec<String> {
    const FACTS: [&str; 10] = [
        "host",
        "path",
        "query",
        "client_ip",
        "request_id",
        "scheme",
        "port",
        "route",
        "upstream",
        "server",
    ];
    let table: Table = text.parse().unwrap_or_else(|e| panic!("test config: {e}\n{text}"));
    let routes = table.get("route").and_then(Value::as_array).into_iter().flatten();
    let paths = routes.filter_map(|route| route.get("path")).flat_map(|path| match path {
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect::<Vec<_>>(),
    });
    let captures = paths.flat_map(|path| path.split('/')).filter_map(|segment| {
        segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}'))
    });
    let groups = text.split("(?<").skip(1).filter_map(|group| group.split('>').next());
    FACTS.into_iter().chain(captures).chain(groups).map(str::to_owned).collect()
}
