//! What becomes of a response that was fetched for a cache: stored while it streams, passed on to
//! the one who asked, used to confirm what is stored, or thrown away for something stale.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::sync::futures::OwnedNotified;
use tokio::sync::{mpsc, oneshot};

use super::body::{self, BodyWriter, CachedBody, CachedBodyReader};
use super::flight::Landing;
use super::key::{self, StoreKey};
use super::lead::FlightLead;
use super::memory::{Reservation, allocated};
use super::object::{self, Object, ObjectParts};
use super::policy::{self, CacheQuery, CacheSettings, Millis, Received, Unstorable, Usability};
use super::store::CacheStore;
use super::stored::StoredResponse;
use super::tier::{KnownPurges, Restored, StoreTier, TierResult};
use crate::clock;
use crate::exchange::{Emit, Length, Outgoing, Refusal, forward};
use crate::policy::shared::RedisConnections;
use crate::upstream::detached::Receiver;
use crate::wire::head::Fields;
use crate::wire::{ResponseHead, known};

/// The bytes of a body that are put together before readers are told, unless the server pauses.
const PART: usize = 32 * 1024;
/// The longest body that is put together in one piece once it is whole, in bytes. It is copied
/// once, so that each client is sent it with one call to the system, and so that it takes no more
/// memory than is counted.
const WHOLE_PIECE: u64 = 1024 * 1024;
/// The number of informational heads that may wait for the one who caused a fetch; further ones are
/// for nobody.
pub const INTERIMS: usize = 8;
/// The distance by which a body that is not stored may be ahead of its slowest reader, in bytes.
const AHEAD: usize = 256 * 1024;

/// The result of a fetch, for the one who caused it.
#[derive(Debug)]
pub enum Answer {
    /// A response that is stored, or on its way into the store.
    Stored(Arc<Object>),
    /// The stored response, confirmed by a server.
    Confirmed(Arc<Object>),
    /// What the tier behind memory had.
    Restored(Arc<Object>),
    /// A response that is not stored, and why.
    Own(OwnResponse, Unstorable),
    /// What was stored, because servers fail; with the status that one answered with.
    Stale(Arc<Object>, Option<u16>),
    /// No server answered.
    Refused(Refusal),
}

/// A response for one client alone.
#[derive(Debug)]
pub struct OwnResponse {
    /// The head.
    pub head: ResponseHead,
    /// The length of its body.
    pub length: Length,
    /// The body.
    pub reader: CachedBodyReader,
}

/// For whom and under which rules a response is fetched.
#[derive(Debug)]
pub struct FillOrder {
    /// The store that it is stored in.
    pub store: Arc<CacheStore>,
    /// The place that its fetch has among those under way, and the clients that wait for it.
    pub lead: FlightLead,
    /// The key of the request itself; the fetch is known by another one where something stale is
    /// known that answers it too.
    pub exact: Arc<StoreKey>,
    /// The fields of the request, by which a variant is selected.
    pub request: Fields,
    /// What else of the request counts.
    pub asked: CacheQuery,
    /// The cache's rules.
    pub settings: Arc<CacheSettings>,
    /// The stored response that the server is asked about.
    pub stale: Option<Arc<Object>>,
    /// It may be used when servers fail.
    pub on_error: bool,
    /// The time of day at which the request was sent, for its age.
    pub asked_at: Millis,
    /// The tier behind memory, and the last purge that was known when the request was made.
    pub tier: Option<(Arc<StoreTier>, Option<KnownPurges>)>,
    /// The receiver of informational responses.
    pub interims: mpsc::Sender<ResponseHead>,
}

/// Takes one response.
#[derive(Debug)]
pub struct Filling {
    order: FillOrder,
    answer: Option<oneshot::Sender<Answer>>,
    state: FillState,
    part: BytesMut,
    /// What tells of readers that got on, while the body waits for them.
    waiting: Option<Pin<Box<OwnedNotified>>>,
}

#[derive(Debug)]
enum FillState {
    /// The head has not come.
    Waiting,
    /// It is stored as it comes.
    Storing(Arc<Object>, BodyWriter),
    /// It goes to those who read it, and is forgotten.
    Passing(BodyWriter),
    /// Nobody wants its body.
    Discarding,
    /// The end was reached.
    Ended,
}

impl Filling {
    /// Takes the response of a fetch that is about to begin.
    #[must_use]
    pub fn new(order: FillOrder, answer: oneshot::Sender<Answer>) -> Self {
        Self {
            order,
            answer: Some(answer),
            state: FillState::Waiting,
            part: BytesMut::new(),
            waiting: None,
        }
    }

    /// Looks into the tier behind memory. `true` when what is there answers; when it has to be
    /// asked about first, [`Filling::stale`] is that.
    pub async fn restore_from_tier(&mut self, connections: &RedisConnections) -> bool {
        let Some((tier, _)) = self.order.tier.clone() else { return false };
        // Who wants a server's word need not wait for anybody else's.
        if self.order.asked.directives.no_cache {
            return false;
        }
        let FillOrder { store, exact, request, .. } = &self.order;
        let asked_at = store.time_request(clock::unix_millis());
        let Some(found) = tier.find_response(connections, store, exact, request).await else {
            return false;
        };
        let Some(object) = self.adopt_restored(found, asked_at) else { return false };
        let usability = object.timing().usability_for(&self.order.asked, clock::unix_millis());
        match usability {
            Usability::Fresh | Usability::StaleAccepted => {
                tier.count_found(&self.order.store, TierResult::Hit);
                self.order.store.insert_object(object.clone());
                self.tell_answer(Answer::Restored(object.clone()), Landing::Restored(object));
                self.order.lead.end_mark();
                self.order.lead.give_place_back();
                self.state = FillState::Ended;
                true
            }
            Usability::StaleWhileRevalidate | Usability::Validate { .. } => {
                tier.count_found(&self.order.store, TierResult::Stale);
                let on_error = usability != Usability::Validate { on_error: false };
                let newer = |known: &Arc<Object>| known.timing.received < object.timing.received;
                if self.order.stale.as_ref().is_none_or(newer) {
                    self.order.stale = Some(object);
                    self.order.on_error = on_error;
                }
                false
            }
            Usability::Forbidden => false,
        }
    }

    /// Returns what a server is asked about.
    #[must_use]
    pub fn stale(&self) -> Option<&Arc<Object>> {
        self.order.stale.as_ref()
    }

    /// Makes a response of this store's out of one of the tier; `None` where there is no memory.
    fn adopt_restored(&self, found: Restored, asked_at: Millis) -> Option<Arc<Object>> {
        let Restored { stored, stale } = found;
        let names = key::vary_names(&stored.head.fields);
        let variant =
            if names.is_empty() { 0 } else { key::variant_hash(&names, &self.order.request) };
        let length = stored.body.len() as u64;
        let body = CachedBody::whole_with(stored.body, stored.trailers.as_ref());
        let told = stored.trailers.is_none().then_some(length);
        let StoredResponse { head, timing, .. } = stored;
        let asked = self.order.exact.clone();
        let parts = ObjectParts { asked, variant, head, timing, body, length: told, asked_at };
        // What is larger than an entry may be finds no room either.
        let object = self.reserve_object(parts).ok()?;
        if stale {
            object.purge_softly();
        }
        Some(object)
    }

    /// Has what was stored written to the tier behind memory.
    fn keep_behind(&self, object: &Arc<Object>) {
        if let Some((tier, Some(known))) = &self.order.tier {
            let FillOrder { store, exact, request, .. } = &self.order;
            tier.keep_response(store, object, (exact, request), *known);
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

    /// Ends the fetch: no server answered, if nothing came of it so far.
    pub fn end_fetch(mut self, refusal: Option<Refusal>) {
        let refusal = refusal.unwrap_or(Refusal::Internal);
        if self.answer.is_some() {
            match self.order.stale.take().filter(|_| self.order.on_error) {
                Some(stale) => self.use_stale(stale, None),
                None => self.tell_answer(Answer::Refused(refusal), Landing::Refused(refusal)),
            }
        }
    }

    fn tell_answer(&mut self, answer: Answer, landing: Landing) {
        self.order.lead.flight().land_flight(landing);
        if let Some(sender) = self.answer.take() {
            // Whoever asked may have left; the response is stored all the same.
            let _left = sender.send(answer);
        }
    }

    fn use_stale(&mut self, stale: Arc<Object>, status: Option<u16>) {
        let landing = Landing::Stale(stale.clone(), status);
        self.tell_answer(Answer::Stale(stale, status), landing);
        self.state = FillState::Discarding;
    }

    /// A 304: what is stored is confirmed, with the newer fields.
    fn confirm_stale(&mut self, stale: &Arc<Object>, update: &ResponseHead) {
        let FillOrder { store, asked, settings, asked_at, .. } = &self.order;
        let mut head = ResponseHead::default();
        head.set(stale.head.status, stale.head.reason());
        let updated = stale.updated_fields(&update.fields);
        updated.iter().for_each(|field| head.fields.push(field.name, field.value));
        let at = clock::unix_millis();
        let received =
            Received { status: head.status, fields: &head.fields, asked_at: *asked_at, at };
        let judged = policy::judge_response(received, asked, settings);
        let word = judged.as_ref().map(|timing| timing.answers_others(at)).map_err(|why| *why);
        let object = match judged {
            Ok(timing) => {
                let (asked, variant) = (self.order.exact.clone(), stale.variant);
                let (body, length) = (CachedBody::clone(&stale.body), stale.length);
                let asked_at = self.order.lead.flight().began();
                let parts = ObjectParts { asked, variant, head, timing, body, length, asked_at };
                self.reserve_object(parts).ok()
            }
            // The request forbids to store what comes of it, not to keep what is there.
            Err(Unstorable::RequestNoStore) => None,
            Err(_) => {
                // It may be used this once; what it says now forbids to keep it.
                store.remove_object(stale);
                None
            }
        };
        let kept = object.filter(|object| self.order.store.insert_object(object.clone()));
        kept.iter().for_each(|object| self.keep_behind(object));
        let used = kept.unwrap_or_else(|| stale.clone());
        match word {
            Ok(true) => self.order.lead.end_mark(),
            Ok(false) => self.order.lead.mark_unshared(at),
            Err(why) if why.holds_for_others(used.head.status) => self.order.lead.mark_unshared(at),
            Err(_) => {}
        }
        self.tell_answer(Answer::Confirmed(used.clone()), Landing::Shared(used));
        self.order.lead.give_place_back();
        self.state = FillState::Discarding;
    }

    /// A response with its memory reserved.
    ///
    /// # Errors
    /// The response, where there is no memory for it, or it is larger than what one entry may have.
    fn reserve_object(&self, parts: ObjectParts) -> Result<Arc<Object>, Box<Object>> {
        let store = &self.order.store;
        let object = Object::new(parts, Reservation::new(store.memory_used().clone()));
        if object.size() > store.largest() || !store.reserve_bytes(object.uncounted_size()) {
            store.count_no_room();
            return Err(Box::new(object));
        }
        object.set_counted();
        Ok(Arc::new(object))
    }

    /// The same response in the memory that it needs, with its body in one piece, unless that is
    /// too long, or there is no memory for both of them.
    fn put_together(&self, object: Arc<Object>) -> Arc<Object> {
        if object.body.written() > WHOLE_PIECE {
            return object;
        }
        // A part of a body whose length nobody knew may have grown to more memory than it needs.
        let Some(body) = object.body.put_together(object.length.is_some()) else { return object };
        let store = &self.order.store;
        let one = object.with_body(body, Reservation::new(store.memory_used().clone()));
        if !store.reserve_bytes(one.uncounted_size()) {
            return object;
        }
        one.set_counted();
        let one = Arc::new(one);
        object.set_successor(&one);
        one
    }

    /// A response that is for one client alone.
    fn pass_through(&mut self, head: ResponseHead, length: Length, why: Unstorable) {
        let (writer, body) = body::new_body();
        // Before those who wait are told, or they would wait for the next one.
        if why.holds_for_others(head.status) {
            self.order.lead.mark_unshared(clock::unix_millis());
        }
        let own = OwnResponse { head, length, reader: body.new_reader() };
        self.tell_answer(Answer::Own(own, why), Landing::NotShared);
        self.order.lead.give_place_back();
        self.state = FillState::Passing(writer);
    }

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

    /// Those who read it get the rest; the store and newcomers do not.
    fn stop_storing(&mut self) {
        self.order.lead.give_place_back();
        self.order.lead.flight().forget_response();
        let state = std::mem::replace(&mut self.state, FillState::Ended);
        if let FillState::Storing(_, writer) = state {
            self.state = FillState::Passing(writer);
        }
    }
}

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

#[cfg(test)]
mod tests;
