//! Purges of this process, told to all instances: they count here until they come back by the
//! stream.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::{PATIENCE, REST, StoreTier, Tier, stream};
use crate::cache::history::{self, Invalid};
use crate::cache::key::StoreKey;
use crate::cache::purge::Purge;
use crate::cache::search::SearchRule;
use crate::policy::shared::RedisConnections;

/// Something that others have to be told.
#[derive(Debug)]
pub(super) struct PendingPurge {
    pub(super) number: u64,
    pub(super) cache: Arc<str>,
    pub(super) invalid: Invalid,
    /// Redis has taken it.
    pub(super) taken: AtomicBool,
}

#[derive(Debug)]
pub(super) struct Announcement {
    pending: Arc<PendingPurge>,
    told: Option<oneshot::Sender<bool>>,
}

impl Tier {
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
    pub(super) fn settle_pending(&self, numbers: &[u64]) {
        if !numbers.is_empty() {
            self.pending.rcu(|known| {
                let left = known.iter().filter(|pending| !numbers.contains(&pending.number));
                left.cloned().collect::<Vec<_>>()
            });
        }
    }

    /// The announcements that Redis has taken and that have not come back.
    pub(super) fn taken_numbers(&self) -> Vec<u64> {
        let pending = self.pending.load();
        let taken = pending.iter().filter(|pending| pending.taken.load(Relaxed));
        taken.map(|pending| pending.number).collect()
    }

    fn is_pending(&self, number: u64) -> bool {
        self.pending.load().iter().any(|pending| pending.number == number)
    }

    /// Returns whether this process has announced that responses of this key with these tags are no
    /// longer valid, and not yet read it in the stream.
    pub(super) fn awaits_purge(
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
}

impl StoreTier {
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
}

/// Tells others of purges, one after the other, for as long as it takes.
pub(super) async fn announce_purges(
    tier: Weak<Tier>,
    mut announcements: mpsc::Receiver<Announcement>,
) {
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
