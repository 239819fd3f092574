//! Work that can wait: threads that stand back, and long work in small pieces, so that neither
//! holds up requests.
//!
//! Where there are fewer CPUs than threads with work, the kernel lets whoever runs go on for some
//! milliseconds before a worker that has just got something to do may take its place. A reload of a
//! thousand routes gives way after every few of them instead.

use std::cell::Cell;

/// Calls that pass between two times of giving way: some tens of microseconds.
const CALLS: u32 = 4;

/// Such a thread gets about a tenth of what a worker gets, when both want the same CPU.
const NICE: i32 = 10;

thread_local! {
    /// Set once this thread's work can wait, and counts how often it was asked.
    static STEPS: Cell<Option<u32>> = const { Cell::new(None) };
}

/// From now on the work of this thread can wait.
pub fn can_wait() {
    STEPS.set(Some(0));
}

/// To be called between two pieces of work, as often as is convenient. Costs nothing in threads
/// whose work cannot wait.
pub fn step() {
    if let Some(steps) = STEPS.get() {
        STEPS.set(Some(steps.wrapping_add(1)));
        if steps % CALLS == 0 {
            std::thread::yield_now();
        }
    }
}

/// Makes the thread that calls this give way to workers when there are fewer CPUs than threads with
/// work. For threads that nobody waits for: reloads, statistics, logs.
pub fn stand_back() {
    // A system that does not allow it runs them like the others.
    let _refused = rustix::process::setpriority_process(None, NICE);
}
