//! Commands that documents show indented, which the walk through the book does not run: what they
//! name exists.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::Value;
use tidegate::config;

use crate::documents::{document, documents, root};

/// The indented blocks of a page: lines that follow an empty one and begin with four spaces, unlike
/// the further lines of a list's element.
fn indented(page: &str) -> Vec<Vec<&str>> {
    let mut blocks: Vec<Vec<&str>> = Vec::new();
    let (mut fenced, mut inside, mut before) = (false, false, "");
    for line in page.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        }
        let code = !fenced && line.starts_with("    ") && (inside || before.is_empty());
        if code && !inside {
            blocks.push(Vec::new());
        }
        if let Some(block) = blocks.last_mut().filter(|_| code) {
            block.push(line.trim());
        }
        (inside, before) = (code || (inside && line.is_empty()), line);
    }
    blocks
}

/// What is wrong with a command that runs a program of this repository.
fn wrong_script(words: &[&str]) -> Option<String> {
    let path = root().join(words[0]);
    let Ok(script) = fs::read_to_string(&path) else { return Some("no such file".into()) };
    if path.metadata().unwrap().permissions().mode() & 0o111 == 0 {
        return Some("it is not executable".into());
    }
    let known = |word: &str| {
        script.contains(&format!("\"{word}\"")) || script.contains(&format!("{word})"))
    };
    let flags = words[1..].iter().filter(|word| word.starts_with("--"));
    if let Some(flag) = flags.clone().find(|flag| !known(flag)) {
        return Some(format!("it has no {flag}"));
    }
    if let (true, Some(name)) = (words[0].ends_with("/try"), words.get(1)) {
        let file = path.with_file_name(format!("{name}.toml"));
        return (!file.exists()).then(|| format!("there is no {}", file.display()));
    }
    // Names of what it measures.
    let named = words.windows(2).filter(|two| ["--scenarios", "--proxies"].contains(&two[0]));
    let mut named = named.flat_map(|two| two[1].split(','));
    named.find(|name| !known(name)).map(|name| format!("it knows no {name}"))
}

fn wrong_tidegate(words: &[&str]) -> Option<String> {
    let mut help = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let said = help.args([words[0], "--help"]).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    if said.is_empty() {
        return Some("no such command".into());
    }
    let flags = words[1..].iter().filter(|word| word.starts_with('-'));
    let has = |flag: &str| said.split_whitespace().any(|word| word.trim_end_matches(',') == flag);
    flags.clone().find(|flag| !has(flag)).map(|flag| format!("it has no {flag}"))
}

fn wrong_call(words: &[&str]) -> Option<String> {
    let url = words.iter().find_map(|word| word.split_once("://127.0.0.1:9900"));
    let Some((_, path)) = url else { return Some("it is not sent to the admin endpoint".into()) };
    let api: Value = serde_json::from_str(&document("docs/openapi.json")).unwrap();
    let path = path.split(['?', '\'', '"']).next().unwrap();
    api["paths"].get(path).is_none().then(|| format!("there is no call {path}"))
}

/// What is wrong with a line of an indented block; `None` if nothing is.
fn wrong(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split("  #").next().unwrap().split_whitespace().collect();
    match words[0] {
        "tidegate" => wrong_tidegate(&words[1..]),
        "cargo" => match words[1..] {
            ["run", "--release", "--", ref command @ ..] => wrong_tidegate(command),
            ["install", "--locked", "--profile", "dist", "--path", path] => {
                (!root().join(path).join("Cargo.lock").exists()).then(|| "no lock file".into())
            }
            _ => Some("nobody knows whether cargo takes that".into()),
        },
        "kubectl" => match words[1..] {
            ["apply", "-k", folder] => (!root().join(folder).join("kustomization.yaml").exists())
                .then(|| format!("{folder} has no kustomization.yaml")),
            ["create", "secret", "generic", name, ..] => {
                let used = document("docker/kubernetes/base/deployment.yaml").contains(name);
                (!used).then(|| format!("nothing uses {name}"))
            }
            _ => Some("nobody knows whether kubectl takes that".into()),
        },
        "curl" => wrong_call(&words),
        script if script.contains('/') => wrong_script(&words),
        _ => Some("nobody looks at such lines: add them here".into()),
    }
}

/// What is wrong with a block of TOML: it is added to a file that loads.
fn wrong_tables(block: &[&str]) -> Option<String> {
    let mut wrong = Vec::new();
    // Each line that begins a table known already begins another file.
    let mut files: Vec<Vec<&str>> = vec![Vec::new()];
    for line in block {
        let name = line.split_whitespace().next().unwrap_or_default();
        let again =
            |known: &&str| name.starts_with('[') && known.split_whitespace().next() == Some(name);
        if files.last().unwrap().iter().any(again) {
            files.push(Vec::new());
        }
        files.last_mut().unwrap().push(line);
    }
    for lines in files {
        let text = lines.join("\n").replace("${REDIS_PASSWORD}", "tide");
        let text =
            format!("[[listen]]\naddress = \"127.0.0.1:0\"\n[[route]]\nrespond = {{}}\n{text}\n");
        if let Err(report) = config::load_str("shown.toml", &text) {
            wrong.push(report.text(config::TextColour::Plain));
        }
    }
    (!wrong.is_empty()).then(|| wrong.join("\n"))
}

#[test]
fn commands_that_are_shown_but_not_run_are_there() {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    for path in documents() {
        let page = fs::read_to_string(&path).unwrap();
        for block in indented(&page) {
            let tables = block[0].starts_with('[');
            let lines: Vec<(String, Option<String>)> = if tables {
                vec![(block.join("\n"), wrong_tables(&block))]
            } else {
                block.iter().map(|line| ((*line).to_owned(), wrong(line))).collect()
            };
            for (line, why) in lines {
                if let Some(why) = why {
                    found.push(format!("{}: {line}\n    {why}", path.display()));
                }
                seen.insert(line);
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(seen.len() >= 25, "{}: {seen:#?}", seen.len());
}

#[test]
fn a_command_that_is_not_there_is_noticed() {
    for line in [
        "benches/members/walk",
        "benches/members/run --scenarios leave,nowhere",
        "benches/members/run --fast",
        "tidegate chek",
        "tidegate check --againts http://127.0.0.1:9900",
        "cargo run --release -- demmo",
        "curl http://127.0.0.1:9900/cache/purges",
        "kubectl apply -k docker/kubernetes/sidecars",
        "docs/speed.md",
        "make all",
    ] {
        assert!(wrong(line).is_some(), "{line}");
    }
    assert!(wrong_tables(&["[redis]", "urll = 1"]).is_some());
    let page = "a\n\n    one  # x\n\n    two\n- b\n    none\n\n```sh\n\n    none\n```\n";
    assert_eq!(indented(page), [vec!["one  # x", "two"]]);
}
