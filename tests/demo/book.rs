//! The book does what it says: its files load, and its commands print what stands below them.
//!
//! A page is a session in a folder and a network of its own, in which `127.0.0.1:3000` to `:3003`
//! are servers that say their port. A block after `<!-- file: NAME -->` is that file; a `console`
//! block is run, line by line: `$ ` begins a command, what follows is its output. `…` stands for
//! anything within a line, and as a line of its own for any lines. `BLESS=1` writes what was
//! printed instead of comparing; read the difference.
//!
//! A block that is another file (`{{#include …}}`) is run where that file is: under
//! `tests/migrations`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use regex::Regex;

use crate::documents::root;

/// The servers behind the proxies of the book.
const SERVERS: &str = "
[log]
level = \"error\"
[[listen]]
name = \"3000\"
address = \"127.0.0.1:3000\"
[[listen]]
name = \"3001\"
address = \"127.0.0.1:3001\"
[[listen]]
name = \"3002\"
address = \"127.0.0.1:3002\"
[[listen]]
name = \"3003\"
address = \"127.0.0.1:3003\"
";

fn servers() -> String {
    let route = |port: &str| {
        format!(
            "[[route]]\nlisten = \"{port}\"\n\
             respond = {{ status = 200, body = \"hello from {port}\\n\", headers = {{ content-type = \"text/plain\" }} }}\n"
        )
    };
    let routes: String = ["3000", "3001", "3002", "3003"].map(route).concat();
    format!("{SERVERS}{routes}")
}

/// What comes before the commands of a page. A command in the background is given the time it takes
/// to listen.
const PRELUDE: &str = r#"
exec 2>&1 </dev/null
ip link set lo up
listening() { cat /proc/net/tcp /proc/net/unix | grep -cE ' 0A |00010000 0001' ; }
background() {
    local before now; before=$(listening)
    eval "$1 >>background.log 2>&1 &"
    for _ in $(seq 400); do
        # Whoever listens in several places is waited for until nothing is added any more.
        now=$(listening); sleep 0.05
        [ "$now" -gt "$before" ] && [ "$(listening)" = "$now" ] && return
    done
    echo "it does not listen:"; cat background.log
}
background 'tidegate run -c .servers.toml'
"#;

/// Between the outputs of two commands.
const MARK: &str = "\u{1}next\u{1}";

fn pages() -> Vec<PathBuf> {
    fn collect(at: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    collect(&root().join("docs"), &mut found);
    found.sort();
    found
}

/// A fenced block: its language, the file that it is, and where its text stands in the page.
struct Block {
    language: String,
    file: Option<String>,
    start: usize,
    end: usize,
}

fn blocks(page: &str) -> Vec<Block> {
    let fence = Regex::new(r"(?m)^(?:<!-- file: (\S+) -->\n+)?```([a-z]+)\n").unwrap();
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(open) = fence.captures_at(page, from) {
        let start = open.get(0).unwrap().end();
        let end = start + page[start..].find("```").unwrap();
        let file = open.get(1).map(|name| name.as_str().to_owned());
        found.push(Block { language: open[2].to_owned(), file, start, end });
        from = end + 3;
    }
    found
}

/// The file that all of a text is to be replaced by, as mdbook does.
fn included(page: &Path, text: &str) -> Option<PathBuf> {
    let name = text.trim().strip_prefix("{{#include ")?.strip_suffix("}}")?;
    Some(page.parent().unwrap().join(name))
}

/// A command and what it prints.
struct Step {
    command: String,
    output: String,
}

fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => {
                steps.push(Step { command: command.to_owned(), output: String::new() });
                goes_on = command.ends_with('\\');
            }
            (None, Some(step)) if goes_on => {
                step.command.push('\n');
                step.command.push_str(line);
                goes_on = line.ends_with('\\');
            }
            (None, Some(step)) => {
                step.output.push_str(line);
                step.output.push('\n');
            }
            (None, None) => panic!("a console block begins with a command: {line}"),
        }
    }
    steps
}

fn fits_line(said: &str, wanted: &str) -> bool {
    let pattern: Vec<String> = wanted.trim_end().split('…').map(regex::escape).collect();
    Regex::new(&format!("^{}$", pattern.join(".*"))).unwrap().is_match(said.trim_end())
}

fn fits(said: &[&str], wanted: &[&str]) -> bool {
    match wanted.split_first() {
        None => said.is_empty(),
        Some((&"…", rest)) => (0..=said.len()).any(|at| fits(&said[at..], rest)),
        Some((first, rest)) => said
            .split_first()
            .is_some_and(|(line, others)| fits_line(line, first) && fits(others, rest)),
    }
}

/// Runs the commands of a page; one output for each.
fn run(folder: &Path, commands: &[String]) -> Vec<String> {
    fs::write(folder.join(".servers.toml"), servers()).unwrap();
    let mut script = PRELUDE.to_owned();
    for command in commands {
        script.push_str(&format!("\nprintf '{MARK}'\n"));
        match command.strip_suffix(" &") {
            Some(command) => script.push_str(&format!("background {}\n", quoted(command))),
            None => script.push_str(command),
        }
        script.push('\n');
    }
    script.push_str("\nkill $(jobs -p)\n");
    let binary = Path::new(env!("CARGO_BIN_EXE_tidegate")).parent().unwrap();
    let path = format!("{}:{}:/usr/sbin:/sbin", binary.display(), std::env::var("PATH").unwrap());
    let plain = Command::new("unshare").args(["--net", "true"]).output();
    let plain = plain.expect("unshare, of the Debian package util-linux").status.success();
    let own: &[&str] = if plain { &["--net"] } else { &["--user", "--map-root-user", "--net"] };
    let output = Command::new("unshare")
        .args(own)
        .args(["--pid", "--fork", "--kill-child", "timeout", "60", "bash", "-c", &script])
        .current_dir(folder)
        .env("PATH", path)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut outputs: Vec<String> = text.split(MARK).map(str::to_owned).collect();
    assert_eq!(outputs.remove(0), "", "the servers of the book");
    outputs
}

fn quoted(command: &str) -> String {
    format!("'{}'", command.replace('\'', "'\\''"))
}

fn with_outputs(page: &str, blocks: &[&Block], outputs: &[String]) -> String {
    let mut text = page.to_owned();
    let mut left = outputs.len();
    for block in blocks.iter().rev() {
        let steps = steps(&page[block.start..block.end]);
        left -= steps.len();
        let mut block_text = String::new();
        for (step, said) in steps.iter().zip(&outputs[left..]) {
            let lines: Vec<&str> = said.lines().collect();
            let wanted: Vec<&str> = step.output.lines().collect();
            let kept = if fits(&lines, &wanted) { &step.output } else { said };
            block_text.push_str(&format!("$ {}\n{kept}", step.command));
            if !block_text.ends_with('\n') {
                block_text.push('\n');
            }
        }
        text.replace_range(block.start..block.end, &block_text);
    }
    text
}

/// Runs one page. Returns how many files and commands it had, and what was not as it says.
fn try_page(path: &Path) -> (usize, usize, Vec<String>) {
    let page = fs::read_to_string(path).unwrap();
    let name = path.strip_prefix(root()).unwrap().display().to_string();
    let folder = tempfile::tempdir().unwrap();
    let all = blocks(&page);
    let mut wrong = Vec::new();
    let mut files = 0;
    let (elsewhere, all): (Vec<Block>, Vec<Block>) =
        all.into_iter().partition(|block| included(path, &page[block.start..block.end]).is_some());
    for block in &elsewhere {
        let file = included(path, &page[block.start..block.end]).unwrap();
        if !file.is_file() {
            wrong.push(format!("{name}: there is no {}", file.display()));
        }
    }
    for block in all.iter().filter(|block| block.language != "console") {
        let text = &page[block.start..block.end];
        if let Some(file) = &block.file {
            fs::write(folder.path().join(file), text).unwrap();
        }
        files += usize::from(block.language == "toml");
    }
    let consoles: Vec<&Block> = all.iter().filter(|block| block.language == "console").collect();
    let steps: Vec<Step> =
        consoles.iter().flat_map(|block| steps(&page[block.start..block.end])).collect();
    if !steps.is_empty() {
        let commands: Vec<String> = steps.iter().map(|step| step.command.clone()).collect();
        let outputs = run(folder.path(), &commands);
        assert_eq!(outputs.len(), steps.len(), "{name}: {outputs:?}");
        for (step, said) in steps.iter().zip(&outputs) {
            let lines: Vec<&str> = said.lines().collect();
            let wanted: Vec<&str> = step.output.lines().collect();
            if !fits(&lines, &wanted) {
                wrong.push(format!(
                    "{name}: $ {}\nprinted:\n{said}\nnot:\n{}",
                    step.command, step.output
                ));
            }
        }
        if std::env::var_os("BLESS").is_some() && !wrong.is_empty() {
            fs::write(path, with_outputs(&page, &consoles, &outputs)).unwrap();
            wrong.clear();
        }
    }
    // Whatever is a whole configuration loads, after the commands that may have made its
    // certificates.
    for block in all.iter().filter(|block| block.language == "toml") {
        let text = &page[block.start..block.end];
        let file = block.file.clone().unwrap_or_else(|| "block.toml".to_owned());
        fs::write(folder.path().join(&file), text).unwrap();
        let check = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["check", "-c", &file])
            .current_dir(folder.path())
            .env("PWD", folder.path())
            .output()
            .unwrap();
        if !check.status.success() {
            let said = String::from_utf8_lossy(&check.stdout).into_owned();
            wrong.push(format!("{name}: this does not load:\n{text}\n{said}"));
        }
    }
    (files, steps.len(), wrong)
}

#[test]
fn every_file_of_the_book_loads_and_every_command_prints_what_it_says() {
    let only = std::env::var("TIDEGATE_PAGE").unwrap_or_default();
    let pages: Vec<PathBuf> =
        pages().into_iter().filter(|path| path.display().to_string().contains(&only)).collect();
    // Two at a time: a page mostly waits.
    let (left, right) = pages.split_at(pages.len() / 2);
    let half = |pages: &[PathBuf]| -> Vec<_> { pages.iter().map(|path| try_page(path)).collect() };
    let results = std::thread::scope(|scope| {
        let other = scope.spawn(|| half(right));
        let mut results = half(left);
        results.extend(other.join().unwrap());
        results
    });
    let wrong: Vec<&String> = results.iter().flat_map(|(.., wrong)| wrong).collect();
    assert!(
        wrong.is_empty(),
        "{}",
        wrong.iter().map(|w| w.as_str()).collect::<Vec<_>>().join("\n---\n")
    );
    if only.is_empty() {
        let files: usize = results.iter().map(|(files, ..)| files).sum();
        let commands: usize = results.iter().map(|(_, commands, _)| commands).sum();
        assert!(files >= 20 && commands >= 40, "{files} files, {commands} commands");
    }
}

#[test]
fn a_wrong_output_is_noticed() {
    let fits = |said: &str, wanted: &str| {
        super::book::fits(&said.lines().collect::<Vec<_>>(), &wanted.lines().collect::<Vec<_>>())
    };
    assert!(fits("a 1 b\n", "a … b\n") && fits("x\ny\nz\n", "…\nz\n") && fits("", ""));
    assert!(
        !fits("a 1 b\n", "a … c\n") && !fits("x\ny\n", "x\n") && !fits("x", "") && !fits("", "x")
    );
    assert!(fits("a.b", "a.b") && !fits("acb", "a.b"));
}

#[test]
fn every_migration_that_is_tested_has_its_page() {
    let folders = fs::read_dir(root().join("tests/migrations")).unwrap();
    let mut migrations = 0;
    for folder in folders.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let page = format!("docs/coming-from/{}.md", name.replace('_', "-"));
        let text = fs::read_to_string(root().join(&page)).unwrap();
        for file in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            let file = file.file_name().unwrap().to_str().unwrap().to_owned();
            let include = format!("{{{{#include ../../tests/migrations/{name}/{file}}}}}");
            assert!(file == "mod.rs" || text.contains(&include), "{page} does not show {file}");
        }
        migrations += 1;
    }
    assert_eq!(migrations, 8);
}

#[test]
fn the_summary_names_every_page_and_links_lead_somewhere() {
    let summary = fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let listed: BTreeSet<String> =
        link.captures_iter(&summary).map(|found| found[1].to_owned()).collect();
    let docs = root().join("docs");
    let there: BTreeSet<String> = pages()
        .iter()
        .map(|path| path.strip_prefix(&docs).unwrap().display().to_string())
        .filter(|name| name != "SUMMARY.md")
        .collect();
    assert_eq!(listed, there, "docs/SUMMARY.md and the pages");
    let mut seen = 0;
    for path in pages() {
        let page = fs::read_to_string(&path).unwrap();
        // What stands in code is no link.
        let prose: String = page.split("```").step_by(2).collect();
        for found in link.captures_iter(&prose) {
            let target = found[1].split('#').next().unwrap().to_owned();
            if target.is_empty() || target.starts_with("http") {
                continue;
            }
            seen += 1;
            let to = path.parent().unwrap().join(&target);
            assert!(to.exists(), "{}: {target}", path.display());
        }
    }
    assert!(seen > 40, "{seen}");
}
