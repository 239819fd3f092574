//! The reference and the schema that come along are those of this program. `BLESS=1` writes them
//! anew.

use std::fs;

use serde_json::Value;
use tidegate::config::{self, reference};

/// Compares a committed file with what the program says, or writes it.
fn same(name: &str, text: &str) {
    let path = super::root().join(name);
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    let differs = there.lines().zip(text.lines()).find(|(old, new)| old != new);
    assert!(
        there == text,
        "{name} is not what the program says, first here: {differs:?}\n\
         write it anew: BLESS=1 cargo test --test config reference"
    );
}

#[test]
fn the_reference_and_the_schema_that_come_along_are_current() {
    same("docs/reference.md", &reference::markdown());
    same("config/schema.json", &format!("{:#}\n", config::json_schema().as_value()));
}

/// Walks the schema by itself: a table that the generator overlooks is missing here.
#[test]
fn every_key_of_the_schema_has_a_row_that_says_something() {
    let schema = config::json_schema();
    let root = schema.as_value();
    let page = reference::markdown();
    let sections: Vec<&str> = page.split("\n## ").collect();
    let definitions = root["$defs"].as_object().unwrap();
    assert_eq!(sections.len(), definitions.len() + 2, "an introduction, the top level, the tables");
    let mut keys = 0;
    let tables = definitions.values().chain([root]);
    for (key, property) in tables.flat_map(|table| table["properties"].as_object().unwrap()) {
        keys += 1;
        let about = property["description"].as_str().unwrap_or_default();
        let told = about.split(" Default: ").next().unwrap().replace('|', "\\|");
        assert!(about.len() > 6, "`{key}` says nothing about itself: {about:?}");
        let row = |line: &str| line.starts_with(&format!("| `{key}` | ")) && line.contains(&told);
        assert!(page.lines().any(row), "there is no row for `{key}`: {about}");
    }
    assert!(keys > 200, "{keys}");
}

#[test]
fn units_defaults_and_reloads_are_said() {
    let page = reference::markdown();
    for row in [
        "| `connect` | duration: `\"10s\"` | `\"2s\"` | yes | For a connection. |",
        "| `eject` | `true`, `false` or [table](#eject) | `true` | yes | ",
        "| `rate` | rate: `\"10/s\"` | required | yes | ",
        "| `level` | `\"error\"`, `\"warn\"`, `\"info\"`, `\"debug\"`, `\"trace\"` | `\"info\"` | start | ",
        "| `on` | list of ",
    ] {
        assert!(page.contains(row), "{row}");
    }
    // Of each table that a key links to there is a heading.
    let links = regex::Regex::new(r"\(#([a-z0-9-]+)\)").unwrap();
    let anchor = |line: &str| line.strip_prefix("## ").map(|l| l.to_lowercase().replace(' ', "-"));
    let headings: Vec<String> = page.lines().filter_map(anchor).collect();
    let mut linked = 0;
    for link in links.captures_iter(&page) {
        linked += 1;
        assert!(headings.iter().any(|heading| *heading == link[1]), "{}", &link[1]);
    }
    assert!(linked > 40, "{linked}");
}

#[test]
fn editors_find_the_schema_from_every_example() {
    let schema: Value = serde_json::from_str(
        &fs::read_to_string(super::root().join("config/schema.json")).unwrap(),
    )
    .unwrap();
    assert!(schema["$id"].as_str().unwrap().starts_with("urn:tidegate:"));
    for (folder, line) in
        [("config", "#:schema ./schema.json"), ("config/scenarios", "#:schema ../schema.json")]
    {
        for file in super::files(folder) {
            let text = fs::read_to_string(&file).unwrap();
            assert_eq!(text.lines().next(), Some(line), "{}", file.display());
        }
    }
}
