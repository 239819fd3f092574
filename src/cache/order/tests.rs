use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use super::*;
use crate::clock::Random;

#[derive(Debug)]
struct One {
    name: u64,
    uses: Cell<u8>,
    gone: Cell<bool>,
}

impl Evictable for Rc<One> {
    type Owner = ();
    fn entry_name(&self) -> u64 {
        self.name
    }
    fn entry_size(&self, (): &()) -> u64 {
        u64::from(!self.gone.get())
    }
    fn recent_uses(&self, (): &()) -> u8 {
        self.uses.get()
    }
    fn spend_use(&self, (): &()) -> bool {
        let uses = self.uses.get();
        self.uses.set(uses.saturating_sub(1));
        uses > 0
    }
}

/// A cache of so many entries, driven by names; returns the hits.
fn hits(room: usize, names: impl Iterator<Item = u64>) -> usize {
    let mut order = EvictionOrder::default();
    let mut known: HashMap<u64, Rc<One>> = HashMap::new();
    let mut hits = 0;
    for name in names {
        if let Some(one) = known.get(&name) {
            one.uses.set((one.uses.get() + 1).min(3));
            hits += 1;
            continue;
        }
        let one = Rc::new(One { name, uses: Cell::new(0), gone: Cell::new(false) });
        known.insert(name, one.clone());
        order.admit_entry(one, 1);
        while known.len() > room {
            let leaves = order.evict_next(&()).unwrap();
            assert!(known.remove(&leaves.name).is_some());
        }
        assert_eq!(order.len(), known.len());
    }
    hits
}

#[test]
fn a_scan_displaces_nothing_that_is_in_use() {
    let hot = |n: u64| n % 50;
    let warm: Vec<u64> = (0..1000).map(hot).collect();
    let scan: Vec<u64> = (1000..3000).collect();
    let again: Vec<u64> = (0..50).collect();
    let before = hits(100, warm.iter().chain(&scan).copied());
    let after = hits(100, warm.iter().chain(&scan).chain(&again).copied());
    assert_eq!(after - before, 50, "all of what was in use is still there");
}

#[test]
fn it_is_better_than_first_in_first_out_on_skewed_names() {
    let mut random = Random::seeded(7);
    // Squaring twice makes low names much more frequent than high ones.
    let names: Vec<u64> = (0..50_000)
        .map(|_| {
            let u = random.unit();
            (u * u * u * u * 10_000.0) as u64
        })
        .collect();
    let got = hits(300, names.iter().copied());
    let mut queue = VecDeque::new();
    let mut fifo = 0;
    for name in names {
        if queue.contains(&name) {
            fifo += 1;
        } else {
            queue.push_back(name);
            if queue.len() > 300 {
                queue.pop_front();
            }
        }
    }
    assert!(got > fifo + fifo / 10, "{got} hits, first in first out has {fifo}");
}

#[test]
fn entries_that_left_by_other_ways_are_passed_over() {
    let mut order = EvictionOrder::default();
    let ones: Vec<_> = (0..10)
        .map(|name| Rc::new(One { name, uses: Cell::new(0), gone: Cell::new(false) }))
        .collect();
    ones.iter().cloned().for_each(|one| order.admit_entry(one, 1));
    ones.iter().take(5).for_each(|one| one.gone.set(true));
    assert_eq!(order.evict_next(&()).map(|one| one.name), Some(5));
    order.compact_part(&());
    assert_eq!(order.len(), 4);
    assert_eq!(std::iter::from_fn(|| order.evict_next(&())).count(), 4);
    assert!(order.evict_next(&()).is_none());
}

#[test]
fn who_comes_back_soon_goes_to_the_main_queue() {
    // Two passes over a loop slightly longer than the cache: pure FIFO and LRU hit nothing.
    let pass = || 0..120_u64;
    let got = hits(100, pass().chain(pass()).chain(pass()).chain(pass()));
    assert!(got > 60, "{got}");
}

#[test]
fn what_stays_keeps_its_order_when_parts_are_compacted() {
    let mut order = EvictionOrder::default();
    let one = |name| Rc::new(One { name, uses: Cell::new(0), gone: Cell::new(name % 10 != 0) });
    let ones: Vec<_> = (0..1000).map(one).collect();
    ones.iter().cloned().for_each(|one| order.admit_entry(one, 1));
    for step in 0..12 {
        order.compact_part(&());
        // Others leave and come meanwhile.
        assert_eq!(order.evict_next(&()).map(|one| one.name), Some(step * 10));
        order.admit_entry(one(1000 + step * 10), 1);
    }
    assert_eq!(order.len(), 100, "all others had left");
    let left: Vec<u64> = std::iter::from_fn(|| order.evict_next(&())).map(|one| one.name).collect();
    assert_eq!(left, (12..112).map(|n| n * 10).collect::<Vec<_>>());
    assert!(order.is_empty());
}
