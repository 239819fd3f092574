//! The thread that adds up what the workers counted, once a second and whenever somebody asks.

use std::collections::HashSet;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};

use super::otlp;
use super::worker::{ORDERS, WorkerCommand};
use crate::clock;
use crate::pace;
use crate::snapshot::{Snapshot, SnapshotStore};
use crate::telemetry::history::{Exists, History};
use crate::telemetry::ledger::{Interval, NO_ROUTE};

/// The longest time for the workers to hand over what they have. One that takes longer is late, not
/// lost.
const PATIENCE: Duration = Duration::from_millis(200);
const SECOND: Duration = Duration::from_secs(1);
/// Questions that may wait to be read out; whoever asks one more is told nothing.
const QUESTIONS: usize = 64;
/// The seconds that pass between two exports of the counters.
const EXPORT: u32 = 10;

/// A function that reads something out of the history.
type StatsQuestion = Box<dyn FnOnce(&History) + Send>;

/// The place for questions. The thread ends when the last of these is gone.
#[derive(Clone)]
pub struct Desk(SyncSender<StatsQuestion>);

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Desk")
    }
}

impl Desk {
    /// Reads something out of the history, after everything that has happened so far is in it.
    /// `None` when the process is stopping, or too many ask.
    pub async fn ask_history<T: Send + 'static>(
        &self,
        read: impl FnOnce(&History) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let question: StatsQuestion = Box::new(move |history| {
            // Who asked may have gone.
            let _gone = answer.send(read(history));
        });
        self.0.try_send(question).ok()?;
        answered.await.ok()
    }
}

/// A desk and the line that leads from it to the collector.
#[must_use]
pub fn new_desk() -> (Desk, StatsQuestions) {
    let (ask, asked) = sync_channel(QUESTIONS);
    (Desk(ask), StatsQuestions(asked))
}

/// The questions that are asked.
pub struct StatsQuestions(Receiver<StatsQuestion>);

struct Collector {
    history: History,
    store: SnapshotStore,
    workers: Vec<mpsc::Sender<WorkerCommand>>,
    started: SystemTime,
    reply: SyncSender<Box<Interval>>,
    replies: Receiver<Box<Interval>>,
}

/// Starts the thread.
///
/// # Errors
/// When it cannot be started.
pub fn start_collector(
    store: SnapshotStore,
    workers: Vec<mpsc::Sender<WorkerCommand>>,
    questions: StatsQuestions,
) -> io::Result<()> {
    let (reply, replies) = sync_channel(workers.len() * ORDERS);
    let history = History::default();
    let started = clock::wall();
    let collector = Collector { history, store, workers, started, reply, replies };
    thread::Builder::new()
        .name("telemetry".into())
        .spawn(move || collector.run_collector(&questions.0))?;
    Ok(())
}

impl Collector {
    fn run_collector(mut self, questions: &Receiver<StatsQuestion>) {
        pace::stand_back();
        let mut next = clock::now() + SECOND;
        let mut seconds = 0;
        loop {
            match questions.recv_timeout(next.saturating_duration_since(clock::now())) {
                Ok(question) => {
                    self.gather_deltas();
                    question(&self.history);
                }
                Err(RecvTimeoutError::Timeout) => {
                    next += SECOND;
                    self.gather_deltas();
                    self.end_second();
                    if seconds % EXPORT == 0 {
                        self.export_metrics();
                    }
                    seconds += 1;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Asks all workers for what they have.
    fn gather_deltas(&mut self) {
        while let Ok(late) = self.replies.try_recv() {
            self.history.add_interval(&late);
        }
        let order = || WorkerCommand::HandOver(self.reply.clone());
        let asked = self.workers.iter().filter(|worker| worker.try_send(order()).is_ok()).count();
        let until = clock::now() + PATIENCE;
        for _ in 0..asked {
            let left = until.saturating_duration_since(clock::now());
            let Ok(interval) = self.replies.recv_timeout(left) else { return };
            self.history.add_interval(&interval);
        }
    }

    /// Sends the counters to the receiver of traces, if there is one.
    fn export_metrics(&self) {
        let snapshot = self.store.load();
        if let Some(tracing) = &snapshot.trace {
            let exporter = &tracing.exporter;
            let (instance, history) = (&exporter.instance, &self.history);
            exporter.offer_metrics(otlp::encode_metrics(
                instance,
                &snapshot,
                history,
                self.started,
            ));
        }
    }

    fn end_second(&mut self) {
        let snapshot = self.store.load();
        let Snapshot { routes, listeners, upstreams, .. } = &**snapshot;
        let routes: HashSet<u32> = routes.iter().map(|route| route.counts.id).collect();
        let listeners: HashSet<u32> = listeners.iter().map(|l| u32::from(l.id)).collect();
        let mut servers = HashSet::new();
        for upstream in upstreams {
            servers.extend(upstream.members().members().iter().map(|m| m.endpoint.id));
        }
        self.history.next_second(&Exists {
            route: &|id| id == NO_ROUTE || routes.contains(&id),
            listener: &|id| listeners.contains(&id),
            server: &|id| servers.contains(&id),
        });
    }
}
