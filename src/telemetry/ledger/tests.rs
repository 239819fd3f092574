use super::*;
use crate::exchange::{Cut, Refusal};

fn entry(status: u16, took: Duration) -> LedgerEntry {
    let server = Some(7);
    LedgerEntry {
        route: Some(3),
        method: 0,
        listener: 1,
        server,
        status,
        outcome: Outcome::Whole,
        took,
        received: 5,
        sent: 10,
    }
}

#[test]
fn fetches_count_for_their_server_alone() {
    let ledger = Ledger::default();
    ledger.note_fetched(7, Outcome::Whole, 10);
    ledger.note_fetched(7, Outcome::ServerCut(Cut::Reset), 3);
    let interval = ledger.hand_over();
    assert!(interval.routes.is_empty() && interval.listeners.is_empty());
    let tally = &interval.servers[&7];
    assert_eq!((tally.sent, tally.outcomes.iter().sum::<u32>()), (13, 2));
    assert_eq!(tally.cuts.iter().sum::<u32>(), 1);
}

#[test]
fn methods_that_clients_make_up_are_one_group() {
    assert_eq!(method_index(b"GET"), 0);
    assert_eq!(METHODS.get(method_index(b"OPTIONS")), Some(&"OPTIONS"));
    for other in [&b"BREW"[..], b"get", b"other", b""] {
        assert_eq!(METHODS.get(method_index(other)), Some(&"other"));
    }
}

#[test]
fn an_interval_has_what_happened_since_the_last_one() {
    let ledger = Ledger::default();
    ledger.note_attempt(7, 0, None);
    ledger.note_attempt(7, 200, Some(Duration::from_millis(2)));
    ledger.note_request(&entry(200, Duration::from_millis(3)));
    ledger.note_request(&entry(404, Duration::from_millis(5)));
    let interval = ledger.hand_over();
    let get = interval.routes[&3][0].as_ref().unwrap();
    assert_eq!(get.statuses, [(200, 1), (404, 1)]);
    assert_eq!(get.outcomes, [2, 0, 0, 0, 0, 0]);
    assert_eq!((get.received, get.sent, get.micros), (10, 20, 8_000));
    assert_eq!(interval.listeners[&1].latency.len(), 2);
    let server = &interval.servers[&7];
    assert_eq!(server.statuses, [(0, 1), (200, 1)]);
    assert_eq!((server.latency.len(), server.sent), (1, 20));
    assert!(ledger.hand_over().routes.is_empty());
}

#[test]
fn what_a_server_cut_and_what_was_refused_is_told_apart() {
    let ledger = Ledger::default();
    let took = Duration::ZERO;
    ledger
        .note_request(&LedgerEntry { outcome: Outcome::ServerCut(Cut::Reset), ..entry(200, took) });
    let refused = Outcome::Refused(Refusal::Connect);
    ledger.note_request(&LedgerEntry { outcome: refused, ..entry(502, took) });
    let interval = ledger.hand_over();
    assert_eq!(interval.servers[&7].cuts, [0, 1, 0, 0]);
    assert_eq!(interval.servers[&7].outcomes, [0, 0, 1, 0, 1, 0]);
    assert_eq!(interval.refusals[&(3, "upstream_connect")], 1);
    assert_eq!(interval.refusals.len(), 1);
}

#[test]
fn times_beyond_the_scale_count_as_the_longest() {
    let mut tally = StatsBucket::default();
    tally.note_response(101, Some(Duration::from_hours(30)));
    assert_eq!(tally.micros, LONGEST);
    assert_eq!(tally.latency.len(), 1);
}
