//! Purges as entries of a stream in Redis: telling them, and following those of all instances.
//!
//! The key of the lineage says which Redis this is. The first entry of the stream names it, so that
//! whoever reads the stream knows whether it has been lost since and purges with it.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::{Pipeline, Value as Reply};

use super::{LISTEN, PATIENCE, PREFIX, PendingPurge, REST, Tier, TierNews};
use crate::cache::history::{self, Epoch, Invalid, PurgeEntry, PurgeHistory};
use crate::cache::purge::PurgeSource;
use crate::cache::store::CacheStore;
use crate::clock::{self, Random};
use crate::policy::shared::RedisConnections;

/// Entries that are read in one call: one may have a path of as many bytes as a head.
const PAGE: usize = 100;

/// Sets a lineage and begins the stream anew with an entry that names it, where there is no
/// lineage, or the one that is told is lost, or somebody has made the stream unusable: a key of
/// another type, or one that takes no further entry because its last id is the highest that there
/// is. A stream that neither begins so nor is full has lost purges.
const BEGIN: &str =
    "local now = redis.call('TYPE', KEYS[1]).ok == 'string' and redis.call('GET', KEYS[1])
local sound = now and now ~= ARGV[2] and string.find(now, '^' .. string.rep('%x', 16) .. '$')
local kind = redis.call('TYPE', KEYS[2]).ok
if kind == 'stream' then
  local about = redis.pcall('XINFO', 'STREAM', KEYS[2])
  for at = 1, #about - 1 do
    if about[at] == 'last-generated-id' and about[at + 1] == ARGV[3] then sound = false end
  end
elseif kind ~= 'none' then
  sound = false
end
if not sound then
  redis.call('SET', KEYS[1], ARGV[1])
  redis.call('DEL', KEYS[2])
  redis.call('XADD', KEYS[2], '*', 'lineage', ARGV[1])
end";

pub(super) async fn add_purge(
    tier: &Tier,
    connections: &RedisConnections,
    pending: &PendingPurge,
) -> bool {
    let PendingPurge { number, cache, invalid, taken } = pending;
    let id = (tier.who, *number);
    let mut call = Pipeline::new();
    // What has made the stream unusable must not keep a purge out of it.
    begin_lineage(&mut call, tier, None);
    let command = call.cmd("XADD").arg(stream_key(tier)).arg("MAXLEN").arg(history::MOST).arg("*");
    for (name, value) in PurgeEntry::fields(cache, id, invalid) {
        command.arg(name).arg(value);
    }
    let told = tier.redis.query_patiently::<Reply>(connections, &call, PATIENCE).await.is_ok();
    taken.store(told, Relaxed);
    told
}

fn stream_key(tier: &Tier) -> String {
    format!("{}:purges", tier.redis.joint_prefix(PREFIX))
}

fn lineage_key(tier: &Tier) -> String {
    format!("{}:lineage", tier.redis.joint_prefix(PREFIX))
}

/// Reads purges as they come, and what was missed.
pub(super) async fn follow_purges(tier: Weak<Tier>) {
    let connections = RedisConnections::default();
    let began = clock::now();
    let mut linked_before = false;
    let mut link_again = true;
    // One failure may be the answer that came while this process was stopped.
    let mut failures = 0_u32;
    loop {
        let Some(tier) = tier.upgrade() else { return };
        let before = clock::millis(clock::now()).max(1);
        let fine = if link_again {
            let late = began.elapsed() > Duration::from_secs(5);
            link_history(&tier, &connections, linked_before, late).await
        } else {
            await_news(&tier, &connections).await
        };
        match fine {
            Some(StreamRead::ToItsEnd) => {
                linked_before = true;
                link_again = false;
                failures = 0;
                tier.heard.store(before, Relaxed);
                tier.lost.store(false, Relaxed);
            }
            // There is more: it is not known up to this moment.
            Some(StreamRead::Partly) => (linked_before, link_again, failures) = (true, false, 0),
            Some(StreamRead::Another) => link_again = true,
            None => {
                failures += 1;
                // Another server may answer from now on, one that lacks the last purges; a key that
                // is not what it was is mended there, and what was taken may be lost.
                link_again = true;
                tier.lost.store(failures > 1, Relaxed);
                drop(tier);
                tokio::time::sleep(REST).await;
            }
        }
    }
}

/// How far the stream of purges has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StreamRead {
    /// All that was there when it was asked for.
    ToItsEnd,
    /// As much as one answer may have.
    Partly,
    /// This is not the Redis that it was, or no longer has what was read last.
    Another,
}

/// Waits for more; `None` without an answer.
async fn await_news(tier: &Tier, connections: &RedisConnections) -> Option<StreamRead> {
    let news = tier.news.load_full();
    let last = news.history.last_epoch().to_string();
    let mut call = Pipeline::new();
    call.cmd("GET").arg(lineage_key(tier));
    // A replica that took over without the last purges may have newer ones already: their places
    // alone tell nothing.
    call.cmd("XRANGE").arg(stream_key(tier)).arg(&last).arg(&last);
    call.cmd("XREAD").arg("COUNT").arg(PAGE).arg("BLOCK").arg(LISTEN.as_millis() as u64);
    call.arg("STREAMS").arg(stream_key(tier)).arg(&last);
    let within = PATIENCE + LISTEN;
    let (lineage, there, read) = tier
        .redis
        .query_patiently::<(Option<String>, Reply, Reply)>(connections, &call, within)
        .await
        .ok()?;
    if read_lineage(lineage.as_deref()) != Some(news.lineage) || as_array(&there).is_empty() {
        return Some(StreamRead::Another);
    }
    let streams = as_array(&read);
    let entries = streams.iter().filter_map(|stream| as_array(stream).get(1)).flat_map(as_array);
    let mut told = StreamNews::default();
    told.read_replies(entries, news.history.last_epoch());
    let read = match (told.newest < Epoch::HIGHEST, told.count >= PAGE) {
        (false, _) => StreamRead::Another,
        (true, true) => StreamRead::Partly,
        (true, false) => StreamRead::ToItsEnd,
    };
    take_news(tier, &news, told).await;
    Some(read)
}

/// Reads all that is known of purges, and doubts what is in memory where some may have been missed.
async fn link_history(
    tier: &Tier,
    connections: &RedisConnections,
    linked_before: bool,
    late: bool,
) -> Option<StreamRead> {
    // What it had taken and does not tell now, it has lost.
    let taken = tier.taken_numbers();
    let news = tier.news.load_full();
    let Some((lineage, told)) = read_stream(tier, connections, news.history.last_epoch()).await?
    else {
        return Some(StreamRead::Another);
    };
    let full = told.count >= history::MOST;
    // A full stream may go on behind what was read.
    let end = if full { StreamRead::Partly } else { StreamRead::ToItsEnd };
    let whole = full || told.lineage == Some(lineage);
    let known_before = linked_before && lineage == news.lineage;
    let last = news.history.last_epoch();
    // Where so many came meanwhile that it has left the stream, memory is doubted below.
    let left = full && told.entries.first().is_some_and(|first| first.at > last);
    let tells = |number| told.entries.iter().any(|entry| entry.id == (tier.who, number));
    let tells_all = told.has_place && taken.iter().all(|number| tells(*number));
    if !whole || known_before && !left && !tells_all {
        // It has forgotten what it once told: nobody may use what it kept from then.
        let mut call = Pipeline::new();
        begin_lineage(&mut call, tier, Some(lineage));
        tier.redis.query_patiently::<Reply>(connections, &call, PATIENCE).await.ok()?;
        return Some(StreamRead::Another);
    }
    if known_before {
        if left {
            tier.doubt_memory(false).await;
        }
        take_news(tier, &news, told).await;
        tier.settle_pending(&taken);
        return Some(end);
    }
    let mut history = PurgeHistory::default();
    let own = told.entries.iter().filter(|entry| entry.id.0 == tier.who);
    let own: Vec<u64> = own.map(|entry| entry.id.1).collect();
    told.entries.into_iter().for_each(|entry| history.add_purge(entry));
    history.pass_over(told.newest);
    if full {
        history.begin_at_oldest();
    }
    let others: Vec<_> = history.entries_since(Epoch::default()).cloned().collect();
    tier.news.store(Arc::new(TierNews { lineage, history }));
    if linked_before || late {
        tier.doubt_memory(true).await;
        // What is known to be purged is more than doubtful.
        carry_out(tier, others.iter().map(|entry| &**entry)).await;
    }
    tier.settle_pending(&own);
    tier.settle_pending(&taken);
    Some(end)
}

/// Reads the stream, page by page, until it ends or as many entries are read as it has at most, and
/// the lineage that it is of; whether it has the place `known`, too. `Some(None)` when it was
/// another one meanwhile, or had lost what the page before ended with.
async fn read_stream(
    tier: &Tier,
    connections: &RedisConnections,
    known: Epoch,
) -> Option<Option<(u64, StreamNews)>> {
    let mut told = StreamNews::default();
    let mut lineage = None;
    for page in 0..=history::MOST / PAGE {
        let mut call = Pipeline::new();
        // Said again for each page, so that all answers have one form: what is there already it
        // leaves as it is.
        begin_lineage(&mut call, tier, None);
        call.cmd("GET").arg(lineage_key(tier));
        // A page begins with the last entry of the one before. As long as that is there, nothing
        // behind it is lost.
        let (from, overlap) = match page {
            0 => ("-".to_owned(), 0),
            _ => (told.newest.to_string(), 1),
        };
        let call_range = call.cmd("XRANGE").arg(stream_key(tier)).arg(from).arg("+");
        call_range.arg("COUNT").arg(PAGE + overlap);
        let (_, of, read) = tier
            .redis
            .query_patiently::<(Reply, Option<String>, Reply)>(connections, &call, PATIENCE)
            .await
            .ok()?;
        let of = read_lineage(of.as_deref())?;
        let entries = as_array(&read);
        let goes_on = overlap == 0 || entries.first().and_then(place_of) == Some(told.newest);
        if *lineage.get_or_insert(of) != of || !goes_on {
            return Some(None);
        }
        told.read_replies(entries.iter().skip(overlap), known);
        if entries.len() < PAGE + overlap || told.count >= history::MOST {
            return Some(Some((of, told)));
        }
    }
    Some(None)
}

/// Gives Redis a lineage, and its stream an entry that names it, where it has none, still has the
/// one that is `lost`, or can take no more purges.
fn begin_lineage(call: &mut Pipeline, tier: &Tier, lost: Option<u64>) {
    let fresh = Random::from_entropy().next_u64() | 1;
    let lost = lost.map_or_else(String::new, |lost| format!("{lost:016x}"));
    call.cmd("EVAL").arg(BEGIN).arg(2).arg(lineage_key(tier)).arg(stream_key(tier));
    call.arg(format!("{fresh:016x}")).arg(lost).arg(Epoch::HIGHEST.to_string());
}

/// Carries out purges of others, and knows of them from now on.
async fn take_news(tier: &Tier, news: &TierNews, told: StreamNews) {
    let StreamNews { entries, newest, .. } = told;
    let last = news.history.last_epoch();
    if newest <= last {
        return;
    }
    let mut news = news.clone();
    for entry in entries.iter().filter(|entry| entry.at > last) {
        news.history.add_purge(entry.clone());
    }
    news.history.pass_over(newest);
    // First what counts for what is read, then what is in memory already.
    tier.news.store(Arc::new(news));
    let own = entries.iter().filter(|entry| entry.id.0 == tier.who);
    tier.settle_pending(&own.map(|entry| entry.id.1).collect::<Vec<_>>());
    carry_out(tier, entries.iter().filter(|entry| entry.at > last)).await;
}

/// Applies the purges of other instances to what is in memory.
async fn carry_out(tier: &Tier, entries: impl Iterator<Item = &PurgeEntry>) {
    let stores = tier.stores();
    for entry in entries.filter(|entry| entry.id.0 != tier.who) {
        for store in stores.iter().filter(|store| *store.name == *entry.cache) {
            apply_purge(store, &entry.invalid).await;
        }
    }
}

pub(super) async fn apply_purge(store: &Arc<CacheStore>, invalid: &Invalid) {
    match invalid {
        Invalid::Key(key) => store.invalidate_key(key, clock::unix_millis(), PurgeSource::Instance),
        Invalid::Matching(purge) => {
            // A queue that is full empties in milliseconds.
            let ordered = loop {
                match store.order_purge(purge.clone(), PurgeSource::Instance) {
                    Some(ordered) => break ordered,
                    None => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            };
            // What counts already need not hold up what comes next.
            if !ordered.counts_at_once {
                // A thread that has ended purges nothing, and nothing is served either.
                let _ended = ordered.purged.await;
            }
        }
    }
}

/// The place of an entry of a stream.
fn place_of(entry: &Reply) -> Option<Epoch> {
    as_array(entry).first().and_then(|at| Epoch::parse_epoch(as_bytes(at)))
}

fn read_lineage(text: Option<&str>) -> Option<u64> {
    u64::from_str_radix(text?, 16).ok()
}

fn as_array(reply: &Reply) -> &[Reply] {
    match reply {
        Reply::Array(items) => items,
        _ => &[],
    }
}

fn as_bytes(reply: &Reply) -> &[u8] {
    match reply {
        Reply::BulkString(bytes) => bytes,
        Reply::SimpleString(text) => text.as_bytes(),
        _ => &[],
    }
}

/// What a part of the stream says.
#[derive(Default)]
struct StreamNews {
    /// The purges, oldest first.
    entries: Vec<PurgeEntry>,
    /// Where it ends, whatever stands there.
    newest: Epoch,
    /// The number of entries of any kind.
    count: usize,
    /// The lineage that its first entry names.
    lineage: Option<u64>,
    /// It has an entry at the place that was asked for.
    has_place: bool,
}

impl StreamNews {
    /// Takes further entries, and notes if one of them is at the place `known`.
    fn read_replies<'r>(&mut self, replies: impl Iterator<Item = &'r Reply>, known: Epoch) {
        let told = self;
        for reply in replies {
            let [at, fields] = as_array(reply) else { continue };
            let Some(at) = Epoch::parse_epoch(as_bytes(at)) else { continue };
            let fields = as_array(fields).as_chunks::<2>().0.iter();
            let mut fields = fields.map(|[name, value]| (as_bytes(name), as_bytes(value)));
            if let Some((b"lineage", value)) = fields.clone().next() {
                if told.count == 0 {
                    told.lineage = read_lineage(std::str::from_utf8(value).ok());
                }
            } else {
                told.entries.extend(PurgeEntry::read(at, &mut fields));
            }
            told.newest = told.newest.max(at);
            told.has_place |= at == known;
            told.count += 1;
        }
    }
}
