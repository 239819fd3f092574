//! `POST /cache/webhook/NAME`: an event that says what of a cache is no longer valid.
//!
//! Whoever sends events is a system for content or for goods, which knows nothing else of the
//! proxy: it has no token, but a secret of this cache alone, and signs with it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use percent_encoding::percent_decode_str;
use schemars::JsonSchema;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::caches::{PurgeWish, bad_request, carry_out_purge, read_json};
use super::calls::{AdminAnswer, json_answer, problem_answer, problem_with_detail};
use crate::cache::purge::PurgeSource;
use crate::cache::store::CacheStore;
use crate::cache::webhook::{EventClaim, EventResult, SignedEvent, WebhookSecrets};
use crate::clock;
use crate::server::status::Status;

/// The most purges of one event.
const MOST_PURGES: usize = 64;
/// What the paths of these calls begin with.
pub(super) const PATH: &str = "/cache/webhook/";

/// What became of an event.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct WebhookReceipt {
    /// The number of responses that went, or became stale.
    purged: usize,
    /// An event of this id has been carried out before, and was not again.
    repeated: bool,
}

/// Carries out an event.
pub(super) async fn receive_event(
    status: &Status,
    written: &str,
    (headers, body): (&HeaderMap, &[u8]),
) -> AdminAnswer {
    let name = percent_decode_str(written).decode_utf8_lossy();
    let Some((secrets, store)) = find_webhook(status, &name) else {
        let why = format!("there is no cache `{name}` with a `webhook`");
        return problem_with_detail(StatusCode::NOT_FOUND, "no_such_webhook", &why);
    };
    let (result, answer) = take_event(status, (&secrets, &store), headers, body).await;
    store.events.counts.count(result);
    answer
}

/// Counts an event that is too large to be read, or came too slowly.
pub(super) fn count_unread(status: &Status, written: &str) {
    let name = percent_decode_str(written).decode_utf8_lossy();
    if let Some((_, store)) = find_webhook(status, &name) {
        store.events.counts.count(EventResult::Malformed);
    }
}

async fn take_event(
    status: &Status,
    (secrets, store): (&WebhookSecrets, &CacheStore),
    headers: &HeaderMap,
    body: &[u8],
) -> (EventResult, AdminAnswer) {
    let id = only_value(headers, "webhook-id");
    let timestamp = only_value(headers, "webhook-timestamp");
    let signatures = only_value(headers, "webhook-signature");
    let now = clock::unix_seconds();
    let event = SignedEvent { id, timestamp, signatures, body };
    if let Err(why) = secrets.verify_event(&event, now) {
        if let Some(left_out) = store.events.refusal_lines.take(clock::now()) {
            let cache = &*store.name;
            tracing::warn!(cache, %why, left_out, key = "cache.webhook", "event refused");
        }
        let (result, detail) = (EventResult::from(why), why.to_string());
        let answer = problem_with_detail(StatusCode::UNAUTHORIZED, result.word(), &detail);
        return (result, answer);
    }
    if !is_json(headers) {
        let why = "an event is JSON, and its `content-type` application/json";
        let answer = problem_with_detail(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", why);
        return (EventResult::Malformed, answer);
    }
    let wishes = match read_event(body, &store.name) {
        Ok(wishes) => wishes,
        Err(answer) => return (EventResult::Malformed, *answer),
    };
    let busy = |code| (EventResult::Busy, problem_answer(StatusCode::SERVICE_UNAVAILABLE, code));
    let claimed = match store.events.claim_event(id, now) {
        EventClaim::New(claimed) => claimed,
        EventClaim::Done => {
            let receipt = WebhookReceipt { purged: 0, repeated: true };
            return (EventResult::Repeated, json_answer(StatusCode::OK, &receipt));
        }
        EventClaim::UnderWay => return busy("event_under_way"),
        EventClaim::Full => return busy("too_many_events"),
    };
    let mut purged = 0;
    for wish in &wishes {
        match carry_out_purge(status, wish, PurgeSource::Webhook).await {
            Ok(count) => purged += count,
            // It was not carried out everywhere: the same event may come again.
            Err(answer) => return (EventResult::Failed, *answer),
        }
    }
    claimed.finish_event(now);
    let receipt = WebhookReceipt { purged, repeated: false };
    (EventResult::Done, json_answer(StatusCode::OK, &receipt))
}

fn find_webhook(status: &Status, name: &str) -> Option<(Arc<WebhookSecrets>, Arc<CacheStore>)> {
    let snapshot = status.store.load_full();
    let mut named = snapshot.caches().filter(|cache| *cache.store.name == *name);
    named.find_map(|cache| Some((cache.webhook.clone()?, cache.store.clone())))
}

/// The value of a field that is there once; nothing of one that is not.
fn only_value<'h>(headers: &'h HeaderMap, name: &str) -> &'h [u8] {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.as_bytes(),
        _ => b"",
    }
}

/// Returns whether the body says that it is JSON as it stands, or says nothing.
fn is_json(headers: &HeaderMap) -> bool {
    let is = |value: &HeaderValue| {
        let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        let essence = essence.trim_ascii().to_ascii_lowercase();
        essence == b"application/json"
            || essence.starts_with(b"application/") && essence.ends_with(b"+json")
    };
    headers.get_all(header::CONTENT_TYPE).iter().all(is)
        && headers.get_all(header::CONTENT_ENCODING).iter().all(|coding| coding == "identity")
}

/// Reads what is to be purged: a wish, or `purge` with several; either alone, or as `data` beside
/// the `type` and `timestamp` of Standard Webhooks. None of them reaches beyond the cache.
fn read_event(body: &[u8], cache: &str) -> Result<Vec<PurgeWish>, Box<AdminAnswer>> {
    let envelope = read_fields(body)?;
    let (data, inner) = match envelope.get("data") {
        Some(data) => {
            refuse_wishes_beside(&envelope, "data")?;
            (data.get().as_bytes(), read_fields(data.get().as_bytes())?)
        }
        None => (body, envelope),
    };
    let wishes = match inner.get("purge") {
        Some(list) => {
            refuse_wishes_beside(&inner, "purge")?;
            let list: Vec<&RawValue> = serde_json::from_str(list.get())
                .map_err(|error| bad_event(&format!("`purge` is no list: {error}")))?;
            if list.is_empty() || list.len() > MOST_PURGES {
                return Err(bad_event(&format!("`purge` has from 1 to {MOST_PURGES} items")));
            }
            list.into_iter().map(|one| one.get().as_bytes()).collect()
        }
        None => vec![data],
    };
    let mut read_all = Vec::with_capacity(wishes.len());
    for wish in wishes {
        let wish: PurgeWish = read_json(wish, &PurgeWish::NAMES)?;
        read_all.push(wish.limit_to_cache(cache).map_err(|why| bad_event(&why))?);
    }
    Ok(read_all)
}

type RawFields<'b> = BTreeMap<String, &'b RawValue>;

/// The members of a JSON object, as they were written. One that is there twice is an error: nobody
/// can tell which was meant.
struct FieldsOnce<'b>(RawFields<'b>);

impl<'de> Deserialize<'de> for FieldsOnce<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(FieldsVisitor).map(Self)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = RawFields<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<RawFields<'de>, M::Error> {
        let mut fields = RawFields::new();
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            if fields.contains_key(&name) {
                return Err(M::Error::custom(format_args!("`{name}` is there twice")));
            }
            fields.insert(name, value);
        }
        Ok(fields)
    }
}

fn read_fields(body: &[u8]) -> Result<RawFields<'_>, Box<AdminAnswer>> {
    serde_json::from_slice(body).map(|FieldsOnce(fields)| fields).map_err(|error| {
        bad_event(&format!("the event is not the JSON object that is expected: {error}"))
    })
}

/// Refuses a wish beside what holds the wishes, where it would be passed over.
fn refuse_wishes_beside(fields: &RawFields<'_>, holder: &str) -> Result<(), Box<AdminAnswer>> {
    let is_wish =
        |name: &str| ["data", "purge"].contains(&name) || PurgeWish::NAMES.contains(&name);
    match fields.keys().find(|name| *name != holder && is_wish(name)) {
        Some(name) => Err(bad_event(&format!("`{name}` stands beside `{holder}`"))),
        None => Ok(()),
    }
}

fn bad_event(why: &str) -> Box<AdminAnswer> {
    Box::new(bad_request("bad_event", why))
}
