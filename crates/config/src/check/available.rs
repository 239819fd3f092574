//! The keys that this version reads but does not act on yet.
//!
//! A key that is read and then ignored would be a promise silently broken, so using one is an error
//! at its place. The table looks at what is written and not at the schema: a default is not a use.
//! Delete a row when its key starts to work.

use schemars::Schema;
use serde_json::{Value as Json, json};

use crate::finding::Finding;
use crate::source::Place;
use crate::tree::{TableEntry, TreeNode, Value};

/// The place of a key and those of its values that are fine all the same. `*` in a path stands for
/// any key and for every element of an array.
struct AvailableRow {
    path: &'static str,
    fine: FineValue,
}

/// Values that ask for nothing.
enum FineValue {
    /// None.
    Nothing,
    /// `false` and `"off"`.
    Off,
}

const fn row(path: &'static str, fine: FineValue) -> AvailableRow {
    AvailableRow { path, fine }
}

const ROWS: &[AvailableRow] = &[
    row("listen.*.tls.acme", FineValue::Nothing),
    row("listen.*.tls.*.acme", FineValue::Nothing),
    row("listen.*.http3", FineValue::Off),
    row("upstream.*.servers.kubernetes", FineValue::Nothing),
];

/// Reports every use of a key that this version does not act on.
pub(crate) fn unavailable(root: &[TableEntry]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for row in ROWS {
        let steps: Vec<&str> = row.path.split('.').collect();
        if let Some((first, rest)) = steps.split_first() {
            in_table(root, first, rest, row, &mut findings);
        }
    }
    findings
}

fn in_table(
    entries: &[TableEntry],
    step: &str,
    rest: &[&str],
    row: &AvailableRow,
    findings: &mut Vec<Finding>,
) {
    for entry in entries.iter().filter(|entry| step == "*" || entry.key == step) {
        in_value(&entry.value, (&entry.key, entry.key_place), rest, row, findings);
    }
}

fn in_value(
    node: &TreeNode,
    key: (&str, Place),
    steps: &[&str],
    row: &AvailableRow,
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

fn is_fine(value: &Value, fine: &FineValue) -> bool {
    let off = matches!(value, Value::Boolean(false))
        || matches!(value, Value::String(text) if text == "off");
    match (fine, value) {
        // Already reported, or about to be.
        (_, Value::Unreadable) => true,
        (FineValue::Nothing, _) => false,
        (FineValue::Off, _) => off,
    }
}

fn report((key, place): (&str, Place), node: &TreeNode) -> Finding {
    let message = match &node.value {
        Value::String(text) if text.len() < 32 && !node.replaced => {
            format!("`{key} = \"{text}\"` is not available in this version")
        }
        _ => format!("`{key}` is not available in this version"),
    };
    Finding::error("not_available", place, message)
}

/// Takes out of a JSON schema what [`unavailable`] would report, and the definitions that nothing
/// refers to then.
pub(crate) fn leave_out(schema: &mut Schema) {
    let mut root = schema.as_value().clone();
    for row in ROWS {
        let steps: Vec<&str> = row.path.split('.').collect();
        let mut places = Vec::new();
        lead(&root, "", &steps, &mut places);
        for (table, key) in places {
            let Some(Json::Object(properties)) = root.pointer_mut(&table) else { continue };
            let stays = properties.get(&key).and_then(|property| fine_part(property, &row.fine));
            match stays {
                Some(part) => properties.insert(key, part),
                None => properties.remove(&key),
            };
        }
    }
    while drop_unused(&mut root) {}
    if let Ok(left) = Schema::try_from(root) {
        *schema = left;
    }
}

/// Collects the `properties` that hold the last step of a path, as a JSON pointer and the key in
/// it.
fn lead(root: &Json, at: &str, steps: &[&str], places: &mut Vec<(String, String)>) {
    let Some(schema) = root.pointer(at) else { return };
    if let Some(reference) = schema["$ref"].as_str() {
        return lead(root, reference.trim_start_matches('#'), steps, places);
    }
    for (number, _) in schema["anyOf"].as_array().into_iter().flatten().enumerate() {
        lead(root, &format!("{at}/anyOf/{number}"), steps, places);
    }
    match steps {
        ["*", rest @ ..] => {
            for of in ["items", "additionalProperties"] {
                if schema[of].is_object() {
                    lead(root, &format!("{at}/{of}"), rest, places);
                }
            }
        }
        [key, rest @ ..] if !schema["properties"][*key].is_null() => match rest {
            [] => places.push((format!("{at}/properties"), (*key).to_owned())),
            _ => lead(root, &format!("{at}/properties/{key}"), rest, places),
        },
        _ => {}
    }
}

/// Returns what is left of a property of which only some values are fine.
fn fine_part(property: &Json, fine: &FineValue) -> Option<Json> {
    match fine {
        FineValue::Nothing => None,
        FineValue::Off => {
            let mut words = Vec::new();
            if property.to_string().contains("\"boolean\"") {
                words.push(Json::Bool(false));
            }
            (!words.is_empty())
                .then(|| json!({ "enum": words, "description": property["description"] }))
        }
    }
}

/// Drops definitions that nothing refers to; true if there was one.
fn drop_unused(root: &mut Json) -> bool {
    let text = root.to_string();
    let Some(Json::Object(definitions)) = root.get_mut("$defs") else { return false };
    let before = definitions.len();
    definitions.retain(|name, _| text.contains(&format!("\"#/$defs/{name}\"")));
    definitions.len() < before
}

#[cfg(test)]
mod tests;
