//! Files for clients: found below a folder and nowhere else, by whatever spelling or link, and read in pieces.
//!
//! A disk may be slow, and a network file system may not answer at all. So all of this runs on threads that may wait,
//! bounded in number, and who asked goes on without an answer after a while.

use std::collections::hash_map::RandomState;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::hash::BuildHasher as _;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat, openat2};
use rustix::io::Errno;

/// The longest time for which a folder, a file or a piece of one is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Files that are open for clients at a time, over all workers; far below the descriptors of a process.
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

fn find_now(wanted: &WantedFile) -> Result<ServedFile, NoFile> {
    let WantedFile { root, segments, folder, index, .. } = wanted;
    let folder_flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let base = open(&**root, folder_flags, Mode::empty()).map_err(no_file)?;
    let mut name = PathBuf::new();
    for segment in segments {
        // What could mean something else than a name below the folder is none.
        let own = matches!(&**segment, [] | [b'.', ..]) && &**segment != b".well-known";
        if own || segment.contains(&b'/') || segment.contains(&0) {
            return Err(NoFile::Missing);
        }
        name.push(OsStr::from_bytes(segment));
    }
    let at = if name.as_os_str().is_empty() { Path::new(".") } else { &name };
    let (found, known) = open_below(&base, root, at)?;
    if known.is_file() && !folder {
        return choose_variant(&base, wanted, (found, known), name);
    }
    if !known.is_dir() {
        return Err(NoFile::Missing);
    }
    if !folder {
        return Err(NoFile::Folder);
    }
    for file in index.iter() {
        let name = name.join(&**file);
        match open_below(&base, root, &name) {
            Ok((found, known)) if known.is_file() => {
                return choose_variant(&base, wanted, (found, known), name);
            }
            Ok(_) | Err(NoFile::Missing | NoFile::Folder) => {}
            Err(other) => return Err(other),
        }
    }
    Err(NoFile::Missing)
}

/// The first of the other forms of a file that there is, or the file.
fn choose_variant(
    base: &OwnedFd,
    wanted: &WantedFile,
    found: (File, Metadata),
    name: PathBuf,
) -> Result<ServedFile, NoFile> {
    let WantedFile { root, suffixes, client, .. } = wanted;
    let mut best = (found, None);
    for (n, suffix) in suffixes.iter().enumerate() {
        let mut other = name.clone().into_os_string();
        other.push(suffix);
        if let Ok((file, known)) = open_below(base, root, Path::new(&other))
            && known.is_file()
        {
            best = ((file, known), Some(n));
            break;
        }
    }
    let ((file, known), variant) = best;
    let own = OpenFile::new(count_of(*client), MOST_OF_ONE).ok_or(NoFile::Unavailable)?;
    let counted = [own, OpenFile::new(&OPEN, MOST_OPEN).ok_or(NoFile::Unavailable)?];
    let modified = known.modified().map_err(|_| NoFile::Unavailable)?;
    Ok(ServedFile { file: Arc::new((file, counted)), length: known.len(), modified, variant, name })
}

/// Opens something below a folder. Links are followed as long as they stay there and lead to nothing hidden.
fn open_below(base: &OwnedFd, root: &Path, name: &Path) -> Result<(File, Metadata), NoFile> {
    // Never waiting, not even for the other end of a FIFO.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let plain = beneath | ResolveFlags::NO_SYMLINKS;
    let file: File = match openat2(base, name, flags, Mode::empty(), plain) {
        Ok(file) => file.into(),
        // There are links on the way: where they lead to has to be looked at.
        Err(Errno::LOOP) => {
            let found = openat2(base, name, flags, Mode::empty(), beneath).map_err(no_file)?;
            check_place(found.into(), root)?
        }
        // Older than Linux 5.6, or kept from it by a sandbox.
        Err(Errno::NOSYS | Errno::PERM) => open_checked(base, root, name, flags)?,
        Err(error) => return Err(no_file(error)),
    };
    let known = file.metadata().map_err(|_| NoFile::Unavailable)?;
    Ok((file, known))
}

/// The same where the kernel does not see to it: what has been opened tells where it really is.
fn open_checked(base: &OwnedFd, root: &Path, name: &Path, flags: OFlags) -> Result<File, NoFile> {
    let file: File = openat(base, name, flags, Mode::empty()).map_err(no_file)?.into();
    check_place(file, root)
}

/// Lets a file pass that really is below the folder, and not hidden there.
fn check_place(file: File, root: &Path) -> Result<File, NoFile> {
    let real = std::fs::read_link(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()));
    let root = std::fs::canonicalize(root);
    let (Ok(real), Ok(root)) = (real, root) else { return Err(NoFile::Unavailable) };
    let Ok(below) = real.strip_prefix(&root) else { return Err(NoFile::Missing) };
    match below.components().any(|part| is_hidden(part.as_os_str().as_bytes())) {
        true => Err(NoFile::Missing),
        false => Ok(file),
    }
}

/// Returns whether a link must not lead there. What begins with two dots is how Kubernetes keeps the files of a volume:
/// every one of them is a link through `..data`.
fn is_hidden(part: &[u8]) -> bool {
    part.starts_with(b".") && !part.starts_with(b"..") && part != b".well-known"
}

fn no_file(error: Errno) -> NoFile {
    match error {
        // A link that leads out of the folder is `XDEV`.
        Errno::NOENT
        | Errno::NOTDIR
        | Errno::NAMETOOLONG
        | Errno::LOOP
        | Errno::XDEV
        | Errno::INVAL
        | Errno::NXIO => NoFile::Missing,
        Errno::ACCESS | Errno::PERM => NoFile::Forbidden,
        _ => NoFile::Unavailable,
    }
}

/// Returns whether a folder can be served, in the words of an operator.
///
/// # Errors
/// Why not.
pub fn check_root(root: &Path) -> Result<(), String> {
    let root = root.to_owned();
    super::in_time(move || {
        let known = std::fs::metadata(&root).map_err(|error| super::describe_error(&error))?;
        if known.is_dir() { Ok(()) } else { Err("it is not a directory".to_owned()) }
    })
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

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
        for path in
            ["/absolute", "/relative", "/folder/secret", "/folder/", "/loop", "/sub/../../x"]
        {
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
}
