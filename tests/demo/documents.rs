//! What `README.md` and the tables of the book show is what the program does.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use regex::Regex;
use tidegate::config;

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn document(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// What stands between backquotes, outside of blocks.
pub(crate) fn quoted(text: &str) -> impl Iterator<Item = &str> {
    let prose = text.split("```").step_by(2);
    prose.flat_map(str::lines).flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// The contents of the blocks fenced as `language`.
pub(crate) fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    text.split(fence.as_str()).skip(1).map(|block| block.split("```").next().unwrap()).collect()
}

/// The text between two comments.
fn between<'a>(text: &'a str, name: &str) -> &'a str {
    let (_, after) = text.split_once(&format!("<!-- {name}:begin -->")).unwrap();
    after.split_once(&format!("<!-- {name}:end -->")).unwrap().0
}

#[test]
fn the_smallest_file_is_the_one_that_comes_along() {
    let readme = document("README.md");
    let smallest = blocks(&readme, "toml")[0];
    let settings = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(settings(smallest), settings(&document("config/tidegate.toml")));
    assert!(config::load_str("README.md", smallest).unwrap().findings.is_empty());
}

#[test]
fn every_file_they_name_exists() {
    let places = ["src/", "crates/", "tests/", "config/", "benches/", "docker/", "dist/", ".ci/"];
    let link = Regex::new(r"\]\(([^)#]+)\)").unwrap();
    let mut seen = 0;
    for name in ["README.md", "docs/features.md", "docs/speed.md", "docs/operating.md"] {
        let page = document(name);
        let folder = root().join(name).parent().unwrap().to_owned();
        let linked = link.captures_iter(&page).map(|found| found.get(1).unwrap().as_str());
        let linked = linked.filter(|to| !to.starts_with("http")).map(|to| folder.join(to));
        let named = quoted(&page)
            .filter(|word| places.iter().any(|place| word.starts_with(place)))
            .filter_map(|word| word.split_whitespace().next())
            .map(|word| root().join(word));
        for path in linked.chain(named) {
            seen += 1;
            assert!(path.exists(), "{name} names what does not exist: {}", path.display());
        }
    }
    assert!(seen > 80, "{seen}");
}

#[test]
fn the_bars_are_those_of_the_table() {
    let mut chart = std::process::Command::new(root().join("benches/compare/chart"));
    let drawn = chart.arg(root().join("docs/speed.md")).output().unwrap();
    assert!(drawn.status.success(), "{}", String::from_utf8_lossy(&drawn.stderr));
    let drawn = String::from_utf8(drawn.stdout).unwrap();
    assert!(drawn.matches("<rect").count() > 20, "{drawn}");
    let same = drawn == document("docs/speed.svg");
    assert!(same, "draw it anew: benches/compare/chart docs/speed.md > docs/speed.svg");
}

/// All codes are words of lower case with underscores, and nothing else in that file is.
#[test]
fn every_code_is_explained_and_no_other() {
    let source = document("src/exchange/refusal.rs");
    let code = source.split("#[cfg(test)]").next().unwrap();
    let literal = Regex::new(r#""([a-z]+(?:_[a-z]+)+)""#).unwrap();
    let given: BTreeSet<&str> =
        literal.captures_iter(code).map(|found| found.get(1).unwrap().as_str()).collect();
    assert!(given.contains("no_route") && given.len() > 15, "{given:?}");
    let page = document("docs/codes.md");
    let row = Regex::new(r"(?m)^\| [0-9]{3} \| `([a-z_]+)` \|").unwrap();
    let explained: BTreeSet<&str> = row
        .captures_iter(between(&page, "codes"))
        .map(|found| found.get(1).unwrap().as_str())
        .collect();
    assert_eq!(explained, given, "docs/codes.md and src/exchange/refusal.rs");
}

#[test]
fn what_it_calls_refused_is_what_check_refuses() {
    let source = document("crates/config/src/check/available.rs");
    let row = Regex::new(r#"row\("([a-z0-9_.*]+)""#).unwrap();
    let refused: BTreeSet<String> =
        row.captures_iter(&source).map(|found| found[1].replace(".*", "")).collect();
    let page = document("docs/features.md");
    let said: BTreeSet<String> = quoted(between(&page, "refused")).map(str::to_owned).collect();
    assert_eq!(said, refused, "docs/features.md and crates/config/src/check/available.rs");
}

#[test]
fn the_commands_it_lists_are_those_there_are() {
    let help =
        std::process::Command::new(env!("CARGO_BIN_EXE_tidegate")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let names = list.lines().take_while(|line| line.starts_with("  "));
    let there: BTreeSet<&str> = names
        .map(|line| line.split_whitespace().next().unwrap())
        .filter(|n| *n != "help")
        .collect();
    let page = document("docs/command-line.md");
    let said: BTreeSet<&str> = quoted(between(&page, "commands"))
        .filter_map(|line| line.strip_prefix("tidegate ")?.split_whitespace().next())
        .collect();
    assert_eq!(said, there, "docs/command-line.md and `tidegate --help`");
}
