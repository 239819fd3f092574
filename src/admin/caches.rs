//! Calls that concern caches: what is purged, and what is used most.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::calls::{AdminAnswer, json_answer, problem_answer, problem_with_detail};
use crate::cache::history::Invalid;
use crate::cache::purge::{Purge, PurgeSource};
use crate::cache::route::{CacheCounts, CacheResult, KeyParts, RouteCache};
use crate::cache::store::CacheStore;
use crate::cache::tier::{StoreTier, TierResult};
use crate::cache::webhook::EventResult;
use crate::clock;
use crate::config::suggest::did_you_mean;
use crate::exchange::target::{self, PathMode, RequestTarget};
use crate::route::authority;
use crate::route::condition::parameters;
use crate::server::status::Status;
use crate::snapshot::Snapshot;
use crate::wire::pairs::mask_target;
use crate::wire::{RequestHead, Version};

/// The longest time for a purge; one of a million responses takes a second or two.
const PURGE: Duration = Duration::from_secs(30);
/// The number of responses that are named unless the caller says so, and at most.
const TOP: usize = 20;
const MOST_TOP: usize = 1000;

/// A wish to purge. All that is given must match; a `url` stands for its host, path and query.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PurgeWish {
    /// Of this cache alone.
    cache: Option<String>,
    /// Of this host.
    host: Option<String>,
    /// Of this path, whatever the query; with `*` at its end, of all paths that begin so.
    path: Option<String>,
    /// Of this URL and this query alone: `http://host/path?query`, whatever the scheme was.
    url: Option<String>,
    /// With this tag, as `Cache-Tag`, `Surrogate-Key` or `xkey` of the response named it.
    tag: Option<String>,
    /// Everything, or all of `cache`.
    all: Option<bool>,
    /// If true, they stay as stale ones: used once a server has confirmed them, or while none answers.
    soft: Option<bool>,
}

impl PurgeWish {
    pub(super) const NAMES: [&'static str; 7] =
        ["cache", "host", "path", "url", "tag", "all", "soft"];

    /// Limits a purge that names something to one cache.
    ///
    /// # Errors
    /// What is wrong with it, another cache among that.
    pub(super) fn limit_to_cache(mut self, name: &str) -> Result<Self, String> {
        parse_wish(&self)?;
        if let Some(other) = self.cache.as_ref().filter(|other| *other != name) {
            return Err(format!("the cache `{other}` is not `{name}`"));
        }
        self.cache = Some(name.to_owned());
        Ok(self)
    }
}

/// The result of a purge.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Purged {
    /// The number of responses that went, or became stale.
    purged: usize,
}

/// The responses that were used most.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Used {
    /// The cache.
    cache: String,
    /// The URL.
    url: String,
    /// The number of uses since it was stored.
    hits: u64,
    /// The length of its body.
    bytes: u64,
    /// For how many seconds it is fresh; negative once it is stale.
    ttl: i64,
}

/// One cache.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct CacheStats {
    name: String,
    /// Requests by what became of them.
    requests: CacheRequests,
    /// Bytes held, those of responses on their way in and out included.
    bytes: u64,
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
        memory_limit: store.memory(),
        entries: store.entries(),
        entry_limit: store.most_entries(),
        evicted: store.counts.evicted.load(Relaxed),
        purged: store.counts.purged.load(Relaxed),
        no_room: store.counts.no_room.load(Relaxed),
        purges: CachePurges::of(store),
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
        // A queue that is full empties in milliseconds; a purge that was only half ordered must be told.
        let Some(reply) = store.order_purge(limit_purge(purge.clone(), parts), source) else {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "busy");
        };
        waiting.push(reply);
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
            // What is asked for in the millisecond of a purge counts as asked for before it; who is told
            // that it is done may ask at once, and have that stored.
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

/// A purge among keys that leave out what these leave out: a response that all hosts share is that of the
/// host that was named, too.
fn limit_purge(mut purge: Purge, parts: KeyParts) -> Purge {
    purge.host = purge.host.filter(|_| parts.host);
    purge.path = purge.path.filter(|_| parts.path);
    purge.query = purge.query.filter(|_| parts.query);
    purge
}

/// Turns a wish into keys.
fn parse_wish(wish: &PurgeWish) -> Result<Purge, String> {
    let PurgeWish { cache, host, path, url, tag, all, soft } = wish;
    let narrowed = [("host", host), ("path", path), ("url", url), ("tag", tag)].into_iter();
    let given: Vec<_> =
        narrowed.filter(|(_, value)| value.is_some()).map(|(name, _)| name).collect();
    let everything = *all == Some(true);
    match given.first() {
        Some(name) if everything => {
            return Err(format!("`all` beside `{name}`: which one is meant?"));
        }
        None if !everything && cache.is_none() => {
            return Err("nothing is named: `host`, `path`, `url`, `tag`, `cache` or `all`".into());
        }
        _ => {}
    }
    if url.is_some() && (host.is_some() || path.is_some()) {
        return Err("`url` stands for `host` and `path`; give one or the other".into());
    }
    let mut purge = Purge { soft: *soft == Some(true), ..Purge::default() };
    if let Some(tag) = tag {
        if tag.is_empty() || tag.bytes().any(|b| matches!(b, b',' | b' ' | b'\t')) {
            return Err(format!("`{tag}` is no tag: tags have neither blanks nor commas"));
        }
        purge.tag = Some(tag.as_bytes().into());
    }
    if let Some(host) = host {
        let canonical = authority::canonical_host(host.as_bytes()).filter(|host| !host.is_empty());
        let canonical = canonical.ok_or_else(|| format!("`{host}` is no host"))?;
        purge.host = Some(canonical.as_bytes().into());
    }
    if let Some(path) = path {
        purge.path = Some(match path.strip_suffix('*') {
            // Half a segment has no normal form.
            Some(prefix) if prefix.is_empty() || prefix.starts_with('/') => path.as_bytes().into(),
            Some(_) => return Err(format!("`{path}` does not begin with `/`")),
            None if path.contains('?') => {
                return Err(format!("`{path}` has a query: `url` names one"));
            }
            None => {
                normal_target("purge.invalid", path).map_err(|_| format!("`{path}` is no path"))?.1
            }
        });
    }
    if let Some(url) = url {
        let (_, host, target) =
            split_url(url).ok_or_else(|| format!("`{url}` is no URL of a host"))?;
        let (host, path, query) = normal_target(&host, &target)
            .map_err(|_| format!("`{url}` is no URL that is served"))?;
        purge.host = Some(host);
        purge.path = Some(path);
        purge.query = Some(query);
    }
    Ok(purge)
}

type Normal = (Box<[u8]>, Box<[u8]>, Option<Box<[u8]>>);

/// Host, path and query as they are in keys.
fn normal_target(host: &str, target: &str) -> Result<Normal, target::TargetFault> {
    let mut head = RequestHead::default();
    head.set(b"GET", target.as_bytes(), Version::Http11);
    head.fields.push(b"host", host.as_bytes());
    let target = RequestTarget::from_head(&head, PathMode::Normalize, target::Keep::Normal)?;
    Ok((target.host().as_bytes().into(), target.path().into(), target.query().map(Into::into)))
}

/// Scheme, authority and target of a URL; `None` when it is none with a host.
pub(super) fn split_url(url: &str) -> Option<(&'static str, String, String)> {
    let uri: http::Uri = url.parse().ok()?;
    let scheme = match uri.scheme_str()? {
        "http" => "http",
        "https" => "https",
        _ => return None,
    };
    let authority = uri.authority().filter(|authority| !authority.host().is_empty())?;
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    Some((scheme, authority.as_str().to_owned(), target))
}

/// `GET /cache/top?n=`.
pub(super) async fn top_entries(status: &Status, query: Option<&str>) -> AdminAnswer {
    let mut n = TOP;
    for (name, value) in parameters(query.unwrap_or_default().as_bytes()) {
        let number = std::str::from_utf8(value).ok().and_then(|value| value.parse::<usize>().ok());
        match (name, number) {
            (b"n", Some(number)) if (1..=MOST_TOP).contains(&number) => n = number,
            (b"n", _) => return bad_request("bad_question", "`n` is a number from 1 to 1000"),
            _ => return bad_request("bad_question", "there is `n` and nothing else"),
        }
    }
    let snapshot = status.store.load_full();
    // Looks at all that is stored, and must not hold up other calls meanwhile.
    let named = tokio::task::spawn_blocking(move || most_used(&snapshot, n));
    match named.await {
        Ok(named) => json_answer(StatusCode::OK, &named),
        Err(_) => problem_answer(StatusCode::INTERNAL_SERVER_ERROR, "internal_error"),
    }
}

fn most_used(snapshot: &Snapshot, n: usize) -> Vec<Used> {
    let now = clock::unix_millis();
    let mut all: Vec<Used> = Vec::new();
    for cache in snapshot.caches() {
        all.extend(cache.store.most_used(n).iter().map(|object| {
            Used {
                cache: cache.store.name.to_string(),
                url: String::from_utf8_lossy(&mask_target(
                    object.key.url().as_bytes(),
                    &snapshot.masked_query,
                ))
                .into_owned(),
                hits: object.hits(),
                bytes: object.body.written(),
                ttl: object.timing().fresh_for(now).div_euclid(1000),
            }
        }));
    }
    all.sort_by_key(|used| std::cmp::Reverse(used.hits));
    all.truncate(n);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(json: &str) -> Result<Purge, String> {
        parse_wish(&read_object(json.as_bytes(), &PurgeWish::NAMES)?)
    }

    fn some(text: &str) -> Option<Box<[u8]>> {
        Some(text.as_bytes().into())
    }

    #[test]
    fn what_is_named_takes_the_form_of_keys() {
        let purge = meant(r#"{"url": "https://Shop.test:8443/a/../b?q=1"}"#).unwrap();
        assert_eq!((purge.host, purge.path), (some("shop.test"), some("/b")));
        assert_eq!(purge.query, Some(some("q=1")));
        assert_eq!(meant(r#"{"url": "http://a.test"}"#).unwrap().query, Some(None));
        let purge = meant(r#"{"host": "A.test", "path": "/lookup/*", "soft": true}"#).unwrap();
        assert_eq!((purge.host, purge.path, purge.soft), (some("a.test"), some("/lookup/*"), true));
        assert_eq!(purge.query, None);
        assert_eq!(meant(r#"{"path": "/a/./b"}"#).unwrap().path, some("/a/b"));
        assert_eq!(meant(r#"{"all": true}"#), Ok(Purge::everything()));
        assert_eq!(meant(r#"{"cache": "c"}"#), Ok(Purge::everything()));
    }

    #[test]
    fn what_has_no_meaning_is_refused() {
        for (json, why) in [
            ("{}", "nothing is named"),
            (r#"{"soft": true}"#, "nothing is named"),
            (r#"{"all": false}"#, "nothing is named"),
            (r#"{"all": true, "host": "a.test"}"#, "which one is meant"),
            (r#"{"hots": "a.test"}"#, "did you mean `host`?"),
            (r#"{"url": "/a"}"#, "is no URL"),
            (r#"{"url": "http://a.test/x", "path": "/x"}"#, "give one or the other"),
            (r#"{"path": "lookup"}"#, "is no path"),
            (r#"{"path": "/a?b=1"}"#, "`url` names one"),
            (r#"{"path": "lookup*"}"#, "does not begin with `/`"),
            (r#"{"host": "a b"}"#, "is no host"),
            (r#"{"tag": "a,b"}"#, "is no tag"),
            (r#"{"tag": 5}"#, "expected a string"),
            (r#"{"tag": "a", "tag": "b"}"#, "duplicate"),
            ("[]", "JSON object"),
        ] {
            let refused = meant(json).unwrap_err();
            assert!(refused.contains(why), "{json}: {refused}");
        }
    }
}
