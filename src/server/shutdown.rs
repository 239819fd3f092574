//! The signals that end the process.

use std::io;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT, noticed from the moment this is made: make it before anybody can know that
/// the process has started, or an early signal kills it without a drain.
#[derive(Debug)]
pub struct Stop {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Stop {
    /// Starts to listen.
    ///
    /// # Errors
    /// When signal handlers cannot be installed.
    pub fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let entered = runtime.enter();
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        let hangup = signal(SignalKind::hangup())?;
        drop(entered);
        Ok(Self { runtime, terminate, interrupt, hangup })
    }

    /// Returns at the first SIGTERM or SIGINT. From then on the next one ends the process without
    /// waiting for anything: an operator who asks twice means it.
    pub fn wait(mut self) {
        self.next();
        std::thread::spawn(move || {
            self.next();
            std::process::exit(1);
        });
    }

    fn next(&mut self) {
        let Self { runtime, terminate, interrupt, hangup } = self;
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = terminate.recv() => return,
                    _ = interrupt.recv() => return,
                    _ = hangup.recv() => {
                        tracing::warn!("SIGHUP ignored: this version reads its configuration once");
                    }
                }
            }
        });
    }
}
