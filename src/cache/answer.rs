//! A stored response as an answer to one request: whole, not modified, or a range of it.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::sync::futures::OwnedNotified;

use super::body::{BodyPart, CachedBodyReader};
use super::object::Object;
use super::policy::parse_date;
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
}

impl StoredBody {
    /// All of a body.
    #[must_use]
    pub fn whole(reader: CachedBodyReader) -> Self {
        Self { reader, data: Bytes::new(), skip: 0, left: u64::MAX, whole: true, waiting: None }
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
        Self { reader, data: Bytes::new(), skip: first, left, whole: false, waiting: None }
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
        Ok(self.reader.trailers().filter(|_| self.whole).cloned())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cache::body::{self, CachedBody};
    use crate::cache::key::StoreKey;
    use crate::cache::object::{ObjectParts, Reservation};
    use crate::cache::policy::Timing;
    use crate::wire::ResponseHead;

    fn object(lines: &[(&str, &str)]) -> Object {
        let key = Arc::new(StoreKey::new("c", b"http", b"a", b"/", None, &[]));
        let mut head = ResponseHead::default();
        head.set(200, b"");
        for (name, value) in lines {
            head.fields.push(name.as_bytes(), value.as_bytes());
        }
        let parts = ObjectParts {
            asked: key,
            variant: 0,
            head,
            timing: Timing::default(),
            body: CachedBody::whole(Bytes::from_static(b"0123456789")),
            length: Some(10),
            asked_at: 0,
        };
        Object::new(parts, Reservation::default())
    }

    fn shared(object: &Object, lines: &[(&str, &str)]) -> ServedShare {
        let mut fields = Fields::default();
        for (name, value) in lines {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        choose_share(object, &fields)
    }

    #[test]
    fn ranges_are_cut_out_of_what_is_whole() {
        let stored = object(&[("etag", "\"a\"")]);
        let of = |range: &str| shared(&stored, &[("range", range)]);
        assert_eq!(of("bytes=2-4"), ServedShare::Range(2, 4, 10));
        assert_eq!(of("bytes=2-"), ServedShare::Range(2, 9, 10));
        assert_eq!(of("bytes=-3"), ServedShare::Range(7, 9, 10));
        assert_eq!(of("bytes=-30"), ServedShare::Range(0, 9, 10));
        assert_eq!(of("bytes=0-99"), ServedShare::Range(0, 9, 10));
        assert_eq!(of("bytes=10-"), ServedShare::Unsatisfiable(10));
        assert_eq!(of("bytes=-0"), ServedShare::Unsatisfiable(10));
        for ignored in
            ["bytes=1-2,4-5", "bytes=4-2", "bytes=-", "bytes=a-b", "pages=1-2", "bytes=+1-2"]
        {
            assert_eq!(of(ignored), ServedShare::Whole, "{ignored}");
        }
        assert_eq!(
            shared(&stored, &[("range", "bytes=0-1"), ("if-range", "\"b\"")]),
            ServedShare::Whole
        );
        assert_eq!(
            shared(&stored, &[("range", "bytes=0-1"), ("if-range", "\"a\"")]),
            ServedShare::Range(0, 1, 10)
        );
    }

    #[test]
    fn conditions_compare_weakly_and_tags_come_before_dates() {
        let date = "Thu, 18 Aug 2050 02:01:18 GMT";
        let stored = object(&[("etag", "W/\"a\""), ("last-modified", date)]);
        let of = |lines: &[(&str, &str)]| shared(&stored, lines) == ServedShare::NotModified;
        assert!(of(&[("if-none-match", "\"x\", \"a\"")]) && of(&[("if-none-match", "*")]));
        assert!(!of(&[("if-none-match", "\"x\""), ("if-modified-since", date)]));
        assert!(of(&[("if-modified-since", date)]));
        assert!(!of(&[("if-modified-since", "Thu, 18 Aug 2050 02:01:17 GMT")]));
        assert!(!of(&[("if-modified-since", "yesterday")]));
    }

    #[tokio::test]
    async fn a_body_on_its_way_is_read_as_it_comes_and_a_cut_is_noticed() {
        let (mut writer, body) = body::new_body();
        let mut source = StoredBody::whole(body.new_reader());
        let read = tokio::spawn(async move {
            let mut out = Vec::new();
            loop {
                match std::future::poll_fn(|cx| source.poll_fill(cx)).await {
                    Ok(Fill::Data) => {
                        out.extend_from_slice(source.body_data());
                        let n = source.body_data().len();
                        source.consume_body(n);
                    }
                    Ok(Fill::End) => return (out, true),
                    Err(_) => return (out, false),
                }
            }
        });
        for part in [&b"ab"[..], b"c"] {
            tokio::task::yield_now().await;
            writer.push_part(Bytes::copy_from_slice(part));
        }
        tokio::task::yield_now().await;
        drop(writer);
        assert_eq!(read.await.unwrap(), (b"abc".to_vec(), false));
    }
}
