//! What makes `cargo build --release` quick is not in what is shipped.

use toml::Table;

use crate::documents::document;

fn profiles() -> Table {
    let manifest: Table = document("Cargo.toml").parse().unwrap();
    manifest["profile"].as_table().unwrap().clone()
}

#[test]
fn what_is_shipped_is_optimised_throughout() {
    let profiles = profiles();
    let dist = profiles["dist"].as_table().unwrap();
    assert_eq!(dist["inherits"].as_str(), Some("release"));
    assert_eq!(dist["opt-level"].as_integer(), Some(3));
    assert_eq!(dist["codegen-units"].as_integer(), Some(1));
    assert_eq!(dist["lto"].as_str(), Some("fat"));
    assert_eq!(dist["debug"].as_str(), Some("line-tables-only"));

    let quick = profiles["release"]["package"].as_table().unwrap();
    let again = dist["package"].as_table().unwrap();
    assert!(quick.len() > 20, "{quick:?}");
    for (package, settings) in quick {
        for (key, value) in settings.as_table().unwrap() {
            let shipped = again.get(package).and_then(|of| of.get(key)).unwrap_or(value);
            let wanted = if key == "opt-level" { 3 } else { 1 };
            assert_eq!(shipped.as_integer(), Some(wanted), "{package}.{key} of profile `dist`");
        }
    }
}

#[test]
fn profiles_name_packages_that_are_built() {
    let lock: Table = document("Cargo.lock").parse().unwrap();
    let built: Vec<&str> = lock["package"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| package["name"].as_str().unwrap())
        .collect();
    assert!(built.len() > 200, "{built:?}");
    for (name, profile) in &profiles() {
        let named = profile.get("package").and_then(toml::Value::as_table);
        for package in named.into_iter().flat_map(Table::keys).filter(|name| *name != "*") {
            assert!(built.contains(&package.as_str()), "profile `{name}` names {package}");
        }
    }
}
