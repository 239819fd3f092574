//! Calls that concern caches: what is purged, and what is used most.

mod used;
mod wish;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

pub(super) use self::used::{Used, top_entries};
use self::wish::parse_wish;
pub(super) use self::wish::{PurgeWish, split_url};
use crate::admin::calls::{AdminAnswer, json_answer, problem_answer, problem_with_detail};
use crate::cache::history::Invalid;
use crate::cache::purge::{Purge, PurgeSource};
use crate::cache::route::{CacheCounts, CacheResult, KeyParts, RouteCache};
use crate::cache::store::CacheStore;
use crate::cache::tier::{StoreTier, TierResult};
use crate::cache::webhook::EventResult;
use crate::clock;
use crate::config::suggest::did_you_mean;
use crate::server::status::Status;
use crate::snapshot::Snapshot;

/// The longest wait for the count of a purge. To free a million responses takes ten seconds where a
/// CPU is idle, and many times as long where none is; what is purged is not served from its start.
const PURGE: Duration = Duration::from_secs(45);
const _: () = assert!(PURGE.as_secs() + 5 < super::LIFETIME.as_secs(), "it is answered in time");
/// The number of responses that are named unless the caller says so, and at most.
const TOP: usize = 20;
const MOST_TOP: usize = 1000;

/// The result of a purge.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Purged {
    /// The number of responses that went, or became stale.
    purged: usize,
}

/// One cache.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct CacheStats {
    name: String,
    /// Requests by what became of them.
    requests: CacheRequests,
    /// Bytes that responses take, those on their way in included.
    bytes: u64,
    /// Bytes of bodies that have left while clients are being sent them: beside `bytes`, up to a
    /// quarter of `memory_limit` beyond it. Nothing is stored while both are full.
    held_bytes: u64,
    memory_limit: u64,
    /// Responses stored.
    entries: usize,
    entry_limit: usize,
    /// Removed to make room.
    evicted: u64,
    /// Removed by purges.
    purged: u64,
    /// Not stored for want of room.
    no_room: u64,
    /// Purges by who ordered them.
    purges: CachePurges,
    /// Purges that are being carried out, or were up to two seconds ago; at most 4096.
    purging: usize,
    /// Events of its webhook by what became of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<CacheEvents>,
    /// The tier behind memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<TierStats>,
}

/// What became of reading from and writing to the tier behind memory.
#[derive(Debug, Serialize, JsonSchema)]
struct TierStats {
    /// All purges up to a moment ago are known, so that what is there may be used.
    linked: bool,
    /// Purges that are remembered, those of other instances included; at most 10 000.
    purges: usize,
    /// Answered from it.
    hit: u64,
    /// Not there.
    miss: u64,
    /// There, and a server was asked about it.
    stale: u64,
    /// There, and purged since.
    purged: u64,
    /// Not written by this version.
    foreign: u64,
    /// No answer in time.
    unanswered: u64,
    /// Written.
    stored: u64,
    /// Not written: too large, too many at a time, or no answer.
    skipped: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
struct CacheRequests {
    /// Answered with a fresh stored response.
    hit: u64,
    /// Fetched, because nothing was stored.
    miss: u64,
    /// Answered with a stale response.
    stale: u64,
    /// Answered with a stored response that a server confirmed.
    revalidated: u64,
    /// Fetched anew, because a server did not confirm what was stored.
    expired: u64,
    /// Answered with what another request fetched meanwhile.
    coalesced: u64,
    /// Passed on without the cache.
    bypass: u64,
}

/// Purges by who ordered them, however many responses went.
#[derive(Debug, Serialize, JsonSchema)]
struct CachePurges {
    /// Calls of the admin endpoint.
    admin: u64,
    /// Events of the webhook.
    webhook: u64,
    /// Successful requests of unsafe methods: their URL, `Location` and `Content-Location`.
    method: u64,
    /// Names in the field of `invalidate_header`.
    header: u64,
    /// Other instances, by way of Redis.
    instance: u64,
    /// Purges of everything, because names in the field of `invalidate_header` came faster than
    /// they could be told apart: more than 4096 under way, or waiting.
    overrun: u64,
}

impl CachePurges {
    fn of(store: &CacheStore) -> Self {
        let count = |source| store.counts.purges.get(source);
        Self {
            admin: count(PurgeSource::Admin),
            webhook: count(PurgeSource::Webhook),
            method: count(PurgeSource::Method),
            header: count(PurgeSource::Header),
            instance: count(PurgeSource::Instance),
            overrun: count(PurgeSource::Overrun),
        }
    }
}

/// Events of a webhook by what became of them.
#[derive(Debug, Serialize, JsonSchema)]
struct CacheEvents {
    /// Carried out.
    done: u64,
    /// Carried out before.
    repeated: u64,
    /// A field of the signature was missing, more than once there, or malformed.
    unsigned: u64,
    /// Sent more than five minutes ago, or in the future.
    untimely: u64,
    /// No signature was that of a secret.
    bad_signature: u64,
    /// Too large, no JSON, or nothing that can be purged.
    malformed: u64,
    /// The same one was being carried out, or there were too many.
    busy: u64,
    /// Not carried out everywhere.
    failed: u64,
}

impl CacheEvents {
    fn of(store: &CacheStore) -> Self {
        let count = |result| store.events.counts.get(result);
        Self {
            done: count(EventResult::Done),
            repeated: count(EventResult::Repeated),
            unsigned: count(EventResult::Unsigned),
            untimely: count(EventResult::Untimely),
            bad_signature: count(EventResult::BadSignature),
            malformed: count(EventResult::Malformed),
            busy: count(EventResult::Busy),
            failed: count(EventResult::Failed),
        }
    }
}

/// Reads the counters of one cache.
pub(super) fn cache_stats(cache: &RouteCache) -> CacheStats {
    use std::sync::atomic::Ordering::Relaxed;
    let (store, counts): (&CacheStore, &CacheCounts) = (&cache.store, &cache.counts);
    CacheStats {
        name: store.name.to_string(),
        requests: CacheRequests {
            hit: counts.times_of(CacheResult::Hit),
            miss: counts.times_of(CacheResult::Miss),
            stale: counts.times_of(CacheResult::Stale),
            revalidated: counts.times_of(CacheResult::Revalidated),
            expired: counts.times_of(CacheResult::Expired),
            coalesced: counts.times_of(CacheResult::Coalesced),
            bypass: counts.times_of(CacheResult::Bypass),
        },
        bytes: store.used(),
        held_bytes: store.held(),
        memory_limit: store.memory(),
        entries: store.entries(),
        entry_limit: store.most_entries(),
        evicted: store.counts.evicted.load(Relaxed),
        purged: store.counts.purged.load(Relaxed),
        no_room: store.counts.no_room.load(Relaxed),
        purges: CachePurges::of(store),
        purging: store.purges_under_way(),
        events: cache.webhook.is_some().then(|| CacheEvents::of(store)),
        tier: cache.tier.as_ref().map(|tier| {
            let count = |result| store.counts.tier.times_of(result);
            TierStats {
                linked: tier.tier.is_linked(),
                purges: tier.tier.known_purges(),
                hit: count(TierResult::Hit),
                miss: count(TierResult::Miss),
                stale: count(TierResult::Stale),
                purged: count(TierResult::Purged),
                foreign: count(TierResult::Foreign),
                unanswered: count(TierResult::Unanswered),
                stored: count(TierResult::Stored),
                skipped: count(TierResult::Skipped),
            }
        }),
    }
}

/// Reads the JSON object that a call takes.
///
/// # Errors
/// The answer: what is wrong with it, and the nearest name where one is close.
pub(super) fn read_json<T: DeserializeOwned>(
    body: &[u8],
    names: &[&str],
) -> Result<T, Box<AdminAnswer>> {
    read_object(body, names).map_err(|why| Box::new(bad_request("bad_request", &why)))
}

fn read_object<T: DeserializeOwned>(body: &[u8], names: &[&str]) -> Result<T, String> {
    let fields: std::collections::BTreeMap<String, &RawValue> = serde_json::from_slice(body)
        .map_err(|error| format!("the body is not the JSON object that is expected: {error}"))?;
    let strange = fields.keys().find(|name| !names.contains(&name.as_str()));
    if let Some(name) = strange {
        let advice = did_you_mean(name, names.iter().copied());
        let advice = advice.unwrap_or_else(|| format!("there are {}", names.join(", ")));
        return Err(format!("`{name}` is no field of this call: {advice}"));
    }
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

pub(super) fn bad_request(code: &str, why: &str) -> AdminAnswer {
    problem_with_detail(StatusCode::BAD_REQUEST, code, why)
}

/// `POST /cache/purge`.
pub(super) async fn purge_caches(status: &Status, body: &[u8]) -> AdminAnswer {
    let wish: PurgeWish = match read_json(body, &PurgeWish::NAMES) {
        Ok(wish) => wish,
        Err(answer) => return *answer,
    };
    match carry_out_purge(status, &wish, PurgeSource::Admin).await {
        Ok(purged) => json_answer(StatusCode::OK, &Purged { purged }),
        Err(answer) => *answer,
    }
}

/// Purges, and returns how many responses went or became stale.
///
/// # Errors
/// The answer that says what of it was not done.
pub(super) async fn carry_out_purge(
    status: &Status,
    wish: &PurgeWish,
    source: PurgeSource,
) -> Result<usize, Box<AdminAnswer>> {
    let snapshot = status.store.load_full();
    let purge = parse_wish(wish).map_err(|why| Box::new(bad_request("bad_purge", &why)))?;
    let stores = named_stores(&snapshot, wish.cache.as_deref())
        .map_err(|why| Box::new(bad_request("no_such_cache", &why)))?;
    let refuse = |status, code| Err(Box::new(problem_answer(status, code)));
    let mut waiting = Vec::new();
    let mut behind = Vec::new();
    for (store, parts, tier) in stores {
        behind.extend(tier.map(|tier| (tier, limit_purge(purge.clone(), parts))));
        // A queue that is full empties in milliseconds; a purge that was only half ordered must be
        // told.
        let Some(ordered) = store.order_purge(limit_purge(purge.clone(), parts), source) else {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "busy");
        };
        waiting.push(ordered.purged);
    }
    let all = async {
        let mut purged = 0;
        for reply in waiting {
            purged += reply.await.ok()?;
        }
        Some(purged)
    };
    let announcing = async {
        let mut all = true;
        for (tier, purge) in behind {
            all &= tier.announce_now(Invalid::Matching(purge)).await;
        }
        all
    };
    let (purged, announced) = tokio::join!(tokio::time::timeout(PURGE, all), announcing);
    match purged {
        Ok(Some(purged)) => {
            // What is asked for in the millisecond of a purge counts as asked for before it; who is
            // told that it is done may ask at once, and have that stored.
            let done = clock::unix_millis();
            while clock::unix_millis() == done {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            tracing::info!(purged, soft = purge.soft, ?wish, "cache purged");
            if announced {
                return Ok(purged);
            }
            let detail = format!(
                "{purged} purged here; Redis does not answer, so other instances are told later"
            );
            let status = StatusCode::SERVICE_UNAVAILABLE;
            Err(Box::new(problem_with_detail(status, "not_everywhere", &detail)))
        }
        Ok(None) => refuse(StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        Err(_) => refuse(StatusCode::GATEWAY_TIMEOUT, "still_purging"),
    }
}

/// A cache's memory, what its keys are made of, and its tier behind memory.
type Purgeable = (Arc<CacheStore>, KeyParts, Option<Arc<StoreTier>>);

fn named_stores(snapshot: &Snapshot, named: Option<&str>) -> Result<Vec<Purgeable>, String> {
    let all =
        || snapshot.caches().map(|cache| (cache.store.clone(), cache.key, cache.tier.clone()));
    let Some(name) = named else { return Ok(all().collect()) };
    let found: Vec<_> = all().filter(|(store, ..)| *store.name == *name).collect();
    if found.is_empty() {
        let advice = did_you_mean(name, snapshot.caches().map(|cache| &*cache.store.name));
        let advice = advice.map(|advice| format!(": {advice}")).unwrap_or_default();
        return Err(format!("there is no cache `{name}`{advice}"));
    }
    Ok(found)
}

/// A purge among keys that leave out what these leave out: a response that all hosts share is that
/// of the host that was named, too.
fn limit_purge(mut purge: Purge, parts: KeyParts) -> Purge {
    purge.host = purge.host.filter(|_| parts.host);
    purge.path = purge.path.filter(|_| parts.path);
    purge.query = purge.query.filter(|_| parts.query);
    purge
}
