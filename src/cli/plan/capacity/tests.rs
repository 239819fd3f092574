use super::*;
use crate::cli::plan::figures::{parse_rate, parse_share, parse_time, parse_times};

fn load(per_second: &str, room: LoadRoom) -> PlannedLoad {
    PlannedLoad { rate: parse_rate(per_second).unwrap(), room, spare: 0, zones: 1 }
}

fn by_formula(per_second: &str, service: &str, used: &str) -> u64 {
    let room = LoadRoom::Utilisation(parse_share(used).unwrap());
    let bound = Bound::Service { nanos: parse_time(service).unwrap(), at_a_time: 1 };
    bound.needed_instances(&load(per_second, room)).unwrap()
}

#[test]
fn s4_4_instances_are_the_rate_by_what_one_does_at_the_utilisation() {
    // ceil(rate / ((1000 / service ms) × utilisation))
    assert_eq!(by_formula("100/s", "50ms", "0.7"), 8);
    assert_eq!(by_formula("1000/s", "20ms", "0.7"), 29);
    assert_eq!(by_formula("5000/s", "10ms", "0.7"), 72);
    assert_eq!(by_formula("1/s", "1ms", "0.7"), 1);
    // A ceiling is not one more where it comes out even, whatever floating point makes of it.
    assert_eq!(by_formula("700/s", "100ms", "0.7"), 100);
    assert_eq!(by_formula("21/s", "1s", "0.7"), 30);
    assert_eq!(by_formula("49/s", "100ms", "0.7"), 7);
    assert_eq!(by_formula("49.000001/s", "100ms", "0.7"), 8);
}

#[test]
fn s5_7_a_thousand_an_instance_and_five_thousand_at_the_peak_twice_are_ten() {
    let twice = load("5000/s", LoadRoom::HeadRoom(parse_times("2").unwrap()));
    let bound = Bound::Capacity(parse_rate("1000/s").unwrap());
    assert_eq!(bound.needed_instances(&twice), Some(10));
    assert_eq!(bound.needed_instances(&load("5000/s", LoadRoom::HeadRoom(MILLION))), Some(5));
    assert_eq!(bound.needed_instances(&load("5001/s", LoadRoom::HeadRoom(MILLION))), Some(6));
}

#[test]
fn several_at_a_time_do_as_many_times_more() {
    let all = load("1000/s", LoadRoom::Utilisation(MILLION));
    let of = |at_a_time| Bound::Service { nanos: 20_000_000, at_a_time }.needed_instances(&all);
    assert_eq!((of(1), of(4), of(20), of(21)), (Some(20), Some(5), Some(1), Some(1)));
    let held = Bound::Holds { all: 100_000, each: 20_000 };
    assert_eq!(held.needed_instances(&all), Some(5));
    assert_eq!(held.needed_instances(&load("1/s", LoadRoom::HeadRoom(2 * MILLION))), Some(10));
}

#[test]
fn what_may_be_away_is_added() {
    let with = |needed, spare, zones| {
        with_spare(
            needed,
            &PlannedLoad { spare, zones, ..load("1/s", LoadRoom::HeadRoom(MILLION)) },
        )
    };
    assert_eq!([with(10, 0, 1), with(10, 2, 1)], [10, 12]);
    // Two of three zones carry ten: five in each.
    assert_eq!([with(10, 0, 3), with(10, 0, 2), with(7, 0, 3), with(10, 1, 3)], [15, 20, 12, 18]);
}

#[test]
fn what_no_fleet_can_carry_is_no_number() {
    let most = load("999999999/s", LoadRoom::HeadRoom(100 * MILLION));
    assert_eq!(Bound::Service { nanos: 3600 * SECOND, at_a_time: 1 }.needed_instances(&most), None);
    assert_eq!(Bound::Capacity(1).needed_instances(&most), None);
}
