//! Rate limits that all instances share, kept in Redis.
//!
//! One script is one round trip and decides with the clock of the Redis server, so instances need
//! no common time. A server that does not answer is left alone for a moment: `redis.on_error`
//! decides meanwhile, at once. Everything else that is kept in Redis goes through here too: one
//! client, one way to fail.

mod bounded;
mod cluster;
mod connector;
mod node;
mod settings;
mod url_fault;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::{FromRedisValue, Pipeline, RedisResult, Script, Value};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use self::cluster::ClusterNodes;
use self::connector::{NodeAddress, RedisConnector};
pub use self::node::RedisConnections;
use self::node::{CallFailure, RedisNode};
use self::settings::Resolved;
pub use self::settings::{RedisSettings, RedisTopology, SettingsError};
use super::limit::{LimitPass, LimitWait, Pace};
use crate::clock;
use crate::tls::client::{ConnectorSettings, OutgoingTls};

/// How often a call goes to another server, or over a fresh connection, before it counts as failed.
const TRIES: usize = 4;

/// The generic cell rate algorithm, in microseconds.
const GCRA: &str = r"
        local time = redis.call('TIME')
        local now = time[1] * 1000000 + time[2]
        local interval, tolerance = tonumber(ARGV[1]), tonumber(ARGV[2])
        local paid = tonumber(redis.call('GET', KEYS[1]) or now)
        if paid < now then paid = now end
        local ahead = paid - now
        -- Times are exact to a quarter of a microsecond: what was allowed is not refused for that.
        if ahead > tolerance + 1 then
            return {0, 0, math.ceil(ahead - tolerance), math.ceil(ahead)}
        end
        paid = paid + interval
        local expires = math.max(1, math.ceil((paid - now) / 1000))
        redis.call('SET', KEYS[1], string.format('%.3f', paid), 'PX', expires)
        local left = math.max(0, math.floor((tolerance - ahead) / interval + 0.001))
        return {1, left, 0, math.ceil(paid - now)}
        ";

/// The name by which a server knows it once it has seen it.
static GCRA_NAME: LazyLock<String> = LazyLock::new(|| Script::new(GCRA).get_hash().to_owned());

/// The rule while Redis does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// Go on with this instance's own state.
    Local,
    /// Let the request pass.
    Allow,
    /// Refuse the request.
    Deny,
}

/// `[redis]`.
pub struct Redis {
    /// To notice that it is another one; never shown.
    settings: RedisSettings,
    connector: Arc<RedisConnector>,
    /// The only server, or a Cluster as a whole.
    whole: Arc<RedisNode>,
    cluster: Option<Arc<ClusterNodes>>,
    /// The rule while it does not answer.
    pub on_error: OnError,
    /// Calls that failed.
    pub errors: AtomicU64,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("on_error", &self.on_error).finish_non_exhaustive()
    }
}

/// No answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unanswered;

/// The end of calls that brought no answers.
#[derive(Debug)]
enum CallEnd {
    /// None came, which has been noted.
    Unanswered,
    /// The script has to be sent along.
    NoScript,
}

/// Whether a call waits for a server that has just failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CallPatience {
    /// A request waits for it: a server that failed is left alone for a moment.
    Request,
    /// Nobody does.
    Background,
}

impl Redis {
    /// Prepares to use a Redis, or returns `known` if that is the same; nothing is connected yet.
    ///
    /// # Errors
    /// A URL is none, or a file cannot be used; the message contains no password.
    pub fn new(
        settings: RedisSettings,
        known: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, SettingsError> {
        let Resolved { urls, login, sentinels } = settings.resolve_urls()?;
        let Some(first) = urls.first() else {
            return Err(SettingsError::from_message("it has no URL"));
        };
        let tls = if first.tls {
            let identity = settings.identity.as_ref().map(|(cert, key)| (&**cert, &**key));
            let wanted = ConnectorSettings { verify: true, ca: settings.ca.as_deref(), identity };
            let known = known.and_then(|known| known.connector.tls.as_ref());
            Some(OutgoingTls::new(wanted, known).map_err(SettingsError::from_message)?)
        } else {
            None
        };
        let same = known.filter(|known| {
            known.settings == settings && id_of(known.connector.tls.as_ref()) == id_of(tls.as_ref())
        });
        if let Some(known) = same {
            return Ok(known.clone());
        }
        let address =
            if sentinels.is_some() { NodeAddress::Primary } else { first.address.clone() };
        let cluster = matches!(settings.topology, RedisTopology::Cluster(_))
            .then(|| ClusterNodes::new(urls.into_iter().map(|url| url.address).collect()));
        let connector = Arc::new(RedisConnector { login, tls, sentinels });
        Ok(Arc::new(Self::with_address(settings, connector, address, cluster)))
    }

    fn with_address(
        settings: RedisSettings,
        connector: Arc<RedisConnector>,
        address: NodeAddress,
        cluster: Option<Arc<ClusterNodes>>,
    ) -> Self {
        let on_error = settings.on_error;
        let (whole, errors) = (RedisNode::new(address), AtomicU64::new(0));
        Self { settings, connector, whole, cluster, on_error, errors }
    }

    /// Another one of the same Redis, which fails and rests by itself.
    #[must_use]
    pub fn new_sibling(&self) -> Self {
        let cluster = self.cluster.as_ref().map(|cluster| cluster.new_sibling());
        Self::with_address(
            self.settings.clone(),
            self.connector.clone(),
            self.whole.address.clone(),
            cluster,
        )
    }

    /// Whether both are of the same Redis.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let tls = |redis: &Self| id_of(redis.connector.tls.as_ref());
        self.settings == other.settings && tls(self) == tls(other)
    }

    /// The last call to it, or to one of its servers, failed.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.whole.down.load(Relaxed) || self.cluster.as_ref().is_some_and(|all| all.is_down())
    }

    /// The beginning of names that one script or call uses together: a Cluster keeps what has the
    /// same words in braces in one place. Elsewhere the names are plain.
    #[must_use]
    pub fn joint_prefix(&self, prefix: &str) -> String {
        if self.cluster.is_some() { format!("{{{prefix}}}") } else { prefix.to_owned() }
    }

    /// Counts a request on the limit `name` for a key made of parts.
    ///
    /// # Errors
    /// [`Unanswered`]; it may have been counted all the same.
    pub async fn check_limit(
        &self,
        connections: &RedisConnections,
        (name, pace): (&str, Pace),
        parts: impl Iterator<Item = &[u8]>,
        delay: Option<u32>,
    ) -> Result<Result<LimitPass, LimitWait>, Unanswered> {
        let interval = pace.period.as_secs_f64() * 1e6 / f64::from(pace.count.max(1));
        let key = counted_key(name, parts);
        let call = |command: &str, script: &str| {
            let mut call = Pipeline::new();
            call.cmd(command).arg(script).arg(1).arg(&key);
            call.arg(interval).arg(interval * f64::from(pace.burst));
            call
        };
        let deadline = clock::now() + self.settings.timeout;
        let wait = (deadline, CallPatience::Request);
        let answer = match self.ask_servers(connections, &call("EVALSHA", &GCRA_NAME), wait).await {
            Err(CallEnd::NoScript) => {
                self.ask_servers(connections, &call("EVAL", GCRA), wait).await
            }
            answer => answer,
        };
        let ((passed, remaining, wait, reset),) = self.read_answer(answer)?;
        let reply = ScriptReply { passed, remaining, wait, reset };
        Ok(read_reply(reply, interval, delay))
    }

    /// Makes calls on the way of a request: at once without an answer while a server is left alone.
    ///
    /// # Errors
    /// [`Unanswered`]; the calls may have been carried out all the same.
    pub async fn make_calls<T: FromRedisValue>(
        &self,
        connections: &RedisConnections,
        calls: &Pipeline,
    ) -> Result<T, Unanswered> {
        let deadline = clock::now() + self.settings.timeout;
        let answer = self.ask_servers(connections, calls, (deadline, CallPatience::Request)).await;
        self.read_answer(answer)
    }

    /// Makes calls for which nobody waits, within this time. The answer to each of them is part of
    /// the result.
    ///
    /// # Errors
    /// As for [`Redis::make_calls`].
    pub async fn query_patiently<T: FromRedisValue>(
        &self,
        connections: &RedisConnections,
        calls: &Pipeline,
        within: Duration,
    ) -> Result<T, Unanswered> {
        let wait = (clock::now() + within, CallPatience::Background);
        let answer = self.ask_servers(connections, calls, wait).await;
        self.read_answer(answer)
    }

    fn read_answer<T: FromRedisValue>(
        &self,
        answer: Result<Vec<Value>, CallEnd>,
    ) -> Result<T, Unanswered> {
        let answer = match answer {
            Ok(answer) => redis::from_redis_value(Value::Array(answer)),
            Err(CallEnd::Unanswered) => return Err(Unanswered),
            Err(CallEnd::NoScript) => {
                return Err(self.note_failure(&self.whole, Some("it has no script")));
            }
        };
        answer.map_err(|error| self.note_failure(&self.whole, Some(&error.to_string())))
    }

    /// Makes calls. Those that a Cluster keeps in several places go there one after the other.
    async fn ask_servers(
        &self,
        connections: &RedisConnections,
        calls: &Pipeline,
        wait: (Instant, CallPatience),
    ) -> Result<Vec<Value>, CallEnd> {
        if self.cluster.is_none() {
            return self.ask_at(connections, 0, calls, wait).await;
        }
        let mut slots: Vec<u16> =
            calls.cmd_iter().map(|call| cluster::slot_of(call).unwrap_or_default()).collect();
        let of_calls = slots.clone();
        slots.sort_unstable();
        slots.dedup();
        if let [slot] = *slots {
            return self.ask_at(connections, slot, calls, wait).await;
        }
        let mut answers = vec![Value::Nil; of_calls.len()];
        for slot in slots {
            let mut part = Pipeline::new();
            let own = calls.cmd_iter().zip(&of_calls).filter(|(_, of)| **of == slot);
            own.for_each(|(call, _)| {
                part.add_command(call.clone());
            });
            let mut told = self.ask_at(connections, slot, &part, wait).await?.into_iter();
            for (answer, _) in answers.iter_mut().zip(&of_calls).filter(|(_, of)| **of == slot) {
                *answer = told.next().unwrap_or(Value::Nil);
            }
        }
        Ok(answers)
    }

    /// Makes calls at the server that has a slot, wherever that is by now.
    async fn ask_at(
        &self,
        connections: &RedisConnections,
        slot: u16,
        calls: &Pipeline,
        (deadline, patience): (Instant, CallPatience),
    ) -> Result<Vec<Value>, CallEnd> {
        let hurried = patience == CallPatience::Request;
        if hurried && self.whole.is_resting() {
            return Err(CallEnd::Unanswered);
        }
        let connector = (&self.connector, &self.whole);
        let mut node = match &self.cluster {
            None => self.whole.clone(),
            Some(cluster) => match cluster.find_node(slot, connector, deadline).await {
                Some(node) => node,
                None => {
                    self.note_failure(
                        &self.whole,
                        Some("no server has told in time who has the key"),
                    );
                    return Err(CallEnd::Unanswered);
                }
            },
        };
        let mut asking = false;
        let mut lost = None;
        for left in (0..TRIES).rev() {
            if hurried && node.is_resting() {
                return Err(CallEnd::Unanswered);
            }
            let at = (&self.connector, &node);
            let failure =
                match connections.call_server(at, calls, asking, (deadline, patience)).await {
                    Ok(answer) => {
                        node.note_answered();
                        self.whole.note_answered();
                        return Ok(answer);
                    }
                    Err(CallFailure::NoScript) => return Err(CallEnd::NoScript),
                    Err(failure) => failure,
                };
            let at = self.cluster.as_ref().filter(|_| left > 0);
            match (failure, at) {
                (CallFailure::Moved(place), Some(cluster)) => {
                    cluster.ask_table(&self.connector, &self.whole);
                    (node, asking) = (cluster.move_slot(slot, place), false);
                    continue;
                }
                (CallFailure::Ask(place), Some(cluster)) => {
                    (node, asking) = (cluster.node_at(place), true);
                    continue;
                }
                // Whoever has closed an idle connection is asked again, and of a primary that is
                // none any more there is another one.
                (CallFailure::Lost(why), None) if left > 1 => {
                    lost.get_or_insert(why);
                    continue;
                }
                (failure, _) => {
                    if let Some(cluster) = &self.cluster {
                        cluster.ask_table(&self.connector, &self.whole);
                    }
                    // What broke the first connection says more than that the time was over
                    // afterwards, and less than why there is no other one.
                    let lost = lost.filter(|_| matches!(failure, CallFailure::Late));
                    let why = lost.or_else(|| failure.log_text());
                    self.note_failure(&node, why.as_deref());
                    return Err(CallEnd::Unanswered);
                }
            }
        }
        Err(CallEnd::Unanswered)
    }

    fn note_failure(&self, node: &RedisNode, error: Option<&str>) -> Unanswered {
        self.errors.fetch_add(1, Relaxed);
        node.failed(error, self.on_error);
        Unanswered
    }
}

fn id_of(tls: Option<&Arc<OutgoingTls>>) -> Option<u64> {
    tls.map(|tls| tls.id)
}

/// Returns the answers, or the first error among them.
fn all_values(answers: Vec<Value>) -> RedisResult<Vec<Value>> {
    answers.into_iter().map(Value::extract_error).collect()
}

/// The name under which a key is counted: the same on every instance, and nothing of the client's
/// in it.
fn counted_key<'a>(limit: &str, parts: impl Iterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let mut key = format!("tidegate:limit:{limit}:");
    for byte in hash.finalize().iter().take(16) {
        // Writing to a string cannot fail.
        let _ok = write!(key, "{byte:02x}");
    }
    key
}

/// The answer of the script.
struct ScriptReply {
    /// 0 for a request that is over the limit.
    passed: u8,
    /// Requests that would pass now.
    remaining: u32,
    /// Until the request would pass, in microseconds.
    wait: u64,
    /// Until the limit is unused again, in microseconds.
    reset: u64,
}

fn read_reply(
    reply: ScriptReply,
    interval: f64,
    delay: Option<u32>,
) -> Result<LimitPass, LimitWait> {
    let ScriptReply { passed, remaining, wait, reset } = reply;
    if passed == 0 {
        return Err(LimitWait(Duration::from_micros(wait)));
    }
    let interval = Duration::from_secs_f64(interval / 1e6);
    let reset = Duration::from_micros(reset);
    let free = delay.map(|delay| interval.saturating_mul(delay));
    let beyond = reset.saturating_sub(interval);
    let wait = free.map_or(Duration::ZERO, |free| beyond.saturating_sub(free));
    Ok(LimitPass { remaining, wait, reset })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(limit: &str, parts: &[&[u8]]) -> String {
        counted_key(limit, parts.iter().copied())
    }

    #[test]
    fn keys_are_the_same_everywhere_and_tell_parts_apart() {
        assert_eq!(of("a", &[b"x"]), "tidegate:limit:a:f91b14e7bbea4c5bfa0e1a7040177166");
        assert_ne!(of("a", &[b"ab", b"c"]), of("a", &[b"a", b"bc"]));
        assert!(!of("a", &[b"\r\nFLUSHALL\r\n"]).contains("FLUSH"));
    }
}
