//! `ARCHITECTURE.md` speaks of files that exist, and what it calls absent is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::documents::{blocks, document, quoted, root};

#[test]
fn every_file_it_names_exists() {
    let page = document("ARCHITECTURE.md");
    let named: BTreeSet<&str> = quoted(&page)
        .filter(|word| ["src/", "tests/", "config/"].iter().any(|start| word.starts_with(start)))
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

fn collect(at: &Path, found: &mut Vec<PathBuf>) {
    if at.is_dir() {
        for entry in fs::read_dir(at).unwrap() {
            collect(&entry.unwrap().path(), found);
        }
    } else if at.extension().is_some_and(|extension| extension == "rs") {
        found.push(at.to_owned());
    }
}

/// The code of a room, or of all of them, without comment lines.
fn code(room: &str) -> String {
    let mut files = Vec::new();
    collect(&root().join("src").join(room), &mut files);
    if files.is_empty() {
        files.push(root().join("src").join(format!("{room}.rs")));
    }
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

/// The first parts of all paths that begin with `crate::`.
fn rooms_named_in(code: &str) -> BTreeSet<String> {
    fn name(text: &str) -> String {
        text.trim_start().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
    }
    let mut rooms = BTreeSet::new();
    for path in code.split("crate::").skip(1) {
        match path.strip_prefix('{') {
            // A list ends at the last brace; the names inside inner braces are no rooms.
            Some(list) => rooms.extend(list.split('}').next().unwrap().split(',').map(name)),
            None => {
                rooms.insert(name(path));
            }
        }
    }
    rooms
}

#[test]
fn lists_of_rooms_are_read() {
    let code = "use crate::{admin, clock};\nuse crate::net::Timer;";
    assert_eq!(rooms_named_in(code), ["admin", "clock", "net"].map(String::from).into());
}

#[test]
fn walls_hold() {
    let library = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let rooms: BTreeSet<String> = library
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';').map(str::to_owned))
        .collect();
    let page = document("ARCHITECTURE.md");
    let walls = blocks(&page, "text walls")[0];
    assert!(walls.lines().count() > 8, "{walls}");
    for line in walls.lines() {
        let (room, others) = line.split_once(':').unwrap();
        let allowed: BTreeSet<&str> = others.split_whitespace().collect();
        assert!(rooms.contains(room), "{room} is no room");
        for named in rooms_named_in(&code(room)) {
            let fine = named == room || !rooms.contains(&named) || allowed.contains(&*named);
            assert!(fine, "{room} names {named}, which ARCHITECTURE.md does not allow");
        }
    }
}

#[test]
fn there_is_no_lock() {
    let code = code("");
    for lock in ["Mutex", "RwLock"] {
        assert!(!code.contains(lock), "{lock} in src");
    }
}

#[test]
fn the_codec_does_no_io() {
    let code = code("wire");
    for door in ["tokio", "std::net", "std::fs", "std::os"] {
        assert!(!code.contains(door), "{door} in src/wire");
    }
}
