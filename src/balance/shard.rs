//! `shard`: each server owns a part of the keys, and nobody else can answer for it.
//!
//! By ranges of numbers, by ranges of equal size in turn, or by prefixes. A key that belongs to
//! nobody, or to a server that cannot be used, finds no server: the data is only there.

use super::{Balance, Member, PickContext};

/// The map from keys to the servers that own them. Servers are named by their places in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Map {
    /// From each number up to the next one, in ascending order.
    Ranges(Box<[(u64, u32)]>),
    /// The number divided by this, modulo servers.
    RangeSize(u64),
    /// The longest prefix that fits.
    Prefixes(Box<[(Box<[u8]>, u32)]>),
}

impl Map {
    /// The place of the server that owns `key`, of so many servers.
    #[must_use]
    pub fn owner_of(&self, key: &[u8], servers: usize) -> Option<usize> {
        match self {
            Self::Ranges(ranges) => {
                let number = parse_number(key)?;
                let after = ranges.partition_point(|(from, _)| *from <= number);
                let (_, owner) = ranges.get(after.checked_sub(1)?)?;
                Some(*owner as usize)
            }
            Self::RangeSize(size) => {
                let range = parse_number(key)?.checked_div(*size)?;
                usize::try_from(range.checked_rem(servers as u64)?).ok()
            }
            Self::Prefixes(prefixes) => {
                let fits = prefixes.iter().filter(|(prefix, _)| key.starts_with(prefix));
                fits.max_by_key(|(prefix, _)| prefix.len()).map(|(_, owner)| *owner as usize)
            }
        }
    }
}

fn parse_number(key: &[u8]) -> Option<u64> {
    let digits = !key.is_empty() && key.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(key).ok()?.parse().ok()).flatten()
}

#[derive(Debug)]
pub(super) struct Shard {
    pub(super) map: Map,
}

impl Balance for Shard {
    fn pick_server(&self, members: &[Member], ask: &mut PickContext<'_>) -> Option<usize> {
        let index = self.map.owner_of(ask.key?.as_whole()?, members.len())?;
        members.get(index).is_some_and(|m| ask.accepts(m)).then_some(index)
    }
}

#[cfg(test)]
mod tests;
