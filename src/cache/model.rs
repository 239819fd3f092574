//! The policy against a second reading of RFC 9111: what the model forbids is never answered with.
//!
//! The model never looks at the fields that the policy reads; both are made from the same choices.

use proptest::prelude::*;

use super::directives::RequestDirectives;
use super::policy::{self, CacheQuery, CacheSettings, Millis, Received, Usability};
use crate::wire::head::Fields;

const NOW: Millis = 1_800_000_000_000;

/// The words of a server; times in seconds.
#[derive(Debug, Clone)]
struct ModelResponse {
    status: u16,
    no_store: bool,
    no_cache: bool,
    private: bool,
    public: bool,
    must_revalidate: bool,
    proxy_revalidate: bool,
    must_understand: bool,
    vary_any: bool,
    max_age: Option<u64>,
    s_maxage: Option<u64>,
    expires: Option<u64>,
    while_revalidate: Option<u64>,
    if_error: Option<u64>,
    age: Option<u64>,
    etag: bool,
}

/// What a client asks, and how long after the response came.
#[derive(Debug, Clone)]
struct Wants {
    no_cache: bool,
    no_store: bool,
    authenticated: bool,
    max_age: Option<u64>,
    min_fresh: Option<u64>,
    max_stale: Option<u64>,
    if_error: Option<u64>,
    after: u64,
}

fn seconds() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![Just(None), (0..30_u64).prop_map(Some)]
}

fn said() -> impl Strategy<Value = ModelResponse> {
    let rare = || proptest::bool::weighted(0.15);
    let flags = (rare(), rare(), rare(), rare(), rare(), rare(), rare(), rare());
    let times = (seconds(), seconds(), seconds(), seconds(), seconds(), seconds());
    let status = prop_oneof![4 => Just(200_u16), 1 => Just(206), 1 => Just(304), 1 => Just(404), 1 => Just(599)];
    (status, flags, times, any::<bool>()).prop_map(|(status, flags, times, etag)| {
        let (
            no_store,
            no_cache,
            private,
            public,
            must_revalidate,
            proxy_revalidate,
            must_understand,
            vary_any,
        ) = flags;
        let (max_age, s_maxage, expires, while_revalidate, if_error, age) = times;
        ModelResponse {
            status,
            no_store,
            no_cache,
            private,
            public,
            must_revalidate,
            proxy_revalidate,
            must_understand,
            vary_any,
            max_age,
            s_maxage,
            expires,
            while_revalidate,
            if_error,
            age,
            etag,
        }
    })
}

fn wants() -> impl Strategy<Value = Wants> {
    let rare = || proptest::bool::weighted(0.15);
    let maybe = || prop_oneof![3 => Just(None), 1 => (0..30_u64).prop_map(Some)];
    (rare(), rare(), rare(), maybe(), maybe(), maybe(), maybe(), 0..60_u64).prop_map(
        |(no_cache, no_store, authenticated, max_age, min_fresh, max_stale, if_error, after)| {
            Wants {
                no_cache,
                no_store,
                authenticated,
                max_age,
                min_fresh,
                max_stale,
                if_error,
                after,
            }
        },
    )
}

impl ModelResponse {
    fn fields(&self) -> Fields {
        let mut control: Vec<String> = Vec::new();
        for (on, name) in [
            (self.no_store, "no-store"),
            (self.no_cache, "no-cache"),
            (self.private, "private"),
            (self.public, "public"),
            (self.must_revalidate, "must-revalidate"),
            (self.proxy_revalidate, "proxy-revalidate"),
            (self.must_understand, "must-understand"),
        ] {
            control.extend(on.then(|| name.to_owned()));
        }
        for (value, name) in [
            (self.max_age, "max-age"),
            (self.s_maxage, "s-maxage"),
            (self.while_revalidate, "stale-while-revalidate"),
            (self.if_error, "stale-if-error"),
        ] {
            control.extend(value.map(|value| format!("{name}={value}")));
        }
        let date = |after: u64| {
            let at = std::time::Duration::from_millis(NOW) + std::time::Duration::from_secs(after);
            httpdate::fmt_http_date(std::time::SystemTime::UNIX_EPOCH + at)
        };
        let mut fields = Fields::default();
        let mut push = |name: &str, value: String| fields.push(name.as_bytes(), value.as_bytes());
        push("date", date(0));
        if !control.is_empty() {
            push("cache-control", control.join(", "));
        }
        self.expires.into_iter().for_each(|after| push("expires", date(after)));
        self.age.into_iter().for_each(|age| push("age", age.to_string()));
        if self.vary_any {
            push("vary", "*".to_owned());
        }
        if self.etag {
            push("etag", "\"e\"".to_owned());
        }
        fields
    }

    fn lifetime(&self) -> u64 {
        self.s_maxage.or(self.max_age).or(self.expires).unwrap_or(0)
    }

    fn is_strict(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate || self.s_maxage.is_some() || self.no_cache
    }

    fn is_shared(&self) -> bool {
        self.public || self.must_revalidate || self.s_maxage.is_some()
    }

    /// RFC 9111 §3.
    fn must_not_be_stored(&self, by: &Wants) -> bool {
        let understood = [200, 404].contains(&self.status);
        let forbidden = if self.must_understand { !understood } else { self.no_store };
        forbidden
            || [206, 304].contains(&self.status)
            || self.private
            || self.vary_any
            || by.no_store
            || by.authenticated && !self.is_shared()
    }
}

impl Wants {
    fn asked(&self) -> CacheQuery {
        let directives = RequestDirectives {
            no_cache: self.no_cache,
            no_store: self.no_store,
            max_age: self.max_age,
            min_fresh: self.min_fresh,
            max_stale: self.max_stale,
            stale_if_error: self.if_error,
            ..RequestDirectives::default()
        };
        CacheQuery { directives, authenticated: self.authenticated }
    }
}

/// Panics when a response is stored, or an answer made of it, that RFC 9111 or RFC 5861 forbids.
fn check(said: &ModelResponse, first: &Wants, next: &Wants) {
    let fields = said.fields();
    let received = Received { status: said.status, fields: &fields, asked_at: NOW, at: NOW };
    let judged = policy::judge_response(received, &first.asked(), &CacheSettings::default());
    if said.must_not_be_stored(first) {
        assert!(judged.is_err(), "stored");
        return;
    }
    let Ok(timing) = judged else {
        let useless = said.lifetime() == 0 || said.no_cache && !said.etag;
        assert!(useless, "{judged:?} although it says how long it is fresh");
        return;
    };
    let age = said.age.unwrap_or(0) + next.after;
    let (lifetime, strict) = (said.lifetime(), said.is_strict());
    let late = age.saturating_sub(lifetime);
    let secret = next.authenticated && !said.is_shared();
    let young = next.max_age.is_none_or(|most| age <= most);
    let lasting = next.min_fresh.is_none_or(|more| age + more <= lifetime);
    let unasked = !said.no_cache && !next.no_cache && !secret;
    match timing.usability_for(&next.asked(), NOW + next.after * 1000) {
        Usability::Fresh => assert!(unasked && age < lifetime && young && lasting),
        Usability::StaleAccepted => {
            assert!(unasked && !strict && young && next.max_stale.is_some_and(|most| late <= most));
        }
        Usability::StaleWhileRevalidate => {
            let allowed = said.while_revalidate.is_some_and(|window| late <= window);
            assert!(unasked && !strict && allowed);
        }
        Usability::Validate { on_error } => {
            let fresh = unasked && age < lifetime && young && lasting;
            assert!(!fresh && !secret, "a server is asked for nothing");
            let window = said.if_error.max(next.if_error);
            let excused = age < lifetime || !strict && window.is_some_and(|window| late <= window);
            assert!(!on_error || excused && !said.no_cache);
        }
        Usability::Forbidden => assert!(secret),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn nothing_is_answered_that_the_model_forbids(said in said(), first in wants(), next in wants()) {
        check(&said, &first, &next);
    }
}
