//! A stored response, or one for its client alone, as the client gets it.

use std::sync::Arc;

use super::{On, Serving};
use crate::cache::answer::{self, Share, StoredBody};
use crate::cache::fill::OwnResponse;
use crate::cache::object::Object;
use crate::clock;
use crate::exchange::outcome::Outcome;
use crate::exchange::{Client, Emit, Length, Outgoing};
use crate::net::Timer;
use crate::policy::compress::Wanted;
use crate::policy::encoded::Encoding;
use crate::proxy::{End, Matched};
use crate::upstream::copy;
use crate::upstream::request::Instead;
use crate::wire::ResponseHead;

impl<'a> Matched<'a, '_> {
    /// Sends a stored response, or one on its way into the store.
    pub(super) async fn serve<C: Client>(
        &self,
        on: On<'_, 'a, '_>,
        object: Arc<Object>,
        serving: Serving<'_, '_>,
        client: &mut C,
        timer: &mut Timer,
    ) -> End {
        on.note(serving.result);
        object.count_use();
        if self.intercepts()
            && let Some(instead) = self.instead(&object.head)
        {
            return self.serve_instead(&instead, serving, client, timer).await;
        }
        let request = &self.ex.head.fields;
        let head_request = self.ex.head.method() == b"HEAD";
        let share = answer::share(&object, request);
        let now = clock::unix_millis();
        let timing = object.timing();
        let (status, length) = match share {
            Share::Whole if head_request => {
                (object.head.status, Length::Bodiless(object.told_length()))
            }
            Share::Whole if matches!(object.head.status, 204 | 304) => {
                (object.head.status, Length::Bodiless(None))
            }
            Share::Whole => {
                (object.head.status, object.told_length().map_or(Length::Unknown, Length::Known))
            }
            Share::NotModified => (304, Length::Bodiless(None)),
            Share::Range(first, last, _) if head_request => {
                (206, Length::Bodiless(Some(last - first + 1)))
            }
            Share::Range(first, last, _) => (206, Length::Known(last - first + 1)),
            Share::Unsatisfiable(_) => (416, Length::Known(0)),
        };
        let plan = self
            .compress()
            .filter(|_| share == Share::Whole)
            .and_then(|wanted| wanted.plan(&object.head, length));
        let content_range = match share {
            Share::Range(first, last, total) => Some(format!("bytes {first}-{last}/{total}")),
            Share::Unsatisfiable(total) => Some(format!("bytes */{total}")),
            Share::Whole | Share::NotModified => None,
        };
        let told_status = serving.status.write(Some(&timing), now);
        let fields = |out: &mut dyn Emit| {
            self.stored_fields((&object.head, Some(&object)), &serving, &told_status, out);
            if let Some(range) = &content_range {
                out.field(b"content-range", range.as_bytes());
            }
            let age = timing.age(now) / 1000;
            if serving.unasked || age > 0 {
                out.field(b"age", itoa::Buffer::new().format(age).as_bytes());
            }
        };
        let reason = if share == Share::Whole { object.head.reason() } else { b"" };
        client.begin(&Outgoing {
            status,
            reason,
            fields: &|out| match &plan {
                Some(plan) => plan.fields(out, fields),
                None => fields(out),
            },
            length: plan.map_or(length, |plan| plan.length(length)),
        });
        let no_body = head_request || matches!(length, Length::Bodiless(_) | Length::Known(0));
        let body = match share {
            _ if no_body => None,
            Share::Range(first, last, _) => {
                Some(StoredBody::range(object.body.read(), first, last))
            }
            Share::Whole => Some(StoredBody::whole(object.body.read())),
            Share::NotModified | Share::Unsatisfiable(_) => None,
        };
        let encoding =
            plan.filter(|_| body.is_some()).and_then(|plan| plan.begin()).map(Encoding::new);
        // What is not stored in the end must be freed as it is read.
        drop(object);
        self.send_body(status, (body, encoding), client, timer).await
    }

    /// Sends a response that is not stored.
    pub(super) async fn serve_own<C: Client>(
        &self,
        on: On<'_, 'a, '_>,
        own: OwnResponse,
        serving: Serving<'_, '_>,
        client: &mut C,
        timer: &mut Timer,
    ) -> End {
        on.note(serving.result);
        let OwnResponse { head, length, reader } = own;
        if self.intercepts()
            && let Some(instead) = self.instead(&head)
        {
            return self.serve_instead(&instead, serving, client, timer).await;
        }
        let plan = self.compress().and_then(|wanted| wanted.plan(&head, length));
        let told_status = serving.status.write(None, clock::unix_millis());
        let fields =
            |out: &mut dyn Emit| self.stored_fields((&head, None), &serving, &told_status, out);
        client.begin(&Outgoing {
            status: head.status,
            reason: head.reason(),
            fields: &|out| match &plan {
                Some(plan) => plan.fields(out, fields),
                None => fields(out),
            },
            length: plan.map_or(length, |plan| plan.length(length)),
        });
        let body = (!matches!(length, Length::Bodiless(_))).then(|| StoredBody::whole(reader));
        let encoding =
            plan.filter(|_| body.is_some()).and_then(|plan| plan.begin()).map(Encoding::new);
        self.send_body(head.status, (body, encoding), client, timer).await
    }

    /// Sends what stands in for a response.
    async fn serve_instead<C: Client>(
        &self,
        instead: &Instead,
        serving: Serving<'_, '_>,
        client: &mut C,
        timer: &mut Timer,
    ) -> End {
        let told_status = serving.status.write(None, clock::unix_millis());
        let fields = |out: &mut dyn Emit| {
            self.stored_fields((&instead.head, None), &serving, &told_status, out);
        };
        self.send_instead(instead, &fields, client, timer).await
    }

    /// What the client accepts, where this route compresses.
    fn compress(&self) -> Option<Wanted<'a>> {
        let policies = self.route.policies.as_ref()?;
        policies.compress.as_ref().map(|compress| compress.wanted(&self.ex.head.fields))
    }

    /// The fields of a response out of the cache, as the client must see them.
    fn stored_fields(
        &self,
        (head, object): (&ResponseHead, Option<&Arc<Object>>),
        serving: &Serving<'_, '_>,
        status: &str,
        out: &mut dyn Emit,
    ) {
        let edits = &self.route.response_edits;
        let turned = self.turned_back(head);
        let head = turned.as_ref().unwrap_or(head);
        for field in head.fields.iter() {
            let sent = match object {
                Some(object) if serving.unasked => object.sends(field.name),
                Some(_) => !field.name.eq_ignore_ascii_case(b"age"),
                None => true,
            };
            if sent && !edits.hides(field.name) && !field.name.eq_ignore_ascii_case(b"cache-status")
            {
                out.field(field.name, field.value);
            }
        }
        out.field(b"cache-status", status.as_bytes());
        edits.written().for_each(|(name, value)| out.field(name, value));
        serving.granted.all().for_each(|(name, value)| out.field(name, value));
    }

    async fn send_body<C: Client>(
        &self,
        status: u16,
        (body, encoding): (Option<StoredBody>, Option<Encoding<'_>>),
        client: &mut C,
        timer: &mut Timer,
    ) -> End {
        let mut body = body.unwrap_or_else(StoredBody::empty);
        let mut encoding = encoding;
        let write_gap = self.ex.listener.write_gap;
        let outcome = match &mut encoding {
            Some(encoding) => {
                copy::stored(&mut encoding.of(&mut body), client, timer, write_gap).await
            }
            None => copy::stored(&mut body, client, timer, write_gap).await,
        };
        if outcome != Outcome::Whole {
            client.cut();
        }
        End::of(outcome, status)
    }
}
