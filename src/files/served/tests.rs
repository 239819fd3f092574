//! Links, hidden files, and clients that hold many.

use std::os::unix::fs::symlink;

use rustix::fs::{Mode, OFlags, open};

use super::below::open_checked;
use super::*;

fn wanted(root: &Path, path: &str) -> WantedFile {
    let segments = path.split('/').filter(|s| !s.is_empty());
    WantedFile {
        root: root.into(),
        segments: segments.map(|s| s.as_bytes().to_vec()).collect(),
        folder: path.ends_with('/'),
        index: Arc::from([Box::from("index.html")]),
        suffixes: Vec::new(),
        client: [0; 8],
    }
}

#[test]
fn a_link_to_what_is_hidden_leads_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join(".site");
    for folder in [".git", "sub", ".well-known", "..2026_11_27"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
        std::fs::write(root.join(folder).join("config"), "text").unwrap();
    }
    std::fs::write(root.join(".env"), "secret").unwrap();
    for (link, to) in [
        ("env", ".env"),
        ("git", ".git"),
        ("sub/up", "../.git/config"),
        ("twice", "env"),
        ("fine", "sub/config"),
        ("known", ".well-known/config"),
        ("..data", "..2026_11_27"),
        ("mounted", "..data/config"),
    ] {
        symlink(to, root.join(link)).unwrap();
    }
    for hidden in ["/env", "/git/config", "/sub/up", "/twice"] {
        let found = find_now(&wanted(&root, hidden));
        assert_eq!(found.unwrap_err(), NoFile::Missing, "{hidden}");
    }
    for shown in ["/fine", "/known", "/mounted", "/sub/config", "/.well-known/config"] {
        assert_eq!(find_now(&wanted(&root, shown)).unwrap().length, 4, "{shown}");
    }
    let base = open(&root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let found = open_checked(&base, &root, Path::new("env"), flags);
    assert_eq!(found.unwrap_err(), NoFile::Missing, "where the kernel is older");
}

#[test]
fn one_client_leaves_files_for_others() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "text").unwrap();
    let of = |client| WantedFile { client, ..wanted(directory.path(), "/file") };
    let mut held = Vec::new();
    let most = loop {
        match find_now(&of([9; 8])) {
            Ok(file) => held.push(file),
            Err(error) => break (held.len(), error),
        }
    };
    assert_eq!(most, (256, NoFile::Unavailable));
    // A client that is counted elsewhere; two in 4096 meet.
    assert!((1..9).any(|n| find_now(&of([n; 8])).is_ok()));
    held.clear();
    assert!(find_now(&of([9; 8])).is_ok());
}

#[test]
fn nothing_outside_is_found_by_any_link() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    std::fs::create_dir_all(root.join("sub/deep")).unwrap();
    std::fs::write(root.join("sub/file"), "fine").unwrap();
    symlink(outside.path().join("secret"), root.join("absolute")).unwrap();
    symlink("../../../../../../../etc/passwd", root.join("relative")).unwrap();
    symlink(outside.path(), root.join("folder")).unwrap();
    symlink("sub/file", root.join("inside")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    for path in ["/absolute", "/relative", "/folder/secret", "/folder/", "/loop", "/sub/../../x"] {
        assert_eq!(find_now(&wanted(root, path)).unwrap_err(), NoFile::Missing, "{path}");
    }
    assert_eq!(find_now(&wanted(root, "/inside")).unwrap().length, 4);
    let base = open(root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    for name in ["absolute", "relative", "folder/secret", "../x"] {
        let found = open_checked(&base, root, Path::new(name), flags);
        assert_eq!(found.unwrap_err(), NoFile::Missing, "{name}");
    }
    for name in ["inside", "sub/file"] {
        assert!(open_checked(&base, root, Path::new(name), flags).is_ok(), "{name}");
    }
}

#[test]
fn what_is_no_file_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    std::fs::create_dir(root.join("sub")).unwrap();
    std::fs::write(root.join("sub/.env"), "secret").unwrap();
    std::fs::write(root.join("file"), "fine").unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(root.join("fifo")).status().unwrap();
    assert!(fifo.success());
    for (path, expected) in [
        ("/sub", NoFile::Folder),
        ("/sub/", NoFile::Missing),
        ("/sub/.env", NoFile::Missing),
        ("/fifo", NoFile::Missing),
        ("/file/", NoFile::Missing),
        ("/file/x", NoFile::Missing),
        ("/nowhere", NoFile::Missing),
    ] {
        assert_eq!(find_now(&wanted(root, path)).unwrap_err(), expected, "{path}");
    }
    for segment in [&b"a\0b"[..], b"a/b", b"..", b".", b"", &[b'x'; 300]] {
        let wanted = WantedFile { segments: vec![segment.to_vec()], ..wanted(root, "/") };
        assert_eq!(find_now(&wanted).unwrap_err(), NoFile::Missing);
    }
}
