//! Reading files that somebody else may have put there: regular ones only, up to a size, within a
//! time.
//!
//! A FIFO never opens, `/dev/zero` never ends, and a network file system may not answer for ever;
//! whoever names such a file must not hold up the process with it. All files that a configuration
//! names are read here.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;

/// The largest certificate, key, list of users or other file that is not a configuration: 1 MiB
/// holds all authorities of a system several times.
pub const LARGEST: u64 = 1 << 20;
/// The largest file with lists of revoked certificates: those of large authorities have 1 to 20
/// MiB.
pub const LARGEST_LIST: u64 = 32 << 20;
/// The longest time for one file. Disks need milliseconds, network file systems that are well a
/// second.
const PATIENCE: Duration = Duration::from_secs(3);
/// Files that may be waited for without an answer. With more, something is wrong with all of them.
const MOST_STUCK: usize = 4;

/// Readers that did not come back in time. Each one holds a thread until the system lets go of it.
static STUCK: AtomicUsize = AtomicUsize::new(0);

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
/// Why not, in the words of an operator and without the path.
pub fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let path = path.to_owned();
    in_time(move || read_now(&path, limit))
}

/// Reads a regular file of text in UTF-8, of at most `limit` bytes.
///
/// # Errors
/// As for [`read_bounded`], or it is no text.
pub fn read_text(path: &Path, limit: u64) -> Result<String, String> {
    String::from_utf8(read_bounded(path, limit)?).map_err(|_| "it is not UTF-8 text".to_owned())
}

/// Opens a file to append to, which is made if it is not there. A device such as `/dev/null` is
/// fine.
///
/// # Errors
/// As for [`read_bounded`].
pub fn open_to_append(path: &Path) -> Result<File, String> {
    let path = path.to_owned();
    in_time(move || {
        // The kind comes first: making a file is the only way to know whether it can be made.
        if let Ok(known) = std::fs::metadata(&path) {
            check_writable(&known)?;
        }
        let mut options = OpenOptions::new();
        options.create(true).append(true).custom_flags(unblocking());
        let file = options.open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => "there is no such directory".to_owned(),
            _ => describe_error(&error),
        })?;
        check_writable(&file.metadata().map_err(|error| describe_error(&error))?)?;
        Ok(file)
    })
}

/// Returns whether a file could be appended to, without making or changing anything.
///
/// # Errors
/// As for [`open_to_append`].
pub fn could_append(path: &Path) -> Result<(), String> {
    use rustix::fs::{Access, access};
    let path = path.to_owned();
    in_time(move || match std::fs::metadata(&path) {
        Ok(known) => {
            check_writable(&known)?;
            access(&path, Access::WRITE_OK).map_err(|error| describe_error(&error.into()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let parent = parent.unwrap_or(Path::new("."));
            let folder = std::fs::metadata(parent).map_err(|_| "there is no such directory")?;
            if !folder.is_dir() {
                return Err("there is no such directory".to_owned());
            }
            access(parent, Access::WRITE_OK).map_err(|error| describe_error(&error.into()))
        }
        Err(error) => Err(describe_error(&error)),
    })
}

/// The number of a group: itself, or what `/etc/group` says of its name.
///
/// # Errors
/// There is no such group.
pub fn group_id(name: &str) -> Result<u32, String> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let groups = read_text(Path::new("/etc/group"), LARGEST)?;
    let mut lines = groups.lines().map(|line| line.split(':'));
    let found = lines.find_map(|mut line| {
        (line.next()? == name).then(|| line.nth(1).and_then(|number| number.parse().ok()))?
    });
    found.ok_or_else(|| {
        format!("there is no group `{name}` in /etc/group; one that is kept elsewhere can be given by its number")
    })
}

/// Runs something that asks the file system, and goes on without an answer that takes too long.
///
/// # Errors
/// Its own, or that there was no answer.
pub fn in_time<T: Send + 'static>(
    ask: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    if STUCK.load(Relaxed) >= MOST_STUCK {
        return Err("other files do not answer; this one was not asked for".to_owned());
    }
    let (tell, told) = sync_channel(1);
    let left = Arc::new(AtomicBool::new(false));
    let known = left.clone();
    let reader = thread::Builder::new().name("file".into());
    let spawned = reader.spawn(move || {
        // An error means that nobody waits any more.
        let _gone = tell.send(ask());
        if known.swap(true, AcqRel) {
            STUCK.fetch_sub(1, Relaxed);
        }
    });
    spawned.map_err(|error| describe_error(&error))?;
    told.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        STUCK.fetch_add(1, Relaxed);
        if left.swap(true, AcqRel) {
            // The answer came this very moment.
            STUCK.fetch_sub(1, Relaxed);
            if let Ok(answer) = told.try_recv() {
                return answer;
            }
        }
        Err(format!("it could not be read within {} s", PATIENCE.as_secs()))
    })
}

fn read_now(path: &PathBuf, limit: u64) -> Result<Vec<u8>, String> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(unblocking());
    // A socket cannot be opened at all, so its kind is asked for first.
    check_regular(&std::fs::metadata(path).map_err(|error| describe_error(&error))?)?;
    let file = options.open(path).map_err(|error| describe_error(&error))?;
    // Again, because another file may have taken its place.
    check_regular(&file.metadata().map_err(|error| describe_error(&error))?)?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| describe_error(&error))?;
    if bytes.len() as u64 > limit {
        return Err(format!("it is larger than {} KiB", limit >> 10));
    }
    Ok(bytes)
}

/// Opening never waits, not even for the other end of a FIFO.
fn unblocking() -> i32 {
    OFlags::NONBLOCK.union(OFlags::NOCTTY).bits().cast_signed()
}

fn check_regular(known: &Metadata) -> Result<(), String> {
    if known.is_file() { Ok(()) } else { Err(name_kind(known)) }
}

fn check_writable(known: &Metadata) -> Result<(), String> {
    if known.is_file() || known.file_type().is_char_device() {
        Ok(())
    } else {
        Err(name_kind(known))
    }
}

fn name_kind(known: &Metadata) -> String {
    let kind = known.file_type();
    let what = match () {
        () if kind.is_dir() => return "it is a directory".to_owned(),
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () if kind.is_char_device() || kind.is_block_device() => "a device",
        () => "of another kind",
    };
    format!("it is not a regular file but {what}")
}

/// Says in an operator's words, in lower case and without the path, what the file system refused.
#[must_use]
pub fn describe_error(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
