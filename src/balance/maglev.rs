//! Maglev's lookup table (Eisenbud et al., NSDI '16, section 3.4): one array access per key.
//!
//! Each server has a preference list over all places of the table, drawn from its name; the servers
//! take turns to claim their next free place, as often as their weight says. Removing a server
//! moves its own keys and a percent or two of the others.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::key::server_place;

/// Places: a prime, large enough for a few hundred servers (Envoy's default).
const PLACES: u64 = 65_537;
/// The table for more servers than that: still 100 places for each of ten thousand.
const PLACES_LARGE: u64 = 1_000_003;
/// From this many servers on the larger table is used.
const LARGE: usize = 500;
/// Tries to find another server by hashing again before all are asked in turn.
const REHASHES: u64 = 16;

#[derive(Debug)]
pub(super) struct Maglev {
    table: Box<[u32]>,
    servers: usize,
}

struct TableClaim {
    index: u32,
    /// The place of the preference list that is tried next.
    next: usize,
    /// The way from one place of the list to the next one.
    skip: usize,
    /// Grows by the weight each round; a place costs the largest weight.
    credit: u64,
}

impl Maglev {
    pub(super) fn new(names: &[&str], weights: &[u32]) -> Self {
        let places = if names.len() < LARGE { PLACES } else { PLACES_LARGE };
        let mut order: Vec<usize> = (0..names.len()).collect();
        // By name, so that the order of the list does not matter.
        order.sort_by_key(|index| names.get(*index).copied().unwrap_or_default());
        let mut claims: Vec<TableClaim> = order
            .iter()
            .map(|index| {
                let name = names.get(*index).copied().unwrap_or_default();
                TableClaim {
                    index: u32::try_from(*index).unwrap_or(u32::MAX),
                    next: usize::try_from(server_place(name, 0) % places).unwrap_or(0),
                    skip: usize::try_from(server_place(name, 1) % (places - 1) + 1).unwrap_or(1),
                    credit: 0,
                }
            })
            .collect();
        let most = u64::from(weights.iter().copied().max().unwrap_or(1));
        let weight = |index: u32| u64::from(weights.get(index as usize).copied().unwrap_or(1));
        let mut table = vec![u32::MAX; usize::try_from(places).unwrap_or(0)];
        let mut taken = vec![0; table.len() / 64 + 1];
        let mut free = if claims.is_empty() { 0 } else { table.len() };
        while free > 0 {
            for claim in &mut claims {
                claim.credit += weight(claim.index);
                if claim.credit < most || free == 0 {
                    continue;
                }
                claim.credit -= most;
                claim.claim_place(&mut table, &mut taken);
                free -= 1;
            }
        }
        Self { table: table.into_boxed_slice(), servers: names.len() }
    }

    /// The first server that `takes` the request: the key's own, then others by hashing again, then
    /// all of them.
    pub(super) fn find_server(
        &self,
        hash: u64,
        takes: &mut impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        if self.servers == 0 {
            return None;
        }
        let places = self.table.len() as u64;
        for attempt in 0..REHASHES {
            let place =
                if attempt == 0 { hash } else { xxh3_64_with_seed(&hash.to_le_bytes(), attempt) };
            let place = usize::try_from(place % places).unwrap_or(0);
            let index = self.table.get(place).map_or(usize::MAX, |index| *index as usize);
            if takes(index) {
                return Some(index);
            }
        }
        (0..self.servers).find(|index| takes(*index))
    }
}

impl TableClaim {
    /// Claims the first free place of the preference list. There is one. A million places take
    /// fourteen million tries: one bit for each place stays in a cache where the table does not,
    /// and going on by additions spares as many divisions. Together that is a third of the time.
    fn claim_place(&mut self, table: &mut [u32], taken: &mut [u64]) {
        loop {
            let place = self.next;
            let next = place + self.skip;
            self.next = if next >= table.len() { next - table.len() } else { next };
            let bit = 1 << (place % 64);
            if let Some(bits) = taken.get_mut(place / 64)
                && *bits & bit == 0
            {
                *bits |= bit;
                if let Some(slot) = table.get_mut(place) {
                    *slot = self.index;
                }
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
