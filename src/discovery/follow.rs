//! The thread that looks names up: each one soon again while it leads nowhere, when its time is
//! over otherwise.
//!
//! How long that is records say, within the bounds of those who want to know. An answer that is not
//! there, or that says that there is nothing without saying for how long, is asked for again after
//! a few seconds (RFC 2308 §5 would have it at once). Whoever gets no answer in time goes on
//! without.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::known::Heard;
use super::question::{Question, Questions};
use super::resolver::{Paths, Resolver};
use super::{KnownName, Order, Shared};
use crate::clock::{self, Instant, Random};

/// The longest time for a look-up, its turn included. With the usual five seconds for each name
/// server, the second one is heard too.
const DEADLINE: Duration = Duration::from_secs(10);
/// The pause after a look-up that failed; the shortest one after an answer that says that there is
/// nothing.
const RETRY: Duration = Duration::from_secs(5);
/// The share by which pauses stray: names that are learnt together must not be asked for together.
/// They are longer and not shorter, because a name server that keeps records gives what is left of
/// their time.
const JITTER: f64 = 0.1;
/// The pause between two looks at the machine's own files.
const FILES: Duration = Duration::from_secs(1);

type Answered = Result<Heard, String>;

/// Somebody who answers questions.
pub(super) trait Ask: Send {
    /// Asks one question.
    fn ask_question(
        &mut self,
        question: Question,
        now: Instant,
    ) -> impl Future<Output = Answered> + Send + 'static;

    /// Asks these name servers from now on; the machine's own if there are none.
    fn ask_at(&mut self, servers: Vec<SocketAddr>);
}

/// Asks as the machine has been told to.
#[derive(Debug, Default)]
pub(super) struct System {
    paths: Paths,
    servers: Vec<SocketAddr>,
    resolver: Option<Arc<Resolver>>,
    /// How its files looked, and when that was.
    looked: Option<(Instant, [Option<Look>; 2])>,
}

type Look = (u64, i64, i64, u64);

impl System {
    fn current_resolver(&mut self, now: Instant) -> Arc<Resolver> {
        let recent = |at: Instant| now.saturating_duration_since(at) < FILES;
        if let Some(resolver) = &self.resolver
            && self.looked.is_some_and(|(at, _)| recent(at))
        {
            return resolver.clone();
        }
        let looks = [look_at(&self.paths.hosts), look_at(&self.paths.resolv)];
        let same = self.looked.is_some_and(|(_, known)| known == looks);
        self.looked = Some((now, looks));
        match &self.resolver {
            Some(resolver) if same => resolver.clone(),
            _ => {
                let resolver = Arc::new(Resolver::read_system(&self.paths, &self.servers));
                self.resolver = Some(resolver.clone());
                resolver
            }
        }
    }
}

fn look_at(path: &Path) -> Option<Look> {
    let known = std::fs::metadata(path).ok()?;
    Some((known.ino(), known.mtime(), known.mtime_nsec(), known.size()))
}

impl Ask for System {
    fn ask_question(
        &mut self,
        question: Question,
        now: Instant,
    ) -> impl Future<Output = Answered> + Send + 'static {
        let resolver = self.current_resolver(now);
        async move { resolver.ask_question(&question, DEADLINE).await }
    }

    fn ask_at(&mut self, servers: Vec<SocketAddr>) {
        if self.servers != servers {
            (self.servers, self.resolver) = (servers, None);
        }
    }
}

/// All names that are followed.
pub(super) struct Follower<A> {
    shared: Arc<Shared>,
    asks: A,
    known: KnownName,
    /// True if what is known is another than what the others see.
    news: bool,
    followed: BTreeMap<Question, Followed>,
    lookups: JoinSet<(Question, Answered)>,
    waiting: Vec<WaitingName>,
    random: Random,
}

/// One name that is followed.
#[derive(Debug, Clone, Copy)]
struct Followed {
    /// The shortest and the longest pause between two look-ups.
    bounds: (Duration, Duration),
    /// The next look-up; `None` while one is under way.
    next: Option<Instant>,
    /// The end of the last look-up.
    ended: Option<Instant>,
}

/// Somebody who waits for names to be looked up.
struct WaitingName {
    questions: BTreeSet<Question>,
    tell: SyncSender<()>,
}

impl<A: Ask> Follower<A> {
    pub(super) fn new(shared: Arc<Shared>, asks: A) -> Self {
        Self {
            shared,
            asks,
            known: KnownName::default(),
            news: false,
            followed: BTreeMap::new(),
            lookups: JoinSet::new(),
            waiting: Vec::new(),
            random: Random::from_entropy(),
        }
    }

    /// Follows names until nobody can give orders any more.
    pub(super) async fn run_follower(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            let now = clock::now();
            self.begin_lookups(now);
            let next = self.followed.values().filter_map(|followed| followed.next).min();
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.obey_order(order, clock::now()),
                    None => return,
                },
                Some(Ok((question, heard))) = self.lookups.join_next() => {
                    self.learn_answer(&question, heard, clock::now());
                    while let Some(Ok((question, heard))) = self.lookups.try_join_next() {
                        self.learn_answer(&question, heard, clock::now());
                    }
                }
                () = tokio::time::sleep_until(next.unwrap_or(now + DEADLINE)) => {}
            }
            self.tell_news();
        }
    }

    fn obey_order(&mut self, order: Order, now: Instant) {
        match order {
            Order::Learn(questions, tell) => {
                self.follow_questions(&questions, now);
                let mut questions: BTreeSet<Question> = questions.into_keys().collect();
                questions.retain(|one| self.followed.get(one).is_none_or(|f| f.ended.is_none()));
                self.waiting.push(WaitingName { questions, tell });
            }
            Order::Only(questions) => {
                self.followed.retain(|question, _| questions.contains_key(question));
                for (question, bounds) in &questions {
                    if let Some(followed) = self.followed.get_mut(question) {
                        followed.bounds = *bounds;
                        // What is asked for more often now is not waited for as long as before.
                        if let Followed { next: Some(next), ended: Some(ended), .. } = followed {
                            *next = (*next).min(*ended + bounds.1);
                        }
                    }
                }
                self.follow_questions(&questions, now);
                self.known.forget_unfollowed(|question| self.followed.contains_key(question));
            }
            Order::Hurry(questions, apart) => {
                for question in &questions {
                    if let Some(Followed { next: Some(next), ended: Some(ended), .. }) =
                        self.followed.get_mut(question)
                    {
                        *next = (*next).min(*ended + apart);
                    }
                }
            }
            Order::AskAt(servers) => self.asks.ask_at(servers),
        }
    }

    fn follow_questions(&mut self, questions: &Questions, now: Instant) {
        for (question, bounds) in questions {
            let first = Followed { bounds: *bounds, next: Some(now), ended: None };
            self.followed.entry(question.clone()).or_insert(first);
        }
    }

    /// Begins the look-ups that are due.
    fn begin_lookups(&mut self, now: Instant) {
        for (question, followed) in &mut self.followed {
            if followed.next.is_some_and(|next| next <= now) {
                followed.next = None;
                let (question, asked) =
                    (question.clone(), self.asks.ask_question(question.clone(), now));
                self.lookups.spawn(async move { (question, asked.await) });
            }
        }
    }

    fn learn_answer(&mut self, question: &Question, heard: Answered, now: Instant) {
        let ttl = heard.as_ref().ok().and_then(|heard| heard.ttl);
        self.news |= self.known.learn_result(question, heard);
        let Some(answer) = self.known.answer_to(question) else { return };
        // The answer of one that was let go meanwhile is remembered all the same.
        if let Some(followed) = self.followed.get_mut(question) {
            let ttl = match (&answer.fault, answer.nothing) {
                (None, _) => ttl.unwrap_or(followed.bounds.1),
                (Some(_), true) => ttl.unwrap_or_default().max(RETRY),
                (Some(_), false) => RETRY,
            };
            let pause = draw_pause(ttl, followed.bounds, &mut self.random);
            (followed.next, followed.ended) = (Some(now + pause), Some(now));
        }
        for waiting in &mut self.waiting {
            waiting.questions.remove(question);
        }
    }

    /// Shows what is new, and then tells those who wait for nothing any more.
    fn tell_news(&mut self) {
        if std::mem::take(&mut self.news) {
            self.shared.known.store(Arc::new(self.known.clone()));
            self.shared.changed.store(true, Ordering::Release);
            self.shared.bell.ring();
        }
        for waiting in self.waiting.extract_if(.., |waiting| waiting.questions.is_empty()) {
            // Who waited may have gone.
            let _told = waiting.tell.try_send(());
        }
    }
}

/// The pause before a name is looked up again, a little different each time.
fn draw_pause(ttl: Duration, (least, most): (Duration, Duration), random: &mut Random) -> Duration {
    ttl.clamp(least.min(most), most).mul_f64(1.0 + JITTER * random.unit())
}

#[cfg(test)]
mod tests;
