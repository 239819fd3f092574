use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn add(table: &KeyTable, key: u64, by: u64) -> Result<u64, ()> {
    let hash = table.hash([&key.to_le_bytes()[..]].into_iter());
    table.update_key(
        hash,
        |value| value == 0,
        |value| {
            let new = value.unwrap_or(0) + by;
            Ok((new, new))
        },
    )
}

#[test]
fn any_number_of_keys_finds_room_by_taking_that_of_others() {
    let table = KeyTable::new(1000);
    // One in two million finds another key with its 24 bits; five of a hundred thousand are beyond
    // all odds.
    let mistaken = (0..100_000).filter(|key| add(&table, *key, 1) != Ok(1)).count();
    assert!(mistaken < 5, "{mistaken}");
    assert_eq!(table.len(), table.capacity());
    assert_eq!(table.evicted.load(Relaxed), 100_000 - 1000 - mistaken as u64);
}

#[test]
fn idle_keys_go_first_and_the_lowest_next() {
    let table = KeyTable::new(8);
    for key in 0..8 {
        add(&table, key, key + 10).unwrap();
    }
    // Key 3 becomes idle.
    let hash = |key: u64| table.hash([&key.to_le_bytes()[..]].into_iter());
    let set = |key, to| table.update_key(hash(key), |v| v == 0, |_| Ok::<_, ()>(((), to)));
    set(3, 0).unwrap();
    add(&table, 100, 50).unwrap();
    assert_eq!(table.evicted.load(Relaxed), 0);
    add(&table, 101, 50).unwrap();
    assert_eq!(table.evicted.load(Relaxed), 1);
    assert_eq!(add(&table, 7, 1), Ok(18), "the others are still there");
    assert_eq!(add(&table, 0, 1), Ok(1), "the lowest one went");
}

#[test]
fn a_key_that_is_lost_is_told() {
    let table = KeyTable::new(8);
    let hash = |key: u64| table.hash([&key.to_le_bytes()[..]].into_iter());
    let set = |key, to| table.replace(hash(key), |v| v < 10, |_| Ok::<_, ()>(((), to))).unwrap().1;
    // Key 0, which is idle, comes last: nobody takes its place before all others have one.
    let first: Vec<_> = (0..8).rev().map(|key| set(key, key + 9)).collect();
    assert_eq!(first, [Displaced::Nothing; 8]);
    assert_eq!(set(5, 20), Displaced::Nothing, "it was there");
    // Key 0 is idle: it begins anew, or its place is another's.
    assert_eq!(
        [set(0, 9), set(8, 30), set(9, 30)],
        [Displaced::Idle, Displaced::Idle, Displaced::InUse]
    );
    assert_eq!(table.evicted.load(Relaxed), 1);
}

#[test]
fn an_error_changes_nothing_and_a_sweep_leaves_what_is_in_use() {
    let table = KeyTable::new(80);
    add(&table, 1, 5).unwrap();
    let hash = table.hash([&1_u64.to_le_bytes()[..]].into_iter());
    assert_eq!(table.update_key(hash, |v| v == 0, Err::<((), u64), _>), Err(Some(5)));
    add(&table, 2, 7).unwrap();
    assert_eq!(table.empty_idle(|value| value <= 5), Swept { left: 1, removed: 1 });
    assert_eq!(add(&table, 1, 1), Ok(1));
    assert_eq!(add(&table, 2, 1), Ok(8));
}

#[test]
fn threads_lose_no_count() {
    let table = KeyTable::new(64);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..10_000).for_each(|n| assert!(add(&table, n % 3, 1).is_ok())));
        }
    });
    let total: u64 = (0..3).map(|key| add(&table, key, 0).unwrap()).sum();
    assert_eq!(total, 40_000);
}

proptest! {
    #[test]
    fn with_room_for_all_it_is_a_map(steps: Vec<(u8, u8)>) {
        let table = KeyTable::new(4096);
        let mut model: HashMap<u64, u64> = HashMap::new();
        for (key, by) in steps {
            let value = model.entry(u64::from(key)).or_default();
            *value += u64::from(by);
            prop_assert_eq!(add(&table, u64::from(key), u64::from(by)), Ok(*value));
        }
    }
}
