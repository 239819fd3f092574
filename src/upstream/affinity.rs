//! Affinity: a client stays with the server it first got, by a cookie of the proxy's own or by what
//! the server itself calls the session.
//!
//! A session is learned from a field of the server's answer and belongs to that server until nobody
//! has used it for a while. What is known of sessions is bounded, shared by all workers and kept
//! over reloads; of each only a hash is kept.

mod learned;

use self::learned::clock_seconds;
pub use self::learned::{LearnedAffinity, SessionCounts};
use crate::balance::Member;
use crate::clock;
use crate::upstream::sticky::{Bond, Sticky};

/// Sessions that an upstream knows at a time.
pub const SESSIONS: usize = 200_000;
/// Bits of a value that are the number of a server; the others are the second in which the session
/// was last used.
const NUMBER_BITS: u32 = 16;
const NUMBER: u64 = (1 << NUMBER_BITS) - 1;
/// The second wraps after 194 days.
const SECOND: u64 = (1 << 24) - 1;

/// An upstream's affinity.
#[derive(Debug)]
pub enum Affinity {
    /// By a signed cookie that the proxy sets.
    Cookie(Box<Sticky>),
    /// By a field that servers answer with.
    Learned(LearnedAffinity),
}

impl Affinity {
    /// The same affinity for other servers. What is known of those that were there `before` stays.
    #[must_use]
    pub fn for_members(&self, members: &[Member], before: Option<&Self>) -> Self {
        match (self, before) {
            (Self::Cookie(sticky), Some(Self::Cookie(before))) => {
                Self::Cookie(Box::new(sticky.for_members(members, Some(before))))
            }
            (Self::Cookie(sticky), _) => Self::Cookie(Box::new(sticky.for_members(members, None))),
            (Self::Learned(learned), Some(Self::Learned(before))) => {
                Self::Learned(learned.for_members(members, Some(before)))
            }
            (Self::Learned(learned), _) => Self::Learned(learned.for_members(members, None)),
        }
    }

    /// The server that a part of a request leads to, if it is one of the upstream's.
    #[must_use]
    pub fn read_bond(&self, key: &[u8]) -> Option<Bond> {
        match self {
            Self::Cookie(sticky) => sticky.read(key, clock::unix_seconds()),
            Self::Learned(learned) => {
                learned.find_server(key, clock_seconds()).map(|id| Bond { id, fresh: true })
            }
        }
    }

    /// The sessions that are known, where they are learned.
    #[must_use]
    pub fn as_learned(&self) -> Option<&LearnedAffinity> {
        match self {
            Self::Cookie(_) => None,
            Self::Learned(learned) => Some(learned),
        }
    }
}
