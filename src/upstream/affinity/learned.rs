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

/// What became of the sessions of an upstream. Those that were learned are known, evicted or expired.
#[derive(Debug, Default)]
pub struct SessionCounts {
    /// Sessions that an answer named and that were not known.
    pub learned: AtomicU64,
    /// Sessions that nobody used for too long.
    pub expired: AtomicU64,
    /// Requests that named a session which is not known, or whose server is none of the upstream's now.
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
    /// Gives all servers a number; those that had one keep it. Once all are given out, numbers of servers that are gone
    /// are given to others, and servers beyond that get none.
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
mod tests {
    use super::*;
    use crate::endpoint::Endpoint;

    fn member(name: &str) -> Member {
        Member::new(Arc::new(Endpoint::new("u".into(), name.into(), Box::default())), 1)
    }

    fn learned(room: usize) -> LearnedAffinity {
        LearnedAffinity::with_room(b"mcp-session-id", Duration::from_secs(60), room)
    }

    #[test]
    fn a_session_leads_to_its_server_until_nobody_uses_it() {
        let members = ["a", "b"].map(member);
        let [a, b] = [members[0].endpoint.id, members[1].endpoint.id];
        let affinity = learned(100).for_members(&members, None);
        affinity.bind_session(b"one", a, 100);
        affinity.bind_session(b"two", b, 100);
        assert_eq!(
            [b"one", b"two", b"six"].map(|id| affinity.find_server(id, 160)),
            [Some(a), Some(b), None]
        );
        // Used at 160: sixty seconds more.
        assert_eq!(affinity.find_server(b"one", 220), Some(a));
        assert_eq!(affinity.find_server(b"two", 221), None);
        affinity.bind_session(b"one", b, 221);
        assert_eq!(affinity.find_server(b"one", 221), Some(b));
        assert_eq!(affinity.find_server(b"one", 0), None, "half a year later");
    }

    #[test]
    fn other_servers_leave_sessions_where_they_are() {
        let members = ["a", "b"].map(member);
        let [a, b] = [members[0].endpoint.id, members[1].endpoint.id];
        let before = learned(100).for_members(&members, None);
        before.bind_session(b"one", a, 100);
        before.bind_session(b"two", b, 100);
        let fewer = [member("c"), members[1].clone()];
        let now = learned(100).for_members(&fewer, Some(&before));
        assert_eq!([b"one", b"two"].map(|id| now.find_server(id, 101)), [None, Some(b)]);
        now.bind_session(b"new", a, 101);
        assert_eq!(now.find_server(b"new", 101), None, "no server of these");
        // A server of that name is back.
        let again = [member("a"), fewer[0].clone()];
        let back = learned(100).for_members(&again, Some(&now));
        assert_eq!(back.find_server(b"one", 101), Some(again[0].endpoint.id));
        let other = LearnedAffinity::new(b"x-session", Duration::from_secs(60));
        assert_eq!(other.for_members(&members, Some(&before)).find_server(b"one", 101), None);
    }

    #[test]
    fn sessions_are_bounded_and_those_that_were_not_used_for_longest_go_first() {
        let members = [member("a")];
        let id = members[0].endpoint.id;
        let affinity = learned(8).for_members(&members, None);
        for n in 0..8_u64 {
            affinity.bind_session(&[n as u8 + 1], id, 10 + n);
        }
        assert_eq!(affinity.find_server(&[1], 20), Some(id));
        affinity.bind_session(b"ninth", id, 21);
        assert_eq!(affinity.table().evicted.load(Relaxed), 1);
        assert_eq!(
            [&[1], &[2], &[3]].map(|of| affinity.find_server(of, 21)),
            [Some(id), None, Some(id)]
        );
        assert_eq!(affinity.table().len(), 8);
    }

    /// Known, learned, expired, evicted, unknown.
    fn counted(of: &LearnedAffinity) -> [u64; 5] {
        let counts = of.counts();
        let [learned, expired, unknown] =
            [&counts.learned, &counts.expired, &counts.unknown].map(|count| count.load(Relaxed));
        let known = of.table().len() as u64;
        [known, learned, expired, of.table().evicted.load(Relaxed), unknown]
    }

    #[test]
    fn what_was_learned_is_known_or_expired_or_evicted() {
        let members = ["a", "b"].map(member);
        let [a, b] = [members[0].endpoint.id, members[1].endpoint.id];
        let affinity = learned(8).for_members(&members, None);
        affinity.bind_session(b"one", a, 100);
        affinity.bind_session(b"one", a, 101);
        affinity.bind_session(b"one", b, 102);
        assert_eq!(counted(&affinity), [1, 1, 0, 0, 0], "one session, wherever it is");
        affinity.bind_session(b"one", a, 163);
        assert_eq!(counted(&affinity), [1, 2, 1, 0, 0], "another one of that name");
        affinity.sweep_at(224);
        assert_eq!(counted(&affinity), [0, 2, 2, 0, 0]);
        for n in 0..9_u8 {
            affinity.bind_session(&[n], a, 300 + u64::from(n));
        }
        assert_eq!(counted(&affinity), [8, 11, 2, 1, 0]);
        // All of it outlives a reload.
        let later = learned(8).for_members(&members, Some(&affinity));
        assert_eq!(counted(&later), [8, 11, 2, 1, 0]);
    }
}
