//! Rate limits that all instances share, kept in Redis.
//!
//! One script is one round trip and decides with the clock of the Redis server, so instances need no common time.
//! A Redis that does not answer is left alone for a moment: `redis.on_error` decides meanwhile, at once.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{FromRedisValue, Pipeline, Script};
use sha2::{Digest, Sha256};

use super::limit::{LimitPass, LimitWait, Pace};
use crate::clock;

/// The time for which a Redis that failed is left alone.
const REST: Duration = Duration::from_millis(500);

/// The generic cell rate algorithm, in microseconds.
static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
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
        ",
    )
});

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
    id: u32,
    /// To notice that it is another one; never shown.
    url: String,
    client: redis::Client,
    timeout: Duration,
    /// The rule while it does not answer.
    pub on_error: OnError,
    /// Until when it is left alone, in milliseconds of [`clock::millis`].
    resting: AtomicU64,
    /// The last call failed.
    pub down: AtomicBool,
    /// Calls that failed.
    pub errors: AtomicU64,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("on_error", &self.on_error).finish_non_exhaustive()
    }
}

/// A worker's connections; each carries any number of calls at a time.
#[derive(Default)]
pub struct RedisConnections(RefCell<Vec<(u32, ConnectionManager)>>);

impl std::fmt::Debug for RedisConnections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connections")
    }
}

/// No answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unanswered;

impl Redis {
    /// Prepares to use the Redis at `url`; nothing is connected yet.
    ///
    /// # Errors
    /// The URL is none, or needs what is not there; the message does not contain it.
    pub fn new(url: &str, timeout: Duration, on_error: OnError) -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let client = redis::Client::open(url).map_err(|error| {
            // Its detail may repeat the URL, and with it the password.
            error.category().to_owned()
        })?;
        Ok(Self {
            id: NEXT.fetch_add(1, Relaxed),
            url: url.to_owned(),
            client,
            timeout,
            on_error,
            resting: AtomicU64::new(0),
            down: AtomicBool::new(false),
            errors: AtomicU64::new(0),
        })
    }

    /// Returns whether it was made of these.
    #[must_use]
    pub fn same(&self, url: &str, timeout: Duration, on_error: OnError) -> bool {
        self.url == url && self.timeout == timeout && self.on_error == on_error
    }

    /// Another one of the same Redis, which fails and rests by itself.
    ///
    /// # Errors
    /// As for [`Redis::new`].
    pub fn again(&self) -> Result<Self, String> {
        Self::new(&self.url, self.timeout, self.on_error)
    }

    /// Returns whether both are of the same Redis.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        self.same(&other.url, other.timeout, other.on_error)
    }

    /// Counts a request on the limit `name` for a key made of parts.
    ///
    /// # Errors
    /// [`Unanswered`]; it may have been counted all the same.
    pub async fn check(
        &self,
        connections: &RedisConnections,
        (name, pace): (&str, Pace),
        parts: impl Iterator<Item = &[u8]>,
        delay: Option<u32>,
    ) -> Result<Result<LimitPass, LimitWait>, Unanswered> {
        let now = clock::millis(clock::now());
        if self.resting.load(Relaxed) > now {
            return Err(Unanswered);
        }
        let Some(mut connection) = self.connection(connections) else { return Err(Unanswered) };
        let interval = pace.period.as_secs_f64() * 1e6 / f64::from(pace.count.max(1));
        let mut call = SCRIPT.prepare_invoke();
        call.key(key(name, parts)).arg(interval).arg(interval * f64::from(pace.burst));
        let called = tokio::time::timeout(self.timeout, call.invoke_async(&mut connection)).await;
        let error = match called {
            Ok(Ok(answer)) => {
                if self.down.swap(false, Relaxed) {
                    tracing::info!("Redis answers again");
                }
                return Ok(read(answer, interval, delay));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {:?}", self.timeout),
        };
        self.failed(&error);
        Err(Unanswered)
    }

    /// Makes calls on the way of a request: at once without an answer while it is left alone.
    ///
    /// # Errors
    /// [`Unanswered`]; the calls may have been carried out all the same.
    pub async fn query<T: FromRedisValue>(
        &self,
        connections: &RedisConnections,
        calls: &Pipeline,
    ) -> Result<T, Unanswered> {
        if self.resting.load(Relaxed) > clock::millis(clock::now()) {
            return Err(Unanswered);
        }
        self.query_patiently(connections, calls, self.timeout).await
    }

    /// Makes calls for which nobody waits, within this time.
    ///
    /// # Errors
    /// As for [`Redis::query`].
    pub async fn query_patiently<T: FromRedisValue>(
        &self,
        connections: &RedisConnections,
        calls: &Pipeline,
        within: Duration,
    ) -> Result<T, Unanswered> {
        let Some(mut connection) = self.connection(connections) else { return Err(Unanswered) };
        let called = tokio::time::timeout(within, calls.query_async(&mut connection)).await;
        let error = match called {
            Ok(Ok(answer)) => {
                if self.down.swap(false, Relaxed) {
                    self.resting.store(0, Relaxed);
                    tracing::info!("Redis answers again");
                }
                return Ok(answer);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {within:?}"),
        };
        self.failed(&error);
        Err(Unanswered)
    }

    fn failed(&self, error: &str) {
        self.errors.fetch_add(1, Relaxed);
        let rest = clock::millis(clock::now() + REST);
        self.resting.store(rest, Relaxed);
        if !self.down.swap(true, Relaxed) {
            let goes_on = self.on_error;
            tracing::error!(error, ?goes_on, key = "redis", "Redis does not answer");
        }
    }

    fn connection(&self, connections: &RedisConnections) -> Option<ConnectionManager> {
        let mut all = connections.0.borrow_mut();
        if let Some((_, known)) = all.iter().find(|(id, _)| *id == self.id) {
            return Some(known.clone());
        }
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_min_delay(Duration::from_millis(10))
            .set_max_delay(REST)
            .set_connection_timeout(Some(Duration::from_secs(1)))
            .set_response_timeout(Some(Duration::from_secs(2)));
        let new = ConnectionManager::new_lazy_with_config(self.client.clone(), config).ok()?;
        // Those of configurations that are gone have no use any more.
        all.clear();
        all.push((self.id, new.clone()));
        Some(new)
    }
}

/// The name under which a key is counted: the same on every instance, and nothing of the client's in it.
fn key<'a>(limit: &str, parts: impl Iterator<Item = &'a [u8]>) -> String {
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

fn read(
    (passed, remaining, wait, reset): (u8, u32, u64, u64),
    interval: f64,
    delay: Option<u32>,
) -> Result<LimitPass, LimitWait> {
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
        key(limit, parts.iter().copied())
    }

    #[test]
    fn keys_are_the_same_everywhere_and_tell_parts_apart() {
        assert_eq!(of("a", &[b"x"]), "tidegate:limit:a:f91b14e7bbea4c5bfa0e1a7040177166");
        assert_ne!(of("a", &[b"ab", b"c"]), of("a", &[b"a", b"bc"]));
        assert!(!of("a", &[b"\r\nFLUSHALL\r\n"]).contains("FLUSH"));
    }

    #[test]
    fn a_wrong_url_is_not_repeated() {
        for url in ["http://:secret@x", "redis://:secret@x:99999999", "rediss://:secret@x"] {
            let error = Redis::new(url, Duration::from_secs(1), OnError::Local).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
