//! Intervals of workers go in, windows and steps come out.

use std::time::Duration;

use crate::exchange::Outcome;
use crate::telemetry::ledger::{Ledger, LedgerEntry};

use super::*;

const ALL: Exists<'static> = Exists { route: &|_| true, listener: &|_| true, server: &|_| true };

fn interval(times: impl Iterator<Item = (u64, u16)>) -> Box<Interval> {
    let ledger = Ledger::default();
    for (millis, status) in times {
        let took = Duration::from_millis(millis);
        let route = Some(1);
        let entry = LedgerEntry {
            route,
            method: 0,
            listener: 0,
            server: None,
            status,
            outcome: Outcome::Whole,
            took,
            received: 1,
            sent: 2,
        };
        ledger.note_request(&entry);
        ledger.note_attempt(5, status, Some(took));
    }
    ledger.hand_over()
}

fn close(value: f64, expected: f64) -> bool {
    (value - expected).abs() <= expected * 0.01
}

#[test]
fn windows_hold_what_has_just_passed() {
    let mut history = History::default();
    // Two workers, a fast second; then nine slow ones.
    history.add_interval(&interval((1..=50).map(|n| (n, 200))));
    history.add_interval(&interval((51..=100).map(|n| (n, 503))));
    assert_eq!(history.route_summary(1).windows.one.rate, 0.0, "a second that is not over");
    history.next_second(&ALL);
    let first = history.route_summary(1).windows;
    assert_eq!((first.one.rate, first.one.errors), (100.0, 50.0));
    let p = first.one.latency_ms.unwrap();
    assert!(close(p.p50, 50.0) && close(p.p90, 90.0) && close(p.p99, 99.0), "{p:?}");
    assert!(close(p.p999, 100.0), "{p:?}");
    for _ in 0..9 {
        history.add_interval(&interval([(1000, 200)].into_iter()));
        history.next_second(&ALL);
    }
    let later = history.route_summary(1).windows;
    assert_eq!(later.one.rate, 1.0);
    assert!(close(later.one.latency_ms.unwrap().p50, 1000.0));
    assert_eq!(later.ten.rate, 10.9);
    assert!(close(later.sixty.rate, 109.0 / 60.0));
    history.next_second(&ALL);
    assert_eq!(history.route_summary(1).windows.one.latency_ms, None, "nothing happened");
    for _ in 0..60 {
        history.next_second(&ALL);
    }
    let end = history.route_summary(1);
    assert_eq!(end.windows.sixty, Window::default());
    assert!(end.windows.total.latency_ms.is_some());
    assert_eq!((end.classes, end.received, end.sent), ([0, 59, 0, 0, 50], 109, 218));
}

#[test]
fn every_ten_seconds_become_a_step() {
    let mut history = History::default();
    for _ in 0..10 {
        history.add_interval(&interval([(2, 200), (20, 503), (70_000, 404)].into_iter()));
        history.next_second(&ALL);
    }
    history.add_interval(&interval([(5, 301)].into_iter()));
    let wish = super::super::timeline::HistoryWish { minutes: 60, points: 100, places: true };
    let said = history.timeline.read_report(&wish, &[(1, "r".into())], &[(5, "u/s".into())]);
    let said = serde_json::to_value(said).unwrap();
    assert_eq!(said["all"]["classes"], serde_json::json!([[0, 10, 0, 10, 10, 0]]));
    assert_eq!(said["outcomes"][0][0], 30);
    let heat = &said["heat"][0];
    assert_eq!((&heat[1], &heat[4], &heat[15]), (&10.into(), &10.into(), &10.into()));
    for line in ["routes", "servers"] {
        assert_eq!(said[line][0]["classes"], said["all"]["classes"], "{line}");
        assert!(close(said[line][0]["p50_ms"][0].as_f64().unwrap(), 20.0), "{said}");
    }
    for _ in 0..10 {
        history.next_second(&ALL);
    }
    let said = history.timeline.read_report(&wish, &[], &[]);
    let said = serde_json::to_value(said).unwrap();
    assert_eq!(said["all"]["classes"][1], serde_json::json!([0, 0, 1, 0, 0, 0]));
    assert_eq!(said["all"]["p99_ms"].as_array().unwrap().len(), 2);
}

#[test]
fn servers_add_up_to_their_upstream() {
    let mut history = History::default();
    history.add_interval(&interval((1..=10).map(|n| (n, 200))));
    assert_eq!(history.servers_summary([5, 6].into_iter()).classes, [0, 10, 0, 0, 0]);
    assert_eq!(history.servers_summary([6].into_iter()).classes, [0; 5]);
}

#[test]
fn buckets_are_cumulative() {
    let mut history = History::default();
    history.add_interval(&interval([(1, 200), (20, 200), (70_000, 404)].into_iter()));
    let (method, report) = history.methods(1).next().unwrap();
    assert_eq!((method, report.count, report.micros), ("GET", 3, 70_021_000));
    assert_eq!(report.buckets[..5], [1, 1, 1, 1, 2]);
    assert_eq!(report.buckets[14], 2, "the third is beyond all of them");
}

#[test]
fn what_is_gone_is_forgotten() {
    let mut history = History::default();
    history.add_interval(&interval([(1, 200)].into_iter()));
    history.next_second(&Exists { route: &|_| false, ..ALL });
    assert_eq!(history.route_summary(1).classes, [0; 5]);
    assert_eq!(history.methods(1).count(), 0);
    assert_eq!(history.listener_summary(0).classes, [0, 1, 0, 0, 0]);
}
