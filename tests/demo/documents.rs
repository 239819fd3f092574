//! What `README.md` and the tables of the book show is what the program does.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;
use tidegate::config;

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn document(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// All documents: those of the folders that people read in.
pub(crate) fn documents() -> Vec<PathBuf> {
    fn collect(at: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    for folder in ["docs", "benches", "docker", "dist", "config"] {
        collect(&root().join(folder), &mut found);
    }
    let above = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    found.extend(above.filter(|path| path.extension().is_some_and(|name| name == "md")));
    found
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

/// The mistakes that it shows are found in a file that has them.
#[test]
fn what_check_is_shown_to_say_is_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = [
        "[[listen]]",
        "address = \"0.0.0.0:8080\"",
        "",
        "[upstream.app]",
        "servers = [\"127.0.0.1:3000\", \"127.0.0.1:3001\"]",
        "timeout = { connect = 2 }",
        "",
        "[[route]]",
        "upstream = \"ap\"",
        "limit    = { rate = \"10/s\", store = \"redis\" }",
    ];
    fs::write(folder.path().join("tidegate.toml"), wrong.join("\n")).unwrap();
    let mut check = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let output =
        check.args(["check", "-c", "tidegate.toml"]).current_dir(&folder).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(blocks(&document("README.md"), "text"), [said]);
}

#[test]
fn every_file_they_name_exists() {
    let places = ["src/", "crates/", "tests/", "config/", "benches/", "docker/", "dist/", ".ci/"];
    let link = Regex::new(r"\]\(([^)#]+)\)").unwrap();
    let mut seen = 0;
    for path in documents() {
        let (name, page) = (path.display(), fs::read_to_string(&path).unwrap());
        let folder = path.parent().unwrap().to_owned();
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
    assert!(seen > 300, "{seen}");
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

#[test]
fn the_figures_of_the_readme_are_those_of_the_table() {
    let page = document("docs/speed.md");
    let tables = between(&page, "compare");
    let medians = |scenario: &str| -> Vec<String> {
        let (_, ratios) = tables.split_once("| tidegate ÷ |").unwrap();
        let row = ratios.lines().find(|line| line.starts_with(&format!("| {scenario} |"))).unwrap();
        let cells = row.split('|').skip(2).map(str::trim).filter(|cell| !cell.is_empty());
        cells.map(|cell| cell.split_whitespace().next().unwrap().to_owned()).collect()
    };
    let readme = document("README.md");
    let (_, said) = readme.split_once("- **As fast as what you run today**").unwrap();
    let (said, _) = said.split_once("\n- ").unwrap();
    let figure = Regex::new(r"\b\d+\.\d+\b").unwrap();
    let said: Vec<&str> = figure.find_iter(said).map(|found| found.as_str()).collect();
    let (mut measured, with_http2) = (medians("h1-keepalive"), medians("h2-tls"));
    assert!(
        measured.len() >= 2 && measured.len() == with_http2.len(),
        "{measured:?} {with_http2:?}"
    );
    measured.extend(with_http2);
    assert_eq!(said, measured, "benches/compare/run --docs writes both");
}

/// All codes are words of lower case with underscores, and nothing else in that file is.
#[test]
fn every_code_is_explained_and_no_other() {
    let source = document("src/exchange/refusal.rs");
    let code = source.split("#[cfg(test)]").next().unwrap();
    let literal = Regex::new(r#""([a-z]+(?:_[a-z]+)+)""#).unwrap();
    let elsewhere = document("src/proxy/instead.rs");
    let other = Regex::new(r#"\bcode: "([a-z_]+)""#).unwrap();
    let given: BTreeSet<&str> = literal
        .captures_iter(code)
        .chain(other.captures_iter(&elsewhere))
        .map(|found| found.get(1).unwrap().as_str())
        .collect();
    assert!(given.contains("no_route") && given.len() > 15, "{given:?}");
    let page = document("docs/codes.md");
    let row = Regex::new(r"(?m)^\| [0-9a-z ]+ \| `([a-z_]+)` \|").unwrap();
    let explained: BTreeSet<&str> = row
        .captures_iter(between(&page, "codes"))
        .map(|found| found.get(1).unwrap().as_str())
        .collect();
    assert_eq!(explained, given, "docs/codes.md, src/exchange/refusal.rs and src/proxy/instead.rs");
}

/// The files of the admin endpoint without their tests, one after the other.
fn admin_source() -> String {
    let folder = fs::read_dir(root().join("src/admin")).unwrap();
    let files = folder
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "rs"));
    files
        .map(|path| {
            fs::read_to_string(path).unwrap().split("#[cfg(test)]").next().unwrap().to_owned()
        })
        .collect()
}

#[test]
fn every_code_of_the_admin_endpoint_is_explained_and_no_other() {
    let source = admin_source();
    // A code is a literal behind its status, or goes through one of few names.
    let literal = r#""([a-z]+(?:_[a-z]+)*)""#;
    let with_status = Regex::new(&format!(r"StatusCode::([A-Z_]+),\s*{literal}")).unwrap();
    let through =
        Regex::new(&format!(r"(?:\bbad_request\(|\bbusy\(|\bstatus, |\bErr\(){literal}")).unwrap();
    let passed_on =
        Regex::new(r"\bproblem_(?:answer|with_detail)\(\s*[\w:]+,\s*([a-z][\w.]*)").unwrap();
    for found in passed_on.captures_iter(&source) {
        assert!(
            ["code", "result.word"].contains(&&found[1]),
            "where do the codes of {} come from?",
            &found[0]
        );
    }
    let events = document("src/cache/webhook.rs");
    let event = Regex::new(r#"\(Self::(?:Unsigned|Untimely|BadSignature), "([a-z_]+)"\)"#).unwrap();
    let texts = |regex: &Regex, text: &str, group: usize| -> Vec<String> {
        regex.captures_iter(text).map(|found| found[group].to_owned()).collect()
    };
    let signatures = texts(&event, &events, 1);
    assert_eq!(signatures.len(), 3);
    let literals = texts(&with_status, &source, 2).into_iter().chain(texts(&through, &source, 1));
    let given: BTreeSet<String> = literals.chain(signatures).collect();
    let page = document("docs/codes.md");
    let row = Regex::new(r"(?m)^\| ([0-9]{3}) \| `([a-z_]+)` \|").unwrap();
    let table = between(&page, "admin-codes");
    assert_eq!(
        texts(&row, table, 2).into_iter().collect::<BTreeSet<_>>(),
        given,
        "docs/codes.md and src/admin"
    );
    let statuses: BTreeSet<(String, String)> = row
        .captures_iter(table)
        .map(|found| {
            let status = http::StatusCode::from_bytes(found[1].as_bytes()).unwrap();
            let reason = status.canonical_reason().unwrap().to_uppercase();
            (reason.replace(' ', "_"), found[2].to_owned())
        })
        .collect();
    for found in with_status.captures_iter(&source) {
        let pair = (found[1].to_owned(), found[2].to_owned());
        assert!(statuses.contains(&pair), "docs/codes.md has no row for {pair:?}");
    }
}

/// Whatever other tests expect of an answer of the proxy's own is a code that is explained.
#[test]
fn codes_that_tests_expect_are_explained() {
    let page = document("docs/codes.md");
    let row = Regex::new(r"(?m)^\| ([0-9]{3}) \| `([a-z_]+)` \|").unwrap();
    let explained: BTreeSet<(String, String)> =
        row.captures_iter(&page).map(|found| (found[1].to_owned(), found[2].to_owned())).collect();
    let expected = Regex::new(
        r#"assert_(?:problem|problem_and_close|refused)\([^;]*?, ([45][0-9]{2}),\s*"([a-z_]+)"\)"#,
    )
    .unwrap();
    let mut seen = 0;
    for file in ["proxy", "policies", "answers", "registry", "control", "cache", "observe"]
        .iter()
        .flat_map(|folder| fs::read_dir(root().join("tests").join(folder)).unwrap())
    {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap_or_default();
        for found in expected.captures_iter(&text) {
            seen += 1;
            let pair = (found[1].to_owned(), found[2].to_owned());
            let known = explained.contains(&pair) || pair.1 == "upstream_error";
            assert!(known, "docs/codes.md has no row for {pair:?} of {}", path.display());
        }
    }
    assert!(seen > 100, "{seen}");
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
