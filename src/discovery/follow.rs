//! The thread that looks names up: each one soon again while it leads nowhere, now and then otherwise.
//!
//! The system's resolver is asked (`getaddrinfo`), so that the hosts file, search domains and
//! whatever else a machine has been told count. It blocks and cannot be ended: it is called on few
//! threads, and who gets no answer in time goes on without. It tells no time to live, so how often
//! it is asked is fixed.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::{Hosts, Known, Order, Shared};
use crate::clock::{self, Instant, Random};

/// Look-ups under way at a time.
pub(super) const AT_ONCE: usize = 8;
/// The longest time for a look-up, its turn included. With the usual five seconds for each name server,
/// the second one is heard too.
const DEADLINE: Duration = Duration::from_secs(10);
/// The pause after a look-up that found something.
const PAUSE: Duration = Duration::from_secs(30);
/// The pause after one that did not.
const PAUSE_UNRESOLVED: Duration = Duration::from_secs(5);
/// The share by which pauses stray: names that are learnt together must not be asked for together.
const JITTER: f64 = 0.1;

/// The function that asks for the addresses of a name.
type Resolve = fn(&str) -> io::Result<Vec<SocketAddr>>;
type Found = Result<Vec<SocketAddr>, String>;

/// Asks the system.
pub(super) fn system(host: &str) -> io::Result<Vec<SocketAddr>> {
    Ok((host, 0).to_socket_addrs()?.collect())
}

/// All names that are followed.
pub(super) struct Follower {
    shared: Arc<Shared>,
    resolve: Resolve,
    known: Known,
    /// True if what is known is another than what the others see.
    news: bool,
    followed: BTreeMap<Arc<str>, Followed>,
    lookups: JoinSet<(Arc<str>, Found)>,
    places: Arc<Semaphore>,
    waiting: Vec<Waiting>,
    random: Random,
}

/// One name that is followed.
#[derive(Debug, Clone, Copy)]
struct Followed {
    /// The next look-up; `None` while one is under way.
    next: Option<Instant>,
    /// The end of the last look-up.
    ended: Option<Instant>,
}

/// Somebody who waits for names to be looked up.
struct Waiting {
    hosts: Hosts,
    tell: SyncSender<()>,
}

impl Follower {
    pub(super) fn new(shared: Arc<Shared>, resolve: Resolve) -> Self {
        Self {
            shared,
            resolve,
            known: Known::default(),
            news: false,
            followed: BTreeMap::new(),
            lookups: JoinSet::new(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Vec::new(),
            random: Random::from_entropy(),
        }
    }

    /// Follows names until nobody can give orders any more.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            let now = clock::now();
            self.look(now);
            let next = self.followed.values().filter_map(|followed| followed.next).min();
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.obey(order, clock::now()),
                    None => return,
                },
                Some(Ok((host, found))) = self.lookups.join_next() => {
                    self.learn(&host, found, clock::now());
                    while let Some(Ok((host, found))) = self.lookups.try_join_next() {
                        self.learn(&host, found, clock::now());
                    }
                }
                () = tokio::time::sleep_until(next.unwrap_or(now + PAUSE)) => {}
            }
            self.tell();
        }
    }

    fn obey(&mut self, order: Order, now: Instant) {
        let first = Followed { next: Some(now), ended: None };
        match order {
            Order::Learn(mut hosts, tell) => {
                for host in &hosts {
                    self.followed.entry(host.clone()).or_insert(first);
                }
                hosts.retain(|host| self.followed.get(host).is_none_or(|f| f.ended.is_none()));
                self.waiting.push(Waiting { hosts, tell });
            }
            Order::Only(hosts) => {
                self.followed.retain(|host, _| hosts.contains(host));
                for host in hosts {
                    self.followed.entry(host).or_insert(first);
                }
                self.known.forget(|host| self.followed.contains_key(host));
            }
            Order::Hurry(hosts, apart) => {
                for host in &hosts {
                    if let Some(Followed { next: Some(next), ended: Some(ended) }) =
                        self.followed.get_mut(host)
                    {
                        *next = (*next).min(*ended + apart);
                    }
                }
            }
        }
    }

    /// Begins the look-ups that are due.
    fn look(&mut self, now: Instant) {
        for (host, followed) in &mut self.followed {
            if followed.next.is_some_and(|next| next <= now) {
                followed.next = None;
                let (host, places, resolve) = (host.clone(), self.places.clone(), self.resolve);
                self.lookups.spawn(async move {
                    let found = look_up(host.clone(), places, resolve).await;
                    (host, found)
                });
            }
        }
    }

    fn learn(&mut self, host: &Arc<str>, found: Found, now: Instant) {
        self.news |= self.known.learn(host, found);
        let resolved = self.known.answer(host).is_some_and(|answer| answer.fault.is_none());
        let pause = pause(resolved, &mut self.random);
        // The answer of one that was let go meanwhile is remembered all the same.
        if let Some(followed) = self.followed.get_mut(host) {
            *followed = Followed { next: Some(now + pause), ended: Some(now) };
        }
        for waiting in &mut self.waiting {
            waiting.hosts.remove(host);
        }
    }

    /// Shows what is new, and then tells those who wait for nothing any more.
    fn tell(&mut self) {
        if std::mem::take(&mut self.news) {
            self.shared.known.store(Arc::new(self.known.clone()));
            self.shared.changed.store(true, Ordering::Release);
        }
        for waiting in self.waiting.extract_if(.., |waiting| waiting.hosts.is_empty()) {
            // Who waited may have gone.
            let _told = waiting.tell.try_send(());
        }
    }
}

/// Asks for the addresses of a name, when it is its turn.
async fn look_up(host: Arc<str>, places: Arc<Semaphore>, resolve: Resolve) -> Found {
    let asked = async {
        let place = places.acquire_owned().await.map_err(|closed| closed.to_string())?;
        let asked = tokio::task::spawn_blocking(move || {
            let found = resolve(&host);
            // Held until the answer is there, however long somebody has waited for it.
            drop(place);
            found
        });
        let found = asked.await.map_err(|defect| defect.to_string())?;
        found.map_err(|error| reason(&error))
    };
    tokio::time::timeout(DEADLINE, asked)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {DEADLINE:?}")))
}

/// Returns what was wrong, without what the standard library says before it.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let start = "failed to lookup address information: ";
    text.strip_prefix(start).map_or_else(|| text.clone(), str::to_owned)
}

/// The pause before a name is looked up again, a little different each time.
fn pause(resolved: bool, random: &mut Random) -> Duration {
    let pause = if resolved { PAUSE } else { PAUSE_UNRESOLVED };
    pause.mul_f64(1.0 - JITTER + 2.0 * JITTER * random.unit())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn names_that_lead_nowhere_are_looked_up_more_often() {
        let mut random = Random::seeded(1);
        for (resolved, from, to) in [(true, 27_000, 33_000), (false, 4500, 5500)] {
            let pauses: Vec<u128> =
                (0..1000).map(|_| pause(resolved, &mut random).as_millis()).collect();
            assert!(pauses.iter().all(|p| (from..=to).contains(p)));
            assert!(pauses.iter().any(|p| *p < from + (to - from) / 4));
            assert!(pauses.iter().any(|p| *p > to - (to - from) / 4));
        }
    }

    fn hosts(names: &[&str]) -> Hosts {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    /// `good…` is at 10.0.0.1; `hangs…` answers when nobody waits any more; the others do not exist.
    fn scripted(host: &str) -> io::Result<Vec<SocketAddr>> {
        if host.starts_with("hangs") {
            std::thread::park_timeout(Duration::from_millis(300));
        }
        match host {
            "good" => Ok(vec![([10, 0, 0, 1], 0).into()]),
            _ => Err(io::Error::other("failed to lookup address information: no such host")),
        }
    }

    #[tokio::test]
    async fn who_learns_is_told_when_all_were_looked_up() {
        let shared: Arc<Shared> = Arc::default();
        let (orders, received) = mpsc::channel(16);
        let running = tokio::spawn(Follower::new(shared.clone(), scripted).run(received));
        let (tell, told) = sync_channel(1);
        orders.send(Order::Learn(hosts(&["bad", "good"]), tell)).await.unwrap();
        while told.try_recv().is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let known = shared.known.load_full();
        assert_eq!(known.answer("good").unwrap().with_port(1).count(), 1);
        assert_eq!(known.answer("bad").unwrap().fault.as_deref().unwrap(), "no such host");
        assert!(shared.changed.swap(false, Ordering::AcqRel));
        // What was looked up is not waited for again.
        let (tell, told) = sync_channel(1);
        orders.send(Order::Learn(hosts(&["bad", "good"]), tell)).await.unwrap();
        while told.try_recv().is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(!shared.changed.load(Ordering::Acquire));
        drop(orders);
        running.await.unwrap();
    }

    #[tokio::test]
    async fn look_ups_that_hang_take_few_threads() {
        let places = Arc::new(Semaphore::new(1));
        let (hangs, good) = (Arc::from("hangs"), Arc::from("good"));
        let first = look_up(hangs, places.clone(), scripted);
        // Whoever waited for it has gone; its place is taken until it ends.
        assert!(tokio::time::timeout(Duration::from_millis(50), first).await.is_err());
        assert_eq!(places.available_permits(), 0);
        assert!(look_up(good, places.clone(), scripted).await.is_ok());
        assert_eq!(places.available_permits(), 1);
    }

    #[tokio::test]
    async fn a_name_in_a_hurry_is_looked_up_sooner_but_not_at_once_again() {
        let now = clock::now();
        let mut follower = Follower::new(Arc::default(), scripted);
        let (tell, _told) = sync_channel(1);
        follower.obey(Order::Learn(hosts(&["good"]), tell), now);
        follower.learn(&Arc::from("good"), scripted("good").map_err(|e| e.to_string()), now);
        let next = |follower: &Follower| follower.followed["good"].next.unwrap() - now;
        assert!(next(&follower) >= Duration::from_secs(27));
        let apart = Duration::from_secs(5);
        follower.obey(Order::Hurry(hosts(&["good", "other"]), apart), now);
        assert_eq!(next(&follower), apart);
        follower.obey(Order::Hurry(hosts(&["good"]), apart * 2), now);
        assert_eq!(next(&follower), apart);
        follower.obey(Order::Only(hosts(&["other"])), now);
        assert_eq!(follower.followed.len(), 1);
    }
}
