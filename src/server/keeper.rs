//! The one thread that looks after upstreams when no request does.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock;
use crate::snapshot::Store;
use crate::upstream::keep;

/// How often it looks. An ejection ends at most this much late.
const LOOK: Duration = Duration::from_millis(100);

/// The running thread; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Keeper {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts it.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub(super) fn start(store: Store) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("keeper".into()).spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                let now = clock::now();
                for upstream in &store.load().upstreams {
                    keep::tick(upstream, now);
                }
                std::thread::park_timeout(LOOK);
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A defect in it has been reported by the panic itself.
            let _ended = thread.join();
        }
    }
}
