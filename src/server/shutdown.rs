//! Waits for the signals that end the process.

use std::io;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// Returns at the next SIGTERM or SIGINT.
///
/// # Errors
/// When signal handlers cannot be installed.
pub fn wait_for_signal() -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        loop {
            tokio::select! {
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                _ = hangup.recv() => {
                    tracing::warn!("SIGHUP ignored: this version reads its configuration once");
                }
            }
        }
    })
}

/// Ends the process at the next signal without waiting for anything: an operator who asks twice
/// means it.
pub fn exit_at_next_signal() {
    std::thread::spawn(|| {
        if wait_for_signal().is_ok() {
            std::process::exit(1);
        }
    });
}
