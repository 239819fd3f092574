//! What an editor needs of a configuration, with this crate and nothing of the proxy: findings with
//! their places, the schema, and the files that were read.

use std::fs;
use std::path::Path;

use config::{TextColour, json_schema, load, load_str};

/// The repository: the files that come along are in it.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

#[test]
fn the_file_that_comes_along_is_loaded_and_checked() {
    let path = root().join("config/tidegate.toml");
    let loaded = load(&path).unwrap_or_else(|report| panic!("{}", report.text(TextColour::Plain)));
    assert_eq!((loaded.config.listen.len(), loaded.findings.len()), (1, 0));
    assert!(!loaded.config.route.is_empty() && !loaded.config.upstream.is_empty());
}

#[test]
fn a_mistake_is_told_with_its_place_and_the_nearest_name() {
    let report = load_str("t.toml", "[runtime]\nworkerz = 2\n").unwrap_err();
    let text = report.text(TextColour::Plain);
    assert!(text.contains("t.toml:2:1") && text.contains("did you mean `workers`?"), "{text}");
}

#[test]
fn the_schema_is_the_one_that_comes_along() {
    let written = fs::read_to_string(root().join("config/schema.json")).unwrap();
    let written: serde_json::Value = serde_json::from_str(&written).unwrap();
    assert_eq!(json_schema().to_value(), written);
}
