//! Every configuration key that the program names is one: whoever is told to change it finds it.

use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde_json::Value;

/// The files of the program, which name keys; its tests may name others.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("tests") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("tests.rs")
        {
            found.push(path);
        }
    }
}

/// Follows references and looks through alternatives.
fn leads(schema: &Value, root: &Value, steps: &[&str], depth: usize) -> bool {
    if depth > 40 {
        return false;
    }
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(reference.trim_start_matches('#'));
        return target.is_some_and(|target| leads(target, root, steps, depth + 1));
    }
    let Some((first, rest)) = steps.split_first() else { return true };
    let direct = &schema["properties"][*first];
    if !direct.is_null() && leads(direct, root, rest, depth + 1) {
        return true;
    }
    // A list's items, and what has a name of the operator's own: both are left out of a key.
    let inner = ["items", "additionalProperties"];
    let through = inner
        .iter()
        .any(|of| schema[*of].is_object() && leads(&schema[*of], root, steps, depth + 1));
    let alternatives = ["anyOf", "oneOf", "allOf"].iter().filter_map(|of| schema[*of].as_array());
    through || alternatives.flatten().any(|one| leads(one, root, steps, depth + 1))
}

#[test]
fn every_key_that_is_named_is_in_the_schema() {
    let schema = tidegate::config::json_schema();
    let root = schema.as_value();
    let exists = |key: &str| {
        let steps: Vec<&str> = key.split('.').collect();
        leads(root, root, &steps, 0)
    };
    assert!(exists("upstream.timeout.gap") && exists("listen.tls") && exists("auth.jwt.jwks"));
    assert!(!exists("upstream.timeout.gab") && !exists("timeout.gap") && !exists("nothing"));
    let tables = root["properties"].as_object().unwrap();
    let tables: Vec<&str> = tables.keys().map(String::as_str).collect();
    let dotted = format!(r#""((?:{})(?:\.[a-z0-9_]+)+)""#, tables.join("|"));
    let dotted = Regex::new(&dotted).unwrap();
    let named = Regex::new(r#"\bkey = "([^"]+)""#).unwrap();
    let mut files = Vec::new();
    sources(&super::root().join("src"), &mut files);
    sources(&super::root().join("crates"), &mut files);
    let (mut seen, mut wrong) = (0, Vec::new());
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        for found in dotted.captures_iter(text).chain(named.captures_iter(text)) {
            seen += 1;
            if !exists(&found[1]) {
                wrong.push(format!("{}: {}", file.display(), &found[1]));
            }
        }
    }
    assert!(seen > 40, "{seen}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
