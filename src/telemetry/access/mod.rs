//! The access log: one line per request, written off the data path.
//!
//! A worker makes lines and collects them ([`Lines`]); full or after a moment, they go to the
//! thread that writes them ([`sink`]). What that thread cannot take in time is dropped and counted,
//! because a disk that is full or slow must not hold up requests.

pub mod line;
mod otlp;
pub mod sink;
mod syslog;

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

pub use self::line::AccessLine;
use self::sink::{LineBlock, LineSink};
use super::ledger::Ledger;
use crate::clock::Random;

/// Lines are handed on when this much has come together,
const BLOCK: usize = 32 * 1024;
/// or when the first of them is this old.
const DELAY: Duration = Duration::from_millis(100);

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
    /// As Apache and nginx write it.
    Combined,
}

/// `log.access`.
#[derive(Debug)]
pub struct AccessLog {
    /// The form of the lines.
    pub format: LineFormat,
    /// The share of requests that are written, from 0 to 1.
    pub share: f64,
    /// The further fields of a line.
    pub fields: Box<[Extra]>,
    /// The writer of the lines.
    pub sink: Arc<LineSink>,
}

/// Something that lines say besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extra {
    /// As it is configured, such as `header:user-agent`.
    pub key: Box<str>,
    /// The part of the exchange in which it is found.
    pub of: LineSource,
}

/// The place of a further field of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineSource {
    /// A field of the request.
    Header(Box<[u8]>),
    /// A claim of the verified token.
    Claim(Box<str>),
}

impl AccessLog {
    /// Draws whether a request is among those that are written.
    #[must_use]
    pub fn samples(&self, random: &mut Random) -> bool {
        self.share >= 1.0 || random.unit() < self.share
    }
}

/// The lines that a worker has not handed on yet.
#[derive(Debug, Default)]
pub struct Lines {
    bytes: RefCell<Vec<u8>>,
    count: Cell<u32>,
    /// The destination of the lines.
    sink: RefCell<Option<Arc<LineSink>>>,
    clock: RefCell<line::WallClock>,
    begun: Notify,
}

impl Lines {
    /// Adds a line.
    pub fn write_line(&self, ledger: &Ledger, log: &AccessLog, line: &AccessLine<'_>) {
        let other = self.sink.borrow().as_ref().is_none_or(|sink| !Arc::ptr_eq(sink, &log.sink));
        if other {
            self.hand_on(ledger);
            *self.sink.borrow_mut() = Some(log.sink.clone());
        }
        let mut bytes = self.bytes.borrow_mut();
        if bytes.capacity() == 0 {
            bytes.reserve(BLOCK + BLOCK / 8);
            self.begun.notify_one();
        }
        line.write_line(&mut bytes, (log.format, &log.fields), self.clock.borrow_mut().time_now());
        self.count.set(self.count.get() + 1);
        if bytes.len() >= BLOCK {
            drop(bytes);
            self.hand_on(ledger);
        }
    }

    /// Hands on what there is.
    pub fn hand_on(&self, ledger: &Ledger) {
        let bytes = self.bytes.take();
        let lines = self.count.take();
        let sink = self.sink.borrow();
        let Some(sink) = sink.as_ref().filter(|_| lines > 0) else { return };
        if !sink.offer_block(LineBlock { bytes, lines }) {
            ledger.note_dropped(u64::from(lines));
        }
    }

    /// Hands on lines that have waited long enough, for ever.
    pub async fn keep_moving(&self, ledger: &Ledger) {
        loop {
            self.begun.notified().await;
            tokio::time::sleep(DELAY).await;
            self.hand_on(ledger);
        }
    }
}
