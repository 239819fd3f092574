//! Who runs next: one of the tasks that were woken, or one that was not, or the reactor. All of it
//! follows from the seed.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};

use super::wire::Net;
use crate::clock::Random;

/// Steps after which a simulation is taken to go round in circles.
const STEPS: usize = 2_000_000;

type Work = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    name: String,
    work: Option<Work>,
    woken: Arc<Woken>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

/// What the tasks of a simulation share with its schedule.
#[derive(Clone)]
pub(super) struct Schedule {
    fresh: Rc<RefCell<Vec<(String, Work)>>>,
    resting: Rc<RefCell<Vec<Waker>>>,
    random: Rc<RefCell<Random>>,
}

impl Schedule {
    pub(super) fn new(seed: u64) -> Self {
        let random = Rc::new(RefCell::new(Random::seeded(seed ^ 0x5eed)));
        Self { fresh: Rc::default(), resting: Rc::default(), random }
    }

    pub(super) fn spawn(&self, name: String, work: impl Future<Output = ()> + 'static) {
        self.fresh.borrow_mut().push((name, Box::pin(work)));
    }

    /// A number below `bound`.
    pub(super) fn below(&self, bound: u64) -> u64 {
        self.random.borrow_mut().below(bound)
    }

    /// Waits until nothing else happens.
    pub(super) async fn rest(&self) {
        let mut rested = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut rested, true) {
                return Poll::Ready(());
            }
            self.resting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Wakes one of those that rest, if anybody does.
    fn wake_one(&self) -> bool {
        let mut resting = self.resting.borrow_mut();
        let at = self.below(resting.len() as u64) as usize;
        if resting.is_empty() {
            return false;
        }
        resting.swap_remove(at).wake();
        true
    }

    /// Runs everything until nothing can happen any more. `settled` is asked whenever nothing else
    /// will happen. Returns the names of those that have not come to their end.
    pub(super) async fn run(
        &self,
        net: &RefCell<Net>,
        settled: &mut dyn FnMut() -> Result<(), String>,
    ) -> Result<Vec<String>, String> {
        let mut tasks: Vec<Task> = Vec::new();
        let mut waits = 0;
        for _ in 0..STEPS {
            let fresh = std::mem::take(&mut *self.fresh.borrow_mut());
            tasks.extend(fresh.into_iter().map(|(name, work)| Task {
                name,
                work: Some(work),
                woken: Arc::new(Woken(true.into())),
            }));
            tasks.retain(|task| task.work.is_some());
            let woken = |at: &usize| tasks[*at].woken.0.load(Relaxed);
            let ready: Vec<usize> = (0..tasks.len()).filter(woken).collect();
            let events = net.borrow().events();
            let choices = (ready.len() + events.len()) as u64;
            if choices == 0 {
                settled()?;
                if self.wake_one() {
                    continue;
                }
                // What waits for a clock only.
                waits += 1;
                if waits > 4 || tasks.is_empty() {
                    return Ok(tasks.into_iter().map(|task| task.name).collect());
                }
                tokio::time::advance(std::time::Duration::from_secs(1)).await;
                continue;
            }
            let chosen = self.below(choices) as usize;
            match events.get(chosen) {
                Some(event) => net.borrow_mut().tell(*event),
                None if self.below(16) == 0 => {
                    let at = self.below(tasks.len() as u64) as usize;
                    run(&mut tasks[at]);
                }
                None => run(&mut tasks[ready[chosen - events.len()]]),
            }
        }
        let ready = tasks.iter().filter(|task| task.woken.0.load(Relaxed));
        let names: Vec<&str> = ready.map(|task| &*task.name).collect();
        Err(format!("no end after {STEPS} steps; awake: {names:?}"))
    }
}

fn run(task: &mut Task) {
    task.woken.0.store(false, Relaxed);
    let waker = Waker::from(task.woken.clone());
    let over = |work: &mut Work| work.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
    if task.work.as_mut().is_some_and(over) {
        task.work = None;
    }
}
