//! The tier behind memory: responses in Redis, shared by all instances, and the purges that reach
//! them all.
//!
//! Requests only look things up, within the time that `redis.timeout` allows; all else is done by a
//! thread. Purges are entries of a stream, so that an instance that was away reads what it missed,
//! and a value knows which of them came after its fetch. While it is not certain that all purges
//! are known, nothing is read from here: memory goes on alone.

mod stream;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use redis::{Pipeline, Value as Reply};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};

use super::body::BodyPart;
use super::history::{self, Epoch, Invalid, PurgeHistory, PurgeVerdict};
use super::key::{self, StoreKey};
use super::object::{self, Object};
use super::policy::Millis;
use super::purge::Purge;
use super::search::SearchRule;
use super::store::CacheStore;
use super::stored::{self, StoredParts, StoredResponse, StoredValue};
use crate::clock::{self, Random};
use crate::policy::shared::{Redis, RedisConnections};
use crate::wire::head::Fields;

/// What all names in Redis begin with; the number is that of the form of what is kept under them.
const PREFIX: &str = "tidegate:cache:1";
/// How old the last word of the stream may be for what is read to count.
const NEWS_COUNT: u64 = 1000;
/// How long the stream is waited for at a time.
const LISTEN: Duration = Duration::from_millis(200);
/// How long calls of the thread may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the thread rests when Redis does not answer.
const REST: Duration = Duration::from_millis(100);
/// Responses that wait to be written; further ones stay in memory alone.
const VALUES: usize = 256;
/// Responses that are written at a time.
const AT_A_TIME: usize = 16;
/// Purges that wait to be told; more count as a purge of everything.
const ANNOUNCEMENTS: usize = 4096;
/// How far the clocks of two instances may differ, in milliseconds.
const SKEW: Millis = 10_000;

/// Redis as all caches of this process use it.
#[derive(Debug)]
pub struct Tier {
    redis: Redis,
    /// Tells this process's announcements from others'.
    who: u64,
    announced: AtomicU64,
    news: ArcSwap<TierNews>,
    /// When the stream was last known to its end, in milliseconds of [`clock::millis`].
    heard: AtomicU64,
    /// The stream could not be read twice in a row.
    lost: AtomicBool,
    /// Announcements of this process wait for Redis.
    behind: AtomicBool,
    /// There were too many of them.
    overflown: AtomicBool,
    /// What this process has announced and not yet read in the stream: it counts for all that is
    /// read.
    pending: ArcSwap<Vec<Arc<PendingPurge>>>,
    announcements: mpsc::Sender<Announcement>,
    values: mpsc::Sender<KeptResponse>,
    stores: ArcSwap<Vec<Weak<CacheStore>>>,
}

/// What is known of purges.
#[derive(Debug, Clone, Default)]
struct TierNews {
    /// Which life of the Redis they belong to: what was kept in another one is not used.
    lineage: u64,
    history: PurgeHistory,
}

/// The last purge that a fetch knew of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownPurges {
    lineage: u64,
    epoch: Epoch,
}

/// Something that others have to be told.
#[derive(Debug)]
struct PendingPurge {
    number: u64,
    cache: Arc<str>,
    invalid: Invalid,
    /// Redis has taken it.
    taken: AtomicBool,
}

#[derive(Debug)]
struct Announcement {
    pending: Arc<PendingPurge>,
    told: Option<oneshot::Sender<bool>>,
}

/// A response to be written.
#[derive(Debug)]
struct KeptResponse {
    object: Arc<Object>,
    /// The key of the request that it was fetched for: whoever does not know yet which queries it
    /// answers asks for that.
    asked: Arc<StoreKey>,
    names: Box<[Box<[u8]>]>,
    place: String,
    variant_place: Option<String>,
    epoch: Epoch,
    ttl: Duration,
    store: Arc<CacheStore>,
}

/// What became of reading from and writing to the tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum TierResult {
    /// A response was there and answers.
    Hit,
    /// There was none.
    Miss,
    /// It was too old, and a server is asked about it.
    Stale,
    /// It has been purged.
    Purged,
    /// It was not written by this version.
    Foreign,
    /// Redis did not answer in time, or it is not certain that all purges are known.
    Unanswered,
    /// A response was written.
    Stored,
    /// A response was not: it is too large, too many waited, or Redis did not answer.
    Skipped,
}

impl TierResult {
    /// All of them, with their words in metrics.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Hit, "hit"),
        (Self::Miss, "miss"),
        (Self::Stale, "stale"),
        (Self::Purged, "purged"),
        (Self::Foreign, "foreign"),
        (Self::Unanswered, "unanswered"),
        (Self::Stored, "stored"),
        (Self::Skipped, "skipped"),
    ];
}

/// How often each of them happened.
#[derive(Debug, Default)]
pub struct TierCounts([AtomicU64; TierResult::ALL.len()]);

impl TierCounts {
    fn count_result(&self, result: TierResult) {
        if let Some(counter) = self.0.get(result as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Returns how often it happened.
    #[must_use]
    pub fn times_of(&self, result: TierResult) -> u64 {
        self.0.get(result as usize).map_or(0, |counter| counter.load(Relaxed))
    }
}

/// The tier as one cache uses it.
#[derive(Debug)]
pub struct StoreTier {
    /// The tier.
    pub tier: Arc<Tier>,
    /// The cache.
    pub cache: Arc<str>,
    /// A hash of what keys are made of: caches that make them otherwise share nothing.
    pub form: u64,
    /// How long a response stays, fresh or not.
    pub ttl: Duration,
}

/// A response out of the tier.
#[derive(Debug)]
pub struct Restored {
    /// The response.
    pub stored: StoredResponse,
    /// A soft purge has made it stale.
    pub stale: bool,
}

impl Tier {
    /// Prepares to use a Redis; `runs` says whether a thread is started that does.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn new(redis: Redis, runs: bool) -> std::io::Result<Arc<Self>> {
        let (announcements, told) = mpsc::channel(ANNOUNCEMENTS);
        let (values, kept) = mpsc::channel(VALUES);
        let tier = Arc::new(Self {
            redis,
            who: Random::from_entropy().next_u64(),
            announced: AtomicU64::new(0),
            news: ArcSwap::default(),
            heard: AtomicU64::new(0),
            lost: AtomicBool::new(false),
            behind: AtomicBool::new(false),
            overflown: AtomicBool::new(false),
            pending: ArcSwap::default(),
            announcements,
            values,
            stores: ArcSwap::default(),
        });
        if runs {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let weak = Arc::downgrade(&tier);
            let run = move || {
                runtime.block_on(async {
                    tokio::join!(
                        stream::follow_purges(weak.clone()),
                        announce_purges(weak.clone(), told),
                        keep_responses(weak.clone(), kept)
                    )
                })
            };
            std::thread::Builder::new().name("cache-tier".into()).spawn(run)?;
        }
        Ok(tier)
    }

    /// The Redis.
    #[must_use]
    pub fn redis(&self) -> &Redis {
        &self.redis
    }

    /// Purges of others reach this store from now on.
    pub fn follow_for(&self, store: &Arc<CacheStore>) {
        self.stores.rcu(|known| {
            let mut all: Vec<_> =
                known.iter().filter(|known| known.strong_count() > 0).cloned().collect();
            if !all.iter().any(|known| known.as_ptr() == Arc::as_ptr(store)) {
                all.push(Arc::downgrade(store));
            }
            all
        });
    }

    /// Returns whether all purges up to a moment ago are known.
    #[must_use]
    pub fn is_linked(&self) -> bool {
        let heard = self.heard.load(Relaxed);
        heard > 0 && clock::millis(clock::now()).saturating_sub(heard) <= NEWS_COUNT
    }

    /// Returns whether purges may have been missed and will be known in a moment: this process was
    /// stopped, or a connection has just been lost. Once Redis is known not to answer it is none
    /// any more.
    #[must_use]
    pub fn is_catching_up(&self) -> bool {
        let heard = self.heard.load(Relaxed);
        heard > 0 && !self.lost.load(Relaxed) && !self.is_linked()
    }

    /// Returns how many purges are known.
    #[must_use]
    pub fn known_purges(&self) -> usize {
        self.news.load().history.len()
    }

    fn stores(&self) -> Vec<Arc<CacheStore>> {
        self.stores.load().iter().filter_map(Weak::upgrade).collect()
    }

    /// Announces something, and returns its number.
    fn announce_invalid(
        &self,
        cache: &Arc<str>,
        invalid: Invalid,
        told: Option<oneshot::Sender<bool>>,
    ) -> u64 {
        let number = self.announced.fetch_add(1, Relaxed);
        let pending = Arc::new(PendingPurge {
            number,
            cache: cache.clone(),
            invalid,
            taken: AtomicBool::new(false),
        });
        self.pending.rcu(|known| {
            let mut all = Vec::clone(known);
            all.push(pending.clone());
            all
        });
        if self.announcements.try_send(Announcement { pending, told }).is_err() {
            self.behind.store(true, Relaxed);
            self.overflown.store(true, Relaxed);
            self.settle_pending(&[number]);
        }
        number
    }

    /// Forgets announcements that are part of the history now.
    fn settle_pending(&self, numbers: &[u64]) {
        if !numbers.is_empty() {
            self.pending.rcu(|known| {
                let left = known.iter().filter(|pending| !numbers.contains(&pending.number));
                left.cloned().collect::<Vec<_>>()
            });
        }
    }

    /// The announcements that Redis has taken and that have not come back.
    fn taken_numbers(&self) -> Vec<u64> {
        let pending = self.pending.load();
        let taken = pending.iter().filter(|pending| pending.taken.load(Relaxed));
        taken.map(|pending| pending.number).collect()
    }

    fn is_pending(&self, number: u64) -> bool {
        self.pending.load().iter().any(|pending| pending.number == number)
    }

    /// Returns whether this process has announced that responses of this key with these tags are no
    /// longer valid, and not yet read it in the stream.
    fn awaits_purge(
        &self,
        (cache, key): (&str, &StoreKey),
        tags: &[Box<[u8]>],
        rule: Option<&SearchRule>,
    ) -> bool {
        self.pending.load().iter().filter(|pending| *pending.cache == *cache).any(|pending| {
            match &pending.invalid {
                Invalid::Key(known) => history::is_for(known, key, rule),
                Invalid::Matching(purge) => purge.concerns_key(key, tags, rule),
            }
        })
    }

    /// Makes everything in memory stale, or drops it: purges may have been missed.
    async fn doubt_memory(&self, soft: bool) {
        for store in self.stores() {
            let everything = Purge { soft, ..Purge::everything() };
            stream::apply_purge(&store, &Invalid::Matching(everything)).await;
        }
    }
}

impl StoreTier {
    /// Returns what is known of purges now; `None` while that is not certain.
    #[must_use]
    pub fn known(&self) -> Option<KnownPurges> {
        let news = self.tier.news.load();
        let linked = self.tier.is_linked();
        linked.then(|| KnownPurges { lineage: news.lineage, epoch: news.history.last_epoch() })
    }

    /// Tells all instances that something is no longer valid.
    pub fn announce_purge(&self, invalid: Invalid) {
        self.tier.announce_invalid(&self.cache, invalid, None);
    }

    /// The same, and tells whether it has got into the stream. If not it will, as soon as Redis
    /// answers.
    pub async fn announce_now(&self, invalid: Invalid) -> bool {
        let (told, taken) = oneshot::channel();
        let number = self.tier.announce_invalid(&self.cache, invalid, Some(told));
        let known = async {
            let taken = matches!(taken.await, Ok(true));
            // What is fetched from now on must count as fetched after it.
            while taken && self.tier.is_pending(number) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            taken
        };
        tokio::time::timeout(PATIENCE, known).await == Ok(true)
    }

    fn redis_key(&self, lineage: u64, key: &StoreKey, selecting: Option<&[u8]>) -> String {
        use std::fmt::Write as _;
        let mut hash = Sha256::new();
        hash.update((key.len() as u64).to_be_bytes());
        hash.update(key.as_bytes());
        if let Some(selecting) = selecting {
            hash.update(b"v");
            hash.update(selecting);
        }
        let mut place = format!("{PREFIX}:{}:{:016x}:{lineage:016x}:", self.cache, self.form);
        for byte in hash.finalize().iter().take(20) {
            // Writing to a string cannot fail.
            let _ok = write!(place, "{byte:02x}");
        }
        place
    }

    /// Looks for a response.
    pub async fn find_response(
        &self,
        connections: &RedisConnections,
        store: &CacheStore,
        key: &StoreKey,
        request: &Fields,
    ) -> Option<Restored> {
        let found = self.look_up(connections, key, request).await;
        if let Err(why) = found {
            store.counts.tier.count_result(why);
        }
        found.ok()
    }

    async fn look_up(
        &self,
        connections: &RedisConnections,
        key: &StoreKey,
        request: &Fields,
    ) -> Result<Restored, TierResult> {
        let unsure = || !self.tier.is_linked() || self.tier.behind.load(Relaxed);
        if unsure() {
            return Err(TierResult::Unanswered);
        }
        let lineage = self.tier.news.load().lineage;
        let mut value = self.get_value(connections, &self.redis_key(lineage, key, None)).await?;
        if let StoredValue::Variants(of, names) = &value {
            if of != key {
                return Err(TierResult::Foreign);
            }
            let selecting = key::selecting_bytes(names, request);
            let place = self.redis_key(lineage, key, Some(&selecting));
            value = self.get_value(connections, &place).await?;
        }
        let StoredValue::Response(stored) = value else { return Err(TierResult::Foreign) };
        let now = clock::unix_millis();
        let rule = SearchRule::read_rule(&stored.head.fields);
        let rule = rule.as_ref();
        if !history::is_for(key, &stored.key, rule)
            || stored.timing.received > now.saturating_add(SKEW)
        {
            return Err(TierResult::Foreign);
        }
        let tags = object::read_tags(&stored.head.fields);
        // What this instance has purged counts at once, before it has come back by the stream.
        let key = &stored.key;
        if self.tier.awaits_purge((&self.cache, key), &tags, rule) || unsure() {
            return Err(TierResult::Purged);
        }
        let news = self.tier.news.load();
        let verdict = news.history.judge_response(stored.epoch, (&self.cache, key), &tags, rule);
        if verdict == PurgeVerdict::Gone || news.lineage != lineage {
            return Err(TierResult::Purged);
        }
        Ok(Restored { stored: *stored, stale: verdict == PurgeVerdict::Stale })
    }

    async fn get_value(
        &self,
        connections: &RedisConnections,
        place: &str,
    ) -> Result<StoredValue, TierResult> {
        let mut call = Pipeline::new();
        call.cmd("GET").arg(place);
        let redis = &self.tier.redis;
        let (value,) = redis
            .make_calls::<(Option<Vec<u8>>,)>(connections, &call)
            .await
            .map_err(|_| TierResult::Unanswered)?;
        let value = value.ok_or(TierResult::Miss)?;
        StoredValue::read(&value).ok_or(TierResult::Foreign)
    }

    /// Counts what became of a response that was found.
    pub fn count_found(&self, store: &CacheStore, result: TierResult) {
        store.counts.tier.count_result(result);
    }

    /// Has a response written that was just stored in memory.
    pub fn keep_response(
        &self,
        store: &Arc<CacheStore>,
        object: &Arc<Object>,
        (asked, request): (&Arc<StoreKey>, &Fields),
        known: KnownPurges,
    ) {
        let now = clock::unix_millis();
        let useful = Duration::from_millis(object.timing.useful_until().saturating_sub(now));
        let ttl = if object.timing.has_validator { self.ttl } else { self.ttl.min(useful) };
        if ttl < Duration::from_millis(1) {
            return;
        }
        let names = key::vary_names(&object.head.fields);
        let variant_place = (!names.is_empty()).then(|| {
            let selecting = key::selecting_bytes(&names, request);
            self.redis_key(known.lineage, asked, Some(&selecting))
        });
        let kept = KeptResponse {
            object: object.clone(),
            asked: asked.clone(),
            names,
            place: self.redis_key(known.lineage, asked, None),
            variant_place,
            epoch: known.epoch,
            ttl,
            store: store.clone(),
        };
        if self.tier.redis.is_down() || self.tier.values.try_send(kept).is_err() {
            store.counts.tier.count_result(TierResult::Skipped);
        }
    }
}

impl KeptResponse {
    /// Adds what writes it to a call; `false` when it cannot be written.
    fn add_to_call(&self, call: &mut Pipeline) -> bool {
        let Object { key, timing, head, body, .. } = &*self.object;
        let parts = StoredParts { epoch: self.epoch, key, timing, head, trailers: body.trailers() };
        let mut reader = body.new_reader();
        let chunks = std::iter::from_fn(|| match reader.take_part() {
            BodyPart::Data(data) => Some(data),
            BodyPart::End | BodyPart::Cut | BodyPart::Later => None,
        });
        let Some(value) = parts.write_response(body.written(), chunks) else { return false };
        let ms = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX);
        let mut set = |place: &str, value: Vec<u8>| {
            call.cmd("SET").arg(place).arg(value).arg("PX").arg(ms);
        };
        match &self.variant_place {
            None => set(&self.place, value),
            Some(place) => {
                let Some(variants) = stored::write_variants(&self.asked, &self.names) else {
                    return false;
                };
                set(place, value);
                set(&self.place, variants);
            }
        }
        true
    }
}

/// Writes responses.
async fn keep_responses(tier: Weak<Tier>, mut kept: mpsc::Receiver<KeptResponse>) {
    let connections = RedisConnections::default();
    let mut batch = Vec::with_capacity(AT_A_TIME);
    while kept.recv_many(&mut batch, AT_A_TIME).await > 0 {
        let Some(tier) = tier.upgrade() else { return };
        let mut call = Pipeline::new();
        let written: Vec<bool> = batch.iter().map(|kept| kept.add_to_call(&mut call)).collect();
        let called = !call.is_empty()
            && tier.redis.query_patiently::<Reply>(&connections, &call, PATIENCE).await.is_ok();
        for (kept, written) in batch.drain(..).zip(written) {
            let stored = written && called;
            let result = if stored { TierResult::Stored } else { TierResult::Skipped };
            kept.store.counts.tier.count_result(result);
        }
    }
}

/// Tells others of purges, one after the other, for as long as it takes.
async fn announce_purges(tier: Weak<Tier>, mut announcements: mpsc::Receiver<Announcement>) {
    let connections = RedisConnections::default();
    while let Some(mut next) = announcements.recv().await {
        loop {
            let Some(tier) = tier.upgrade() else { return };
            let told = stream::add_purge(&tier, &connections, &next.pending).await;
            if let Some(waiting) = next.told.take() {
                // Whoever asked may have left.
                let _left = waiting.send(told);
            }
            if told {
                break;
            }
            tier.behind.store(true, Relaxed);
            drop(tier);
            tokio::time::sleep(REST).await;
        }
        let Some(tier) = tier.upgrade() else { return };
        if announcements.is_empty() {
            if tier.overflown.swap(false, Relaxed) {
                for store in tier.stores() {
                    tier.announce_invalid(
                        &store.name,
                        Invalid::Matching(Purge::everything()),
                        None,
                    );
                }
            } else {
                tier.behind.store(false, Relaxed);
            }
        }
    }
}
