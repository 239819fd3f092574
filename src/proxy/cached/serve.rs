//! A stored response, or one for its client alone, as the client gets it.

use std::sync::Arc;

use super::{CacheScope, Serving};
use crate::cache::answer::{self, ServedShare, StoredBody};
use crate::cache::fill::OwnResponse;
use crate::cache::object::Object;
use crate::cache::route::CacheResult;
use crate::clock;
use crate::exchange::outcome::Outcome;
use crate::exchange::stage::{BodyStage as _, ResponseStage as _, SentShare, Substitute};
use crate::exchange::{Client, Emit, Length, Outgoing};
use crate::net::Timer;
use crate::policy::stages::ResponseStages;
use crate::proxy::stages::WalkStage;
use crate::proxy::{MatchedRoute, WalkEnd};
use crate::upstream::copy;
use crate::wire::ResponseHead;

impl<'a> MatchedRoute<'a, '_> {
    /// Sends a stored response, or one on its way into the store.
    pub(super) async fn serve_object<C: Client>(
        &self,
        on: CacheScope<'_, 'a, '_>,
        object: Arc<Object>,
        serving: Serving<'_, '_>,
        client: &mut C,
        timer: &mut Timer,
    ) -> WalkEnd {
        on.note_result(serving.result);
        if matches!(serving.result, CacheResult::Miss | CacheResult::Expired) {
            object.count_first_use();
        } else {
            object.count_use();
        }
        if self.intercepts()
            && let Some(instead) = self.instead_of_object(&object, serving.is_own)
        {
            return self.serve_instead(&instead, serving, client, timer).await;
        }
        let request = &self.ex.head.fields;
        let head_request = self.ex.head.method() == b"HEAD";
        let share = answer::choose_share(&object, request);
        let now = clock::unix_millis();
        let timing = object.timing();
        let (status, length) = match share {
            ServedShare::Whole if head_request => {
                (object.head.status, Length::Bodiless(object.told_length()))
            }
            ServedShare::Whole if matches!(object.head.status, 204 | 304) => {
                (object.head.status, Length::Bodiless(None))
            }
            ServedShare::Whole => {
                (object.head.status, object.told_length().map_or(Length::Unknown, Length::Known))
            }
            ServedShare::NotModified => (304, Length::Bodiless(None)),
            ServedShare::Range(first, last, _) if head_request => {
                (206, Length::Bodiless(Some(last - first + 1)))
            }
            ServedShare::Range(first, last, _) => (206, Length::Known(last - first + 1)),
            ServedShare::Unsatisfiable(_) => (416, Length::Known(0)),
        };
        let stage = self.walk_stage(&serving);
        let mut stages = stage.response_stages();
        let announced = announce(&mut stages, &object, share, length);
        let content_range = match share {
            ServedShare::Range(first, last, total) => Some(format!("bytes {first}-{last}/{total}")),
            ServedShare::Unsatisfiable(total) => Some(format!("bytes */{total}")),
            ServedShare::Whole | ServedShare::NotModified => None,
        };
        let told_status = serving.status.write_value(Some(&timing), now);
        let edited = stages.edit_head(&object.head);
        let head = edited.as_ref().unwrap_or(&object.head);
        client.begin_response(&Outgoing {
            status,
            reason: if share == ServedShare::Whole { object.head.reason() } else { b"" },
            fields: &|out| {
                stages.write_fields(out, &|out| {
                    stored_fields(head, Some(&object), serving.is_own, out);
                });
                out.emit_field(b"cache-status", told_status.as_bytes());
                if let Some(range) = &content_range {
                    out.emit_field(b"content-range", range.as_bytes());
                }
                let age = timing.age(now) / 1000;
                if serving.unasked || age > 0 {
                    out.emit_field(b"age", itoa::Buffer::new().format(age).as_bytes());
                }
            },
            length: announced,
        });
        let no_body = head_request || matches!(length, Length::Bodiless(_) | Length::Known(0));
        let body = match share {
            _ if no_body => None,
            ServedShare::Range(first, last, _) => {
                Some(StoredBody::range(object.body.new_reader(), first, last))
            }
            ServedShare::Whole => {
                let withheld = object.withheld().filter(|_| !serving.is_own);
                Some(StoredBody::whole(object.body.new_reader()).withholding(withheld))
            }
            ServedShare::NotModified | ServedShare::Unsatisfiable(_) => None,
        };
        // What is not stored in the end must be freed as it is read.
        drop(object);
        self.send_body(status, body, stages, (client, timer)).await
    }

    /// Returns what stands in for a stored response, if something does.
    fn instead_of_object(&self, object: &Object, is_own: bool) -> Option<Substitute> {
        let instead = self.substitute_for(&object.head)?;
        match object.shared_head().filter(|_| !is_own) {
            Some(shared) => self.substitute_for(&shared),
            None => Some(instead),
        }
    }

    /// Sends a response that is not stored.
    pub(super) async fn serve_own<C: Client>(
        &self,
        on: CacheScope<'_, 'a, '_>,
        own: OwnResponse,
        serving: Serving<'_, '_>,
        client: &mut C,
        timer: &mut Timer,
    ) -> WalkEnd {
        on.note_result(serving.result);
        let OwnResponse { head, length, reader } = own;
        if self.intercepts()
            && let Some(instead) = self.substitute_for(&head)
        {
            return self.serve_instead(&instead, serving, client, timer).await;
        }
        let stage = self.walk_stage(&serving);
        let mut stages = stage.response_stages();
        let announced = stages.announce_length(&head, length);
        let told_status = serving.status.write_value(None, clock::unix_millis());
        let edited = stages.edit_head(&head);
        let edited = edited.as_ref().unwrap_or(&head);
        client.begin_response(&Outgoing {
            status: head.status,
            reason: head.reason(),
            fields: &|out| {
                stages.write_fields(out, &|out| stored_fields(edited, None, false, out));
                out.emit_field(b"cache-status", told_status.as_bytes());
            },
            length: announced,
        });
        let body = (!matches!(length, Length::Bodiless(_))).then(|| StoredBody::whole(reader));
        self.send_body(head.status, body, stages, (client, timer)).await
    }

    /// Sends what stands in for a response.
    async fn serve_instead<C: Client>(
        &self,
        instead: &Substitute,
        serving: Serving<'_, '_>,
        client: &mut C,
        timer: &mut Timer,
    ) -> WalkEnd {
        let told_status = serving.status.write_value(None, clock::unix_millis());
        let stage = self.walk_stage(&serving);
        let stages = stage.response_stages();
        let fields = |out: &mut dyn Emit| {
            stages.write_fields(out, &|out| stored_fields(&instead.head, None, false, out));
            out.emit_field(b"cache-status", told_status.as_bytes());
        };
        self.send_instead(instead, &fields, client, timer).await
    }

    /// The walk's own stage for a response out of the cache.
    fn walk_stage<'s, 'p>(&'s self, serving: &Serving<'s, 'p>) -> WalkStage<'s, 'p> {
        WalkStage { matched: self, effects: serving.effects, asked: None, invalidates: None }
    }

    async fn send_body<C: Client>(
        &self,
        status: u16,
        body: Option<StoredBody>,
        mut stages: ResponseStages<'_>,
        (client, timer): (&mut C, &mut Timer),
    ) -> WalkEnd {
        let mut body = body.unwrap_or_else(StoredBody::empty);
        let write_gap = self.ex.listener.write_gap;
        let (trailer, to) = (stages.trailer_filter(), (&mut *client, timer));
        let outcome = match stages.wrap_body(&mut body) {
            Some(mut wrapped) => copy::copy_stored(&mut wrapped, &trailer, to, write_gap).await,
            None => copy::copy_stored(&mut body, &trailer, to, write_gap).await,
        };
        if outcome != Outcome::Whole {
            client.cut_response();
        }
        WalkEnd::from_outcome(outcome, status)
    }
}

/// Decides what is done to a share of a stored response that is `length` bytes long. Returns the
/// length to announce.
fn announce(
    stages: &mut ResponseStages<'_>,
    object: &Object,
    share: ServedShare,
    length: Length,
) -> Length {
    let sent = match share {
        ServedShare::Whole => return stages.announce_length(&object.head, length),
        ServedShare::NotModified => SentShare::Unmodified,
        ServedShare::Range(..) => SentShare::Part,
        // Nothing of it is sent, and no stage is told of it.
        ServedShare::Unsatisfiable(_) => return length,
    };
    let whole = object.told_length().map_or(Length::Unknown, Length::Known);
    stages.announce_share(&object.head, whole, sent);
    length
}

/// Writes the fields of a response out of the cache as they were stored, but for those that are
/// said anew.
fn stored_fields(
    head: &ResponseHead,
    object: Option<&Arc<Object>>,
    is_own: bool,
    out: &mut dyn Emit,
) {
    for field in head.fields.iter() {
        let sent = match object {
            Some(object) if !is_own => object.sends_field(field.name),
            Some(_) => !field.name.eq_ignore_ascii_case(b"age"),
            None => true,
        };
        if sent && !field.name.eq_ignore_ascii_case(b"cache-status") {
            out.emit_field(field.name, field.value);
        }
    }
}
