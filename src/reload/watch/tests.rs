use std::os::unix::fs::symlink;

use super::*;

/// Looks twice, as two ticks do.
fn settled(watch: &mut Watch) -> bool {
    let first = watch.look_again();
    watch.look_again() || first
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

fn watch(file: &Path) -> Watch {
    let none = std::iter::empty;
    let watched = Watched::new(std::iter::once(file), none(), std::iter::empty());
    let content = watched.read_content();
    Watch::new(Arc::new(watched), content)
}

#[test]
fn every_way_to_save_other_content_is_noticed_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tidegate.toml");
    write(&file, "a");
    let mut watch = watch(&file);
    assert!(!settled(&mut watch));
    write(&file, "longer");
    assert!(settled(&mut watch) && !settled(&mut watch));
    let other = directory.path().join("new");
    write(&other, "renamed");
    fs::rename(&other, &file).unwrap();
    assert!(settled(&mut watch) && !settled(&mut watch));
    fs::rename(&file, directory.path().join("backup~")).unwrap();
    write(&file, "backed up");
    assert!(settled(&mut watch) && !settled(&mut watch));
}

#[test]
fn what_does_not_change_the_content_is_no_change() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tidegate.toml");
    write(&file, "a");
    let mut watch = watch(&file);
    for name in [".tidegate.toml.swp", "tidegate.toml~", "4913", "other.toml"] {
        write(&directory.path().join(name), "x");
        assert!(!settled(&mut watch), "{name}");
    }
    write(&file, "a");
    assert!(!settled(&mut watch));
    let same = directory.path().join("same");
    write(&same, "a");
    fs::rename(&same, &file).unwrap();
    assert!(!settled(&mut watch));
    write(&file, "b");
    assert!(settled(&mut watch));
}

#[test]
fn a_file_that_a_pattern_names_is_noticed_when_it_appears_and_when_it_goes() {
    let directory = tempfile::tempdir().unwrap();
    let pattern = format!("{}/*.toml", directory.path().display());
    let none = std::iter::empty;
    let watched = Watched::new(none(), std::iter::empty(), std::iter::once(&*pattern));
    let content = watched.read_content();
    let mut watch = Watch::new(Arc::new(watched), content);
    write(&directory.path().join("other.txt"), "x");
    assert!(!settled(&mut watch));
    let file = directory.path().join("a.toml");
    write(&file, "x");
    assert!(settled(&mut watch) && !settled(&mut watch));
    fs::remove_file(file).unwrap();
    assert!(settled(&mut watch) && !settled(&mut watch));
}

#[test]
fn a_link_that_moves_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for version in ["v1", "v2"] {
        fs::create_dir(at(version)).unwrap();
        write(&at(version).join("tidegate.toml"), version);
    }
    symlink("v1", at("..data")).unwrap();
    symlink("..data/tidegate.toml", at("tidegate.toml")).unwrap();
    let mut watch = watch(&at("tidegate.toml"));
    symlink("v2", at("..new")).unwrap();
    fs::rename(at("..new"), at("..data")).unwrap();
    assert!(settled(&mut watch) && !settled(&mut watch));
}

#[test]
fn a_file_that_is_still_being_written_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tidegate.toml");
    write(&file, "whole");
    let mut watch = watch(&file);
    write(&file, "");
    assert!(!watch.look_again());
    write(&file, "half");
    assert!(!watch.look_again());
    write(&file, "whole again");
    assert!(!watch.look_again());
    assert!(watch.look_again());
}
