use super::super::{CacheSettings, Received, judge_response};
use super::*;
use crate::cache::directives::RequestDirectives;
use crate::wire::head::Fields;

const T0: Millis = 1_800_000_000_000;

fn judged(lines: &[(&str, &str)]) -> Timing {
    let mut fields = Fields::default();
    for (name, value) in lines {
        fields.push(name.as_bytes(), value.as_bytes());
    }
    let received = Received { status: 200, fields: &fields, asked_at: T0, at: T0 };
    judge_response(received, &CacheQuery::default(), &CacheSettings::default()).unwrap()
}

fn usable(timing: Timing, seconds: u64) -> Usability {
    timing.usability_for(&CacheQuery::default(), T0 + seconds * 1000)
}

#[test]
fn max_age_ends_to_the_millisecond() {
    let timing = judged(&[("cache-control", "max-age=10")]);
    assert_eq!(timing.usability_for(&CacheQuery::default(), T0 + 9_999), Usability::Fresh);
    let late = timing.usability_for(&CacheQuery::default(), T0 + 10_000);
    assert_eq!(late, Usability::Validate { on_error: false });
}

#[test]
fn stale_windows_end_and_strict_responses_have_none() {
    let value = "max-age=1, stale-while-revalidate=5, stale-if-error=10";
    let timing = judged(&[("cache-control", value)]);
    assert_eq!(usable(timing, 6), Usability::StaleWhileRevalidate);
    assert_eq!(usable(timing, 7), Usability::Validate { on_error: true });
    assert_eq!(usable(timing, 12), Usability::Validate { on_error: false });
    for strict in ["must-revalidate", "proxy-revalidate", "s-maxage=1"] {
        let value = format!("{value}, {strict}");
        let timing = judged(&[("cache-control", &value)]);
        assert_eq!(usable(timing, 2), Usability::Validate { on_error: false }, "{strict}");
        let asked = CacheQuery {
            directives: RequestDirectives { max_stale: Some(100), ..RequestDirectives::default() },
            authenticated: false,
        };
        let now = T0 + 2000;
        assert_eq!(timing.usability_for(&asked, now), Usability::Validate { on_error: false });
    }
}

#[test]
fn clients_may_ask_for_more_or_accept_less() {
    let timing = judged(&[("cache-control", "max-age=10")]);
    let with = |directives: RequestDirectives, seconds: u64| {
        timing.usability_for(&CacheQuery { directives, authenticated: false }, T0 + seconds * 1000)
    };
    let none = RequestDirectives::default();
    let validate = Usability::Validate { on_error: true };
    assert_eq!(with(RequestDirectives { no_cache: true, ..none }, 1), validate);
    assert_eq!(with(RequestDirectives { max_age: Some(0), ..none }, 1), validate);
    assert_eq!(with(RequestDirectives { max_age: Some(5), ..none }, 5), Usability::Fresh);
    assert_eq!(with(RequestDirectives { min_fresh: Some(5), ..none }, 4), Usability::Fresh);
    assert_eq!(with(RequestDirectives { min_fresh: Some(5), ..none }, 5), Usability::Fresh);
    assert_eq!(with(RequestDirectives { min_fresh: Some(5), ..none }, 6), validate);
    let stale = RequestDirectives { max_stale: Some(3), ..none };
    assert_eq!(with(stale, 13), Usability::StaleAccepted);
    assert_eq!(with(stale, 14), Usability::Validate { on_error: false });
}

#[test]
fn no_cache_is_stored_and_always_asked_about() {
    let lines = [("cache-control", "no-cache, max-age=100"), ("etag", "\"a\"")];
    let timing = judged(&lines);
    assert_eq!(usable(timing, 0), Usability::Validate { on_error: false });
}
