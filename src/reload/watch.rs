//! Whether the files of a configuration have changed.
//!
//! It looks at them instead of asking the system to be told: that works the same for an editor that
//! writes in place, one that renames, a symbolic link that moves (as Kubernetes does with `..data`),
//! and network file systems that tell nobody. A change counts once it has stood still for a look, so
//! that a file caught half-way is not read.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The files of a configuration, and how they looked.
#[derive(Debug)]
pub struct Watch {
    paths: BTreeSet<PathBuf>,
    /// How they looked when they were last read.
    read: u64,
    /// How they looked a moment ago.
    seen: u64,
}

impl Watch {
    /// Watches these files, and their directories for files that appear.
    #[must_use]
    pub fn new<'a>(files: impl Iterator<Item = &'a Path>) -> Self {
        let mut paths = BTreeSet::new();
        for file in files {
            let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
            paths.insert(parent.unwrap_or(Path::new(".")).to_owned());
            paths.insert(file.to_owned());
        }
        let mut this = Self { paths, read: 0, seen: 0 };
        this.read = this.look();
        this.seen = this.read;
        this
    }

    /// Looks again; true once after each change.
    pub fn changed(&mut self) -> bool {
        let now = self.look();
        let still = now == self.seen;
        self.seen = now;
        let changed = still && now != self.read;
        if changed {
            self.read = now;
        }
        changed
    }

    fn look(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for path in &self.paths {
            // Through symbolic links: what they lead to is what is read.
            let Ok(meta) = fs::metadata(path) else {
                0_u8.hash(&mut hasher);
                continue;
            };
            (meta.ino(), meta.dev(), meta.mtime(), meta.mtime_nsec()).hash(&mut hasher);
            if meta.is_file() {
                meta.size().hash(&mut hasher);
            }
        }
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Looks twice, as two ticks do.
    fn settled(watch: &mut Watch) -> bool {
        let first = watch.changed();
        watch.changed() || first
    }

    fn write(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
    }

    #[test]
    fn every_way_to_save_a_file_is_noticed_once() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("tidegate.toml");
        write(&file, "a");
        let mut watch = Watch::new(std::iter::once(&*file));
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
        write(&directory.path().join("appeared.toml"), "x");
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
        let file = at("tidegate.toml");
        let mut watch = Watch::new(std::iter::once(&*file));
        symlink("v2", at("..new")).unwrap();
        fs::rename(at("..new"), at("..data")).unwrap();
        assert!(settled(&mut watch) && !settled(&mut watch));
    }

    #[test]
    fn a_file_that_is_still_being_written_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("tidegate.toml");
        write(&file, "whole");
        let mut watch = Watch::new(std::iter::once(&*file));
        write(&file, "");
        assert!(!watch.changed());
        write(&file, "half");
        assert!(!watch.changed());
        write(&file, "whole again");
        assert!(!watch.changed());
        assert!(watch.changed());
    }
}
