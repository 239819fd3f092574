//! What clients are told of limits: `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10).

use std::time::Duration;

use super::{Limit, Pace};
use crate::policy::MadeValue;

/// The state of a route's limits for `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10).
#[derive(Debug, Default)]
pub struct LimitReport(pub MadeValue);

impl LimitReport {
    /// Adds a limit: how many more may pass, and in how many seconds it is as new.
    pub fn add_limit(&mut self, limit: &Limit, remaining: u32, reset: Duration) {
        let out = &mut self.0;
        if !out.is_empty() {
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(&limit.label);
        // Whole seconds that have begun; what is left of a millisecond is rounding.
        let seconds = reset.as_secs() + u64::from(reset.subsec_millis() > 0);
        let mut text = [0; 48];
        let mut room = text.as_mut_slice();
        let mut digits = itoa::Buffer::new();
        put_bytes(&mut room, b";r=");
        put_bytes(&mut room, digits.format(remaining).as_bytes());
        put_bytes(&mut room, b";t=");
        put_bytes(&mut room, digits.format(seconds).as_bytes());
        let left = room.len();
        out.extend_from_slice(text.get(..text.len() - left).unwrap_or_default());
    }
}

/// Puts `bytes` at the start of `room`, which is then what is left of it.
fn put_bytes(room: &mut &mut [u8], bytes: &[u8]) {
    if let Some((place, rest)) = std::mem::take(room).split_at_mut_checked(bytes.len()) {
        place.copy_from_slice(bytes);
        *room = rest;
    }
}

/// A limit's name as a string of structured fields (RFC 9651 §3.3.3).
#[must_use]
pub fn quoted_label(name: &str) -> Box<[u8]> {
    let plain = name.chars().filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\'));
    format!("\"{}\"", plain.collect::<String>()).into_bytes().into()
}

/// `RateLimit-Policy`: what all limits of a route allow.
#[must_use]
pub fn policy_field(limits: &[Limit]) -> Box<[u8]> {
    let one = |limit: &Limit| {
        let (quota, window) = quota_of(limit.state.pace);
        format!("{};q={quota};w={window}", String::from_utf8_lossy(&limit.label))
    };
    limits.iter().map(one).collect::<Vec<_>>().join(", ").into_bytes().into()
}

/// Returns what a client may always send, at once or not, in each window of so many seconds: all that passes at once, and the
/// time in which all of it comes back, rounded up.
fn quota_of(Pace { count, period, burst }: Pace) -> (u32, u128) {
    let at_once = burst.saturating_add(1);
    let back = period.as_nanos() * u128::from(at_once);
    (at_once, back.div_ceil(u128::from(count.max(1))).div_ceil(1_000_000_000).max(1))
}

#[cfg(test)]
mod tests {
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
        assert!(
            !exempts(&some, "11.0.0.1") && !exempts(&some, "::1") && !some.exempts_client(None)
        );
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
}
