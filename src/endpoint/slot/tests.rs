use super::*;

#[test]
fn the_lowest_free_number_is_handed_out_again() {
    static SLOTS: Slots = Slots::new();
    let mut taken: Vec<EndpointSlot> = (0..200).map(|_| SLOTS.take_lowest()).collect();
    let numbers: Vec<Option<usize>> = taken.iter().map(EndpointSlot::index).collect();
    assert_eq!(numbers, (0..200).map(Some).collect::<Vec<_>>());
    drop(taken.remove(150));
    drop(taken.remove(3));
    assert_eq!(SLOTS.take_lowest().index(), Some(3), "and given back at once");
    let again = [SLOTS.take_lowest(), SLOTS.take_lowest(), SLOTS.take_lowest()];
    assert_eq!(again.each_ref().map(EndpointSlot::index), [Some(3), Some(150), Some(200)]);
}

#[test]
fn a_million_that_come_and_go_need_few_numbers() {
    static SLOTS: Slots = Slots::new();
    let mut alive = std::collections::VecDeque::new();
    let mut highest = 0;
    for _ in 0..1_000_000 {
        let slot = SLOTS.take_lowest();
        highest = highest.max(slot.index().unwrap());
        alive.push_back(slot);
        if alive.len() > 100 {
            alive.pop_front();
        }
    }
    assert_eq!(highest, 100);
}

#[test]
fn threads_never_share_a_number() {
    static SLOTS: Slots = Slots::new();
    let taken: Vec<EndpointSlot> = std::thread::scope(|scope| {
        let take = || (0..5000).map(|_| SLOTS.take_lowest()).collect::<Vec<_>>();
        let threads = [scope.spawn(take), scope.spawn(take), scope.spawn(take)];
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let numbers: std::collections::BTreeSet<usize> =
        taken.iter().filter_map(EndpointSlot::index).collect();
    assert_eq!((numbers.len(), numbers.last()), (15_000, Some(&14_999)));
}
