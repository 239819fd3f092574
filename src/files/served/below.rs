//! Files are opened below their folder and nowhere else.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat, openat2};
use rustix::io::Errno;

use super::{MOST_OF_ONE, MOST_OPEN, NoFile, OPEN, OpenFile, ServedFile, WantedFile, count_of};

pub(super) fn find_now(wanted: &WantedFile) -> Result<ServedFile, NoFile> {
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

/// Opens something below a folder. Links are followed as long as they stay there and lead to
/// nothing hidden.
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
pub(super) fn open_checked(
    base: &OwnedFd,
    root: &Path,
    name: &Path,
    flags: OFlags,
) -> Result<File, NoFile> {
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

/// Returns whether a link must not lead there. What begins with two dots is how Kubernetes keeps
/// the files of a volume: every one of them is a link through `..data`.
fn is_hidden(part: &[u8]) -> bool {
    part.starts_with(b".") && !part.starts_with(b"..") && part != b".well-known"
}

pub(super) fn no_file(error: Errno) -> NoFile {
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
    crate::files::in_time(move || {
        let known =
            std::fs::metadata(&root).map_err(|error| crate::files::describe_error(&error))?;
        if known.is_dir() { Ok(()) } else { Err("it is not a directory".to_owned()) }
    })
}
