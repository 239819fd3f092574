use super::*;

#[test]
fn a_server_is_out_until_the_last_reason_is_withdrawn() {
    let standing = Standing::default();
    assert!(standing.reason_bits().is_clear());
    assert_eq!(standing.changed_at(), None);
    assert!(!standing.bring_back(UNHEALTHY, clock::now()));
    assert_eq!(standing.changed_at(), None, "nothing has changed");
    let before = clock::unix_seconds();
    assert!(standing.take_out(UNHEALTHY));
    assert!(standing.changed_at() >= Some(before));
    assert!(standing.take_out(EJECTED));
    assert!(!standing.take_out(EJECTED));
    assert!(standing.bring_back(UNHEALTHY, clock::now()));
    assert!(standing.reason_bits().has_any(OPINIONS) && !standing.reason_bits().is_ramping());
    assert!(standing.bring_back(EJECTED, clock::now()));
    assert!(!standing.reason_bits().has_any(OPINIONS) && standing.reason_bits().is_ramping());
    assert!(!standing.bring_back(EJECTED, clock::now()));
}

#[tokio::test(start_paused = true)]
async fn only_a_server_that_was_away_for_long_starts_slowly() {
    let _epoch = clock::millis(clock::now());
    let standing = Standing::default();
    assert!(!standing.mark_reached(clock::now()));
    for (away, ramps) in [(BLINK - 1, false), (BLINK, true)] {
        standing.mark_unreachable(clock::now());
        tokio::time::advance(Duration::from_millis(away / 2)).await;
        standing.mark_unreachable(clock::now());
        assert_eq!(standing_word(standing.reason_bits()), "unreachable");
        assert!(standing.reason_bits().has_any(u8::MAX) && !standing.reason_bits().has_any(HARD));
        tokio::time::advance(Duration::from_millis(away - away / 2)).await;
        assert!(standing.mark_reached(clock::now()));
        assert_eq!(standing.reason_bits().is_ramping(), ramps);
        assert!(!standing.reason_bits().has_any(u8::MAX));
    }
}

#[tokio::test(start_paused = true)]
async fn a_recovered_server_gets_a_growing_share() {
    let _epoch = clock::millis(clock::now());
    let standing = Standing::default();
    standing.take_out(EJECTED);
    standing.bring_back(EJECTED, clock::now());
    let whole = Duration::from_secs(10);
    assert_eq!(standing.ramp_share(clock::now(), whole), 0.1);
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(standing.ramp_share(clock::now(), whole), 0.5);
    assert!(!standing.bring_back(EJECTED, clock::now()), "it is back already");
    assert_eq!(standing.ramp_share(clock::now(), whole), 0.5);
    tokio::time::advance(Duration::from_secs(5)).await;
    assert!(standing.reason_bits().is_ramping());
    assert_eq!(standing.ramp_share(clock::now(), whole), 1.0);
    assert!(standing.reason_bits().is_clear());
}
