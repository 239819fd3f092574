//! What becomes of a response that was fetched for a cache: stored while it streams, passed on to
//! the one who asked, used to confirm what is stored, or thrown away for something stale.

mod behind;
mod receive;

use std::pin::Pin;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::sync::futures::OwnedNotified;
use tokio::sync::{mpsc, oneshot};

use super::body::{self, BodyWriter, CachedBody, CachedBodyReader};
use super::flight::Landing;
use super::key::StoreKey;
use super::lead::FlightLead;
use super::memory::Reservation;
use super::object::{Object, ObjectParts};
use super::policy::{self, CacheQuery, CacheSettings, Millis, Received, Unstorable};
use super::store::CacheStore;
use super::tier::{KnownPurges, StoreTier};
use crate::clock;
use crate::exchange::{Length, Refusal};
use crate::wire::ResponseHead;
use crate::wire::head::Fields;

/// The longest body that is put together in one piece once it is whole, in bytes. It is copied
/// once, so that each client is sent it with one call to the system, and so that it takes no more
/// memory than is counted.
const WHOLE_PIECE: u64 = 1024 * 1024;
/// The number of informational heads that may wait for the one who caused a fetch; further ones are
/// for nobody.
pub const INTERIMS: usize = 8;

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

    /// Returns what a server is asked about.
    #[must_use]
    pub fn stale(&self) -> Option<&Arc<Object>> {
        self.order.stale.as_ref()
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
        // What was purged while the server was asked about it is not kept under another name.
        let store = &self.order.store;
        let kept = object.filter(|object| {
            !store.is_purged_for_good(stale) && store.insert_object(object.clone())
        });
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

#[cfg(test)]
mod tests;
