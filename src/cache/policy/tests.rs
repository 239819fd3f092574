use std::time::SystemTime;

use super::*;

const T0: Millis = 1_800_000_000_000;

fn fields(lines: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in lines {
        fields.push(name.as_bytes(), value.as_bytes());
    }
    fields
}

fn at(shift_seconds: i64) -> String {
    let seconds = (T0 / 1000).checked_add_signed(shift_seconds).unwrap();
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn judged(status: u16, lines: &[(&str, &str)]) -> Result<Timing, Unstorable> {
    judged_with(status, lines, &CacheQuery::default(), &CacheSettings::default())
}

fn judged_with(
    status: u16,
    lines: &[(&str, &str)],
    asked: &CacheQuery,
    settings: &CacheSettings,
) -> Result<Timing, Unstorable> {
    let fields = fields(lines);
    judge_response(Received { status, fields: &fields, asked_at: T0, at: T0 }, asked, settings)
}

#[test]
fn shared_lifetimes_come_before_others() {
    let timing = judged(200, &[("cache-control", "max-age=100, s-maxage=1")]).unwrap();
    assert_eq!(timing.lifetime, 1000);
    let expires = at(3600);
    let lines = [("cache-control", "max-age=0"), ("expires", &expires)];
    assert_eq!(judged(200, &lines).unwrap().lifetime, 0);
}

#[test]
fn expires_counts_from_date_and_two_of_them_count_for_none() {
    let (expires, date) = (at(3000), at(-600));
    let lines = [("expires", &*expires), ("date", &*date)];
    let timing = judged(200, &lines).unwrap();
    assert_eq!((timing.lifetime, timing.initial_age), (3_600_000, 600_000));
    let lines = [("expires", &*expires), ("expires", &*expires)];
    assert_eq!(judged(200, &lines).unwrap().lifetime, 0);
}

#[test]
fn age_counts_and_only_its_first_value() {
    let aged = |age: &[&str]| {
        let mut lines = vec![("cache-control", "max-age=3600")];
        lines.extend(age.iter().map(|age| ("age", *age)));
        judged(200, &lines).unwrap().initial_age / 1000
    };
    assert_eq!(aged(&["7200"]), 7200);
    assert_eq!(aged(&["7200, 0"]), 7200);
    assert_eq!(aged(&["0, 7200"]), 0);
    assert_eq!(aged(&["0", "7200"]), 0);
    assert_eq!(aged(&["-7200"]), 0);
    assert_eq!(aged(&["7200.0"]), 0);
    assert_eq!(aged(&["99999999999999999999999"]), u64::MAX / 1000);
}

#[test]
fn what_must_not_be_stored_says_why() {
    let why = |status, lines: &[(&str, &str)]| judged(status, lines).unwrap_err();
    assert_eq!(why(200, &[("cache-control", "no-store, max-age=9")]), Unstorable::NoStore);
    assert_eq!(why(200, &[("cache-control", "private, max-age=9")]), Unstorable::Private);
    assert_eq!(why(200, &[("vary", "a, *"), ("cache-control", "max-age=9")]), Unstorable::VaryAny);
    assert_eq!(why(206, &[("cache-control", "max-age=9")]), Unstorable::Status);
    assert_eq!(why(304, &[("cache-control", "max-age=9")]), Unstorable::Status);
    assert_eq!(why(508, &[("cache-control", "max-age=9")]), Unstorable::Status);
    assert_eq!(why(200, &[]), Unstorable::NoFreshness);
    assert_eq!(
        why(499, &[("cache-control", "max-age=9, must-understand")]),
        Unstorable::NotUnderstood
    );
    let understood = judged(200, &[("cache-control", "no-store, must-understand, max-age=9")]);
    assert!(understood.is_ok());
}

#[test]
fn errors_are_stored_only_when_somebody_says_so() {
    let settings = CacheSettings {
        ttl: Some(Duration::from_secs(60)),
        negative: Box::new([(404, Duration::from_secs(10))]),
        ..CacheSettings::default()
    };
    let with = |status, lines: &[(&str, &str)]| {
        judged_with(status, lines, &CacheQuery::default(), &settings).map(|timing| timing.lifetime)
    };
    assert_eq!(with(200, &[]), Ok(60_000));
    assert_eq!(with(404, &[]), Ok(10_000));
    assert_eq!(with(503, &[]), Err(Unstorable::NoFreshness));
    assert_eq!(with(500, &[("cache-control", "max-age=1")]), Ok(1000));
    assert_eq!(with(302, &[]), Err(Unstorable::NoFreshness));
}

#[test]
fn force_overrides_the_response_but_shares_no_cookies_and_no_secrets() {
    let settings = CacheSettings {
        ttl: Some(Duration::from_secs(60)),
        force: true,
        ..CacheSettings::default()
    };
    let with = |lines: &[(&str, &str)], asked: &CacheQuery| {
        judged_with(200, lines, asked, &settings).map(|timing| timing.lifetime)
    };
    let anybody = CacheQuery::default();
    assert_eq!(with(&[("cache-control", "no-store, private")], &anybody), Ok(60_000));
    assert_eq!(with(&[("cache-control", "max-age=1, no-cache")], &anybody), Ok(60_000));
    assert_eq!(with(&[("set-cookie", "a=b")], &anybody), Err(Unstorable::SetCookie));
    let known = CacheQuery { authenticated: true, ..CacheQuery::default() };
    assert_eq!(with(&[], &known), Err(Unstorable::Authenticated));
}

#[test]
fn cookies_are_shared_only_with_permission() {
    let with = |value| judged(200, &[("cache-control", value), ("set-cookie", "id=1")]).err();
    for own in ["max-age=9", "max-age=9, must-revalidate", "public", "no-cache"] {
        assert_eq!(with(own), Some(Unstorable::SetCookie), "{own}");
    }
    for shared in ["public, max-age=9", "s-maxage=9", "max-age=9, no-cache=\"set-cookie\""] {
        assert_eq!(with(shared), None, "{shared}");
    }
}

#[test]
fn answers_for_known_clients_are_shared_only_with_permission() {
    let known = CacheQuery { authenticated: true, ..CacheQuery::default() };
    let with = |value| {
        judged_with(200, &[("cache-control", value)], &known, &CacheSettings::default()).is_ok()
    };
    assert!(!with("max-age=9"));
    assert!(with("max-age=9, public") && with("s-maxage=9") && with("max-age=9, must-revalidate"));
    let anonymous = judged(200, &[("cache-control", "max-age=9")]).unwrap();
    assert_eq!(anonymous.usability_for(&known, T0), Usability::Forbidden);
}

#[test]
fn settings_give_windows_where_the_response_gives_none() {
    let settings = CacheSettings {
        ttl: Some(Duration::from_secs(1)),
        stale_while_revalidate: Some(Duration::from_secs(5)),
        stale_if_error: Some(Duration::from_secs(9)),
        ..CacheSettings::default()
    };
    let timing = judged_with(200, &[], &CacheQuery::default(), &settings).unwrap();
    assert_eq!((timing.while_revalidating, timing.if_error), (5000, 9000));
    assert_eq!(timing.useful_until(), T0 + 10_000);
}

#[test]
fn max_ttl_caps_what_a_response_says() {
    let settings =
        CacheSettings { max_ttl: Some(Duration::from_secs(5)), ..CacheSettings::default() };
    let lines = [("cache-control", "max-age=3600")];
    let timing = judged_with(200, &lines, &CacheQuery::default(), &settings).unwrap();
    assert_eq!(timing.lifetime, 5000);
}
