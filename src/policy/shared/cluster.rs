//! A Redis Cluster: which server has a key.
//!
//! The table is asked of any server that answers, by a task of its own, and again whenever a server
//! fails or says that a key is elsewhere. It is shared by all workers; connections are not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use redis::aio::ConnectionLike as _;
use redis::{Arg, Cmd, Pipeline, Value};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::all_values;
use super::connector::{ConnectError, NodeAddress, RedisConnector, is_host};
use super::node::RedisNode;
use crate::clock;

/// How many slots there are.
pub(super) const SLOTS: u16 = 16384;
/// How often the table is asked for at most.
const PAUSE: Duration = Duration::from_millis(200);
/// The time for one server to tell the table.
const PATIENCE: Duration = Duration::from_secs(1);
/// Servers that are asked for the table before it is given up for now.
const ASKED: usize = 8;
/// Servers that others have named, and that are not yet in the table.
const NAMED: usize = 16;
/// Servers of a table that are kept.
const MOST: usize = 1024;

/// The servers of a Cluster.
pub(super) struct ClusterNodes {
    seeds: Vec<NodeAddress>,
    table: ArcSwap<SlotTable>,
    /// Servers that others have named since.
    named: ArcSwap<Vec<Arc<RedisNode>>>,
    asking: AtomicBool,
    /// When the table was last asked for, in milliseconds of [`clock::millis`].
    asked: AtomicU64,
    /// Counts the times that it was asked for and told, or not.
    rounds: watch::Sender<u64>,
}

/// The servers that have the slots: the first and last of each range, sorted.
#[derive(Default)]
struct SlotTable(Vec<(u16, u16, Arc<RedisNode>)>);

impl SlotTable {
    fn find_node(&self, slot: u16) -> Option<&Arc<RedisNode>> {
        let at = self.0.partition_point(|(_, last, _)| *last < slot);
        self.0.get(at).filter(|(first, ..)| *first <= slot).map(|(.., node)| node)
    }

    /// The table with one slot at another server.
    fn with_slot_at(&self, slot: u16, node: &Arc<RedisNode>) -> Self {
        let mut ranges = Vec::with_capacity(self.0.len() + 2);
        for (first, last, owner) in &self.0 {
            if (*first..=*last).contains(&slot) {
                if *first < slot {
                    ranges.push((*first, slot - 1, owner.clone()));
                }
                if slot < *last {
                    ranges.push((slot + 1, *last, owner.clone()));
                }
            } else {
                ranges.push((*first, *last, owner.clone()));
            }
        }
        ranges.push((slot, slot, node.clone()));
        ranges.sort_by_key(|(first, ..)| *first);
        Self(ranges)
    }

    fn nodes(&self) -> impl Iterator<Item = &Arc<RedisNode>> {
        self.0.iter().map(|(.., node)| node)
    }

    fn node_at(&self, address: &NodeAddress) -> Option<&Arc<RedisNode>> {
        self.nodes().find(|node| node.address == *address)
    }
}

/// Ends a round, however that comes about.
struct TableRound(Arc<ClusterNodes>);

impl Drop for TableRound {
    fn drop(&mut self) {
        self.0.asking.store(false, Relaxed);
        self.0.rounds.send_modify(|rounds| *rounds += 1);
    }
}

impl ClusterNodes {
    pub(super) fn new(seeds: Vec<NodeAddress>) -> Arc<Self> {
        let (asking, asked) = Default::default();
        let (table, named, rounds) =
            (ArcSwap::default(), ArcSwap::default(), watch::Sender::new(0));
        Arc::new(Self { seeds, table, named, asking, asked, rounds })
    }

    /// Another one of the same Cluster, which knows nothing yet.
    pub(super) fn new_sibling(&self) -> Arc<Self> {
        Self::new(self.seeds.clone())
    }

    /// Whether the last call to one of its servers failed.
    pub(super) fn is_down(&self) -> bool {
        self.table.load().nodes().any(|node| node.down.load(Relaxed))
    }

    /// The server that has a slot, by a table that is waited for where there is none yet; `None`
    /// when nobody tells.
    pub(super) async fn find_node(
        self: &Arc<Self>,
        slot: u16,
        (connector, whole): (&Arc<RedisConnector>, &Arc<RedisNode>),
        deadline: Instant,
    ) -> Option<Arc<RedisNode>> {
        if let Some(node) = self.table.load().find_node(slot) {
            return Some(node.clone());
        }
        let mut rounds = self.rounds.subscribe();
        self.ask_table(connector, whole);
        if !self.asking.load(Relaxed) && !rounds.has_changed().unwrap_or(true) {
            return None;
        }
        // Without an answer there is none in the table either.
        let _asked = timeout_at(deadline, rounds.changed()).await;
        self.table.load().find_node(slot).cloned()
    }

    /// The server at an address, which the table may not have yet.
    pub(super) fn node_at(&self, address: NodeAddress) -> Arc<RedisNode> {
        if let Some(known) = self.known_node(&address) {
            return known;
        }
        let node = RedisNode::new(address);
        self.named.rcu(|named| {
            // The table will have it in a moment; until then it is the same for all who are sent
            // there.
            let from = (named.len() + 1).saturating_sub(NAMED);
            let kept = named.iter().skip(from).chain([&node]);
            kept.cloned().collect::<Vec<_>>()
        });
        node
    }

    /// The server that has a slot from now on, as another one says. The whole table may be asked
    /// for a moment later only, and the one that had the slot may be gone by then.
    pub(super) fn move_slot(&self, slot: u16, to: NodeAddress) -> Arc<RedisNode> {
        let node = self.node_at(to);
        self.table.rcu(|table| match table.find_node(slot) {
            Some(known) if Arc::ptr_eq(known, &node) => table.clone(),
            _ => Arc::new(table.with_slot_at(slot, &node)),
        });
        node
    }

    fn known_node(&self, address: &NodeAddress) -> Option<Arc<RedisNode>> {
        let known = self.table.load().node_at(address).cloned();
        known.or_else(|| self.named.load().iter().find(|node| node.address == *address).cloned())
    }

    /// Has the table asked for, unless that is under way or was done a moment ago.
    pub(super) fn ask_table(
        self: &Arc<Self>,
        connector: &Arc<RedisConnector>,
        whole: &Arc<RedisNode>,
    ) {
        let now = clock::millis(clock::now());
        let pause = u64::try_from(PAUSE.as_millis()).unwrap_or(u64::MAX);
        let asked = self.asked.load(Relaxed);
        if asked > 0 && now < asked.saturating_add(pause) || self.asking.swap(true, Relaxed) {
            return;
        }
        self.asked.store(now.max(1), Relaxed);
        let (round, connector, whole) =
            (TableRound(self.clone()), connector.clone(), whole.clone());
        tokio::spawn(async move {
            match round.0.read_table(&connector).await {
                Ok(table) => {
                    whole.note_reached();
                    round.0.table.store(Arc::new(table));
                }
                Err(error) => whole.tell_once(&error),
            }
        });
    }

    async fn read_table(&self, connector: &RedisConnector) -> Result<SlotTable, ConnectError> {
        let table = self.table.load_full();
        let known = table.nodes().map(|node| &node.address);
        let mut asked: Vec<&NodeAddress> = Vec::new();
        let mut last = ConnectError::from("no server has been named".to_owned());
        // Those that answered last first, so that one that hangs costs little.
        let (well, down): (Vec<_>, Vec<_>) = known.chain(&self.seeds).partition(|address| {
            !table.node_at(address).is_some_and(|node| node.down.load(Relaxed))
        });
        for address in well.into_iter().chain(down) {
            if asked.contains(&address) {
                continue;
            }
            if asked.len() == ASKED {
                break;
            }
            asked.push(address);
            match timeout(PATIENCE, ask_slots(connector, address)).await {
                Ok(Ok(ranges)) => return Ok(self.table_of(ranges)),
                Ok(Err(error)) => last = error,
                Err(_) => last = format!("{address}: no table within {PATIENCE:?}").into(),
            }
        }
        Err(last)
    }

    /// Servers that are known stay the same, with what is known of them.
    fn table_of(&self, ranges: Vec<(u16, u16, NodeAddress)>) -> SlotTable {
        let mut table = SlotTable::default();
        for (first, last, address) in ranges.into_iter().take(MOST) {
            let node = table.node_at(&address).cloned().or_else(|| self.known_node(&address));
            table.0.push((first, last, node.unwrap_or_else(|| RedisNode::new(address))));
        }
        table.0.sort_by_key(|(first, ..)| *first);
        table
    }
}

/// Asks one server for the ranges of slots and who has them.
async fn ask_slots(
    connector: &RedisConnector,
    address: &NodeAddress,
) -> Result<Vec<(u16, u16, NodeAddress)>, ConnectError> {
    let mut connection = connector.connect_to(address).await?;
    let mut call = Pipeline::new();
    call.cmd("CLUSTER").arg("SLOTS");
    let answer = connection.calls.req_packed_commands(&call, 0, 1).await.and_then(all_values);
    let answer = answer.map_err(|error| format!("{address}: {error}"))?;
    let Some(Value::Array(ranges)) = answer.first() else {
        return Err(format!("{address}: its answer to CLUSTER SLOTS is none").into());
    };
    let ranges: Vec<_> = ranges.iter().filter_map(|range| read_range(range, address)).collect();
    if ranges.is_empty() {
        return Err(format!("{address}: no server has any keys yet").into());
    }
    Ok(ranges)
}

fn read_range(range: &Value, asked: &NodeAddress) -> Option<(u16, u16, NodeAddress)> {
    let Value::Array(range) = range else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = &**range else {
        return None;
    };
    let [host, Value::Int(port), ..] = &**primary else { return None };
    let host = match host {
        Value::BulkString(host) => std::str::from_utf8(host).ok()?,
        Value::SimpleString(host) => host,
        // It does not know its own address: it is the one that was asked.
        _ => "",
    };
    let host = if host == "?" { return None } else { host };
    let address = match (host, asked) {
        ("", NodeAddress::Tcp(asked, _)) => {
            NodeAddress::Tcp(asked.clone(), u16::try_from(*port).ok()?)
        }
        ("", _) => return None,
        _ if !is_host(host) => return None,
        _ => NodeAddress::Tcp(host.to_owned(), u16::try_from(*port).ok()?),
    };
    Some((u16::try_from(*first).ok()?, u16::try_from(*last).ok()?, address))
}

/// The slot of the key that a command names; `None` when it names none.
pub(super) fn slot_of(command: &Cmd) -> Option<u16> {
    let mut words = command.args_iter().map(|word| match word {
        Arg::Simple(word) => word,
        _ => b"",
    });
    let name = words.next()?;
    let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    let key = if is("EVAL") || is("EVALSHA") {
        words.nth(2)?
    } else if is("XREAD") {
        words.find(|word| word.eq_ignore_ascii_case(b"STREAMS"))?;
        words.next()?
    } else {
        words.next()?
    };
    Some(key_slot(key))
}

/// The slot of a key: of what is in its first braces if there is anything, else of all of it.
pub(super) fn key_slot(key: &[u8]) -> u16 {
    let open = key.iter().position(|byte| *byte == b'{').map(|at| at + 1);
    let tag = open.and_then(|open| key.get(open..)).and_then(|rest| {
        let close = rest.iter().position(|byte| *byte == b'}')?;
        rest.get(..close).filter(|tag| !tag.is_empty())
    });
    // CRC-16/XMODEM, as the specification of Redis Cluster has it.
    let crc = tag.unwrap_or(key).iter().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
        })
    });
    crc % SLOTS
}

#[cfg(test)]
mod tests;
