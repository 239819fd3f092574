use super::*;

fn block(text: &str) -> LineBlock {
    LineBlock { bytes: text.as_bytes().to_vec(), lines: 1 }
}

const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn a_renamed_file_is_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let sink = LineSink::open_destination(Destination::File(path.clone())).unwrap();
    assert!(sink.offer_block(block("one\n")));
    sink.flush_lines(PATIENCE);
    std::fs::rename(&path, dir.path().join("old.log")).unwrap();
    assert!(sink.offer_block(block("two\n")));
    sink.request_reopen();
    assert!(sink.offer_block(block("three\n")));
    sink.flush_lines(PATIENCE);
    let read = |name| std::fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!((read("old.log"), read("access.log")), ("one\ntwo\n".into(), "three\n".into()));
}

#[test]
fn a_full_disk_loses_lines_and_counts_them() {
    let sink = LineSink::open_destination(Destination::File("/dev/full".into())).unwrap();
    assert!(sink.offer_block(LineBlock { bytes: b"a\nb\n".to_vec(), lines: 2 }));
    sink.flush_lines(PATIENCE);
    assert_eq!(sink.lost(), 2);
}

#[test]
fn what_a_stuck_writer_cannot_take_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    // Somebody has it open and never reads. A configuration cannot name a FIFO; a disk can be as
    // slow.
    let pipe = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let out = LineOutput::File(path.clone(), pipe);
    let sink = LineSink::start_writer(out, Destination::File(path)).unwrap();
    let big = || LineBlock { bytes: vec![b'x'; 1 << 20], lines: 1 };
    let taken = (0..10_000).take_while(|_| sink.offer_block(big())).count();
    // The writer may have one of them in its hands.
    assert!((128..=129).contains(&taken), "{taken}");
}
