//! A proxy that has nothing to do does next to nothing.

use support::{Configuration, Origin, SOON, wait_until};

/// How often a thread of a process has gone to sleep.
fn naps(pid: u32, thread: &str) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let mut tasks = tasks.map(|task| task.unwrap().path());
    let own = |task: &std::path::PathBuf| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == thread)
    };
    let status = std::fs::read_to_string(tasks.find(own).unwrap().join("status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches:")).unwrap();
    line.split_whitespace().last().unwrap().parse().unwrap()
}

/// Whoever looks for servers that are back has nothing to do where none is away, and whoever looks
/// after ejections and names where there are none. The thread that looks at files, twice a second,
/// is the clock.
#[test]
fn threads_with_nothing_to_look_after_sleep_on() {
    let origin = Origin::ok("fine");
    let proxy = Configuration::of(&origin).start();
    assert_eq!(proxy.client().get("/").status, 200);
    let threads = ["health", "control"];
    let (watched, before) =
        (naps(proxy.pid(), "watch"), threads.map(|thread| naps(proxy.pid(), thread)));
    wait_until(6 * SOON, "three seconds", || naps(proxy.pid(), "watch") >= watched + 6);
    for (thread, before) in threads.into_iter().zip(before) {
        let naps = naps(proxy.pid(), thread) - before;
        assert!(naps <= 5, "{thread}: {naps}");
    }
}
