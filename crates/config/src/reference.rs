//! The reference of the configuration file, in Markdown, out of the JSON schema.
//!
//! A section for each table, in the order in which the schema leads to them; a row for each key, so
//! that two changes of the schema seldom meet in the same line of the committed text.

use std::collections::HashSet;
use std::fmt::Write as _;

use serde_json::Value as Json;

use super::json_schema;
use super::schema::needs_restart;

/// The text above the tables.
const INTRODUCTION: &str = "\
# Reference

Every key of the configuration file. This page is generated from the schema that `tidegate schema`
prints (`tidegate schema --format markdown` prints the page itself), so it is complete and never
older than the program.

- **Units.** A duration is `\"250ms\"`, `\"5s\"`, `\"10m\"`, `\"1h\"` or `\"1d\"`; a size `\"64KiB\"`,
  `\"1MiB\"`, `\"2GiB\"` or `\"512B\"`; a share `\"20%\"`; a rate `\"100/s\"`, `\"20/min\"` or `\"500/h\"`. A
  bare number where a unit belongs is an error that shows the right spelling.
- **Variables.** `${VAR}`, `${VAR:-default}` and `${file:/run/secrets/x}` are replaced inside string
  values; `$${` is a literal `${`. An unset variable without a default is an error.
- **Reload.** `yes`: a reload applies the key without losing a connection. `start`: the key takes
  effect when the process starts, and a reload that changes it says so.
- **NAME** stands for a name of your own. A default of – means that nothing is set.
- `config/reference.toml` shows the same keys in one annotated file.
";

/// Writes the page.
#[must_use]
pub fn markdown() -> String {
    let schema = json_schema();
    let root = schema.as_value();
    let mut page = INTRODUCTION.to_owned();
    let mut sections = Sections { root, queue: Vec::new(), seen: HashSet::new() };
    page.push_str("\n## Top level\n\n");
    sections.rows(root, "", &mut page);
    // Depth first, in the order of the file: [listen], [listen.tls], …, then [upstream].
    while let Some((name, path)) = sections.queue.pop() {
        sections.section(&name, &path, &mut page);
    }
    page
}

/// A walk over the tables of a schema.
struct Sections<'s> {
    root: &'s Json,
    /// Definitions that are still to be written and where they were met first; the next one last.
    queue: Vec<(String, String)>,
    seen: HashSet<String>,
}

impl Sections<'_> {
    fn section(&mut self, name: &str, path: &str, page: &mut String) {
        let table = &self.root["$defs"][name];
        let about = table["description"].as_str().unwrap_or_default();
        // Writing to a string cannot fail.
        let _ok = write!(page, "\n## {}\n\n{about} Written as `{path}`", anchored(name));
        let also = places(self.root, name);
        let others: Vec<String> =
            also.iter().filter(|other| *other != path).map(|other| format!("`{other}`")).collect();
        if !others.is_empty() {
            let _ok = write!(page, ", and the same as {}", others.join(", "));
        }
        page.push_str(".\n\n");
        self.rows(table, path, page);
    }

    fn rows(&mut self, table: &Json, path: &str, page: &mut String) {
        page.push_str("| key | value | default | reload | |\n|---|---|---|---|---|\n");
        let mut inner = Vec::new();
        for (key, property) in table["properties"].as_object().into_iter().flatten() {
            let place = place_of(property, path, key);
            for name in references(property) {
                if self.seen.insert(name.to_owned()) {
                    inner.push((name.to_owned(), place.clone()));
                }
            }
            let required = table["required"]
                .as_array()
                .is_some_and(|all| all.contains(&Json::from(key.as_str())));
            let _ok = writeln!(page, "{}", row(key, property, path, required));
        }
        self.queue.extend(inner.into_iter().rev());
    }
}

/// The row of one key.
fn row(key: &str, property: &Json, path: &str, required: bool) -> String {
    let about = property["description"].as_str().unwrap_or_default();
    let (about, told) = match about.split_once(" Default: ") {
        Some((about, default)) => (about, Some(default)),
        None => (about, None),
    };
    let default = match (&property["default"], told) {
        _ if required => "required".to_owned(),
        (Json::Null, Some(told)) => told.trim_end_matches('.').to_owned(),
        (Json::Null, None) => "–".to_owned(),
        (default, _) => format!("`{default}`"),
    };
    // Only keys of the outermost tables wait for a start, and all that is in them.
    let start = match path {
        "" => needs_restart(key, key),
        _ => !path.contains('.') && needs_restart(path, key),
    };
    let reload = if start { "start" } else { "yes" };
    let cells = [&*value(property), &*default, reload, about].map(|cell| cell.replace('|', "\\|"));
    let [value, default, reload, about] = cells;
    format!("| `{key}` | {value} | {default} | {reload} | {about} |")
}

/// Describes what may be written, in words.
fn value(schema: &Json) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = definition(reference);
        return format!("[table](#{})", anchor(name));
    }
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        return words.join(", ");
    }
    if !schema["const"].is_null() {
        return format!("`{}`", schema["const"]);
    }
    for choice in ["anyOf", "oneOf"] {
        if let Some(choices) = schema[choice].as_array() {
            let mut said: Vec<String> = Vec::new();
            for choice in choices.iter().map(value) {
                if !said.contains(&choice) {
                    said.push(choice);
                }
            }
            return said.join(" or ");
        }
    }
    let example = |what: &str| match schema["examples"][0].as_str() {
        Some(example) => format!("{what}: `\"{example}\"`"),
        None => what.to_owned(),
    };
    match schema["type"].as_str() {
        Some("string") => match schema["title"].as_str() {
            Some(what) => example(what.trim_start_matches("a ").trim_start_matches("an ")),
            None => example("text"),
        },
        Some("integer") => integer(schema),
        Some("boolean") => "`true`, `false`".to_owned(),
        Some("array") => format!("list of {}", value(&schema["items"])),
        Some("object") if schema["additionalProperties"].is_object() => {
            format!("table, NAME = {}", value(&schema["additionalProperties"]))
        }
        Some("object") => "table".to_owned(),
        Some(other) => other.to_owned(),
        None => "any".to_owned(),
    }
}

fn integer(schema: &Json) -> String {
    let least = schema["minimum"].as_i64().unwrap_or(0);
    match schema["maximum"].as_u64() {
        Some(most) if most <= u64::from(u16::MAX) => format!("{least} to {most}"),
        _ => format!("number from {least}"),
    }
}

/// The tables that a value refers to.
fn references(schema: &Json) -> Vec<&str> {
    let mut found = Vec::new();
    if let Some(reference) = schema["$ref"].as_str() {
        found.push(definition(reference));
    }
    for choice in ["anyOf", "oneOf", "allOf"] {
        let all = schema[choice].as_array();
        found.extend(all.into_iter().flatten().flat_map(references));
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            found.extend(references(&schema[inner]));
        }
    }
    found
}

fn definition(reference: &str) -> &str {
    reference.rsplit('/').next().unwrap_or_default()
}

/// Returns how a key is written below a path. Only a table of tables has names of the operator's
/// own.
fn place_of(property: &Json, path: &str, key: &str) -> String {
    let dot = if path.is_empty() { "" } else { "." };
    let named = if property["additionalProperties"].is_object() { ".NAME" } else { "" };
    format!("{path}{dot}{key}{named}")
}

/// All places where a table may be written, each chain of tables once.
fn places(root: &Json, wanted: &str) -> Vec<String> {
    let mut found = Vec::new();
    walk(root, root, "", wanted, &mut Vec::new(), &mut found);
    found.dedup();
    found
}

fn walk(
    root: &Json,
    table: &Json,
    path: &str,
    wanted: &str,
    above: &mut Vec<String>,
    found: &mut Vec<String>,
) {
    for (key, property) in table["properties"].as_object().into_iter().flatten() {
        let place = place_of(property, path, key);
        for name in references(property) {
            if name == wanted {
                found.push(place.clone());
            }
            if !above.iter().any(|one| one == name) {
                above.push(name.to_owned());
                walk(root, &root["$defs"][name], &place, wanted, above, found);
                above.pop();
            }
        }
    }
}

/// The heading of a table: the name of its definition, in words.
fn anchored(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(if words.is_empty() { letter } else { letter.to_ascii_lowercase() });
    }
    words
}

/// Returns the anchor that a heading is linked by, as GitHub and mdBook make it.
fn anchor(name: &str) -> String {
    anchored(name).to_ascii_lowercase().replace(' ', "-")
}
