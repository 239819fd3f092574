//! Rooms stand on floors, and a room names only rooms below its own floor. `ARCHITECTURE.md` has
//! the list; what is read here are the tokens of the code, so that comments and texts count for
//! nothing and nothing else is overlooked.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::architecture::collect;
use crate::documents::{blocks, document, root};

/// A room that code names, and how many modules above its own the path that names it starts.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Named {
    /// `crate::NAME`.
    FromRoot(String),
    /// `super::…::NAME`, with the number of `super`; less what modules inside the file take.
    FromAbove(usize, String),
}

fn is_colons(tokens: &[TokenTree], at: usize) -> bool {
    let colon =
        |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == ':');
    colon(at) && colon(at + 1)
}

/// The first names of the paths that begin at `at`: one, or all of a list in braces.
fn first_names(tokens: &[TokenTree], at: usize) -> Vec<String> {
    match tokens.get(at) {
        Some(TokenTree::Ident(name)) => vec![name.to_string()],
        Some(TokenTree::Group(list)) if list.delimiter() == Delimiter::Brace => {
            let tokens: Vec<TokenTree> = list.stream().into_iter().collect();
            let comma = |t: &TokenTree| matches!(t, TokenTree::Punct(p) if p.as_char() == ',');
            tokens.split(comma).flat_map(|path| first_names(path, 0)).collect()
        }
        _ => Vec::new(),
    }
}

/// Adds everything that code names, `depth` modules below the top of its file.
fn read(code: TokenStream, depth: usize, named: &mut BTreeSet<Named>) {
    let tokens: Vec<TokenTree> = code.into_iter().collect();
    let word =
        |at: usize, word: &str| matches!(tokens.get(at), Some(TokenTree::Ident(i)) if i == word);
    let mut at = 0;
    while at < tokens.len() {
        if word(at, "crate") && is_colons(&tokens, at + 1) {
            named.extend(first_names(&tokens, at + 3).into_iter().map(Named::FromRoot));
        }
        if word(at, "super") && is_colons(&tokens, at + 1) {
            let mut supers = 0;
            while word(at, "super") && is_colons(&tokens, at + 1) {
                supers += 1;
                at += 3;
            }
            if supers > depth {
                let names = first_names(&tokens, at).into_iter();
                named.extend(names.map(|name| Named::FromAbove(supers - depth, name)));
            }
        }
        if let Some(TokenTree::Group(group)) = tokens.get(at) {
            let module = at >= 2 && word(at - 2, "mod") && group.delimiter() == Delimiter::Brace;
            read(group.stream(), depth + usize::from(module), named);
        }
        at += 1;
    }
}

/// The rooms, or other items of the root, that a file names. `path` leads to it from `src`.
fn rooms_named_in(code: &str, path: &Path) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    read(code.parse().unwrap_or_else(|e| panic!("{path:?}: {e}")), 0, &mut named);
    let parts = path.iter().count();
    // `a/mod.rs` and `a.rs` are one module below the root, `a/b.rs` is two.
    let below = if path.ends_with("mod.rs") { parts - 1 } else { parts };
    let of_root = named.into_iter().filter_map(|named| match named {
        Named::FromRoot(name) => Some(name),
        Named::FromAbove(supers, name) => (supers >= below).then_some(name),
    });
    of_root.collect()
}

/// The floors, lowest first.
fn floors(page: &str) -> Vec<Vec<&str>> {
    let list = blocks(page, "text floors")[0];
    list.lines().map(|floor| floor.split_whitespace().collect()).collect()
}

/// The crates of this repository that a manifest names, for its tests too.
fn crates_named_in<'c>(manifest: &str, crates: &[&'c str]) -> BTreeSet<&'c str> {
    let dependencies = manifest.split("\n[").filter(|part| part.contains("dependencies]"));
    let lines = dependencies.flat_map(str::lines).filter_map(|line| line.split_once('='));
    let named: Vec<_> = lines.map(|(name, _)| name.trim().trim_end_matches(".workspace")).collect();
    crates.iter().copied().filter(|own| named.contains(own)).collect()
}

#[test]
fn a_crate_names_no_room_and_only_crates_before_it() {
    let page = document("ARCHITECTURE.md");
    let listed: Vec<&str> = blocks(&page, "text crates")[0].split_whitespace().collect();
    let mut there: Vec<String> = fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    there.sort_unstable();
    let mut sorted = listed.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, there, "each crate has its place");
    // The program and its parties in tests stand above all of them.
    let all = [&listed[..], &["tidegate", "support"]].concat();
    let (mut arrows, mut wrong) = (0, Vec::new());
    for (at, own) in listed.iter().enumerate() {
        let manifest = document(&format!("crates/{own}/Cargo.toml"));
        for named in crates_named_in(&manifest, &all) {
            arrows += 1;
            if !listed[..at].contains(&named) {
                wrong.push(format!("{own} names {named}"));
            }
        }
    }
    assert!(arrows > 3, "{arrows} arrows");
    assert!(wrong.is_empty(), "up or sideways:\n{}", wrong.join("\n"));
    let manifest = "[package]\nname = \"a\"\n\n[dependencies]\nb.workspace = true\n\n[dev-dependencies]\nc = { path = \"d\" }\n";
    assert_eq!(crates_named_in(manifest, &["a", "b", "c", "d"]), ["b", "c"].into());
}

/// What the crate of the configuration must not link, so that an editor or a check does without.
#[test]
fn the_configuration_links_no_proxy() {
    let out = std::process::Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "--package",
            "config",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{lib}",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    let tree = String::from_utf8_lossy(&out.stdout);
    let linked: BTreeSet<&str> = tree.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    assert!(linked.contains("toml") && linked.contains("route"), "{out:?} {linked:?}");
    for proxy in
        ["tidegate", "tokio", "hyper", "rustls", "tokio_rustls", "h2", "redis", "aws_lc_rs"]
    {
        assert!(!linked.contains(proxy), "config links {proxy}");
    }
}

/// What a room may not name: what is on its own floor, other than itself, or above.
fn forbidden<'f>(floors: &'f [Vec<&'f str>], room: &str) -> BTreeSet<&'f str> {
    let own = floors.iter().position(|floor| floor.contains(&room)).unwrap();
    floors[own..].iter().flatten().copied().filter(|other| *other != room).collect()
}

#[test]
fn paths_are_read_however_they_are_written() {
    let code = r##"
        //! crate::comment
        use crate::{admin, clock::{self, Instant}, net};
        use crate::route::Route;
        use super::upstream::pool;
        fn f(of: super::super::h2::Client) -> Vec<crate::tls::Server> {
            println!("crate::text {}", crate::wire::NAME, r#"crate::raw"#)
        }
        mod tests {
            use super::super::cache;
            use super::inner;
            use super::super::{policy, super::health};
        }
    "##;
    let set = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>();
    let always = ["admin", "clock", "net", "route", "tls", "wire"];
    assert_eq!(
        rooms_named_in(code, Path::new("gate/mod.rs")),
        set(&[&always[..], &["cache", "h2", "policy", "super", "upstream"]].concat())
    );
    assert_eq!(
        rooms_named_in(code, Path::new("gate/door.rs")),
        set(&[&always[..], &["h2"]].concat())
    );
    assert_eq!(rooms_named_in(code, Path::new("gate/door/deep.rs")), set(&always));
}

#[test]
fn an_arrow_up_or_sideways_is_forbidden() {
    let floors = floors("```text floors\nwire clock\nnet\ngate reload\n```\n").concat();
    assert_eq!(floors, ["wire", "clock", "net", "gate", "reload"]);
    let floors = [vec!["wire", "clock"], vec!["net"], vec!["gate", "reload"]];
    assert_eq!(forbidden(&floors, "net"), ["gate", "reload"].into());
    assert_eq!(forbidden(&floors, "clock"), ["gate", "net", "reload", "wire"].into());
    assert_eq!(forbidden(&floors, "gate"), ["reload"].into());
}

#[test]
fn no_room_names_one_on_its_own_floor_or_above() {
    let page = document("ARCHITECTURE.md");
    let floors = floors(&page);
    let on_floors: Vec<&str> = floors.concat();
    let library = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let mut rooms: Vec<&str> = library
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    assert!(rooms.len() > 20, "{rooms:?}");
    let mut listed = on_floors.clone();
    listed.sort_unstable();
    rooms.sort_unstable();
    assert_eq!(listed, rooms, "each room has its place on one floor");
    let source = root().join("src");
    let (mut files, mut arrows, mut wrong) = (Vec::new(), 0, Vec::new());
    collect(&source, &mut files);
    for file in files {
        let path = file.strip_prefix(&source).unwrap();
        let first = path.iter().next().unwrap().to_str().unwrap();
        let room = first.strip_suffix(".rs").unwrap_or(first);
        if !rooms.contains(&room) {
            assert!(["lib", "main"].contains(&room), "{room} is on no floor");
            continue;
        }
        let named = rooms_named_in(&fs::read_to_string(&file).unwrap(), path);
        let forbidden = forbidden(&floors, room);
        for named in named {
            arrows += usize::from(rooms.contains(&&*named));
            // A list that goes up further, `super::{super::…}`, is not followed.
            if forbidden.contains(&*named) || named == "super" {
                wrong.push(format!("{} names {named}", path.display()));
            }
        }
    }
    assert!(arrows > 500, "{arrows} arrows");
    assert!(wrong.is_empty(), "up or sideways:\n{}", wrong.join("\n"));
}

/// The modules of a room that a file names, itself not counted.
fn siblings_named_in(code: &str, own: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    read(code.parse().unwrap(), 0, &mut named);
    let siblings = named.into_iter().filter_map(|named| match named {
        Named::FromAbove(1, name) if name != own => Some(name),
        _ => None,
    });
    siblings.collect()
}

/// Takes away files that name no other one until none is left, or only circles and what leads to
/// them.
fn circle(mut arrows: BTreeMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    loop {
        let free = |(file, to): (&String, &BTreeSet<String>)| {
            to.iter().all(|to| !arrows.contains_key(to)).then(|| file.clone())
        };
        let Some(bottom) = arrows.iter().find_map(free) else {
            return arrows.into_keys().collect();
        };
        arrows.remove(&bottom);
    }
}

#[test]
fn the_files_of_upstream_form_no_circle() {
    let room = root().join("src/upstream");
    let mut arrows = BTreeMap::new();
    for entry in fs::read_dir(room).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        // A folder holds the tests of the file beside it.
        if name != "mod" && path.is_file() {
            let named = siblings_named_in(&fs::read_to_string(&path).unwrap(), &name);
            arrows.insert(name, named);
        }
    }
    assert!(
        arrows.len() > 10 && arrows.values().map(BTreeSet::len).sum::<usize>() > 20,
        "{arrows:?}"
    );
    assert_eq!(circle(arrows), BTreeSet::new());
    let arrow = |from: &str, to: &str| (from.to_owned(), BTreeSet::from([to.to_owned()]));
    let two = BTreeMap::from([arrow("a", "b"), arrow("b", "a"), arrow("c", "d")]);
    assert_eq!(circle(two), ["a", "b"].map(String::from).into());
}
