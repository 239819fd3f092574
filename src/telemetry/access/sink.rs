//! The thread that writes the access log.
//!
//! It takes blocks of lines from a bounded queue. A file that was renamed by log rotation is opened
//! anew at SIGUSR1, as nginx does. A write that fails loses its lines, counted, and is reported
//! once in a while.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use super::otlp::Otlp;
use super::syslog::{Lost, Syslog};
use crate::clock::{self, Instant};
use crate::files;
use crate::net::fetch::Remote;
use crate::pace;

/// Blocks that may wait: with 32 KiB each, 4 MiB per log.
const QUEUE: usize = 128;
/// The pause between two complaints about a log that cannot be written.
const COMPLAIN: Duration = Duration::from_secs(10);

/// Lines on their way.
#[derive(Debug)]
pub struct LineBlock {
    /// Whole lines.
    pub bytes: Vec<u8>,
    /// The number of lines.
    pub lines: u32,
}

#[derive(Debug)]
enum SinkMessage {
    Block(LineBlock),
    Reopen,
    /// Answer when everything before this is written.
    Flush(SyncSender<()>),
}

/// A destination of lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
    /// The syslog server at `HOST:PORT`.
    Syslog(String),
    /// The OpenTelemetry collector at this URL.
    Otlp(String),
}

/// The writing thread's end of the queue. The thread ends when this is dropped.
#[derive(Debug)]
pub struct LineSink {
    /// The destination of the lines.
    pub destination: Destination,
    queue: SyncSender<SinkMessage>,
    /// Lines that could not be written.
    lost: Arc<AtomicU64>,
}

impl LineSink {
    /// Opens the destination and starts the thread.
    ///
    /// # Errors
    /// When the file cannot be opened or the thread not be started, in words.
    pub fn open_destination(destination: Destination) -> Result<Self, String> {
        let out: LineOutput = match &destination {
            Destination::Stdout => LineOutput::Stdout(io::stdout()),
            Destination::File(path) => LineOutput::File(path.clone(), files::open_to_append(path)?),
            Destination::Syslog(server) => LineOutput::Syslog(Syslog::new(server)),
            Destination::Otlp(url) => {
                let otlp = Otlp::new(Remote::parse_url(url)?).map_err(|error| error.to_string())?;
                LineOutput::Otlp(Box::new(otlp))
            }
        };
        Self::start_writer(out, destination).map_err(|error| error.to_string())
    }

    fn start_writer(out: LineOutput, destination: Destination) -> io::Result<Self> {
        let (queue, received) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = LineWriter { out, lost: lost.clone(), complained: None };
        thread::Builder::new()
            .name("access-log".into())
            .spawn(move || writer.run_writer(&received))?;
        Ok(Self { destination, queue, lost })
    }

    /// Offers lines. `false` when too many wait already.
    pub fn offer_block(&self, block: LineBlock) -> bool {
        self.queue.try_send(SinkMessage::Block(block)).is_ok()
    }

    /// Lines that could not be written.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// Opens the file anew, once what waits is written.
    pub fn request_reopen(&self) {
        // When the queue is full the disk does not keep up, and the next signal will find a place.
        let _full = self.queue.try_send(SinkMessage::Reopen);
    }

    /// Waits until everything offered so far is written, but not longer than `patience`.
    pub fn flush_lines(&self, patience: Duration) {
        let (done, wait) = sync_channel(1);
        if self.queue.try_send(SinkMessage::Flush(done)).is_ok() {
            let _late = wait.recv_timeout(patience);
        }
    }
}

enum LineOutput {
    Stdout(io::Stdout),
    File(PathBuf, File),
    Syslog(Syslog),
    Otlp(Box<Otlp>),
}

struct LineWriter {
    out: LineOutput,
    lost: Arc<AtomicU64>,
    complained: Option<Instant>,
}

impl LineWriter {
    fn run_writer(mut self, queue: &Receiver<SinkMessage>) {
        pace::stand_back();
        while let Ok(message) = queue.recv() {
            match message {
                SinkMessage::Block(block) => {
                    self.write_block(&block);
                }
                SinkMessage::Reopen => self.reopen_file(),
                SinkMessage::Flush(done) => {
                    // Who waits may have lost patience.
                    let _gone = done.send(());
                }
            }
        }
    }

    /// Writes lines, and counts those that are lost.
    fn write_block(&mut self, LineBlock { bytes, lines }: &LineBlock) {
        let lines = u64::from(*lines);
        let failed = match &mut self.out {
            LineOutput::Stdout(out) => {
                let mut out = out.lock();
                let written = out.write_all(bytes).and_then(|()| out.flush());
                written.err().map(|error| (lines, error.to_string()))
            }
            LineOutput::File(_, file) => {
                file.write_all(bytes).err().map(|error| (lines, error.to_string()))
            }
            LineOutput::Syslog(syslog) => {
                let Lost { lines, error } = syslog.send_lines(bytes);
                let why = error.map_or_else(|| "nobody listens".to_owned(), |e| e.to_string());
                (lines > 0).then_some((lines, why))
            }
            LineOutput::Otlp(otlp) => otlp.send_lines(bytes).err().map(|error| (lines, error)),
        };
        if let Some((lost, error)) = failed {
            self.lost.fetch_add(lost, Relaxed);
            self.complain_once(&error);
        }
    }

    fn reopen_file(&mut self) {
        if let LineOutput::File(path, file) = &mut self.out {
            match files::open_to_append(path) {
                Ok(new) => {
                    *file = new;
                    tracing::info!(path = %path.display(), "access log reopened");
                }
                Err(error) => {
                    let path = path.display();
                    tracing::error!(%error, %path, key = "log.access", "access log not reopened; the old file is written on");
                }
            }
        }
    }

    fn complain_once(&mut self, error: &str) {
        let due = self.complained.is_none_or(|at| at.elapsed() >= COMPLAIN);
        if due {
            self.complained = Some(clock::now());
            let lost = self.lost.load(Relaxed);
            tracing::error!(error, lost, key = "log.access", "the access log cannot be written");
        }
    }
}

#[cfg(test)]
mod tests;
