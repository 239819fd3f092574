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

    /// Returns whether it answers those who ask at a moment as well: what is stale at once does
    /// not, nor what a server has to be asked about for each of them.
    #[must_use]
    pub fn answers_others(&self, now: Millis) -> bool {
        self.fresh_for(now) > 0 && !self.validate_always
    }

    /// Returns when nothing allows its use any more but a server's word: the end of its last
    /// window.
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
mod tests;
