//! The signals: two end the process, one reloads its configuration, one opens log files anew.

use std::io;

use std::sync::mpsc::SyncSender;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::control::ControlCommand;
use super::status::Status;

/// SIGTERM and SIGINT, noticed from the moment this is made: make it before anybody can know that
/// the process has started, or an early signal kills it without a drain.
#[derive(Debug)]
pub struct StopSignals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    rotated: Signal,
}

impl StopSignals {
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
        let rotated = signal(SignalKind::user_defined1())?;
        drop(entered);
        Ok(Self { runtime, terminate, interrupt, hangup, rotated })
    }

    /// Returns at the first SIGTERM or SIGINT, or when a call asks for a drain. From then on the
    /// next signal ends the process without waiting for anything: an operator who asks twice means
    /// it. After a call the first signal does not count: a supervisor sends it when its preStop
    /// hook has made the call. Until then SIGHUP asks for a reload, and SIGUSR1 for log files to be
    /// opened anew.
    pub fn wait_for_stop(mut self, commands: &SyncSender<ControlCommand>, status: &Status) {
        let asked = self.next(Some((commands, status)));
        std::thread::spawn(move || {
            if asked == ShutdownRequest::Call {
                self.next(None);
                tracing::info!("a signal joins the drain that is under way");
            }
            self.next(None);
            std::process::exit(1);
        });
    }

    fn next(&mut self, running: Option<(&SyncSender<ControlCommand>, &Status)>) -> ShutdownRequest {
        let Self { runtime, terminate, interrupt, hangup, rotated } = self;
        runtime.block_on(async {
            // Nobody is there to be told once the drain has begun.
            let tell = |command| running.map(|(commands, _)| commands.try_send(command));
            let called = async {
                match running {
                    Some((_, status)) => status.drain.notified().await,
                    None => std::future::pending().await,
                }
            };
            tokio::pin!(called);
            loop {
                tokio::select! {
                    _ = terminate.recv() => return ShutdownRequest::Signal,
                    _ = interrupt.recv() => return ShutdownRequest::Signal,
                    () = &mut called => return ShutdownRequest::Call,
                    _ = hangup.recv() => {
                        let _sent = tell(ControlCommand::Reload { force: false, reply: None });
                    }
                    _ = rotated.recv() => {
                        let _sent = tell(ControlCommand::Reopen);
                    }
                }
            }
        })
    }
}

/// The cause of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ShutdownRequest {
    /// SIGTERM or SIGINT.
    Signal,
    /// `POST /drain`.
    Call,
}
