//! The time in a line.

use std::time::{Duration, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::clock;

/// The time of day as text. Most requests come in the same second as the one before.
#[derive(Debug, Default)]
pub struct WallClock {
    seconds: u64,
    /// `2026-11-21T04:20:18`
    iso: String,
    /// `21/Nov/2026:04:20:18 +0000`
    combined: String,
}

/// A moment.
#[derive(Debug, Clone, Copy)]
pub struct LineTime<'a> {
    pub(super) iso: &'a str,
    pub(super) combined: &'a str,
    pub(super) millis: u32,
}

const ISO: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
const COMBINED: &[BorrowedFormatItem<'_>] =
    format_description!("[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000");

impl WallClock {
    /// Now.
    pub fn time_now(&mut self) -> LineTime<'_> {
        self.time_at(clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    pub(super) fn time_at(&mut self, since: Duration) -> LineTime<'_> {
        if self.iso.is_empty() || self.seconds != since.as_secs() {
            self.seconds = since.as_secs();
            let seconds = i64::try_from(self.seconds).unwrap_or(i64::MAX);
            let date =
                OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
            self.iso = date.format(ISO).unwrap_or_default();
            self.combined = date.format(COMBINED).unwrap_or_default();
        }
        LineTime { iso: &self.iso, combined: &self.combined, millis: since.subsec_millis() }
    }
}
