use super::*;

fn seat(seats: &Seats, listener: u16) -> Seat<'_> {
    seats.take_seat(Waker::noop().clone(), listener)
}

#[tokio::test(start_paused = true)]
async fn the_one_that_has_been_idle_longest_is_asked_first() {
    let seats = Seats::default();
    assert!(!seats.make_room(None));
    let (a, b, c, d) = (seat(&seats, 1), seat(&seats, 1), seat(&seats, 2), seat(&seats, 1));
    assert!(!seats.make_room(None), "all of them work");
    for it in [&b, &c, &a] {
        assert!(!it.begin_wait(SeatWait::Request));
        assert!(!it.begin_wait(SeatWait::Request));
    }
    assert!(seats.make_room(Some(1)));
    assert_eq!([&a, &b, &c, &d].map(Seat::is_asked), [false, true, false, false]);
    b.begin_work();
    assert!(!b.begin_wait(SeatWait::Request));
    assert!(seats.make_room(None));
    assert_eq!([&a, &b, &c, &d].map(Seat::is_asked), [false, false, true, false]);
    drop(a);
    assert!(seats.make_room(None));
    assert!(b.is_asked());
    assert!(!seats.make_room(None));
}

#[tokio::test(start_paused = true)]
async fn who_is_slow_goes_when_nobody_is_idle() {
    let seats = Seats::default();
    let (slow, idle) = (seat(&seats, 1), seat(&seats, 1));
    assert!(!slow.begin_wait(SeatWait::Rest));
    assert!(!seats.make_room(None), "it has only just begun");
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(!idle.begin_wait(SeatWait::Request));
    assert!(seats.make_room(None) && idle.is_asked());
    assert!(seats.make_room(None) && slow.is_asked());
    assert!(!seats.make_room(None));
    assert_eq!(slow.unless_asked(std::future::pending::<()>()).await, None);
    assert_eq!(slow.unless_asked(std::future::ready(1)).await, Some(1));
    assert!(!slow.is_asked());
}

#[test]
fn open_connections_are_counted_until_dropped() {
    let seats = Seats::default();
    let (first, second) = (seat(&seats, 0), seat(&seats, 0));
    first.begin_serving();
    first.begin_serving();
    assert_eq!(seats.open_count(), 1);
    second.begin_serving();
    assert_eq!(seats.open_count(), 2);
    drop(first);
    let third = seat(&seats, 0);
    assert_eq!((seats.open_count(), third.seat_number()), (1, 0));
    drop((second, third));
    assert_eq!(seats.open_count(), 0);
}
