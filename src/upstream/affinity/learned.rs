//! Sessions that servers name, and the servers that they lead to.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::{NUMBER, NUMBER_BITS, SECOND, SESSIONS};
use crate::balance::Member;
use crate::clock;
use crate::policy::table::{Displaced, HashedKey, KeyTable};
use crate::wire::head::Fields;

/// Affinity by a field of the server's answers.
#[derive(Debug)]
pub struct LearnedAffinity {
    header: Box<[u8]>,
    /// Seconds for which a session is known after its last use.
    ttl: u64,
    sessions: Arc<Sessions>,
    /// Each server's number in `sessions` and its id, sorted.
    servers: Box<[(u16, u32)]>,
}

/// The sessions of an upstream.
#[derive(Debug)]
struct Sessions {
    table: KeyTable,
    /// The names of the servers that have had a session, by their numbers.
    names: ArcSwap<Vec<Arc<str>>>,
    counts: SessionCounts,
}

/// What became of the sessions of an upstream. Those that were learned are known, evicted or
/// expired.
#[derive(Debug, Default)]
pub struct SessionCounts {
    /// Sessions that an answer named and that were not known.
    pub learned: AtomicU64,
    /// Sessions that nobody used for too long.
    pub expired: AtomicU64,
    /// Requests that named a session which is not known, or whose server is none of the upstream's
    /// now.
    pub unknown: AtomicU64,
}

impl LearnedAffinity {
    /// Affinity by this field, for no servers yet.
    #[must_use]
    pub fn new(header: &[u8], ttl: Duration) -> Self {
        Self::with_room(header, ttl, SESSIONS)
    }

    fn with_room(header: &[u8], ttl: Duration, room: usize) -> Self {
        let sessions = Sessions {
            table: KeyTable::new(room),
            names: ArcSwap::default(),
            counts: SessionCounts::default(),
        };
        let ttl = ttl.as_secs().max(1);
        Self { header: header.into(), ttl, sessions: Arc::new(sessions), servers: [].into() }
    }

    pub(super) fn for_members(&self, members: &[Member], before: Option<&Self>) -> Self {
        let before = before.filter(|before| before.header == self.header);
        let sessions = before.map_or(&self.sessions, |before| &before.sessions).clone();
        let numbers = sessions.number_servers(members);
        let mut servers: Box<[_]> = members
            .iter()
            .filter_map(|member| Some((*numbers.get(&*member.endpoint.name)?, member.endpoint.id)))
            .collect();
        servers.sort_unstable();
        Self { header: self.header.clone(), ttl: self.ttl, sessions, servers }
    }

    /// The id of the server that has a session, which is used now.
    pub(super) fn find_server(&self, session: &[u8], now: u64) -> Option<u32> {
        let number =
            self.sessions.table.update_key(self.hash(session), self.idle_test(now), |value| {
                let number = value.ok_or(None)? & NUMBER;
                let used = now << NUMBER_BITS | number;
                // What is known already needs no write.
                if value == Some(used) { Err(Some(number)) } else { Ok((number, used)) }
            });
        let number = match number {
            Ok(number) => number,
            Err(known) => known?,
        };
        let at = self.servers.binary_search_by_key(&number, |(of, _)| u64::from(*of)).ok()?;
        self.servers.get(at).map(|(_, id)| *id)
    }

    /// Learns the session that a server's answer names, if it names any.
    pub fn learn_session(&self, answer: &Fields, id: u32) {
        let session = answer.named(&self.header).next().filter(|session| !session.is_empty());
        if let Some(session) = session {
            self.bind_session(session, id, clock_seconds());
        }
    }

    fn bind_session(&self, session: &[u8], id: u32, now: u64) {
        let server = self.servers.iter().find(|(_, server)| *server == id);
        let Some((number, _)) = server else { return };
        let bound = now << NUMBER_BITS | u64::from(*number);
        let replaced =
            self.sessions.table.replace(self.hash(session), self.idle_test(now), |value| {
                if value == Some(bound) { Err(()) } else { Ok((value.is_none(), bound)) }
            });
        let counts = &self.sessions.counts;
        if let Ok((true, displaced)) = replaced {
            counts.learned.fetch_add(1, Relaxed);
            if displaced == Displaced::Idle {
                counts.expired.fetch_add(1, Relaxed);
            }
        }
    }

    /// Counts a request that no session led to its server, if it names one that is not known.
    pub(crate) fn note_unbound(&self, session: &[u8]) {
        if self.find_server(session, clock_seconds()).is_none() {
            self.sessions.counts.unknown.fetch_add(1, Relaxed);
        }
    }

    fn hash(&self, session: &[u8]) -> HashedKey {
        self.sessions.table.hash([session].into_iter())
    }

    /// Returns whether a session was last used too long ago.
    fn idle_test(&self, now: u64) -> impl Fn(u64) -> bool + use<> {
        let ttl = self.ttl;
        move |value| now.wrapping_sub(value >> NUMBER_BITS) & SECOND > ttl
    }

    /// Forgets sessions that nobody has used for too long.
    pub fn forget_idle(&self) {
        self.sweep_at(clock_seconds());
    }

    fn sweep_at(&self, now: u64) {
        let swept = self.sessions.table.empty_idle(self.idle_test(now));
        self.sessions.counts.expired.fetch_add(swept.removed as u64, Relaxed);
    }

    /// What became of sessions since the start of the process.
    #[must_use]
    pub fn counts(&self) -> &SessionCounts {
        &self.sessions.counts
    }

    /// The table of sessions.
    #[must_use]
    pub fn table(&self) -> &KeyTable {
        &self.sessions.table
    }
}

impl Sessions {
    /// Gives all servers a number; those that had one keep it. Once all are given out, numbers of
    /// servers that are gone are given to others, and servers beyond that get none.
    fn number_servers(&self, members: &[Member]) -> HashMap<Arc<str>, u16> {
        self.names.rcu(|names| {
            let known: HashSet<&str> = names.iter().map(|name| &**name).collect();
            let new = members.iter().map(|member| &member.endpoint.name);
            let mut new = new.filter(|name| !known.contains(&***name)).peekable();
            let mut names = Vec::clone(names);
            if new.peek().is_none() {
                return names;
            }
            let current: HashSet<&str> =
                members.iter().map(|member| &*member.endpoint.name).collect();
            let mut gone = 0;
            for name in new {
                if names.len() <= usize::from(u16::MAX) {
                    names.push(name.as_ref().into());
                    continue;
                }
                let free = names.iter().skip(gone).position(|name| !current.contains(&**name));
                let Some(free) = free else { break };
                gone += free;
                if let Some(slot) = names.get_mut(gone) {
                    *slot = name.as_ref().into();
                }
            }
            names
        });
        let names = self.names.load();
        let numbered = names.iter().enumerate();
        numbered.filter_map(|(at, name)| Some((name.clone(), u16::try_from(at).ok()?))).collect()
    }
}

pub(super) fn clock_seconds() -> u64 {
    (clock::millis(clock::now()) / 1000) & SECOND
}

#[cfg(test)]
mod tests;
