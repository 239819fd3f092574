//! What clients are told of limits: `RateLimit` and `RateLimit-Policy`
//! (draft-ietf-httpapi-ratelimit-headers-10).

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

/// Returns what a client may always send, at once or not, in each window of so many seconds: all
/// that passes at once, and the time in which all of it comes back, rounded up.
fn quota_of(Pace { count, period, burst }: Pace) -> (u32, u128) {
    let at_once = burst.saturating_add(1);
    let back = period.as_nanos() * u128::from(at_once);
    (at_once, back.div_ceil(u128::from(count.max(1))).div_ceil(1_000_000_000).max(1))
}

#[cfg(test)]
mod tests;
