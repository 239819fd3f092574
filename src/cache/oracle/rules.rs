//! Where the policy and `http-cache-semantics` differ by intention, and by which section.
//!
//! Nothing here calls what is tried: the sections are read once more.

use std::collections::BTreeMap;

use super::cases::{DateText, Directive, OracleCase};
use super::{Decision, LONGEST, OLDEST, consult};

/// A difference that is meant.
#[derive(Debug)]
pub(super) struct OracleRule {
    /// What this cache does that the other one does not.
    pub(super) what: &'static str,
    /// The sections that it goes by.
    pub(super) source: &'static str,
    pub(super) step: RuleStep,
}

/// How a rule makes both agree.
#[derive(Debug)]
pub(super) enum RuleStep {
    /// By changing what the other one is asked.
    Ask(fn(&mut OracleCase)),
    /// By changing what it said, once all questions were changed.
    Answer(fn(&OracleCase, &mut Decision)),
}

const fn ask(what: &'static str, source: &'static str, step: fn(&mut OracleCase)) -> OracleRule {
    OracleRule { what, source, step: RuleStep::Ask(step) }
}

const fn answer(
    what: &'static str,
    source: &'static str,
    step: fn(&OracleCase, &mut Decision),
) -> OracleRule {
    OracleRule { what, source, step: RuleStep::Answer(step) }
}

/// All of them, in the order in which they apply.
pub(super) const RULES: &[OracleRule] = &[
    ask("names of directives are taken in any case", "RFC 9111 §5.2", |case| {
        let all = case.directives.iter_mut();
        let asked = [&mut case.first, &mut case.next];
        let asked = asked.into_iter().flat_map(|request| &mut request.directives);
        all.chain(asked).for_each(|(name, _)| name.make_ascii_lowercase());
    }),
    ask("CDN-Cache-Control counts alone where it is well formed", "RFC 9213 §2", |case| {
        if !case.targeted.is_empty() && case.targeted.iter().all(is_of_its_type) {
            case.directives = std::mem::take(&mut case.targeted);
            case.expires.clear();
            case.pragma = false;
        }
    }),
    ask(
        "no-cache and private with names speak of these fields alone, which are left out",
        "RFC 9111 §5.2.2.4, §5.2.2.7",
        |case| {
            let named = |value: &Option<String>| {
                value.as_ref().is_some_and(|value| !value.trim_matches('"').is_empty())
            };
            let withheld = |(name, value): &Directive| is_qualified(name) && named(value);
            let cookie = |(_, value): &Directive| {
                value.as_ref().is_some_and(|names| names.contains("set-cookie"))
            };
            // A cookie that is not sent on makes nothing private.
            case.cookie &= !case.directives.iter().any(|one| withheld(one) && cookie(one));
            case.directives.retain(|one| !withheld(one));
            case.directives.iter_mut().filter(|one| is_qualified(&one.0)).for_each(|one| {
                one.1 = None;
            });
        },
    ),
    ask("what is no number is no freshness", "RFC 9111 §4.2.1, §1.2.2", |case| {
        number_all(&mut case.directives, &["max-age", "s-maxage"]);
        for request in [&mut case.first, &mut case.next] {
            number_all(&mut request.directives, &["max-age"]);
        }
    }),
    ask("max-stale that is no number permits nothing", "RFC 9111 §5.2.1.2, §1.2.2", |case| {
        let stale = case.next.directives.iter_mut().filter(|(name, _)| name == "max-stale");
        for (_, value) in stale.filter(|(_, value)| value.is_some()) {
            *value = Some(number(value).unwrap_or(0).to_string());
        }
    }),
    ask("min-fresh that is no number asks for nothing", "RFC 9111 §5.2.1.3, §1.2.2", |case| {
        for (name, value) in case.next.directives.iter_mut().filter(|one| one.0 == "min-fresh") {
            *value = number(value).map(|number| number.to_string());
            if value.is_none() {
                "unknown".clone_into(name);
            }
        }
    }),
    ask("of a directive given twice the stricter one counts", "RFC 9111 §4.2.1", |case| {
        let timed = ["max-age", "s-maxage", "stale-while-revalidate"];
        case.directives = once(&case.directives, &timed);
        case.next.directives = once(&case.next.directives, &["max-age"]);
    }),
    ask(
        "two times of Expires, or one that is no date of HTTP, have passed",
        "RFC 9111 §5.3",
        |case| {
            let is_mail = |date: &DateText| matches!(date, DateText::Mail(_));
            if case.expires.len() > 1 || case.expires.iter().any(is_mail) {
                case.expires = vec![DateText::Garbage];
            }
        },
    ),
    ask("dates are read in all three forms", "RFC 9110 §5.6.7", |case| {
        let usual = |date: DateText| match date {
            DateText::Rfc850(at) | DateText::Asctime(at) => DateText::Usual(at),
            other => other,
        };
        case.expires.iter_mut().for_each(|date| *date = usual(*date));
        case.date = case.date.map(usual);
    }),
    ask(
        "Age counts by its first item, and not at all if that is no number",
        "RFC 9111 §5.1",
        |case| {
            let first = case.age.as_ref().and_then(|age| age.split(',').next());
            case.age = first
                .and_then(|first| number_up_to(first, OLDEST / 1000))
                .map(|age| age.to_string());
        },
    ),
    ask(
        "the age when a response comes is that of its Date and the time that it took; a second is \
         the rounding of dates",
        "RFC 9111 §4.2.3",
        |case| {
            let told = case.age.as_ref().map_or(0, |age| age.parse::<u64>().unwrap_or(0) * 1000);
            let made = match case.date {
                Some(DateText::Usual(made)) => made,
                _ => case.at,
            };
            let apparent = case.at.saturating_sub(made);
            let corrected = told + (case.at - case.asked_at);
            let initial = if apparent > 1000 { apparent.max(corrected) } else { corrected };
            case.date = Some(DateText::Usual(made));
            case.at -= initial - told;
        },
    ),
    ask("must-understand goes before no-store", "RFC 9111 §5.2.2.3", |case| {
        if has(&case.directives, "must-understand") {
            case.directives.retain(|(name, _)| name != "no-store");
            if case.status == 499 {
                forbid(case);
            }
        }
    }),
    ask("a final status needs not to be known where it says how long", "RFC 9111 §3", |case| {
        // 302 is one that both know and that nothing is assumed of.
        if matches!(case.status, 421 | 451 | 499 | 503) {
            case.status = 302;
        }
    }),
    ask(
        "cookies are for everybody only where a lifetime and a word say so",
        "RFC 9111 §7.3",
        |case| {
            let said = has(&case.directives, "public") || has(&case.directives, "s-maxage");
            if case.cookie && !(said && is_explicit(case)) {
                forbid(case);
            }
            case.cookie = false;
        },
    ),
    ask("what varies by everything is not stored", "RFC 9111 §4.1", |case| {
        if case.vary.is_some_and(|names| names.ends_with('*')) {
            forbid(case);
        }
    }),
    ask("errors are stored only where they say how long", "RFC 9111 §3, §4.2.2", |case| {
        if matches!(case.status, 302 | 404 | 410) && !is_explicit(case) {
            forbid(case);
        }
    }),
    ask("what has neither lifetime nor validator is not stored", "RFC 9111 §3", |case| {
        let validator = case.etag.is_some() || case.last_modified.is_some();
        let never_used = has(&case.directives, "no-cache") && lifetime(case) == 0;
        if !validator && (never_used || !is_explicit(case)) {
            forbid(case);
        }
    }),
    ask("Pragma is a word of requests without Cache-Control alone", "RFC 9111 §5.4", |case| {
        case.pragma = false;
        if !case.next.directives.is_empty() || case.next.pragma != Some("no-cache") {
            case.next.pragma = None;
        }
    }),
    ask(
        "no-cache, proxy-revalidate and s-maxage forbid stale answers",
        "RFC 9111 §5.2.2.4, §5.2.2.8, §5.2.2.10",
        |case| {
            let strict = ["no-cache", "proxy-revalidate", "s-maxage"];
            case.strict = strict.iter().any(|name| has(&case.directives, name));
        },
    ),
    ask("proxy-revalidate takes no freshness away", "RFC 9111 §5.2.2.8", |case| {
        case.directives.retain(|(name, _)| name != "proxy-revalidate");
    }),
    ask("clients' own conditions are answered by the cache", "RFC 9111 §4.3.1, §4.3.2", |case| {
        case.next.conditional = false;
    }),
    ask("who wants it fresh a while longer takes no stale one", "RFC 9111 §5.2.1.3", |case| {
        if has(&case.next.directives, "min-fresh") {
            case.next.directives.retain(|(name, _)| name != "max-stale");
        }
    }),
    ask("max-stale holds up to its last moment", "RFC 9111 §5.2.1.2", |case| {
        let Decision { age, lifetime, .. } = consult(case);
        for (name, value) in &mut case.next.directives {
            let most = value.as_ref().and_then(|value| value.parse::<u64>().ok());
            if let Some(most) =
                most.filter(|most| name == "max-stale" && age == lifetime + most * 1000)
            {
                *value = Some((most + 1).to_string());
            }
        }
    }),
    answer("a stale response is used while a server is asked", "RFC 5861 §3", |case, decision| {
        let window = least(&case.directives, "stale-while-revalidate").unwrap_or(0) * 1000;
        let strict = case.strict || has(&case.directives, "must-revalidate");
        let late = decision.age.saturating_sub(decision.lifetime);
        let wants = ["no-cache", "max-age", "min-fresh"];
        let unasked = !wants.iter().any(|name| has(&case.next.directives, name));
        let is_stale = decision.age >= decision.lifetime;
        let unasked = unasked && case.next.pragma.is_none();
        if decision.stored && window > 0 && late <= window && is_stale && !strict && unasked {
            decision.usable = true;
            decision.conditions.clear();
        }
    }),
    answer(
        "who proved who they are get only what is for everybody",
        "RFC 9111 §3.5",
        |case, decision| {
            let words = ["public", "s-maxage", "must-revalidate"];
            let shared = words.iter().any(|name| has(&case.directives, name));
            if case.next.authorization && !shared {
                decision.usable = false;
                decision.conditions.clear();
            }
        },
    ),
];

fn has(directives: &[Directive], name: &str) -> bool {
    directives.iter().any(|(known, _)| known == name)
}

fn forbid(case: &mut OracleCase) {
    case.directives.push(("no-store".into(), None));
}

fn is_qualified(name: &str) -> bool {
    ["no-cache", "private"].contains(&name)
}

/// `delta-seconds`, with or without quotes, of at most 2³¹; `None` for what is no such number.
fn number(value: &Option<String>) -> Option<u64> {
    number_up_to(value.as_ref()?.trim_matches('"'), LONGEST / 1000)
}

fn number_up_to(digits: &str, most: u64) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX).min(most))
}

fn number_all(directives: &mut [Directive], names: &[&str]) {
    for (_, value) in directives.iter_mut().filter(|(name, _)| names.contains(&&**name)) {
        *value = Some(number(value).unwrap_or(0).to_string());
    }
}

/// Each directive once: the least of those that are numbers, and otherwise the last.
fn once(directives: &[Directive], least: &[&str]) -> Vec<Directive> {
    let mut kept: BTreeMap<&str, Option<String>> = BTreeMap::new();
    for (name, value) in directives {
        let smaller = |known: &Option<String>| number(known) < number(value);
        if !kept.get(&**name).is_some_and(|known| least.contains(&&**name) && smaller(known)) {
            kept.insert(name, value.clone());
        }
    }
    kept.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn least(directives: &[Directive], name: &str) -> Option<u64> {
    let values = directives.iter().filter(|(known, _)| known == name);
    values.map(|(_, value)| number(value).unwrap_or(0)).min()
}

fn is_explicit(case: &OracleCase) -> bool {
    let said = ["max-age", "s-maxage"].iter().any(|name| has(&case.directives, name));
    said || !case.expires.is_empty()
}

/// Milliseconds that the response gives itself.
fn lifetime(case: &OracleCase) -> u64 {
    let said = least(&case.directives, "s-maxage").or(least(&case.directives, "max-age"));
    said.map(|seconds| seconds * 1000).unwrap_or_else(|| match (case.expires.first(), case.date) {
        (Some(DateText::Usual(ends)), Some(DateText::Usual(made))) => ends.saturating_sub(made),
        _ => 0,
    })
}

/// Whether a member of a targeted field is of the type that its directive has.
fn is_of_its_type((name, value): &Directive) -> bool {
    let timed = ["max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"];
    let digits = |value: &str| !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    match value {
        Some(value) if timed.contains(&&**name) => digits(value),
        Some(value) if name == "other" => is_item(value),
        Some(_) => false,
        None => !timed.contains(&&**name),
    }
}

/// Whether a value is an item of structured fields, as far as values are drawn.
fn is_item(value: &str) -> bool {
    !value.is_empty() && !value.starts_with('+')
}
