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
