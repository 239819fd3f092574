//! Compiles affinity, ejection, breaker and balancing.

use std::num::NonZeroU32;

use crate::balance::hash::HashBound;
use crate::balance::{Strategy, shard};
use crate::config::schema::balance::{
    BalanceConfig, BalanceWord, SameSite, ShardBy, learned_header,
};
use crate::config::schema::forms::Switch;
use crate::config::schema::health::{self, BreakerPer};
use crate::config::schema::units::Percent;
use crate::config::schema::words::Secret;
use crate::endpoint::breaker::{BreakerSettings, Trip};
use crate::endpoint::ejection;
use crate::upstream::Breaking;
use crate::upstream::affinity::{Affinity, LearnedAffinity};
use crate::upstream::membership::Balancing;
use crate::upstream::sticky::Sticky;

pub(super) fn compile_affinity(upstream: &str, written: &BalanceConfig) -> Option<Affinity> {
    if let BalanceConfig::Learned { sticky, ttl } = written {
        let header = learned_header(sticky).as_bytes();
        return Some(Affinity::Learned(LearnedAffinity::new(header, ttl.get())));
    }
    let BalanceConfig::Sticky { sticky, ttl, secret, path, domain, secure, same_site } = written
    else {
        return None;
    };
    let domain = domain.as_ref().map_or_else(String::new, |domain| format!("; Domain={domain}"));
    let secure = if *secure { "Secure; " } else { "" };
    let site = match same_site {
        SameSite::Strict => "Strict",
        SameSite::Lax => "Lax",
        SameSite::None => "None",
    };
    let before = format!("Path={path}{domain}");
    let after = format!("{secure}HttpOnly; SameSite={site}");
    let secret = secret.as_ref().map(Secret::expose);
    let sticky = Sticky::new((upstream, &sticky.value), ttl.get(), secret, &[]);
    Some(Affinity::Cookie(Box::new(sticky.with_attributes([before.into(), after.into()]))))
}

pub(super) fn compile_eject(written: &Switch<health::Eject>) -> Option<ejection::EjectionSettings> {
    let Switch::On(written) = written else { return None };
    let health::Eject { failures, every, r#for, at_most, min_healthy, error_rate } = written;
    Some(ejection::EjectionSettings {
        failures: failures.get(),
        every: every.get(),
        base: r#for.get(),
        at_most: at_most.fraction(),
        min_healthy: min_healthy.fraction(),
        error_rate: error_rate.map(Percent::fraction),
    })
}

pub(super) fn compile_breaker(written: &health::BreakerConfig) -> Breaking {
    let health::BreakerConfig {
        place: _,
        failures,
        successes,
        open_for,
        error_rate,
        window,
        min_requests,
        per,
    } = written;
    let few = |n: NonZeroU32| u16::try_from(n.get()).unwrap_or(u16::MAX).min(i16::MAX as u16);
    let trip = match error_rate {
        Some(rate) => Trip::Rate {
            rate: rate.value.fraction(),
            window: window.get(),
            min_requests: min_requests.get(),
        },
        None => Trip::Failures(failures.as_ref().map_or(u16::MAX, |n| few(n.value))),
    };
    Breaking {
        settings: BreakerSettings { trip, successes: few(*successes), open_for: open_for.get() },
        per_server: *per == BreakerPer::Server,
    }
}

/// Returns how servers are chosen, by its configured name.
pub(super) fn compile_balancing(written: &BalanceConfig) -> Balancing {
    Balancing::Any(match written {
        BalanceConfig::Weighted(word) => Strategy::Weighted(*word),
        // Who brings no cookie yet is placed like this.
        BalanceConfig::Sticky { .. } | BalanceConfig::Learned { .. } => {
            Strategy::Weighted(BalanceWord::LeastRequest)
        }
        BalanceConfig::Hash { hash: _, table, bounded } => Strategy::Hash {
            table: *table,
            bound: bounded.map_or_else(HashBound::default, |bound| HashBound {
                factor: f64::from(bound.percent()) / 100.0,
                at_least: 0,
            }),
        },
        BalanceConfig::Shard { shard: _, by } => match by {
            ShardBy::RangeSize(size) => Strategy::Shard(shard::Map::RangeSize(size.get())),
            ShardBy::Ranges(ranges) => {
                let each = ranges.iter().map(|r| (r.from.value, (*r.server.value).into()));
                return Balancing::Ranges(each.collect());
            }
            ShardBy::Prefixes(prefixes) => {
                let each = prefixes
                    .iter()
                    .map(|(text, server)| (text.value.as_bytes().into(), (*server.value).into()));
                return Balancing::Prefixes(each.collect());
            }
        },
    })
}
