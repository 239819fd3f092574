//! A response as it comes from a server: its head is judged, and its body goes where the head said.

use std::io;
use std::task::{Context, Poll};

use super::{Answer, FillState, Filling};
use crate::cache::body;
use crate::cache::flight::Landing;
use crate::cache::key;
use crate::cache::memory::allocated;
use crate::cache::object::{self, ObjectParts};
use crate::cache::policy::{self, Received, Unstorable};
use crate::clock;
use crate::exchange::{Emit, Length, Outgoing, forward};
use crate::upstream::detached::Receiver;
use crate::wire::head::Fields;
use crate::wire::{ResponseHead, known};

/// The bytes of a body that are put together before readers are told, unless the server pauses.
const PART: usize = 32 * 1024;
/// The distance by which a body that is not stored may be ahead of its slowest reader, in bytes.
const AHEAD: usize = 256 * 1024;

impl Receiver for Filling {
    fn receive_interim(&mut self, head: &ResponseHead) {
        // The proxy never asks to be told to go on.
        if head.status != 100 {
            let mut told = ResponseHead::default();
            told.set(head.status, head.reason());
            forward::interim_fields(head, &mut StoredFields(&mut told.fields));
            // They are hints: whoever cannot be told in time does without.
            let _full = self.order.interims.try_send(told);
        }
    }

    fn begin_response(&mut self, response: &Outgoing<'_>) {
        let mut head = ResponseHead::default();
        head.set(response.status, response.reason);
        (response.fields)(&mut StoredFields(&mut head.fields));
        if head.fields.named(b"date").next().is_none() {
            let date = httpdate::fmt_http_date(clock::wall());
            head.fields.push(b"date", date.as_bytes());
        }
        if let Some(stale) = self.order.stale.clone() {
            if head.status == 304 {
                return self.confirm_stale(&stale, &head);
            }
            if self.order.on_error && matches!(head.status, 500 | 502 | 503 | 504) {
                return self.use_stale(stale, Some(head.status));
            }
        }
        let (asked_at, at) = (self.order.asked_at, clock::unix_millis());
        let received = Received { status: head.status, fields: &head.fields, asked_at, at };
        let timing = match policy::judge_response(received, &self.order.asked, &self.order.settings)
        {
            Ok(timing) => timing,
            Err(why) => return self.pass_through(head, response.length, why),
        };
        let length = match response.length {
            Length::Known(n) => Some(n),
            Length::Bodiless(_) => Some(0),
            Length::Unknown => None,
        };
        if length.is_some_and(|length| length > self.order.store.largest()) {
            return self.pass_through(head, response.length, Unstorable::TooLarge);
        }
        let names = key::vary_names(&head.fields);
        let variant =
            if names.is_empty() { 0 } else { key::variant_hash(&names, &self.order.request) };
        let (writer, body) = body::new_body();
        let asked = self.order.exact.clone();
        let asked_at = self.order.lead.flight().began();
        let parts = ObjectParts { asked, variant, head, timing, body, length, asked_at };
        match self.reserve_object(parts) {
            Ok(object) => {
                let landing = if timing.answers_others(at) {
                    self.order.lead.end_mark();
                    Landing::Shared(object.clone())
                } else {
                    if policy::tells_of_content(object.head.status) {
                        self.order.lead.mark_unshared(at);
                    }
                    self.order.lead.give_place_back();
                    Landing::NotShared
                };
                self.tell_answer(Answer::Stored(object.clone()), landing);
                self.state = FillState::Storing(object, writer);
                // Parts that grow take up to twice their length of memory.
                let first = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
                self.part.reserve(first.min(PART));
            }
            Err(object) => self.pass_through(object.head, response.length, Unstorable::NoRoom),
        }
    }

    fn poll_take(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match &self.state {
            FillState::Discarding | FillState::Ended => return Poll::Ready(Ok(data.len())),
            FillState::Waiting => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            FillState::Storing(..) => {}
            FillState::Passing(writer) => {
                while writer.held() + self.part.len() >= AHEAD {
                    let waiting = self
                        .waiting
                        .get_or_insert_with(|| Box::pin(writer.freed().notified_owned()));
                    if waiting.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    self.waiting = None;
                }
            }
        }
        let room = PART - self.part.len().min(PART - 1);
        let taken = data.get(..room).unwrap_or(data);
        self.part.extend_from_slice(taken);
        if self.part.len() >= PART {
            self.push_part();
        }
        Poll::Ready(Ok(taken.len()))
    }

    fn flush_body(&mut self) {
        self.push_part();
    }

    fn finish_response(&mut self, trailers: Option<&Fields>) {
        self.push_part();
        self.order.lead.prove_mark();
        match std::mem::replace(&mut self.state, FillState::Ended) {
            FillState::Storing(object, writer) => {
                let store = &self.order.store;
                // As large as what is kept of them.
                let copy = trailers.cloned();
                let bytes = object::trailers_size(copy.as_ref());
                let kept = bytes == 0 || store.reserve_bytes(bytes);
                if kept {
                    object.reservation.add_bytes(bytes);
                }
                // A body of another length than announced is not whole, whoever says so.
                if object.length.is_none_or(|length| length == object.body.written()) {
                    writer.finish_body(trailers);
                    if kept {
                        let object = self.put_together(object);
                        if store.insert_object(object.clone()) {
                            self.keep_behind(&object);
                        }
                    } else {
                        store.count_no_room();
                    }
                }
                self.order.lead.give_place_back();
            }
            FillState::Passing(writer) => writer.finish_body(trailers),
            FillState::Waiting | FillState::Discarding | FillState::Ended => {}
        }
    }

    fn cut_response(&mut self) {
        // Dropping the writer cuts the body.
        if let FillState::Storing(..) = std::mem::replace(&mut self.state, FillState::Ended) {
            self.order.lead.give_place_back();
        }
        self.order.lead.take_back_mark();
    }

    fn poll_unwanted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let writer = match &self.state {
            FillState::Passing(writer) => writer,
            FillState::Waiting => return self.poll_deserted(cx),
            FillState::Storing(..) | FillState::Discarding | FillState::Ended => {
                return Poll::Pending;
            }
        };
        if !writer.has_readers() {
            // It is not the server that cuts it.
            self.order.lead.prove_mark();
            return Poll::Ready(());
        }
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(writer.freed().notified_owned()));
        if waiting.as_mut().poll(cx).is_ready() {
            self.waiting = None;
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Filling {
    fn push_part(&mut self) {
        let part = self.part.split().freeze();
        match &mut self.state {
            FillState::Passing(writer) => writer.push_part(part),
            FillState::Storing(object, writer) => {
                let store = &self.order.store;
                let all = object.size().saturating_add(allocated(part.len() as u64));
                if all > store.largest() {
                    writer.push_part(part);
                    self.stop_storing();
                } else if !store.push_counted(writer, part) {
                    store.count_no_room();
                    self.stop_storing();
                }
            }
            FillState::Waiting | FillState::Discarding | FillState::Ended => {}
        }
    }

    /// Ready when the one who caused the fetch has left before its head came, and nobody else will
    /// want what comes: the key is marked, so that all who ask for it fetch for themselves. If what
    /// came could be shared after all, the next one who asks brings it as well; and fetches that
    /// end so renew no mark, so that one which survives its client is at most two minutes away.
    fn poll_deserted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.answer {
            Some(answer) if self.order.lead.flight().mark().is_some() => answer.poll_closed(cx),
            Some(_) | None => Poll::Pending,
        }
    }
}

/// Keeps the fields that may be stored.
struct StoredFields<'a>(&'a mut Fields);

impl Emit for StoredFields<'_> {
    fn emit_field(&mut self, name: &[u8], value: &[u8]) {
        let known = known::lookup(name);
        if object::is_stored(known, name) {
            self.0.push_known(name, value, known);
        }
    }
}
