use std::sync::Arc;

use super::super::{KeyPart, LimitState};
use super::*;

const TEN: Pace = Pace { count: 10, period: Duration::from_secs(1), burst: 20 };

#[test]
fn p13_the_policy_is_what_a_client_can_count_on() {
    let of = |count, seconds, burst| {
        quota_of(Pace { count, period: Duration::from_secs(seconds), burst })
    };
    assert_eq!(of(10, 1, 20), (21, 3));
    assert_eq!(of(10, 1, 0), (1, 1));
    assert_eq!(of(100, 60, 99), (100, 60));
    assert_eq!(of(1, 3600, 0), (1, 3600));
    let of = |count, millis, burst| {
        quota_of(Pace { count, period: Duration::from_millis(millis), burst })
    };
    assert_eq!(of(20, 10_000, 0), (1, 1));
    assert_eq!(of(20, 10_000, 19), (20, 10));
    assert_eq!(of(5, 500, 4), (5, 1));
    assert_eq!(of(3, 172_800_000, 2), (3, 172_800));
}

fn limit(pace: Pace, except: &[&str]) -> Limit {
    let except = except.iter().map(|network| network.parse().unwrap());
    Limit {
        name: "a".into(),
        own: false,
        before_auth: false,
        label: quoted_label("a\"\u{e4} \\b\n"),
        key: [KeyPart::ClientIp].into(),
        delay: None,
        except: except.collect(),
        state: Arc::new(LimitState::with_keys(pace, 100)),
        redis: None,
    }
}

#[test]
fn clients_of_some_networks_are_not_counted() {
    let some = limit(TEN, &["10.0.0.0/8", "fd00::/8"]);
    let exempts = |limit: &Limit, ip: &str| limit.exempts_client(ip.parse().ok());
    assert!(exempts(&some, "10.1.2.3") && exempts(&some, "fd12::1"));
    assert!(!exempts(&some, "11.0.0.1") && !exempts(&some, "::1") && !some.exempts_client(None));
    assert!(!exempts(&limit(TEN, &[]), "10.1.2.3"));
}

#[test]
fn fields_tell_what_is_left_and_what_is_allowed() {
    let one = limit(TEN, &[]);
    let mut report = LimitReport::default();
    report.add_limit(&one, 20, Duration::ZERO);
    assert_eq!(&report.0[..], b"\"a b\";r=20;t=0");
    report.add_limit(&one, 4_294_967_295, Duration::from_micros(1999));
    report.add_limit(&one, 0, Duration::from_micros(1_000_999));
    let expected = b"\"a b\";r=20;t=0, \"a b\";r=4294967295;t=1, \"a b\";r=0;t=1";
    assert_eq!(&report.0[..], expected);
    let hour = Pace { count: 100, period: Duration::from_hours(1), burst: 9 };
    assert_eq!(
        &policy_field(&[one, limit(hour, &[])])[..],
        b"\"a b\";q=21;w=3, \"a b\";q=10;w=360"
    );
}
