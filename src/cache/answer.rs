//! A stored response as an answer to one request: whole, not modified, or a range of it.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::sync::futures::OwnedNotified;

use super::body::{BodyPart, CachedBodyReader};
use super::directives::ResponseDirectives;
use super::object::Object;
use super::policy::{self, parse_date};
use crate::exchange::Source;
use crate::net::{BodyError, Fill};
use crate::wire::Fault;
use crate::wire::head::{Fields, list_items};

/// What a client gets of a stored response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServedShare {
    /// All of it.
    Whole,
    /// A 304: the client has it.
    NotModified,
    /// Bytes from the first to the second, both included, of so many.
    Range(u64, u64, u64),
    /// A 416: the range lies beyond its end.
    Unsatisfiable(u64),
}

/// Decides by the request's conditions and range (RFC 9110 §13.2.2) what a client gets.
#[must_use]
pub fn choose_share(object: &Object, request: &Fields) -> ServedShare {
    if !matches!(object.head.status, 200 | 203) {
        return ServedShare::Whole;
    }
    if is_not_modified(object, request) {
        return ServedShare::NotModified;
    }
    // A part of a body that is not all here could turn out to be a part of nothing.
    let total =
        object.known_length().filter(|_| object.head.status == 200 && object.body.is_whole());
    match (single_range(request), total) {
        (Some(range), Some(total)) if range_applies(object, request) => range.share_of_total(total),
        _ => ServedShare::Whole,
    }
}

fn is_not_modified(object: &Object, request: &Fields) -> bool {
    let mut none_match = request.named(b"if-none-match").peekable();
    if none_match.peek().is_some() {
        let Some(etag) = object.etag() else { return false };
        return none_match
            .flat_map(list_items)
            .any(|known| known == b"*" || weak_form(known) == weak_form(etag));
    }
    let mut since = request.named(b"if-modified-since");
    let since = match (since.next(), since.next()) {
        (Some(since), None) => parse_date(since),
        _ => None,
    };
    // Few requests ask, and reading a date is a good part of what a hit costs.
    let Some(since) = since else { return false };
    object.last_modified().and_then(parse_date).is_some_and(|modified| modified <= since)
}

/// An entity tag for weak comparison (RFC 9110 §8.8.3.2).
fn weak_form(etag: &[u8]) -> &[u8] {
    etag.strip_prefix(b"W/").unwrap_or(etag)
}

/// Returns whether `If-Range` lets a range be sent (RFC 9110 §13.1.5).
fn range_applies(object: &Object, request: &Fields) -> bool {
    let Some(condition) = request.named(b"if-range").next() else { return true };
    if condition.starts_with(b"\"") {
        return object.etag() == Some(condition);
    }
    !condition.starts_with(b"W/") && object.last_modified() == Some(condition)
}

/// One range of bytes as it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ByteRange {
    /// From here to there, or to the end.
    From(u64, Option<u64>),
    /// So many at the end.
    Last(u64),
}

impl ByteRange {
    fn share_of_total(self, total: u64) -> ServedShare {
        let (first, last) = match self {
            Self::From(first, last) => (first, last.unwrap_or(u64::MAX)),
            Self::Last(0) => return ServedShare::Unsatisfiable(total),
            Self::Last(n) => (total.saturating_sub(n), u64::MAX),
        };
        if first >= total {
            return ServedShare::Unsatisfiable(total);
        }
        ServedShare::Range(first, last.min(total.saturating_sub(1)), total)
    }
}

/// Returns whether the request asks for parts in a unit other than bytes.
#[must_use]
pub fn has_unknown_range(request: &Fields) -> bool {
    let mut lines = request.named(b"range");
    lines.any(|line| !line.get(..6).is_some_and(|unit| unit.eq_ignore_ascii_case(b"bytes=")))
}

/// The range asked for; `None` for several of them or a malformed one, which may both be ignored
/// (RFC 9110 §14.2).
fn single_range(request: &Fields) -> Option<ByteRange> {
    let mut lines = request.named(b"range");
    let (line, None) = (lines.next()?, lines.next()) else { return None };
    let unit = line.get(..6)?;
    let spec = line.get(6..)?.trim_ascii();
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return None;
    }
    let dash = spec.iter().position(|byte| *byte == b'-')?;
    let (first, last) = (spec.get(..dash)?, spec.get(dash + 1..)?);
    match (first.is_empty(), last.is_empty()) {
        (true, true) => None,
        (true, false) => Some(ByteRange::Last(parse_number(last)?)),
        (false, true) => Some(ByteRange::From(parse_number(first)?, None)),
        (false, false) => {
            let (first, last) = (parse_number(first)?, parse_number(last)?);
            (first <= last).then_some(ByteRange::From(first, Some(last)))
        }
    }
}

fn parse_number(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}

/// A stored body, or one on its way, as the source of a response.
#[derive(Debug)]
pub struct StoredBody {
    reader: CachedBodyReader,
    data: Bytes,
    skip: u64,
    left: u64,
    /// All of the body is read, and then what follows it.
    whole: bool,
    waiting: Option<Pin<Box<OwnedNotified>>>,
    /// Fields behind it that are not sent.
    withheld: Option<Arc<ResponseDirectives>>,
}

impl StoredBody {
    /// All of a body.
    #[must_use]
    pub fn whole(reader: CachedBodyReader) -> Self {
        let (data, left) = (Bytes::new(), u64::MAX);
        Self { reader, data, skip: 0, left, whole: true, waiting: None, withheld: None }
    }

    /// No body at all.
    #[must_use]
    pub fn empty() -> Self {
        Self { left: 0, ..Self::whole(super::body::CachedBody::whole(Bytes::new()).new_reader()) }
    }

    /// Bytes from the first to the last, both included.
    #[must_use]
    pub fn range(reader: CachedBodyReader, first: u64, last: u64) -> Self {
        let left = last.saturating_sub(first).saturating_add(1);
        Self { skip: first, left, whole: false, ..Self::whole(reader) }
    }

    /// The same without some of the fields behind it.
    #[must_use]
    pub fn withholding(self, withheld: Option<Arc<ResponseDirectives>>) -> Self {
        Self { withheld, ..self }
    }
}

impl Source for StoredBody {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, BodyError>> {
        loop {
            if self.left == 0 {
                return Poll::Ready(Ok(Fill::End));
            }
            if !self.data.is_empty() {
                return Poll::Ready(Ok(Fill::Data));
            }
            match self.reader.take_part() {
                BodyPart::Data(mut data) => {
                    let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(data.len());
                    data.advance(skipped);
                    self.skip -= skipped as u64;
                    data.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
                    find_pages(&data);
                    self.data = data;
                    self.waiting = None;
                }
                BodyPart::End => return Poll::Ready(Ok(Fill::End)),
                BodyPart::Cut => return Poll::Ready(Err(BodyError::Truncated)),
                BodyPart::Later => {
                    let polled = match &mut self.waiting {
                        Some(waiting) => waiting.as_mut().poll(cx),
                        None => {
                            // Registered first, then looked at once more: nothing is missed.
                            let mut waiting = Box::pin(self.reader.grown().notified_owned());
                            let polled = waiting.as_mut().poll(cx);
                            self.waiting = Some(waiting);
                            if polled.is_pending() && self.reader.has_more() {
                                continue;
                            }
                            polled
                        }
                    };
                    if polled.is_pending() {
                        return Poll::Pending;
                    }
                    self.waiting = None;
                }
            }
        }
    }

    fn body_data(&self) -> &[u8] {
        &self.data
    }

    fn consume_body(&mut self, n: usize) {
        let n = n.min(self.data.len());
        self.data.advance(n);
        self.left -= (n as u64).min(self.left);
    }

    fn read_trailers(&mut self) -> Result<Option<Fields>, Fault> {
        let Some(all) = self.reader.trailers().filter(|_| self.whole) else { return Ok(None) };
        let Some(said) = &self.withheld else { return Ok(Some(all.clone())) };
        let mut sent = Fields::default();
        for field in all.iter().filter(|field| !policy::is_withheld(said, field.name)) {
            sent.push(field.name, field.value);
        }
        Ok(Some(sent))
    }
}

/// Bytes of a page of memory.
const PAGE: usize = 4096;
/// Pages that are looked up at a time: as much as a client is sent at once.
const MOST_PAGES: usize = 64;

/// Looks up the pages of memory that data lie in, which the kernel is about to copy: its copy is
/// one instruction, which waits for each page that the processor has not in mind when it comes to
/// it. Reads that do not depend on each other wait together.
fn find_pages(data: &[u8]) {
    if data.len() > PAGE {
        let first_bytes = data.iter().step_by(PAGE).take(MOST_PAGES);
        std::hint::black_box(first_bytes.fold(0, |all, byte| all ^ byte));
    }
}

#[cfg(test)]
mod tests;
