use super::*;

/// More than there is room for, where there is a limit.
const MUCH: usize = usize::MAX;

fn wait(stall: &mut Stall, mark: StallMark) -> StallStep {
    stall.begin_wait(&Context::from_waker(Waker::noop()), mark)
}

fn window(own: u64, shared: u64) -> StallMark {
    StallMark { own, shared, holdup: Holdup::Window, untaken: None }
}

fn socket(own: u64) -> StallMark {
    StallMark { own, ..StallMark::default() }
}

/// Lets so much time pass but for so many milliseconds.
async fn pass_but(all: Duration, millis: u64) {
    tokio::time::advance(all - Duration::from_millis(millis)).await;
}

async fn pass(millis: u64) {
    tokio::time::advance(Duration::from_millis(millis)).await;
}

#[tokio::test(start_paused = true)]
async fn w15_the_one_that_has_stood_still_longest_goes_first_and_only_if_it_still_does() {
    held::set_limit(1 << 46);
    let [mut a, mut b, mut c] = [(); 3].map(|()| Stall::default());
    for stall in [&mut a, &mut b, &mut c] {
        assert_eq!(wait(stall, window(0, 0)), StallStep::Wait);
        pass(10).await;
    }
    pass_but(WINDOW_STILL, 31).await;
    assert!(!ask_stillest(MUCH), "none has been still for long enough");
    pass(20).await;
    assert_eq!(wait(&mut a, window(1, 0)), StallStep::Wait, "it moves");
    assert!(ask_stillest(MUCH));
    assert_eq!(wait(&mut a, window(1, 0)), StallStep::Wait);
    assert_eq!(wait(&mut c, window(0, 0)), StallStep::Wait);
    assert_eq!(wait(&mut b, window(0, 0)), StallStep::Cut);
    pass(10).await;
    assert!(ask_stillest(MUCH));
    assert_eq!(wait(&mut c, window(5, 0)), StallStep::Wait, "it has moved after all");
    assert!(!ask_stillest(MUCH));
    c.end_wait();
    pass_but(WINDOW_STILL, 0).await;
    assert!(ask_stillest(MUCH));
    assert!(!ask_stillest(MUCH), "nobody else waits");
    // Somebody else has made room meanwhile.
    STALLS.with_borrow_mut(|table| table.needed = 0);
    assert_eq!(wait(&mut a, window(1, 0)), StallStep::Wait);
    assert!(ask_stillest(MUCH), "it has not lost its place");
    assert_eq!(wait(&mut a, window(1, 0)), StallStep::Cut);
    drop((a, b));
    assert!(!ask_stillest(MUCH));
}

#[tokio::test(start_paused = true)]
async fn w15_who_moves_little_by_little_is_never_asked() {
    held::set_limit(1 << 46);
    let mut slow = Stall::default();
    for n in 0..100 {
        assert_eq!(wait(&mut slow, window(n, 0)), StallStep::Wait);
        pass_but(WINDOW_STILL, 1).await;
        assert!(!ask_stillest(MUCH));
    }
    drop(slow);
    let mut slow = Stall::default();
    for n in 0..100 {
        assert_eq!(wait(&mut slow, socket(n)), StallStep::Wait);
        pass_but(SETTLED, 1).await;
        assert!(!ask_stillest(MUCH));
        assert_eq!(wait(&mut slow, socket(n)), StallStep::Wait);
    }
}

#[tokio::test(start_paused = true)]
async fn w15_what_the_client_lets_through_for_others_of_its_connection_is_a_movement() {
    held::set_limit(1 << 46);
    let mut stream = Stall::default();
    assert_eq!(wait(&mut stream, window(0, 7)), StallStep::Wait);
    pass_but(WINDOW_STILL, 0).await;
    assert!(ask_stillest(MUCH));
    assert_eq!(wait(&mut stream, window(0, 8)), StallStep::Wait);
    pass_but(WINDOW_STILL, 1).await;
    assert!(!ask_stillest(MUCH));
    pass(1).await;
    assert!(ask_stillest(MUCH));
    assert_eq!(wait(&mut stream, window(0, 8)), StallStep::Cut);
}

#[tokio::test(start_paused = true)]
async fn w15_a_socket_is_looked_at_soon_and_once_more_before_its_response_is_cut() {
    held::set_limit(1 << 46);
    let mut still = Stall::default();
    assert_eq!(wait(&mut still, socket(0)), StallStep::Wait);
    pass_but(SETTLED, 1).await;
    look_ahead(1);
    assert!(!ask_stillest(MUCH));
    assert_eq!(wait(&mut still, socket(0)), StallStep::Wait);
    pass(1).await;
    assert!(!ask_stillest(MUCH), "to be looked at is not to go");
    assert_eq!(wait(&mut still, socket(0)), StallStep::Look);
    assert!(still.is_looking());
    // It takes what there was room for anyway.
    assert_eq!(wait(&mut still, socket(9)), StallStep::Wait);
    pass_but(SOCKET_STILL, 1).await;
    assert!(!ask_stillest(MUCH));
    pass(1).await;
    assert!(ask_stillest(MUCH));
    assert_eq!(wait(&mut still, socket(9)), StallStep::Look);
    assert_eq!(wait(&mut still, socket(12)), StallStep::Wait, "it is read");
    pass_but(SOCKET_STILL, 1).await;
    assert!(!ask_stillest(MUCH));
    pass(1).await;
    assert!(ask_stillest(MUCH));
    assert_eq!(wait(&mut still, socket(12)), StallStep::Look);
    // The system takes nothing more, but the client has.
    let read = StallMark { untaken: Some(7), ..socket(12) };
    assert_eq!(wait(&mut still, read), StallStep::Wait);
    assert_eq!(wait(&mut still, socket(12)), StallStep::Wait);
    pass_but(SOCKET_STILL, 0).await;
    assert!(ask_stillest(MUCH));
    assert_eq!(wait(&mut still, socket(12)), StallStep::Look);
    assert_eq!(wait(&mut still, read), StallStep::Cut);
}

#[tokio::test(start_paused = true)]
async fn w15_of_windows_and_sockets_the_one_goes_that_has_been_still_for_longer() {
    held::set_limit(1 << 46);
    let (mut read, mut shut) = (Stall::default(), Stall::default());
    assert_eq!(wait(&mut read, socket(0)), StallStep::Wait);
    pass_but(SETTLED, 0).await;
    assert!(!ask_stillest(MUCH));
    assert_eq!(wait(&mut read, socket(0)), StallStep::Look);
    assert_eq!(wait(&mut read, socket(0)), StallStep::Wait);
    pass(1).await;
    assert_eq!(wait(&mut shut, window(0, 0)), StallStep::Wait);
    pass_but(SOCKET_STILL, 0).await;
    let ask_first = || {
        STALLS.with_borrow_mut(|table| {
            table.needed = MUCH;
            table.ask_first(clock::now())
        })
    };
    assert!(ask_first());
    assert_eq!(wait(&mut shut, window(0, 0)), StallStep::Wait);
    assert_eq!(wait(&mut read, socket(0)), StallStep::Look);
    assert!(ask_first());
    assert_eq!(wait(&mut shut, window(0, 0)), StallStep::Cut);
    assert!(!ask_first());
}

#[tokio::test(start_paused = true)]
async fn w15_who_has_opened_its_windows_before_may_be_still_for_longer() {
    held::set_limit(1 << 46);
    let mut stream = Stall::default();
    let opened = StallMark { holdup: Holdup::OpenedWindow, ..window(100_000, 0) };
    assert_eq!(wait(&mut stream, opened), StallStep::Wait);
    pass_but(OPENED_STILL, 1).await;
    assert!(!ask_stillest(MUCH));
    pass(1).await;
    assert!(ask_stillest(MUCH));
    assert_eq!(wait(&mut stream, opened), StallStep::Cut);
}

#[tokio::test(start_paused = true)]
async fn what_others_want_is_made_while_there_is_no_room() {
    held::set_limit(1 << 46);
    let mut still = [(); AT_ONCE + 2].map(|()| Stall::default());
    still.iter_mut().for_each(|it| assert_eq!(wait(it, window(0, 0)), StallStep::Wait));
    pass_but(WINDOW_STILL, 0).await;
    want_others(MUCH, 1);
    want_others(MUCH, 1);
    heed_others();
    let steps = still.iter_mut().map(|it| wait(it, window(0, 0))).collect::<Vec<_>>();
    let (cut, rest) = steps.split_at(AT_ONCE);
    assert!(cut.iter().all(|step| *step == StallStep::Cut), "{steps:?}");
    assert_eq!(rest, [StallStep::Wait; 2]);
    want_others(0, 1);
    heed_others();
    assert_eq!(wait(&mut still[AT_ONCE], window(0, 0)), StallStep::Wait);
}
