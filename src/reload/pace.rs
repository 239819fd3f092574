//! Long work in small pieces, so that it does not hold up requests.
//!
//! Where there are fewer CPUs than threads with work, the kernel lets whoever runs go on for some
//! milliseconds before a worker that has just got something to do may take its place. A reload of a
//! thousand routes gives way after every few of them instead.

use std::cell::Cell;

/// How many calls pass between two times of giving way: some tens of microseconds.
const CALLS: u32 = 4;

thread_local! {
    /// Whether this thread's work can wait, and how often it was asked.
    static STEPS: Cell<Option<u32>> = const { Cell::new(None) };
}

/// From now on the work of this thread can wait.
pub fn can_wait() {
    STEPS.set(Some(0));
}

/// To be called between two pieces of work, as often as is convenient. Costs nothing in threads whose work
/// cannot wait.
pub fn step() {
    if let Some(steps) = STEPS.get() {
        STEPS.set(Some(steps.wrapping_add(1)));
        if steps % CALLS == 0 {
            std::thread::yield_now();
        }
    }
}
