//! How long a stored response is fresh, and how it may be used at a moment.

use super::{CacheQuery, Millis};

/// What the time of a stored response is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timing {
    /// When it was received.
    pub received: Millis,
    /// The age then, in milliseconds (RFC 9111 §4.2.3, `corrected_initial_age`).
    pub initial_age: u64,
    /// How long it is fresh, in milliseconds of age.
    pub lifetime: u64,
    /// How much longer it may be used while a new one is fetched, in milliseconds.
    pub while_revalidating: u64,
    /// How much longer it may be used while servers fail, in milliseconds.
    pub if_error: u64,
    /// Clients that accept stale responses may get it.
    pub stale_allowed: bool,
    /// It is asked about before every use (`no-cache`).
    pub validate_always: bool,
    /// It carries `ETag` or `Last-Modified`.
    pub has_validator: bool,
    /// It may be used for clients that proved who they are.
    pub shared: bool,
}

/// How a stored response may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usability {
    /// At once.
    Fresh,
    /// At once, while a new one is fetched.
    StaleWhileRevalidate,
    /// At once, because the client accepts that.
    StaleAccepted,
    /// Once a server has been asked about it; `on_error` when it may be used all the same if no
    /// server answers.
    Validate {
        /// Whether a failing server makes it usable.
        on_error: bool,
    },
    /// Not for this client.
    Forbidden,
}

impl Timing {
    /// The age, in milliseconds.
    #[must_use]
    pub fn age(&self, now: Millis) -> u64 {
        self.initial_age.saturating_add(now.saturating_sub(self.received))
    }

    /// Milliseconds that it is still fresh; negative once it is stale.
    #[must_use]
    pub fn fresh_for(&self, now: Millis) -> i64 {
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        signed(self.lifetime).saturating_sub(signed(self.age(now)))
    }

    /// Returns when nothing allows its use any more but a server's word: the end of its last window.
    #[must_use]
    pub fn useful_until(&self) -> Millis {
        let window = self.while_revalidating.max(self.if_error);
        let left = self.lifetime.saturating_sub(self.initial_age).saturating_add(window);
        self.received.saturating_add(left)
    }

    /// Decides how it may be used for a request.
    #[must_use]
    pub fn usability_for(&self, asked: &CacheQuery, now: Millis) -> Usability {
        if asked.authenticated && !self.shared {
            return Usability::Forbidden;
        }
        let directives = &asked.directives;
        let age = self.age(now);
        let late = age.saturating_sub(self.lifetime);
        let within = |seconds: u64| late <= seconds.saturating_mul(1000);
        let if_error = match directives.stale_if_error {
            Some(seconds) if self.stale_allowed => within(seconds) || late <= self.if_error,
            _ => late <= self.if_error && self.if_error > 0,
        };
        // What is fresh but not fresh enough for this client is no reason to answer with an error.
        let is_fresh = age < self.lifetime;
        let on_error = !self.validate_always && (is_fresh || if_error);
        if self.validate_always || directives.no_cache {
            return Usability::Validate { on_error };
        }
        let young = directives.max_age.is_none_or(|seconds| age <= seconds.saturating_mul(1000));
        let lasting = directives.min_fresh.is_none_or(|seconds| {
            age.saturating_add(seconds.saturating_mul(1000)) <= self.lifetime
        });
        if is_fresh && young && lasting {
            return Usability::Fresh;
        }
        let accepts = directives.max_stale.is_some_and(within);
        if !is_fresh && self.stale_allowed && accepts && young && directives.min_fresh.is_none() {
            return Usability::StaleAccepted;
        }
        let asks_nothing = directives.max_age.is_none() && directives.min_fresh.is_none();
        if !is_fresh
            && asks_nothing
            && self.while_revalidating > 0
            && late <= self.while_revalidating
        {
            return Usability::StaleWhileRevalidate;
        }
        Usability::Validate { on_error }
    }
}

#[cfg(test)]
mod tests {
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
                directives: RequestDirectives {
                    max_stale: Some(100),
                    ..RequestDirectives::default()
                },
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
            timing.usability_for(
                &CacheQuery { directives, authenticated: false },
                T0 + seconds * 1000,
            )
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
}
