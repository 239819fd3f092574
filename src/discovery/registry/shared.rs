//! Registrations in Redis, so that a service registers with one instance and all of them know.
//!
//! For each upstream there is a hash of what was registered, by id, and a sorted set of the moments
//! at which each was last registered, renewed or removed. One script writes what the others do not
//! know yet and reads what has changed since it was read last. All moments are the Redis server's,
//! so instances need no common time: what is told is how much of a lease is left. A Redis that lost
//! everything is filled again by renewals.

use std::collections::BTreeSet;
use std::iter;
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

/// Bytes of descriptions that are told or heard of in one call, but for the last one and those of
/// the same moment.
const DESCRIPTIONS: usize = 1 << 20;

/// Writes pairs of an id and a description, forgets what is long over, and reads what has changed
/// since a moment, until that is too much for one call.
const SCRIPT: &str = "local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for at = 5, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
  redis.call('ZADD', KEYS[2], now, ARGV[at])
end
local over = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - tonumber(ARGV[2]), 'LIMIT', 0, 1000)
if #over > 0 then
  redis.call('ZREM', KEYS[2], unpack(over))
  redis.call('HDEL', KEYS[1], unpack(over))
end
if #ARGV > 4 then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
end
local from = tonumber(ARGV[1])
if from > now then from = 0 end
local news = redis.call('ZRANGEBYSCORE', KEYS[2], from, '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[3])
local said = {string.format('%d', now), ''}
local bytes = 0
for at = 1, #news, 2 do
  if bytes > tonumber(ARGV[4]) and news[at + 1] ~= news[at - 1] then
    said[2] = 'cut'
    break
  end
  said[#said + 1] = news[at]
  said[#said + 1] = string.format('%d', news[at + 1])
  said[#said + 1] = redis.call('HGET', KEYS[1], news[at]) or ''
  -- What was heard up to this moment may come again; it is in nobody's way.
  if tonumber(news[at + 1]) ~= from then bytes = bytes + #said[#said] end
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
    let mut chunks = split_pairs(&pairs).peekable();
    let mut news;
    loop {
        let chunk = chunks.next().unwrap_or_default();
        let last = chunks.peek().is_none();
        // All but the last call only tell.
        let (since, most) = if last { (each.since, HEARD) } else { (each.since, 1) };
        let mut call = Pipeline::new();
        let command = call.cmd("EVAL").arg(SCRIPT).arg(2);
        command.arg(key(&each.upstream, "servers")).arg(key(&each.upstream, "changed"));
        command.arg(since).arg(LONGEST.as_millis() as u64 * 2).arg(most).arg(DESCRIPTIONS);
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

/// Splits what is told into what goes into one call.
fn split_pairs<'p, 'i>(
    mut pairs: &'p [(&'i str, String)],
) -> impl Iterator<Item = &'p [(&'i str, String)]> {
    iter::from_fn(move || {
        let mut bytes = 0;
        let fits = pairs.iter().take(TOLD).take_while(|(_, description)| {
            let fits = bytes == 0 || bytes + description.len() <= DESCRIPTIONS;
            bytes += description.len();
            fits
        });
        let (chunk, rest) = pairs.split_at_checked(fits.count())?;
        pairs = rest;
        (!chunk.is_empty()).then_some(chunk)
    })
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
    let ([now, cut], rest) = said.split_first_chunk()?;
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
    if rows.len() >= most || !cut.is_empty() {
        (news.more, news.since) = (true, last);
    }
    Some(news)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_in_one_call_is_bounded() {
        let sizes = |pairs: &[(&str, String)]| -> Vec<usize> {
            split_pairs(pairs).map(<[_]>::len).collect()
        };
        assert_eq!(sizes(&[]), [0_usize; 0]);
        let short = vec![("id", "x".repeat(10)); 1001];
        assert_eq!(sizes(&short), [500, 500, 1]);
        let long = vec![("id", "x".repeat(DESCRIPTIONS / 3)); 7];
        assert_eq!(sizes(&long), [3, 3, 1]);
        let gone = vec![("id", String::new()); 501];
        assert_eq!(sizes(&gone), [500, 1]);
    }

    #[test]
    fn news_that_were_cut_go_on_at_the_last_moment() {
        let upstream: Arc<str> = "app".into();
        let said = |cut: &str| -> Vec<Vec<u8>> {
            ["500", cut, "one", "400", ""].map(|part| part.as_bytes().to_vec()).into()
        };
        let news = read(&upstream, &said(""), 5).unwrap();
        assert_eq!((news.more, news.since, news.servers.len()), (false, 500, 1));
        let news = read(&upstream, &said("cut"), 5).unwrap();
        assert_eq!((news.more, news.since, news.servers.len()), (true, 400, 1));
        assert!(read(&upstream, &said("")[..1], 5).is_none());
    }
}
