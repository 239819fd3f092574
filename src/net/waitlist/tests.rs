use super::*;

impl Linked for WaitLink {
    fn wait_link(&mut self) -> &mut WaitLink {
        self
    }
}

#[test]
fn places_leave_from_anywhere_and_the_order_stays() {
    let mut places = [WaitLink::default(); 4];
    let mut list = WaitList::default();
    let order = |list: &WaitList, places: &[WaitLink]| {
        let next = |at: &u32| places.get(*at as usize).map(|link| link.after);
        let order = std::iter::successors(Some(list.first_place()), next);
        order.take_while(|at| *at != NONE).collect::<Vec<_>>()
    };
    assert!(order(&list, &places).is_empty());
    for at in [2, 0, 3, 1] {
        list.join_last(&mut places, at);
    }
    assert_eq!(order(&list, &places), [2, 0, 3, 1]);
    list.remove_place(&mut places, 3);
    assert_eq!(order(&list, &places), [2, 0, 1]);
    list.remove_place(&mut places, 2);
    list.join_last(&mut places, 2);
    assert_eq!(order(&list, &places), [0, 1, 2]);
    list.remove_place(&mut places, 2);
    list.join_last(&mut places, 3);
    assert_eq!(order(&list, &places), [0, 1, 3]);
    list.join_first(&mut places, 2);
    assert_eq!(order(&list, &places), [2, 0, 1, 3]);
    for at in [0, 3, 1, 2] {
        list.remove_place(&mut places, at);
    }
    list.join_first(&mut places, 2);
    list.join_last(&mut places, 1);
    assert_eq!(order(&list, &places), [2, 1]);
    for at in [1, 2] {
        list.remove_place(&mut places, at);
    }
    assert!(order(&list, &places).is_empty());
}
