//! The policy beside another one's reading of the standard, the crate `http-cache-semantics`.
//!
//! Random responses, requests and times are judged by both. Where they differ by intention,
//! [`rules`] says why, by the section that it goes by; what no rule explains is a fault. A rule
//! changes what the other one is asked or has answered, so that all else must still be equal, and a
//! rule without which nothing would differ is a fault, too.

mod cases;
mod rules;

use std::time::{Duration, SystemTime};

use http_cache_semantics::{BeforeRequest, CacheOptions, CachePolicy};

use self::cases::{OracleCase, OracleRequest};
use self::rules::{OracleRule, RULES, RuleStep};
use super::directives::RequestDirectives;
use super::policy::{self, CacheQuery, CacheSettings, Millis, Received, Usability};
use crate::clock::Random;
use crate::wire::head::Fields;

/// How many cases are tried without `TIDEGATE_SEEDS`.
const SEEDS: u64 = 20_000;
/// Lifetimes are compared up to here, in milliseconds (RFC 9111 §1.2.2).
const LONGEST: u64 = (1 << 31) * 1000;
/// Ages are compared up to here, in milliseconds: what is older outlives every lifetime and window.
const OLDEST: u64 = (1 << 34) * 1000;

/// What is decided about a response, and about its use for the request that follows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Decision {
    stored: bool,
    /// Milliseconds.
    age: u64,
    /// Milliseconds; 0 where every use must be confirmed.
    lifetime: u64,
    /// It is answered with at once.
    usable: bool,
    /// What a server is asked with, where one is asked about it.
    conditions: Vec<(String, String)>,
}

fn fields(lines: &[(&'static str, String)]) -> Fields {
    let mut fields = Fields::default();
    lines.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
    fields
}

/// Decides as this cache does.
fn decide(case: &OracleCase) -> Decision {
    let query = |request: &OracleRequest| CacheQuery {
        directives: RequestDirectives::read(&fields(&request.lines())),
        authenticated: request.authorization,
    };
    let response = fields(&case.lines());
    let OracleCase { status, asked_at, at, now, .. } = *case;
    let received = Received { status, fields: &response, asked_at, at };
    let judged = policy::judge_response(received, &query(&case.first), &CacheSettings::default());
    let Ok(timing) = judged else { return Decision::default() };
    let usability = timing.usability_for(&query(&case.next), now);
    let asked = matches!(usability, Usability::Validate { .. });
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let conditions = policy::revalidation_fields(&response).filter(|_| asked);
    Decision {
        stored: true,
        age: timing.age(now).min(OLDEST),
        lifetime: if timing.validate_always { 0 } else { timing.lifetime.min(LONGEST) },
        usable: !asked && usability != Usability::Forbidden,
        conditions: conditions.map(|(name, value)| (text(name), text(value))).collect(),
    }
}

/// Decides as the other one does.
fn consult(case: &OracleCase) -> Decision {
    let options = CacheOptions {
        cache_heuristic: 0.0,
        immutable_min_time_to_live: Duration::ZERO,
        ..CacheOptions::default()
    };
    let time = |at: Millis| SystemTime::UNIX_EPOCH + Duration::from_millis(at);
    let request = |of: &OracleRequest| {
        let mut request = http::Request::builder().uri("http://a.test/");
        for (name, value) in of.lines() {
            request = request.header(name, value);
        }
        request.body(()).unwrap()
    };
    let policy = |case: &OracleCase| {
        let mut response = http::Response::builder().status(case.status);
        for (name, value) in case.lines() {
            response = response.header(name, value);
        }
        let response = response.body(()).unwrap();
        CachePolicy::new_options(&request(&case.first), &response, time(case.at), options)
    };
    if !policy(case).is_storable() {
        return Decision::default();
    }
    let mut used = case.clone();
    if case.strict {
        used.directives.push(("must-revalidate".into(), None));
    }
    let used_policy = policy(&used);
    let millis = |of: Duration| u64::try_from(of.as_millis()).unwrap_or(u64::MAX);
    let fresh = policy(&OracleCase { age: None, ..used });
    let mut decision = Decision {
        stored: true,
        age: millis(used_policy.age(time(case.now))).min(OLDEST),
        lifetime: millis(fresh.time_to_live(time(case.at))).min(LONGEST),
        ..Decision::default()
    };
    match used_policy.before_request(&request(&case.next), time(case.now)) {
        BeforeRequest::Fresh(_) => decision.usable = true,
        BeforeRequest::Stale { request, .. } => {
            for name in ["if-none-match", "if-modified-since"] {
                let value = request.headers.get(name).map(|value| value.to_str().unwrap());
                decision.conditions.extend(value.map(|value| (name.into(), value.into())));
            }
        }
    }
    decision
}

/// Decides as the other one does, once all rules but one have been applied.
fn consult_by_rules(case: &OracleCase, left_out: Option<&OracleRule>) -> Decision {
    let rules = || RULES.iter().filter(|rule| left_out.is_none_or(|out| out.what != rule.what));
    let mut asked = case.clone();
    for rule in rules() {
        if let RuleStep::Ask(change) = rule.step {
            change(&mut asked);
        }
    }
    let mut decision = consult(&asked);
    for rule in rules() {
        if let RuleStep::Answer(change) = rule.step {
            change(&asked, &mut decision);
        }
    }
    decision
}

#[test]
fn another_reading_of_the_standard_differs_by_listed_rules_alone() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("TIDEGATE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TIDEGATE_SEEDS").unwrap_or(SEEDS),
    };
    let mut useless: Vec<&OracleRule> = RULES.iter().collect();
    let mut seen = [0_u64; 4];
    for seed in seeds.clone() {
        let case = OracleCase::draw(&mut Random::seeded(seed));
        let (ours, theirs) = (decide(&case), consult_by_rules(&case, None));
        assert_eq!(ours, theirs, "TIDEGATE_SEED={seed} (left: tidegate)\n{case:#?}");
        useless.retain(|rule| consult_by_rules(&case, Some(rule)) == ours);
        let kinds =
            [ours.stored, ours.usable, ours.age < ours.lifetime, !ours.conditions.is_empty()];
        seen.iter_mut().zip(kinds).for_each(|(seen, is)| *seen += u64::from(is));
    }
    if seeds.end - seeds.start >= SEEDS {
        let useless: Vec<_> = useless.iter().map(|rule| (rule.what, rule.source)).collect();
        assert!(useless.is_empty(), "nothing differs without {useless:#?}");
        assert!(seen.iter().all(|seen| *seen > SEEDS / 20), "hardly tried: {seen:?}");
    }
}
