//! Whether the content of a configuration's files has changed.
//!
//! It looks at files instead of asking the system to be told: that works the same for an editor
//! that writes in place, one that renames, a symbolic link that moves (as Kubernetes does with
//! `..data`), and network file systems that tell nobody. How a file looks from outside only decides
//! whether it is read; what counts is what is in it, so that a file that was touched, saved again
//! or has a backup beside it is no change. A change counts once it has stood still for a look, so
//! that a file caught half-way is not read. A thread of its own looks: a file system that does not
//! answer holds up nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::config::FILE_LIMIT;
use crate::files;
use crate::machine::bell::Bell;

/// The pause between two looks at the files.
const LOOK: Duration = Duration::from_millis(500);
/// Files named by patterns that are looked at; a configuration with more is refused.
const MOST: usize = 1_024;

/// The files that a configuration is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watched {
    /// The files with its own text.
    texts: BTreeSet<PathBuf>,
    /// The files that it names: certificates, keys, users, secrets.
    outside: BTreeSet<PathBuf>,
    /// Patterns of includes, because files may appear that they name.
    patterns: BTreeSet<String>,
}

/// The content of files, as far as it can be told apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WatchedContent {
    texts: u64,
    /// The content of the files beside the configuration itself.
    pub outside: u64,
}

impl Watched {
    /// Watches these files, and those that will be found by the patterns.
    #[must_use]
    pub fn new<'a>(
        texts: impl Iterator<Item = &'a Path>,
        outside: impl Iterator<Item = &'a Path>,
        patterns: impl Iterator<Item = &'a str>,
    ) -> Self {
        Self {
            texts: texts.map(Path::to_owned).collect(),
            outside: outside.map(Path::to_owned).collect(),
            patterns: patterns.map(str::to_owned).collect(),
        }
    }

    /// Joins these and those of another one.
    #[must_use]
    pub fn joined_with(mut self, other: &Self) -> Self {
        self.texts.extend(other.texts.iter().cloned());
        self.outside.extend(other.outside.iter().cloned());
        self.patterns.extend(other.patterns.iter().cloned());
        self
    }

    fn text_files(&self) -> BTreeSet<PathBuf> {
        let found = self.patterns.iter().filter_map(|pattern| glob::glob(pattern).ok());
        let found = found.flat_map(|paths| paths.filter_map(Result::ok).take(MOST));
        self.texts.iter().cloned().chain(found).collect()
    }

    /// Returns what is in the files now.
    #[must_use]
    pub fn read_content(&self) -> WatchedContent {
        let of = |paths: &BTreeSet<PathBuf>, limit: u64| {
            let mut hasher = DefaultHasher::new();
            for path in paths {
                (path, files::read_bounded(path, limit)).hash(&mut hasher);
            }
            hasher.finish()
        };
        WatchedContent {
            texts: of(&self.text_files(), FILE_LIMIT),
            // Of each of them more is read here than where it is used, so that no change is missed.
            outside: of(&self.outside, files::LARGEST_LIST),
        }
    }

    /// Returns how the files look from outside.
    fn fingerprint_files(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for path in self.text_files().iter().chain(&self.outside) {
            // Through symbolic links: what they lead to is what is read.
            let Ok(meta) = fs::metadata(path) else {
                (path, 0_u8).hash(&mut hasher);
                continue;
            };
            let times = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
            (path, meta.ino(), meta.dev(), times, meta.size()).hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// Looks at files again and again.
#[derive(Debug)]
struct Watch {
    watched: Arc<Watched>,
    /// The content when they were last read.
    read: WatchedContent,
    /// The looks of the files a moment ago,
    seen: u64,
    /// and when their content was last looked at.
    settled: Option<u64>,
}

impl Watch {
    fn new(watched: Arc<Watched>, read: WatchedContent) -> Self {
        let seen = watched.fingerprint_files();
        Self { watched, read, seen, settled: None }
    }

    /// Looks again; true once after each change.
    fn look_again(&mut self) -> bool {
        let now = self.watched.fingerprint_files();
        let still = now == self.seen;
        self.seen = now;
        if !still || self.settled == Some(now) {
            return false;
        }
        self.settled = Some(now);
        let content = self.watched.read_content();
        let changed = content != self.read;
        self.read = content;
        changed
    }
}

/// The thread that looks. It ends when this is dropped.
#[derive(Debug)]
pub struct Watcher(Arc<SharedWatch>);

/// The files to look at, and what was in them when they were read.
type Posted = (Arc<Watched>, WatchedContent);

#[derive(Debug)]
struct SharedWatch {
    /// The files to look at, and what was in them.
    posted: ArcSwap<Posted>,
    changed: AtomicBool,
    bell: Bell,
}

impl Watcher {
    /// Begins to look at files that had this content when they were read.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start_watching(watched: Watched, read: WatchedContent) -> std::io::Result<Self> {
        let posted = ArcSwap::from_pointee((Arc::new(watched), read));
        let shared = Arc::new(SharedWatch {
            posted,
            changed: AtomicBool::new(false),
            bell: Bell::default(),
        });
        let weak = Arc::downgrade(&shared);
        std::thread::Builder::new().name("watch".into()).spawn(move || look_again(&weak))?;
        Ok(Self(shared))
    }

    /// Looks at these from now on.
    pub fn follow_files(&self, watched: Watched, read: WatchedContent) {
        // In this order: a change of what is followed from now on must not be forgotten.
        self.0.changed.store(false, Ordering::Release);
        self.0.posted.store(Arc::new((Arc::new(watched), read)));
    }

    /// Returns what is looked at.
    #[must_use]
    pub fn watched(&self) -> Arc<Watched> {
        self.0.posted.load().0.clone()
    }

    /// The bell that rings when the files have changed.
    #[must_use]
    pub fn bell(&self) -> &Bell {
        &self.0.bell
    }

    /// Returns whether the files have changed; true once after each change.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.0.changed.swap(false, Ordering::AcqRel)
    }
}

fn look_again(shared: &Weak<SharedWatch>) {
    let mut known: Option<(Arc<Posted>, Watch)> = None;
    while let Some(shared) = shared.upgrade() {
        let posted = shared.posted.load_full();
        if !known.as_ref().is_some_and(|(known, _)| Arc::ptr_eq(known, &posted)) {
            let watch = Watch::new(posted.0.clone(), posted.1);
            known = Some((posted.clone(), watch));
        }
        if let Some((_, watch)) = &mut known
            && watch.look_again()
            // They may have been read meanwhile.
            && Arc::ptr_eq(&shared.posted.load(), &posted)
        {
            shared.changed.store(true, Ordering::Release);
            shared.bell.ring();
        }
        drop((shared, posted));
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests;
