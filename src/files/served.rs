//! Files for clients: found below a folder and nowhere else, by whatever spelling or link, and read
//! in pieces.
//!
//! A disk may be slow, and a network file system may not answer at all. So all of this runs on
//! threads that may wait, bounded in number, and who asked goes on without an answer after a while.

mod below;
#[cfg(test)]
mod tests;

use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::BuildHasher as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

pub use self::below::check_root;
use self::below::find_now;

/// The longest time for which a folder, a file or a piece of one is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Files that are open for clients at a time, over all workers; far below the descriptors of a
/// process.
const MOST_OPEN: usize = 1024;
/// Of these, one client has at most a quarter.
const MOST_OF_ONE: usize = MOST_OPEN / 4;
/// Clients that are told apart by counting; two that meet share a quarter.
const CLIENTS: usize = 4096;
/// Threads of all workers that may wait for disks at a time.
const MOST_WAITING: usize = 256;
/// The number of bytes that are read at once.
pub const PIECE: usize = 64 * 1024;

static OPEN: AtomicUsize = AtomicUsize::new(0);
/// What is open for each client.
static OF_CLIENTS: [AtomicUsize; CLIENTS] = [const { AtomicUsize::new(0) }; CLIENTS];
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// The reason why there is no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoFile {
    /// Nothing of this name is below the folder.
    Missing,
    /// Not to be read.
    Forbidden,
    /// A folder, whose name has to end with a slash.
    Folder,
    /// Not to be read now: an error of the disk, too many files, or no answer in time.
    Unavailable,
}

/// Counts something until it is dropped.
#[derive(Debug)]
struct OpenFile(&'static AtomicUsize);

impl OpenFile {
    fn new(count: &'static AtomicUsize, most: usize) -> Option<Self> {
        if count.fetch_add(1, AcqRel) >= most {
            count.fetch_sub(1, AcqRel);
            return None;
        }
        Some(Self(count))
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.0.fetch_sub(1, AcqRel);
    }
}

/// Files that are open for clients.
#[must_use]
pub fn open_files() -> usize {
    OPEN.load(Relaxed)
}

/// A file that is open for a client.
#[derive(Debug)]
pub struct ServedFile {
    file: Arc<(File, [OpenFile; 2])>,
    /// The length in bytes.
    pub length: u64,
    /// The time when it was changed last.
    pub modified: SystemTime,
    /// The one of the suffixes asked for that was added to its name.
    pub variant: Option<usize>,
    /// The name without it, for its type.
    pub name: PathBuf,
}

/// The kind of file that is looked for.
#[derive(Debug, Clone)]
pub struct WantedFile {
    /// The folder.
    pub root: Arc<Path>,
    /// Segments below it, decoded.
    pub segments: Vec<Vec<u8>>,
    /// The name ends with a slash: a folder is meant.
    pub folder: bool,
    /// Names of files that stand for a folder.
    pub index: Arc<[Box<str>]>,
    /// Suffixes of other forms of the file, the best first.
    pub suffixes: Vec<&'static str>,
    /// The network of the client.
    pub client: [u8; 8],
}

/// The count of a client's open files. Nobody can choose whom it meets there.
fn count_of(client: [u8; 8]) -> &'static AtomicUsize {
    static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let hash = usize::try_from(SECRET.hash_one(client) % CLIENTS as u64).unwrap_or_default();
    OF_CLIENTS.get(hash).unwrap_or(&OPEN)
}

/// Runs something that waits for a disk.
async fn run_aside<T: Send + 'static>(
    ask: impl FnOnce() -> Result<T, NoFile> + Send + 'static,
) -> Result<T, NoFile> {
    let waiting = OpenFile::new(&WAITING, MOST_WAITING).ok_or(NoFile::Unavailable)?;
    let asked = tokio::task::spawn_blocking(move || {
        let _waiting = waiting;
        ask()
    });
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(found)) => found,
        Ok(Err(_)) | Err(_) => Err(NoFile::Unavailable),
    }
}

/// Opens a file and reads its first piece, or as much of it as it is long.
///
/// # Errors
/// [`NoFile`].
pub async fn find_file(wanted: WantedFile) -> Result<(ServedFile, Vec<u8>), NoFile> {
    run_aside(move || {
        let served = find_now(&wanted)?;
        let mut piece = vec![0; usize::try_from(served.length).unwrap_or(PIECE).min(PIECE)];
        read_into(&served.file.0, &mut piece, 0)?;
        Ok((served, piece))
    })
    .await
}

impl ServedFile {
    /// Reads `length` bytes from `start` into the memory of an earlier piece.
    ///
    /// # Errors
    /// [`NoFile::Unavailable`], also when there are fewer by now.
    pub async fn read_piece(
        &self,
        start: u64,
        length: usize,
        mut piece: Vec<u8>,
    ) -> Result<Vec<u8>, NoFile> {
        let file = self.file.clone();
        run_aside(move || {
            piece.resize(length, 0);
            read_into(&file.0, &mut piece, start)?;
            Ok(piece)
        })
        .await
    }
}

fn read_into(file: &File, piece: &mut [u8], start: u64) -> Result<(), NoFile> {
    file.read_exact_at(piece, start).map_err(|_| NoFile::Unavailable)
}

/// The words of an error of the system for people.
#[must_use]
pub fn reason_text(no_file: NoFile) -> &'static str {
    match no_file {
        NoFile::Missing => "there is no such file below the folder",
        NoFile::Forbidden => "the file may not be read",
        NoFile::Folder => "it is a folder",
        NoFile::Unavailable => "the file cannot be read now",
    }
}
