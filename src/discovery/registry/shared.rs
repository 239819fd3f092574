//! Registrations in Redis, so that a service registers with one instance and all of them know.
//!
//! For each upstream there is a hash of what was registered, by id, and a sorted set of the moments at which each
//! was last registered, renewed or removed. One script writes what the others do not know yet and reads what
//! has changed since it was read last. All moments are the Redis server's, so instances need no common
//! time: what is told is how much of a lease is left. A Redis that lost everything is filled again by renewals.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use redis::Pipeline;

use super::lease::{self, Known, LONGEST, Lease};
use crate::policy::shared::{Redis, RedisConnections};

/// What all names in Redis begin with; the number is that of the form of what is kept under them.
const PREFIX: &str = "tidegate:registry:1";
/// The longest time for an exchange.
const PATIENCE: Duration = Duration::from_secs(1);
/// Servers that are told of in one call.
const TOLD: usize = 500;
/// Servers that are heard of in one call.
const HEARD: usize = 5000;
/// Bytes of a description; longer ones are not ours.
const DESCRIPTION: usize = 32 * 1024;

/// Writes pairs of an id and a description, forgets what is long over, and reads what has changed since a moment.
const SCRIPT: &str = "local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for at = 4, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
  redis.call('ZADD', KEYS[2], now, ARGV[at])
end
local over = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - tonumber(ARGV[2]), 'LIMIT', 0, 1000)
if #over > 0 then
  redis.call('ZREM', KEYS[2], unpack(over))
  redis.call('HDEL', KEYS[1], unpack(over))
end
if #ARGV > 3 then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
end
local from = tonumber(ARGV[1])
if from > now then from = 0 end
local news = redis.call('ZRANGEBYSCORE', KEYS[2], from, '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[3])
local said = {string.format('%d', now)}
for at = 1, #news, 2 do
  said[#said + 1] = news[at]
  said[#said + 1] = string.format('%d', news[at + 1])
  said[#said + 1] = redis.call('HGET', KEYS[1], news[at]) or ''
end
return said";

/// What is to be told and heard about one upstream.
pub(super) struct Exchange {
    pub(super) upstream: Arc<str>,
    /// All is known up to this moment of the Redis.
    pub(super) since: u64,
    /// Servers that registered or renewed here.
    pub(super) leases: Vec<(Arc<str>, Arc<Lease>)>,
    /// Servers that left on purpose here.
    pub(super) gone: BTreeSet<Arc<str>>,
}

/// What was to be told and was not.
pub(super) struct Told {
    pub(super) upstream: Arc<str>,
    pub(super) leases: Vec<(Arc<str>, Arc<Lease>)>,
    pub(super) gone: BTreeSet<Arc<str>>,
}

/// What was heard about one upstream.
pub(super) struct News {
    pub(super) upstream: Arc<str>,
    /// Servers with what is left of their leases; without a description when they left on purpose.
    pub(super) servers: Vec<(Arc<str>, Option<Known>, Duration)>,
    /// All is known up to this moment of the Redis.
    pub(super) since: u64,
    /// There is more to be heard at once.
    pub(super) more: bool,
}

/// Tells and hears.
///
/// # Errors
/// What was to be told, when there was no answer. Some of it may be known all the same.
pub(super) async fn exchange(
    redis: &Redis,
    connections: &RedisConnections,
    exchanges: Vec<Exchange>,
) -> Result<Vec<News>, Vec<Told>> {
    let mut all = Vec::new();
    let mut failed = false;
    for each in &exchanges {
        match one(redis, connections, each).await {
            Some(news) => all.push(news),
            None => {
                failed = true;
                break;
            }
        }
    }
    if !failed {
        return Ok(all);
    }
    let told = exchanges.into_iter();
    Err(told
        .map(|Exchange { upstream, leases, gone, .. }| Told { upstream, leases, gone })
        .collect())
}

async fn one(redis: &Redis, connections: &RedisConnections, each: &Exchange) -> Option<News> {
    let mut pairs: Vec<(&str, String)> = Vec::new();
    for (id, lease) in &each.leases {
        pairs.push((id, serde_json::to_string(&lease.known).ok()?));
    }
    pairs.extend(each.gone.iter().map(|id| (&**id, String::new())));
    let mut chunks = pairs.chunks(TOLD).peekable();
    let mut news;
    loop {
        let chunk = chunks.next().unwrap_or_default();
        let last = chunks.peek().is_none();
        // All but the last call only tell.
        let (since, most) = if last { (each.since, HEARD) } else { (each.since, 1) };
        let mut call = Pipeline::new();
        let command = call.cmd("EVAL").arg(SCRIPT).arg(2);
        command.arg(key(&each.upstream, "servers")).arg(key(&each.upstream, "changed"));
        command.arg(since).arg(LONGEST.as_millis() as u64 * 2).arg(most);
        for (id, description) in chunk {
            command.arg(*id).arg(description);
        }
        let (said,) =
            redis.query_patiently::<(Vec<Vec<u8>>,)>(connections, &call, PATIENCE).await.ok()?;
        news = read(&each.upstream, &said, most)?;
        if last {
            return Some(news);
        }
    }
}

fn key(upstream: &str, what: &str) -> String {
    // What is in braces decides the place in a cluster: both keys of an upstream are in the same.
    format!("{PREFIX}:{{{upstream}}}:{what}")
}

fn number(bytes: &[u8]) -> Option<u64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// Reads what the script has said. What is no registration of ours is passed over.
fn read(upstream: &Arc<str>, said: &[Vec<u8>], most: usize) -> Option<News> {
    let (now, rest) = said.split_first()?;
    let now = number(now)?;
    let mut news =
        News { upstream: upstream.clone(), servers: Vec::new(), since: now, more: false };
    let mut last = 0;
    let rows = rest.as_chunks::<3>().0;
    for [id, at, description] in rows {
        let Some(at) = number(at) else { continue };
        last = at;
        let id = std::str::from_utf8(id).ok().filter(|id| lease::check_id(id).is_ok());
        let Some(id) = id else { continue };
        if description.is_empty() {
            news.servers.push((id.into(), None, Duration::ZERO));
            continue;
        }
        if description.len() > DESCRIPTION {
            continue;
        }
        let Ok(known) = serde_json::from_slice::<Known>(description) else { continue };
        let left = known.ttl_ms.saturating_sub(now.saturating_sub(at));
        news.servers.push((id.into(), Some(known), Duration::from_millis(left)));
    }
    if rows.len() >= most {
        (news.more, news.since) = (true, last);
    }
    Some(news)
}
