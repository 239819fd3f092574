//! The tier behind memory: responses in Redis, shared by all instances, and the purges that reach
//! them all.
//!
//! Requests only look things up, within the time that `redis.timeout` allows; all else is done by a
//! thread. Purges are entries of a stream, so that an instance that was away reads what it missed,
//! and a value knows which of them came after its fetch. While it is not certain that all purges
//! are known, nothing is read from here: memory goes on alone.

mod announce;
mod find;
mod keep;
mod results;
mod stream;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use self::announce::{Announcement, PendingPurge};
pub use self::find::Restored;
use self::keep::KeptResponse;
pub use self::results::{TierCounts, TierResult};
use super::history::{Epoch, Invalid, PurgeHistory};
use super::key::StoreKey;
use super::purge::Purge;
use super::store::CacheStore;
use crate::clock::{self, Random};
use crate::policy::shared::Redis;

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
/// Purges that wait to be told; more count as a purge of everything.
const ANNOUNCEMENTS: usize = 4096;

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
                        announce::announce_purges(weak.clone(), told),
                        keep::keep_responses(weak.clone(), kept)
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
}
