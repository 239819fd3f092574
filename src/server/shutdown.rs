//! The signals: two end the process, one reloads its configuration, one opens log files anew.

use std::io;

use std::sync::mpsc::Sender;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::control::Command;

/// SIGTERM and SIGINT, noticed from the moment this is made: make it before anybody can know that
/// the process has started, or an early signal kills it without a drain.
#[derive(Debug)]
pub struct Stop {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    rotated: Signal,
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
        let rotated = signal(SignalKind::user_defined1())?;
        drop(entered);
        Ok(Self { runtime, terminate, interrupt, hangup, rotated })
    }

    /// Returns at the first SIGTERM or SIGINT. From then on the next one ends the process without
    /// waiting for anything: an operator who asks twice means it.
    /// Until then SIGHUP asks for a reload, and SIGUSR1 for log files to be opened anew.
    pub fn wait(mut self, commands: &Sender<Command>) {
        self.next(Some(commands));
        std::thread::spawn(move || {
            self.next(None);
            std::process::exit(1);
        });
    }

    fn next(&mut self, commands: Option<&Sender<Command>>) {
        let Self { runtime, terminate, interrupt, hangup, rotated } = self;
        runtime.block_on(async {
            // Nobody is there to be told once the drain has begun.
            let tell = |command| commands.map(|commands| commands.send(command));
            loop {
                tokio::select! {
                    _ = terminate.recv() => return,
                    _ = interrupt.recv() => return,
                    _ = hangup.recv() => {
                        let _sent = tell(Command::Reload { force: false, reply: None });
                    }
                    _ = rotated.recv() => {
                        let _sent = tell(Command::Reopen);
                    }
                }
            }
        });
    }
}
