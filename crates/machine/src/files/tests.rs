use std::os::unix::net::UnixListener;
use std::process::Command;

use super::*;

fn fifo(directory: &Path) -> PathBuf {
    let path = directory.join("fifo");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

#[test]
fn what_is_no_regular_file_is_named_and_never_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    let fifo = fifo(directory.path());
    let missing = directory.path().join("missing");
    for (path, expected) in [
        (directory.path(), "it is a directory"),
        (&fifo, "it is not a regular file but a FIFO"),
        (&socket, "it is not a regular file but a socket"),
        (Path::new("/dev/zero"), "it is not a regular file but a device"),
        (&missing, "there is no such file"),
    ] {
        assert_eq!(read_bounded(path, 10), Err(expected.to_owned()));
    }
    assert_eq!(open_to_append(&fifo).unwrap_err(), "it is not a regular file but a FIFO");
    assert_eq!(could_append(&socket).unwrap_err(), "it is not a regular file but a socket");
    assert_eq!(could_append(&directory.path().join("new")), Ok(()));
    assert!(!directory.path().join("new").exists());
}

#[test]
fn a_file_has_a_size() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, vec![b'x'; 2048]).unwrap();
    assert_eq!(read_bounded(&path, 2048).unwrap().len(), 2048);
    assert_eq!(read_bounded(&path, 2047), Err("it is larger than 1 KiB".to_owned()));
}

#[test]
fn who_does_not_answer_is_left_behind() {
    let (release, held) = sync_channel::<()>(0);
    let late = in_time(move || {
        let _released = held.recv();
        Ok(())
    });
    assert_eq!(late, Err("it could not be read within 3 s".to_owned()));
    drop(release);
}
