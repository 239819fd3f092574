//! The thread that keeps the leases: registrations come in, leases run out, and whoever sends
//! requests is told what servers there are.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, pending};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::book::{Book, Refused, Registered, Settings};
use super::lines::{ServerNews, tell_link, tell_news};
use super::shared::{self, Exchange, News, Told};
use super::{Counts, Hear, Order, Shown, View};
use crate::clock::{self, Instant, Random};
use crate::discovery::{Origin, Update, Updates};
use crate::policy::shared::{Redis, RedisConnections};

/// Orders that are carried out before what came of them is shown.
const BATCH: usize = 1000;
/// A list is shown at once when this share of it is new: however many servers register one after
/// the other, what is copied for all of them is a few times as much as there are.
const SHARE: usize = 8;
/// Otherwise it is shown when this has passed for each server in it since it was shown last;
/// copying and using a list takes about as long.
const PACE: Duration = Duration::from_micros(1);
/// The longest time for which somebody who registers waits for that.
const WAIT: Duration = Duration::from_millis(50);
/// The pause between two exchanges with the others.
const PAUSE: Duration = Duration::from_millis(500);
/// The share by which pauses stray: instances that start together must not stay together.
const JITTER: f64 = 0.1;
/// A moment that is never waited for.
const LONG: Duration = Duration::from_secs(3600);

/// An answer that is given once everybody can see what it is about.
type Answer = Box<dyn FnOnce()>;

/// The book of an upstream, and what is not yet known elsewhere.
struct Kept {
    book: Book,
    counts: Arc<Counts>,
    /// Servers that are others than in the list that was sent; all that there are when they are
    /// told anew.
    changes: usize,
    /// The moment at which the list was sent last.
    sent: Option<Instant>,
    /// Who waits for the list to be sent.
    answers: Vec<Answer>,
    /// Servers that left on purpose since the list was sent.
    dismissed: BTreeSet<Arc<str>>,
    /// Servers that left on purpose, of which the others have not been told.
    untold: BTreeSet<Arc<str>>,
    /// The moment of the Redis up to which all is known.
    since: u64,
}

/// An exchange with the others that is under way.
type UnderWay = Pin<Box<dyn Future<Output = Result<Vec<News>, Vec<Told>>>>>;

/// All books.
pub(super) struct Keeper {
    shown: Arc<Shown>,
    updates: Updates,
    books: BTreeMap<Arc<str>, Kept>,
    redis: Option<Rc<Redis>>,
    connections: Rc<RedisConnections>,
    exchange: Option<UnderWay>,
    /// The next exchange.
    next: Instant,
    /// The beginning of the exchange that is under way.
    began: Instant,
    /// The beginning of the last one that was answered: what others had renewed until then is
    /// known.
    heard: Instant,
    /// The last exchange was answered.
    linked: bool,
    /// Whoever waits for the first exchange.
    waiting: Option<SyncSender<()>>,
    random: Random,
}

impl Keeper {
    pub(super) fn new(shown: Arc<Shown>, updates: Updates) -> Self {
        Self {
            shown,
            updates,
            books: BTreeMap::new(),
            redis: None,
            connections: Rc::default(),
            exchange: None,
            next: clock::now(),
            began: clock::now(),
            heard: clock::now(),
            linked: false,
            waiting: None,
            random: Random::from_entropy(),
        }
    }

    /// Keeps books until nobody can give orders any more.
    pub(super) async fn run_keeper(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            let due = self.next_due(clock::now());
            let mut answers = Vec::new();
            let mut exchange = self.exchange.take();
            tokio::select! {
                order = orders.recv() => {
                    let Some(order) = order else { return };
                    self.exchange = exchange;
                    self.obey_order(order, &mut answers);
                    for _ in 1..BATCH {
                        let Ok(order) = orders.try_recv() else { break };
                        self.obey_order(order, &mut answers);
                    }
                }
                exchanged = under_way(&mut exchange) => {
                    self.take_in(exchanged, clock::now());
                    if let Some(tell) = self.waiting.take() {
                        answers.push(told_answer(tell));
                    }
                }
                () = tokio::time::sleep_until(due) => self.exchange = exchange,
            }
            self.expire_leases(clock::now());
            self.show_news(clock::now());
            answers.into_iter().for_each(|answer: Answer| answer());
            self.begin_exchange(clock::now());
        }
    }

    /// The moment at which there is something to do. Leases that are shared run out when an
    /// exchange has ended.
    fn next_due(&self, now: Instant) -> Instant {
        let left = |kept: &Kept| {
            Duration::from_millis(kept.book.next_end().saturating_sub(clock::millis(now)))
        };
        let own = self.books.values().filter(|kept| !kept.book.settings.shared);
        let over = own.map(|kept| (now + left(kept).min(LONG)).max(kept.turn(now)));
        let waiting = self.books.values().filter(|kept| kept.changes > 0);
        let shown = waiting.map(|kept| kept.turn(now));
        let ends = over.chain(shown).min().unwrap_or(now + LONG);
        match self.shares() && self.exchange.is_none() {
            true => ends.min(self.next),
            false => ends,
        }
    }

    fn shares(&self) -> bool {
        self.redis.is_some() && self.books.values().any(|kept| kept.book.settings.shared)
    }

    fn obey_order(&mut self, order: Order, answers: &mut Vec<Answer>) {
        match order {
            Order::Follow { upstreams, redis, hear, tell } => {
                self.follow_upstreams(upstreams, redis.map(|redis| *redis));
                if hear == Hear::First && self.shares() {
                    self.waiting = Some(tell);
                } else {
                    answers.push(told_answer(tell));
                }
            }
            Order::Register(upstream, id, said, reply) => {
                let Some(kept) = self.books.get_mut(&upstream) else {
                    answers.push(reply_answer(reply, Err(Refused::NoRegistry)));
                    return;
                };
                let registered = kept.book.register_server(&id, said, clock::now());
                kept.note_registration(&upstream, &id, &registered);
                if matches!(registered, Ok(Registered::New | Registered::Changed)) {
                    self.next = self.next.min(kept.turn(clock::now()));
                }
                kept.answers.push(reply_answer(reply, registered));
            }
            Order::Remove(upstream, id, reply) => {
                let Some(kept) = self.books.get_mut(&upstream) else {
                    answers.push(reply_answer(reply, false));
                    return;
                };
                let removed = kept.remove_leaving(&upstream, &id);
                if removed {
                    self.next = self.next.min(kept.turn(clock::now()));
                }
                kept.answers.push(reply_answer(reply, removed));
            }
        }
    }

    /// Keeps books for these upstreams and no others.
    fn follow_upstreams(&mut self, upstreams: BTreeMap<Arc<str>, Settings>, redis: Option<Redis>) {
        self.books.retain(|upstream, _| upstreams.contains_key(upstream));
        for (upstream, settings) in upstreams {
            match self.books.get_mut(&upstream) {
                Some(kept) if kept.book.settings == settings => {}
                Some(kept) => {
                    for id in kept.book.set_settings(settings) {
                        tell_news(ServerNews::Disallowed, &upstream, &id, None);
                        kept.dismissed.insert(id);
                    }
                    (kept.changes, kept.since) = (usize::MAX, 0);
                }
                None => {
                    self.books.insert(upstream, Kept::new(settings));
                }
            }
        }
        let same = match (&self.redis, &redis) {
            (Some(known), Some(redis)) => known.is_like(redis),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !same {
            // What is known has to be told there, and what is known there is heard from the
            // beginning.
            for kept in self.books.values_mut() {
                kept.book.mark_all();
                kept.since = 0;
            }
            (self.redis, self.exchange, self.linked) = (redis.map(Rc::new), None, false);
        }
        self.next = clock::now();
    }

    /// Removes servers whose leases are over. One that is shared is over when the others were heard
    /// after its end: it may have been renewed with them.
    fn expire_leases(&mut self, now: Instant) {
        let (linked, heard) = (self.linked, self.heard.min(now));
        for (upstream, kept) in &mut self.books {
            let shared = kept.book.settings.shared;
            // All of the book is read for it, so that has its turn like showing it.
            if shared && !linked || kept.turn(now) > now {
                continue;
            }
            for id in kept.book.expire_leases(if shared { heard } else { now }) {
                kept.counts.expired.fetch_add(1, Relaxed);
                kept.change();
                tell_news(ServerNews::RanOut, upstream, &id, None);
            }
        }
    }

    /// Lets others see what is new where it is time for that, and sends lists of servers that are.
    fn show_news(&mut self, now: Instant) {
        let shown = self.shown.upstreams.load();
        let same = shown.len() == self.books.len()
            && self.books.iter().all(|(name, kept)| !kept.shows(now) && shown.contains_key(name));
        if same {
            self.books.values_mut().for_each(Kept::answer);
            return;
        }
        let views = self.books.iter().map(|(name, kept)| {
            let view = match shown.get(name).filter(|_| !kept.shows(now)) {
                Some(view) => view.clone(),
                None => Arc::new(kept.view()),
            };
            (name.clone(), view)
        });
        self.shown.upstreams.store(Arc::new(views.collect()));
        for (name, kept) in self.books.iter_mut().filter(|(_, kept)| kept.shows(now)) {
            (kept.changes, kept.sent) = (0, Some(now));
            let dismissed = std::mem::take(&mut kept.dismissed);
            let entries = Some(kept.book.entries());
            let update = Update { entries, dismissed, ..Update::default() };
            self.updates.send_update(name, &Origin::of_registry(), &update);
        }
        self.books.values_mut().for_each(Kept::answer);
    }

    /// Begins to tell the others what they do not know, and to hear what they do.
    fn begin_exchange(&mut self, now: Instant) {
        if self.exchange.is_some() || self.next > now || !self.shares() {
            return;
        }
        let Some(redis) = self.redis.clone() else { return };
        let mut exchanges = Vec::new();
        for (upstream, kept) in &mut self.books {
            if kept.book.settings.shared {
                exchanges.push(Exchange {
                    upstream: upstream.clone(),
                    since: kept.since,
                    leases: kept.book.untold(),
                    gone: std::mem::take(&mut kept.untold),
                });
            }
        }
        let connections = self.connections.clone();
        self.began = now;
        self.exchange =
            Some(Box::pin(async move { shared::exchange(&redis, &connections, exchanges).await }));
    }

    /// Takes in what the others know, or takes back what they were to be told.
    fn take_in(&mut self, exchanged: Result<Vec<News>, Vec<Told>>, now: Instant) {
        let stray = 1.0 - JITTER + 2.0 * JITTER * self.random.unit();
        self.next = now + PAUSE.mul_f64(stray);
        let linked = exchanged.is_ok();
        if linked != self.linked {
            self.note_link(linked, now);
        }
        match exchanged {
            Ok(all) => {
                if !all.iter().any(|news| news.more) {
                    self.heard = self.began;
                }
                for news in all {
                    if news.more {
                        self.next = now;
                    }
                    if let Some(kept) = self.books.get_mut(&news.upstream) {
                        kept.learn(news, now, &self.shown);
                    }
                }
            }
            Err(untold) => {
                for Told { upstream, leases, gone } in untold {
                    leases.iter().for_each(|(_, lease)| lease.mark());
                    if let Some(kept) = self.books.get_mut(&upstream) {
                        kept.untold.extend(gone);
                        // What is there may be lost when it answers again.
                        kept.since = 0;
                    }
                }
            }
        }
    }

    fn note_link(&mut self, linked: bool, now: Instant) {
        self.linked = linked;
        for (upstream, kept) in &mut self.books {
            if !kept.book.settings.shared {
                continue;
            }
            if linked {
                // What was renewed elsewhere meanwhile is told by the next renewal.
                kept.book.extend_leases(now);
            }
            tell_link(upstream, linked);
            kept.counts.alone.store(!linked, Relaxed);
        }
    }
}

async fn under_way(exchange: &mut Option<UnderWay>) -> Result<Vec<News>, Vec<Told>> {
    match exchange {
        Some(exchange) => exchange.await,
        None => pending().await,
    }
}

fn told_answer(tell: SyncSender<()>) -> Answer {
    Box::new(move || {
        // Who waited may have gone.
        let _gone = tell.try_send(());
    })
}

fn reply_answer<T: 'static>(reply: oneshot::Sender<T>, what: T) -> Answer {
    Box::new(move || {
        // Who asked may have gone.
        let _gone = reply.send(what);
    })
}

impl Kept {
    fn new(settings: Settings) -> Self {
        Self {
            book: Book::new(settings),
            counts: Arc::default(),
            changes: usize::MAX,
            sent: None,
            answers: Vec::new(),
            dismissed: BTreeSet::new(),
            untold: BTreeSet::new(),
            since: 0,
        }
    }

    fn view(&self) -> View {
        View {
            settings: self.book.settings.clone(),
            leases: self.book.leases().clone(),
            counts: self.counts.clone(),
        }
    }

    /// Notes that one more server is another.
    fn change(&mut self) {
        self.changes = self.changes.saturating_add(1);
    }

    /// The moment from which the list may be sent again whatever has changed in it.
    fn turn(&self, now: Instant) -> Instant {
        let number = u32::try_from(self.book.leases().len()).unwrap_or(u32::MAX);
        self.sent.map_or(now, |sent| sent + PACE.saturating_mul(number).min(WAIT))
    }

    /// Returns whether the list is to be sent: enough of it has changed, enough wait for it, or its
    /// time has come.
    fn shows(&self, now: Instant) -> bool {
        let enough =
            self.changes >= self.book.leases().len() / SHARE || self.answers.len() >= BATCH;
        self.changes > 0 && (enough || self.turn(now) <= now)
    }

    /// Answers those who wait, unless what they are told of is still to be sent.
    fn answer(&mut self) {
        if self.changes == 0 {
            self.answers.drain(..).for_each(|answer| answer());
        }
    }

    /// Notes what came of a registration.
    fn note_registration(
        &mut self,
        upstream: &str,
        id: &Arc<str>,
        registered: &Result<Registered, Refused>,
    ) {
        let news = match registered {
            Ok(Registered::New) => ServerNews::Registered,
            Ok(Registered::Changed) => ServerNews::Changed,
            Ok(Registered::Renewed) | Err(_) => return,
        };
        tell_news(news, upstream, id, self.book.leases().get(id));
        self.change();
        self.untold.remove(id);
    }

    /// Removes a server that leaves on purpose.
    fn remove_leaving(&mut self, upstream: &str, id: &Arc<str>) -> bool {
        let removed = self.book.remove_server(id).is_some();
        if removed {
            tell_news(ServerNews::Deregistered, upstream, id, None);
            self.untold.insert(id.clone());
        }
        // A guard may hold one whose lease ran out.
        if self.dismissed.insert(id.clone()) || removed {
            self.change();
        }
        removed
    }

    /// Takes in what the others know.
    fn learn(&mut self, news: News, now: Instant, shown: &Shown) {
        self.since = news.since;
        for (id, known, left) in news.servers {
            let Some(known) = known else {
                if !self.untold.contains(&id) && self.book.remove_server(&id).is_some() {
                    tell_news(ServerNews::DeregisteredElsewhere, &news.upstream, &id, None);
                    self.dismissed.insert(id);
                    self.change();
                }
                continue;
            };
            // What this process is about to tell is newer.
            let newer = self.untold.contains(&id)
                || self
                    .book
                    .leases()
                    .get(&id)
                    .is_some_and(|lease| lease.known != known && lease.is_untold());
            if newer || left.is_zero() || !known.is_fit() || shown.is_own(known.address) {
                continue;
            }
            if self.book.learn_server(&id, known, left, now) {
                let lease = self.book.leases().get(&id);
                tell_news(ServerNews::RegisteredElsewhere, &news.upstream, &id, lease);
                self.change();
            }
        }
    }
}
