//! Compiles a route's `upstream`: which upstreams in which shares, with the route's overrides, each
//! with its fallbacks.

use std::sync::Arc;

use super::route::{Route, Split};
use super::upstream;
use crate::config::matching;
use crate::config::schema::balance::{BalanceConfig, learned_header};
use crate::config::schema::route as schema;
use crate::config::schema::units::Percent;
use crate::config::schema::upstream as upstream_schema;
use crate::config::schema::words::{HashKey, RetryOn};
use crate::config::{Config, Finding, Spanned};
use crate::upstream::mirror::Mirror;
use crate::upstream::retry::Budget;
use crate::upstream::{KeySource, Retry, Timeouts, Upstream, UpstreamTarget};

/// The things that targets refer to.
pub(super) struct TargetContext<'a> {
    /// The configuration as written.
    pub(super) config: &'a Config,
    /// The upstreams compiled from it.
    pub(super) upstreams: &'a [Arc<Upstream>],
    /// The route's `subset` counts.
    pub(super) subset: bool,
}

/// Compiles the upstreams of a route.
///
/// # Errors
/// A key that names no capture of the route's path, or a subset that no server belongs to.
pub(super) fn compile_split(
    written: &schema::SplitConfig,
    route: &schema::RouteConfig,
    context: &TargetContext<'_>,
) -> Result<Split, Box<Finding>> {
    let mut upto = 0;
    let mut targets = Vec::new();
    for target in &written.targets {
        if target.weight == 0 {
            continue;
        }
        let mut above = Vec::new();
        if let Some(compiled) = self::compile_target(&target.upstream, route, context, &mut above)?
        {
            upto += u64::from(target.weight);
            targets.push((upto, compiled));
        }
    }
    Ok(Split { targets: targets.into() })
}

/// Compiles who gets copies of a route's requests.
///
/// # Errors
/// As for [`compile_split`].
pub(super) fn compile_mirror(
    written: &schema::MirrorConfig,
    route: &schema::RouteConfig,
    (config, upstreams): (&Config, &[Arc<Upstream>]),
    known: Option<&Route>,
) -> Result<Option<Mirror>, Box<Finding>> {
    let schema::MirrorConfig { upstream, share } = written;
    let context = TargetContext { config, upstreams, subset: false };
    let Some(mut target) = compile_target(upstream, route, &context, &mut Vec::new())? else {
        return Ok(None);
    };
    target.retry.attempts = 0;
    target.fallback = None;
    let known = known.and_then(|route| route.mirror.as_ref());
    let counts = known.map_or_else(Arc::default, |known| known.counts.clone());
    Ok(Some(Mirror { target, share: share.fraction(), counts }))
}

/// Compiles an upstream for a route; `above` are those it is the fallback of.
fn compile_target(
    name: &Spanned<String>,
    route: &schema::RouteConfig,
    context: &TargetContext<'_>,
    above: &mut Vec<String>,
) -> Result<Option<UpstreamTarget>, Box<Finding>> {
    let upstream = context.upstreams.iter().find(|u| *u.name == *name.value);
    let settings = context.config.upstream.get(name.value.as_str());
    let (Some(upstream), Some(settings)) = (upstream, settings) else { return Ok(None) };
    if above.contains(&name.value) {
        // `check` reports the circle.
        return Ok(None);
    }
    let timeouts = settings.timeout.overridden(route.timeout.as_ref());
    let retry = settings.retry.overridden(route.retry.as_ref());
    let own = route.retry.as_ref().and_then(|retry| retry.budget);
    let budget =
        own.map_or_else(|| upstream.budget.clone(), |own| Arc::new(self::retry_budget(own)));
    let view = if context.subset && above.is_empty() && !route.subset.is_empty() {
        subset_view(route, upstream, settings)?
    } else {
        0
    };
    let key = compile_key(&settings.balance, route)?;
    above.push(name.value.clone());
    let fallback = match &settings.fallback {
        Some(next) => self::compile_target(next, route, context, above)?.map(Box::new),
        None => None,
    };
    Ok(Some(UpstreamTarget {
        upstream: upstream.clone(),
        view,
        key,
        timeouts: self::compile_timeouts(&timeouts),
        retry: self::compile_retry(&retry, budget),
        fallback,
    }))
}

/// Returns which of an upstream's servers a route with a `subset` may use.
fn subset_view(
    route: &schema::RouteConfig,
    upstream: &Upstream,
    settings: &upstream_schema::UpstreamConfig,
) -> Result<usize, Box<Finding>> {
    let labels = upstream::subset_labels(route);
    if let upstream_schema::Servers::List(servers) = &settings.servers {
        let fits = |server: &&upstream_schema::ServerConfig| {
            labels.iter().all(|(label, value)| server.labels.get(&**label) == Some(value))
        };
        if !servers.iter().any(|server| fits(&server)) {
            let place = route.subset.keys().next().map_or(route.place, |label| label.place);
            let message = format!("no server of `{}` has these labels", upstream.name);
            return Err(Box::new(Finding::error("empty_subset", place, message)));
        }
        upstream::check_owners(&settings.balance, servers.iter().filter(fits))?;
    }
    let at = upstream.arrangement.subsets.iter().position(|known| *known == labels);
    Ok(at.map_or(0, |at| at + 1))
}

/// Returns the part of a request that requests of a route are hashed or looked up by.
fn compile_key(
    balance: &BalanceConfig,
    route: &schema::RouteConfig,
) -> Result<Option<KeySource>, Box<Finding>> {
    let written = match balance {
        BalanceConfig::Hash { hash, .. } => hash,
        BalanceConfig::Shard { shard, .. } => shard,
        BalanceConfig::Sticky { sticky, .. } => {
            return Ok(Some(KeySource::Cookie(sticky.value.as_bytes().into())));
        }
        BalanceConfig::Learned { sticky, .. } => {
            return Ok(Some(KeySource::Header(learned_header(sticky).as_bytes().into())));
        }
        BalanceConfig::Weighted(_) => return Ok(None),
    };
    Ok(Some(match &written.value {
        HashKey::Uri => KeySource::Uri,
        HashKey::Path => KeySource::Path,
        HashKey::ClientIp => KeySource::ClientIp,
        HashKey::Header(name) => KeySource::Header(name.as_str().as_bytes().into()),
        HashKey::Cookie(name) => KeySource::Cookie(name.as_bytes().into()),
        HashKey::Query(name) => KeySource::Query(name.as_bytes().into()),
        HashKey::Capture(name) => {
            let captures = matching::captures(route);
            match captures.iter().position(|capture| capture == name) {
                Some(n) => KeySource::Capture(n),
                None => {
                    let message = format!("the path of this route captures no `{name}`");
                    let finding = Finding::error("unknown_capture", route.place, message);
                    return Err(Box::new(
                        finding.related(written.place, "its upstream balances by it"),
                    ));
                }
            }
        }
    }))
}

fn compile_timeouts(written: &upstream_schema::UpstreamTimeout) -> Timeouts {
    let upstream_schema::UpstreamTimeout { connect, send, first_byte, gap, total, tunnel, kept: _ } =
        written;
    Timeouts {
        connect: Some(connect.get()),
        send: Some(send.get()),
        first_byte: Some(first_byte.get()),
        gap: gap.get().map(|t| t.get()),
        total: total.get().map(|t| t.get()),
        tunnel: tunnel.get().map(|t| t.get()),
    }
}

/// The retries that a share of the requests allows.
pub(super) fn retry_budget(written: Percent) -> Budget {
    Budget::new(written.fraction() * 100.0)
}

/// The budget is counted where it is set: on the upstream for all its routes, or on one route.
fn compile_retry(written: &upstream_schema::RetryConfig, budget: Arc<Budget>) -> Retry {
    let upstream_schema::RetryConfig { attempts, on, budget: _, per_try, body_buffer, backoff } =
        written;
    let statuses = on.iter().filter_map(|word| match word {
        RetryOn::Status(status) => Some(*status),
        RetryOn::Connect
        | RetryOn::Reset
        | RetryOn::Timeout
        | RetryOn::Invalid
        | RetryOn::Grpc(_) => None,
    });
    let grpc = on.iter().filter_map(|word| match word {
        RetryOn::Grpc(status) => Some(*status),
        _ => None,
    });
    Retry {
        attempts: *attempts,
        on_connect: on.contains(&RetryOn::Connect),
        on_reset: on.contains(&RetryOn::Reset),
        on_timeout: on.contains(&RetryOn::Timeout),
        on_invalid: on.contains(&RetryOn::Invalid),
        on_status: statuses.collect(),
        on_grpc: grpc.collect(),
        per_try: per_try.map(|t| t.get()),
        body_buffer: usize::try_from(body_buffer.get()).unwrap_or(usize::MAX),
        budget,
        backoff: Some(backoff.get()).filter(|b| !b.is_zero()),
    }
}
