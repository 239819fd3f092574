//! One server of a Redis, and a worker's connections to such servers.
//!
//! A connection is made by a task of its own, because it may take longer than a request waits: who
//! asks next finds it made. It carries any number of calls at a time, and goes when its server
//! closes it, says that it is no longer the primary, or is silent twice in a row: what has moved
//! elsewhere is found only by connecting anew.

use std::borrow::Cow;
use std::cell::RefCell;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::aio::ConnectionLike as _;
use redis::{ErrorKind, Pipeline, RedisError, ServerErrorKind, Value};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::connector::{ConnectError, NodeAddress, RedisConnector, RedisLink, is_host};
use super::{CallPatience, OnError, all_values};
use crate::clock;
use crate::quota::LineQuota;

/// The time for which a server that failed is left alone.
const REST: Duration = Duration::from_millis(500);
/// Lines of one kind about a server within [`WINDOW`]: what comes and goes all the time is told so
/// often.
const LINES: u32 = 10;
/// The time in which so many lines are written.
const WINDOW: Duration = Duration::from_secs(60);
/// Calls in a row that may go unanswered before a connection is given up.
const SILENCE: u32 = 2;
/// Bytes of an error that a log line repeats.
const WORDS: usize = 200;

/// One server.
#[derive(Debug)]
pub(super) struct RedisNode {
    id: u64,
    pub address: NodeAddress,
    /// Until when it is left alone, in milliseconds of [`clock::millis`].
    resting: AtomicU64,
    /// The last call failed.
    pub down: AtomicBool,
    /// The log says that it does not answer.
    told_down: AtomicBool,
    /// The times that it failed or answered again since a line said so.
    changes: AtomicU64,
    /// The hash of the reason for which there was no connection, once it was told; 0 when there is
    /// one.
    told: AtomicU64,
    /// The lines about whether it answers.
    answer_lines: LineQuota,
    /// The lines about why there is no connection.
    connect_lines: LineQuota,
}

impl RedisNode {
    pub(super) fn new(address: NodeAddress) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Relaxed);
        let (resting, down, told_down, changes, told) = Default::default();
        let [answer_lines, connect_lines] =
            [LineQuota::new(LINES, WINDOW), LineQuota::new(LINES, WINDOW)];
        Arc::new(Self {
            id,
            address,
            resting,
            down,
            told_down,
            changes,
            told,
            answer_lines,
            connect_lines,
        })
    }

    pub(super) fn is_resting(&self) -> bool {
        self.resting.load(Relaxed) > clock::millis(clock::now())
    }

    pub(super) fn start_rest(&self) {
        self.resting.store(clock::millis(clock::now() + REST), Relaxed);
    }

    /// Notes that it has answered, and tells where that is news.
    pub(super) fn note_answered(&self) {
        if self.down.load(Relaxed) && self.down.swap(false, Relaxed) {
            self.resting.store(0, Relaxed);
            self.changes.fetch_add(1, Relaxed);
        }
        if self.told_down.load(Relaxed) && self.may_tell(false) {
            let (server, left_out) = (self.address.to_string(), self.left_out());
            tracing::info!(server, left_out, "Redis answers again");
        }
    }

    /// Notes that it has not answered, and tells where that is news; without an error, that has
    /// been told.
    pub(super) fn failed(&self, error: Option<&str>, goes_on: OnError) {
        self.start_rest();
        if !self.down.swap(true, Relaxed) {
            self.changes.fetch_add(1, Relaxed);
        }
        let Some(error) = error else {
            self.told_down.store(true, Relaxed);
            return;
        };
        if !self.told_down.load(Relaxed) && self.may_tell(true) {
            let (server, left_out) = (self.address.to_string(), self.left_out());
            let error = &*shorten_words(error);
            tracing::error!(
                server,
                error,
                ?goes_on,
                key = "redis",
                left_out,
                "Redis does not answer"
            );
        }
    }

    /// Returns whether a line may say that it is down now, or that it is not. One that may not be
    /// written yet is written at a later call, if it is still true then.
    fn may_tell(&self, down: bool) -> bool {
        self.answer_lines.take(clock::now()).is_some() && self.told_down.swap(down, Relaxed) != down
    }

    /// Returns how many changes no line has told of, beside the one that is told now.
    fn left_out(&self) -> u64 {
        self.changes.swap(0, Relaxed).saturating_sub(1)
    }

    /// Notes that it can be reached.
    pub(super) fn note_reached(&self) {
        self.told.store(0, Relaxed);
    }

    /// Tells why there is no connection, unless that has just been told.
    pub(super) fn tell_once(&self, ConnectError { error, key }: &ConnectError) {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(error) | 1;
        if self.told.load(Relaxed) == hash {
            return;
        }
        // What may not be told now is told at a later attempt, if it is still true then.
        if let Some(left_out) = self.connect_lines.take(clock::now())
            && self.told.swap(hash, Relaxed) != hash
        {
            let error = &*shorten_words(error);
            tracing::error!(error, key, left_out, "Redis cannot be reached");
        }
    }
}

/// The beginning of what was wrong: a Redis may say anything of any length.
fn shorten_words(error: &str) -> Cow<'_, str> {
    match error.len() {
        0..=WORDS => error.into(),
        _ => {
            let end = error.floor_char_boundary(WORDS);
            format!("{}...", error.get(..end).unwrap_or_default()).into()
        }
    }
}

/// The end of a call that brought no answer.
#[derive(Debug)]
pub(super) enum CallFailure {
    /// There is no connection, which has been told.
    NoConnection,
    /// No answer in time.
    Late,
    /// The connection was lost, or has turned out to lead to no primary; a new one may do better.
    Lost(String),
    /// Another server has the keys now.
    Moved(NodeAddress),
    /// Another server has this key for the time being.
    Ask(NodeAddress),
    /// The script has to be sent along.
    NoScript,
    /// Redis says no.
    Refused(String),
}

impl CallFailure {
    /// What a log line says of it; `None` when it has been told.
    pub(super) fn log_text(self) -> Option<String> {
        Some(match self {
            Self::NoConnection => return None,
            Self::Late => "no answer in time".to_owned(),
            Self::NoScript => "it has no script".to_owned(),
            Self::Moved(to) | Self::Ask(to) => {
                format!(
                    "it is a server of a Cluster, and the key is at {to}; `redis.cluster` is not set, or it moves too often"
                )
            }
            Self::Lost(error) | Self::Refused(error) => error,
        })
    }
}

type LinkResult = Option<Result<RedisLink, ConnectError>>;

/// A worker's connection to one server.
struct NodeLink {
    node: Weak<RedisNode>,
    id: u64,
    made: watch::Receiver<LinkResult>,
    /// The connection, once somebody has seen it made.
    ready: Option<RedisLink>,
    /// Calls in a row that went unanswered.
    silent: Arc<AtomicU32>,
}

/// A worker's connections, one for each server.
#[derive(Default)]
pub struct RedisConnections(RefCell<Vec<NodeLink>>);

impl std::fmt::Debug for RedisConnections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RedisConnections")
    }
}

impl RedisConnections {
    /// Makes calls to one server, after `ASKING` for those that it has only for the time being.
    pub(super) async fn call_server(
        &self,
        (connector, node): (&Arc<RedisConnector>, &Arc<RedisNode>),
        calls: &Pipeline,
        asking: bool,
        (deadline, patience): (Instant, CallPatience),
    ) -> Result<Vec<Value>, CallFailure> {
        let (ready, mut made, silent) = self.link_to(connector, node);
        let connection = match ready {
            Some(ready) => Some(ready),
            None => match timeout_at(deadline, made.wait_for(Option::is_some)).await {
                Ok(Ok(made)) => made.as_ref().and_then(|made| made.as_ref().ok()).cloned(),
                // The task that connects has gone with its runtime.
                Ok(Err(_)) => None,
                Err(_) => return Err(CallFailure::Late),
            },
        };
        let Some(mut connection) = connection else {
            self.give_up(node, &silent);
            return Err(CallFailure::NoConnection);
        };
        self.keep_connection(node, &connection);
        match patience {
            CallPatience::Request => {}
            CallPatience::Background => connection.gate.expect_long(),
        }
        let count = calls.len();
        let sent = async {
            if !asking {
                return connection.calls.req_packed_commands(calls, 0, count).await;
            }
            let mut both = Pipeline::with_capacity(2 * count);
            for call in calls.cmd_iter() {
                both.cmd("ASKING");
                both.add_command(call.clone());
            }
            let answers = connection.calls.req_packed_commands(&both, 0, 2 * count).await?;
            Ok(answers.into_iter().skip(1).step_by(2).collect())
        };
        match timeout_at(deadline, sent).await {
            Ok(answer) => {
                silent.store(0, Relaxed);
                let fault = connection.gate.fault();
                connection.gate.note_answer();
                answer.and_then(all_values).map_err(|error| {
                    let failure = match fault {
                        Some(why) => CallFailure::Lost(why),
                        None => classify_error(&error, &node.address),
                    };
                    if matches!(failure, CallFailure::Lost(_)) {
                        self.give_up(node, &silent);
                    }
                    failure
                })
            }
            Err(_) => {
                if silent.fetch_add(1, Relaxed) + 1 >= SILENCE {
                    self.give_up(node, &silent);
                }
                Err(CallFailure::Late)
            }
        }
    }

    /// The connection to a server, which is begun where there is none.
    fn link_to(
        &self,
        connector: &Arc<RedisConnector>,
        node: &Arc<RedisNode>,
    ) -> (Option<RedisLink>, watch::Receiver<LinkResult>, Arc<AtomicU32>) {
        let mut all = self.0.borrow_mut();
        if let Some(link) = all.iter().find(|link| link.id == node.id) {
            return (link.ready.clone(), link.made.clone(), link.silent.clone());
        }
        let (tell, made) = watch::channel(None);
        let (own_connector, own_node) = (connector.clone(), node.clone());
        tokio::spawn(async move {
            let connected = own_connector.connect_to(&own_node.address).await;
            match &connected {
                Ok(_) => own_node.note_reached(),
                Err(error) => own_node.tell_once(error),
            }
            // Whoever asked may have left.
            let _left = tell.send(Some(connected));
        });
        // Servers of configurations that are gone, and that a Cluster has no more, are nobody's.
        all.retain(|link| link.node.strong_count() > 0);
        let silent = Arc::new(AtomicU32::new(0));
        let link = NodeLink {
            node: Arc::downgrade(node),
            id: node.id,
            made: made.clone(),
            ready: None,
            silent: silent.clone(),
        };
        all.push(link);
        (None, made, silent)
    }

    /// Keeps a connection at hand.
    fn keep_connection(&self, node: &RedisNode, connection: &RedisLink) {
        let mut all = self.0.borrow_mut();
        if let Some(link) = all.iter_mut().find(|link| link.id == node.id && link.ready.is_none()) {
            link.ready = Some(connection.clone());
        }
    }

    /// Forgets a connection, unless there is another one already.
    fn give_up(&self, node: &RedisNode, silent: &Arc<AtomicU32>) {
        let is = |link: &NodeLink| link.id == node.id && Arc::ptr_eq(&link.silent, silent);
        self.0.borrow_mut().retain(|link| !is(link));
    }
}

fn classify_error(error: &RedisError, asked: &NodeAddress) -> CallFailure {
    let elsewhere = || error.redirect_node().and_then(|(address, _)| address_of(address, asked));
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::Moved) => match elsewhere() {
            Some(address) => CallFailure::Moved(address),
            None => CallFailure::Refused(error.to_string()),
        },
        ErrorKind::Server(ServerErrorKind::Ask) => match elsewhere() {
            Some(address) => CallFailure::Ask(address),
            None => CallFailure::Refused(error.to_string()),
        },
        ErrorKind::Server(ServerErrorKind::NoScript) => CallFailure::NoScript,
        ErrorKind::Io
        | ErrorKind::Parse
        | ErrorKind::Server(
            ServerErrorKind::ReadOnly | ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown,
        ) => CallFailure::Lost(error.to_string()),
        _ => CallFailure::Refused(error.to_string()),
    }
}

/// Reads `HOST:PORT`; without a host it is that of the server that says so.
pub(super) fn address_of(text: &str, asked: &NodeAddress) -> Option<NodeAddress> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match (host, asked) {
        ("", NodeAddress::Tcp(asked, _)) => Some(NodeAddress::Tcp(asked.clone(), port)),
        ("", _) => None,
        _ if !is_host(host) => None,
        _ => Some(NodeAddress::Tcp(host.to_owned(), port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_comes_and_goes_is_told_ten_times_a_minute_and_ends_as_it_is() {
        let node = RedisNode::new(NodeAddress::Tcp("redis.test".to_owned(), 6379));
        let mut told = Vec::new();
        let mut change = |down: bool| {
            let before = node.told_down.load(Relaxed);
            match down {
                true => node.failed(Some("it is gone"), OnError::Local),
                false => node.note_answered(),
            }
            assert_eq!(node.down.load(Relaxed), down);
            if node.told_down.load(Relaxed) != before {
                told.push(down);
            }
        };
        for _ in 0..50 {
            change(true);
            change(false);
        }
        change(true);
        tokio::time::advance(WINDOW).await;
        // Nothing changes, and what no line has said is said now.
        change(true);
        change(true);
        let flaps = [true, false].repeat(5);
        assert_eq!(told, [&flaps[..], &[true]].concat());
        assert_eq!(node.changes.load(Relaxed), 0, "91 changes were named in the last line");
    }

    #[test]
    fn whoever_could_not_be_reached_is_told_to_answer_again() {
        let node = RedisNode::new(NodeAddress::Tcp("redis.test".to_owned(), 6379));
        node.failed(None, OnError::Local);
        assert!(node.told_down.load(Relaxed), "the line about the connection has said so");
        node.note_answered();
        assert!(!node.told_down.load(Relaxed));
    }
}
