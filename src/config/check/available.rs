//! The keys that this version reads but does not act on yet.
//!
//! A key that is read and then ignored would be a promise silently broken, so using one is an error
//! at its place. The table looks at what is written and not at the schema: a default is not a use.
//! Delete a row when its key starts to work.

use crate::config::finding::Finding;
use crate::config::source::Place;
use crate::config::tree::{Entry, Node, Value};

/// Where a key is and which of its values are fine all the same. `*` in a path stands for any key
/// and for every element of an array.
struct Row {
    path: &'static str,
    fine: Fine,
}

/// Values that ask for nothing.
enum Fine {
    /// None.
    Nothing,
    /// `false` and `"off"`.
    Off,
    /// Anything but a table.
    NotTable,
}

const fn row(path: &'static str, fine: Fine) -> Row {
    Row { path, fine }
}

const ROWS: &[Row] = &[
    row("listen.*.tls.acme", Fine::Nothing),
    row("listen.*.tls.*.acme", Fine::Nothing),
    row("listen.*.http3", Fine::Off),
    row("upstream.*.servers", Fine::NotTable),
    row("route.*.cache.tier", Fine::Off),
    row("route.*.cache.tier_ttl", Fine::Off),
    row("cache.*.tier", Fine::Off),
    row("cache.*.tier_ttl", Fine::Off),
];

/// Reports every use of a key that this version does not act on.
pub(crate) fn unavailable(root: &[Entry]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for row in ROWS {
        let steps: Vec<&str> = row.path.split('.').collect();
        if let Some((first, rest)) = steps.split_first() {
            in_table(root, first, rest, row, &mut findings);
        }
    }
    findings
}

fn in_table(entries: &[Entry], step: &str, rest: &[&str], row: &Row, findings: &mut Vec<Finding>) {
    for entry in entries.iter().filter(|entry| step == "*" || entry.key == step) {
        in_value(&entry.value, (&entry.key, entry.key_place), rest, row, findings);
    }
}

fn in_value(
    node: &Node,
    key: (&str, Place),
    steps: &[&str],
    row: &Row,
    findings: &mut Vec<Finding>,
) {
    match (steps.split_first(), &node.value) {
        (None, value) if !is_fine(value, &row.fine) => findings.push(report(key, node)),
        (Some((step, rest)), Value::Table(entries)) => in_table(entries, step, rest, row, findings),
        (Some((&"*", rest)), Value::Array(items)) => {
            for item in items {
                in_value(item, key, rest, row, findings);
            }
        }
        _ => {}
    }
}

fn is_fine(value: &Value, fine: &Fine) -> bool {
    let off = matches!(value, Value::Boolean(false))
        || matches!(value, Value::String(text) if text == "off");
    match (fine, value) {
        // Already reported, or about to be.
        (_, Value::Unreadable) => true,
        (Fine::Nothing, _) => false,
        (Fine::Off, _) => off,
        (Fine::NotTable, value) => !matches!(value, Value::Table(_)),
    }
}

fn report((key, place): (&str, Place), node: &Node) -> Finding {
    let message = match &node.value {
        Value::String(text) if text.len() < 32 && !node.replaced => {
            format!("`{key} = \"{text}\"` is not available in this version")
        }
        _ => format!("`{key}` is not available in this version"),
    };
    Finding::error("not_available", place, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tree;

    fn unavailable_in(text: &str) -> Vec<String> {
        let mut findings = Vec::new();
        let root = tree::parse(0, text, &mut findings);
        assert!(findings.is_empty());
        unavailable(&root).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn a_key_that_would_be_ignored_is_refused() {
        let text = "[[listen]]\nhttp3 = 'x'\n[upstream.a]\nservers = ['b:1']";
        assert_eq!(unavailable_in(text), ["`http3 = \"x\"` is not available in this version"]);
    }

    #[test]
    fn asking_for_nothing_is_fine() {
        let text = "[[listen]]\nhttp3 = false\n[[route]]\ncache = false\nauth = 'off'\naccess_log = false\n\
                    [upstream.a]\neject = false\nbalance = 'random'\nservers = ['a:1']\n[log]\naccess = 'off'";
        assert_eq!(unavailable_in(text), Vec::<String>::new());
    }

    #[test]
    fn a_row_names_a_key_of_the_schema() {
        let schema = crate::config::json_schema();
        let definitions = schema.get("$defs").and_then(|defs| defs.as_object()).unwrap();
        let known = |key: &str| {
            let has = |table: &serde_json::Value| table["properties"].get(key).is_some();
            has(schema.as_value()) || definitions.values().any(has)
        };
        for row in ROWS {
            assert!(row.path.split('.').all(|step| step == "*" || known(step)), "{}", row.path);
        }
    }
}
