//! `ARCHITECTURE.md` speaks of files that exist, and what it calls absent is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::documents::{document, quoted, root};

#[test]
fn every_file_it_names_exists() {
    let page = document("ARCHITECTURE.md");
    let named: BTreeSet<&str> = quoted(&page)
        .filter(|word| {
            ["src/", "crates/", "tests/", "config/"].iter().any(|start| word.starts_with(start))
        })
        .filter(|word| !word.contains("NAME"))
        .collect();
    assert!(named.len() > 30, "{named:?}");
    let missing: Vec<_> = named.iter().filter(|path| !root().join(path).exists()).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md names what does not exist: {missing:?}");
}

#[test]
fn it_is_one_page() {
    assert!(document("ARCHITECTURE.md").lines().count() <= 150);
}

pub(crate) fn collect(at: &Path, found: &mut Vec<PathBuf>) {
    if at.is_dir() {
        for entry in fs::read_dir(at).unwrap() {
            collect(&entry.unwrap().path(), found);
        }
    } else if at.extension().is_some_and(|extension| extension == "rs") {
        found.push(at.to_owned());
    }
}

/// The code below a folder, without comment lines.
fn code(folder: &str) -> String {
    let mut files = Vec::new();
    collect(&root().join(folder), &mut files);
    assert!(!files.is_empty(), "no code in {folder}");
    let mut code = String::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            code.push_str(line);
            code.push('\n');
        }
    }
    code
}

#[test]
fn comments_end_at_the_hundredth_column() {
    let mut files = Vec::new();
    for folder in ["src", "crates", "tests", "benches"] {
        collect(&root().join(folder), &mut files);
    }
    let (mut comments, mut long) = (0, Vec::new());
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        for (n, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("//") {
                comments += 1;
                if line.chars().count() > 100 {
                    long.push(format!("{}:{}", file.display(), n + 1));
                }
            }
        }
    }
    assert!(comments > 10_000, "only {comments} were read");
    assert!(long.is_empty(), "longer: {}", long.join(", "));
}

#[test]
fn there_is_no_lock() {
    let code = code("src") + &code("crates");
    for lock in ["Mutex", "RwLock"] {
        assert!(!code.contains(lock), "{lock}");
    }
}

#[test]
fn the_codec_does_no_io_and_reads_no_clock() {
    let code = code("crates/http-codec/src");
    for door in ["tokio", "std::net", "std::fs", "std::os", "std::thread", "::now()", ".elapsed()"]
    {
        assert!(!code.contains(door), "{door} in the codec");
    }
}

/// Where the code says something it must not, without what stands in comments.
fn said(folder: &str, wrong: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let mut files = Vec::new();
    collect(&root().join(folder), &mut files);
    assert!(files.len() > 5, "no code in {folder}");
    let mut found = Vec::new();
    for file in files {
        let path = file.strip_prefix(root()).unwrap().display().to_string();
        for (number, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            if !line.trim_start().starts_with("//") && wrong(&path, line) {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    found
}

#[test]
fn there_is_one_clock() {
    let reads =
        ["Instant::now()", "SystemTime::now()", "UNIX_EPOCH.elapsed()", "OffsetDateTime::now"];
    let wrong = |path: &str, line: &str| {
        path != "src/clock.rs" && reads.iter().any(|read| line.contains(read))
    };
    let found = [said("src", wrong), said("crates", wrong)].concat();
    assert!(found.is_empty(), "read through src/clock.rs:\n{}", found.join("\n"));
    assert!(
        !wrong("src/clock.rs", "Instant::now()") && wrong("src/a.rs", "let x = Instant::now();")
    );
}

#[test]
fn there_is_no_unbounded_channel() {
    let wrong = |_: &str, line: &str| {
        // `sync_channel` and tokio's `channel(n)` say how much may wait; `oneshot` and `watch` hold
        // one.
        let std =
            line.contains("channel()") && !line.contains("oneshot::") && !line.contains("fn ");
        std || line.contains("unbounded")
    };
    let found = [said("src", wrong), said("crates", wrong)].concat();
    assert!(found.is_empty(), "a channel needs a bound:\n{}", found.join("\n"));
    assert!(wrong("", "let (a, b) = mpsc::channel();") && wrong("", "mpsc::unbounded_channel()"));
    assert!(!wrong("", "let (a, b) = oneshot::channel();") && !wrong("", "sync_channel(64)"));
}

/// Keys of the configuration are for people who read a log: a branch on one breaks when it is
/// renamed.
#[test]
fn no_text_decides() {
    let key = |text: &str| {
        let text = text.split('"').next().unwrap_or_default();
        let known =
            ["listen.", "upstream.", "route.", "runtime.", "auth.", "cache.", "log.", "redis."];
        known.iter().any(|start| text.starts_with(start))
    };
    let wrong = |_: &str, line: &str| {
        let compared = ["== \"", "!= \""].iter().any(|op| line.split(op).skip(1).any(key));
        let line = line.trim_start();
        let pattern = line.split_once("=>").map_or("", |(pattern, _)| pattern);
        let matched = pattern.split('"').skip(1).step_by(2).any(key);
        compared || matched || line.contains("matches!") && line.split('"').skip(1).any(key)
    };
    let rooms = ["exchange", "upstream", "proxy", "endpoint", "server", "telemetry", "policy"];
    let found: Vec<String> = rooms.iter().flat_map(|r| said(&format!("src/{r}"), wrong)).collect();
    assert!(found.is_empty(), "branch on a variant:\n{}", found.join("\n"));
    assert!(
        wrong("", "if key == \"upstream.limits.idle\" {") && wrong("", "\"route.a\" | \"b\" => 1,")
    );
    assert!(!wrong("", "Self::A => \"upstream.limits.idle\","));
}
