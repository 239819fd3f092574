//! From a checked configuration to a snapshot. The only place that sees both.
//!
//! Every table is taken apart field by field, so a key that nothing uses does not compile.

mod listeners;
mod routes;

use std::collections::HashMap;
use std::sync::Arc;

use self::listeners::compile_listeners;
pub use self::listeners::listen_address;
use self::routes::compile_route;
use crate::config::shown::shown;
use crate::config::{Config, Finding, Spanned, matching};
use crate::discovery::Found;
use crate::files;
use crate::route::RouteTable;
use crate::snapshot::policies::SharedPolicies;
use crate::snapshot::route::Route;
use crate::snapshot::weights::Weights;
use crate::snapshot::{Snapshot, SnapshotStore, access, auth, redis, trace, upstream};
use crate::{machine, pace};

/// The purpose that a configuration is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To run it.
    Run,
    /// To see what is wrong with it. Nothing is opened, started or looked up by name.
    Check {
        /// True if files may be read for it.
        files: bool,
    },
}

/// Compiles a configuration without knowing where host names lead. `connections` is what a listener
/// may have open that sets no limit.
///
/// # Errors
/// What only shows when things are put together, such as templates that name no capture.
pub fn compile_config(
    config: &Config,
    previous: Option<&Snapshot>,
    connections: u32,
) -> Result<Snapshot, Vec<Finding>> {
    let nothing = (&Found::default(), &Weights::default());
    compile_for(Purpose::Run, config, (previous, nothing), connections)
}

/// All that keeps a configuration from running, as far as it shows without opening, starting or
/// looking up anything.
#[must_use]
pub fn inspect(config: &Config, files: bool) -> Vec<Finding> {
    let nothing = (&Found::default(), &Weights::default());
    let compiled = compile_for(Purpose::Check { files }, config, (None, nothing), u32::MAX);
    compiled.err().unwrap_or_default()
}

/// Compiles a configuration for a purpose, with what has been found out and said about servers.
///
/// # Errors
/// As for [`compile_config`].
pub fn compile_for(
    purpose: Purpose,
    config: &Config,
    (previous, (found, weights)): (Option<&Snapshot>, (&Found, &Weights)),
    connections: u32,
) -> Result<Snapshot, Vec<Finding>> {
    let mut findings = Vec::new();
    let listeners = compile_listeners(config, previous, connections, purpose, &mut findings);
    if matches!(purpose, Purpose::Run | Purpose::Check { files: true }) {
        findings.extend(missing_groups(config));
    }
    let ids: Vec<u16> = listeners.iter().map(|l| l.id).collect();
    let mut upstreams = Vec::new();
    let outside = upstream::OutsideState { previous, found, weights, purpose };
    for (name, written) in &config.upstream {
        match upstream::compile_upstream(&name.value, written, config, outside) {
            Ok(upstream) => upstreams.push(Arc::new(upstream)),
            Err(finding) => findings.push(*finding),
        }
    }
    let mut routes = Vec::new();
    let mut matches = Vec::new();
    let known = previous.iter().flat_map(|previous| previous.routes.iter());
    let known: HashMap<&str, &Route> = known.map(|route| (&*route.name, &**route)).collect();
    let redis = redis::compile_redis(config, previous).unwrap_or_else(|finding| {
        findings.push(*finding);
        None
    });
    let mut shared = SharedPolicies::new(previous, redis.clone(), purpose);
    for (written, name) in config.route.iter().zip(matching::names(&config.route)) {
        pace::step();
        match compile_route((written, &name), config, &upstreams, &known, &mut shared) {
            Ok(route) => routes.push(Arc::new(route)),
            Err(finding) => findings.push(*finding),
        }
        match matching::specs(written, &name, config) {
            Ok(mut specs) => {
                for listener in specs.iter_mut().flat_map(|spec| &mut spec.listeners) {
                    *listener = ids.get(usize::from(*listener)).copied().unwrap_or(u16::MAX);
                }
                matches.push(specs);
            }
            Err(finding) => findings.push(*finding),
        }
    }
    let access = access::compile_access(&config.log, previous, purpose).unwrap_or_else(|finding| {
        findings.push(*finding);
        None
    });
    let trace = trace::compile_tracing(&config.log, previous, purpose).unwrap_or_else(|finding| {
        findings.push(*finding);
        None
    });
    if !findings.is_empty() {
        return Err(findings);
    }
    let each = matches.into_iter().zip(&routes);
    let table = each.flat_map(|(specs, route)| specs.into_iter().map(|s| (s, route.clone())));
    let table = table.collect();
    Ok(Snapshot {
        generation: match purpose {
            Purpose::Run => previous.map_or(0, |previous| previous.generation) + 1,
            Purpose::Check { .. } => 0,
        },
        table: RouteTable::new(table),
        routes: routes.into_boxed_slice(),
        listeners,
        announces: upstreams.iter().any(|upstream| upstream.announce.is_some()),
        upstreams: upstreams.into_boxed_slice(),
        shown: shown(config),
        redis,
        access,
        trace,
        masked_query: auth::masked_query(config),
        identity_fields: auth::identity_fields(config),
        drain: config.runtime.drain.get(),
        drain_delay: config.runtime.drain_delay.get(),
        request_memory: match config.runtime.request_memory {
            Some(bytes) => usize::try_from(bytes.get()).unwrap_or(usize::MAX),
            None => machine::usable_memory() / 4,
        },
    })
}

/// Compiles the first configuration, with what has been found out about servers.
///
/// # Errors
/// As for [`compile_config`].
pub fn compile_first(
    config: &Config,
    found: &Found,
    connections: u32,
) -> Result<SnapshotStore, Vec<Finding>> {
    let around = (found, &Weights::default());
    let snapshot = compile_for(Purpose::Run, config, (None, around), connections)?;
    // Housekeeping looks after a cache from then on, whether or not anything is ever stored in it.
    snapshot.bound_caches();
    Ok(Arc::new(arc_swap::ArcSwap::from_pointee(snapshot)))
}

/// Groups that sockets are to be given to and that there are not.
fn missing_groups(config: &Config) -> Vec<Finding> {
    let sockets = config.listen.iter().flat_map(|listen| listen.address.iter());
    let sockets = sockets.chain(config.admin.iter().map(|admin| &admin.address));
    let groups = sockets.filter_map(|socket| socket.value.access.group.as_ref());
    let wrong = |group: &Spanned<String>| {
        let why = files::group_id(&group.value).err()?;
        Some(Finding::error("bad_value", group.place, why))
    };
    groups.filter_map(wrong).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cache::flight::Flight;
    use crate::cache::key::StoreKey;
    use crate::clock;
    use crate::snapshot::route::Action;

    #[test]
    fn a_cache_in_which_nothing_is_stored_is_looked_after_from_the_start() {
        let text = r#"
            [[listen]]
            address = "127.0.0.1:0"
            [upstream.app]
            servers = ["127.0.0.1:1"]
            [[route]]
            upstream = "app"
            cache = {}
        "#;
        let config = crate::config::load_str("test.toml", text).unwrap().config;
        let snapshot = compile_first(&config, &Found::default(), 16).unwrap();
        let cache = snapshot.load().routes[0].cache.as_ref().unwrap().store.clone();
        let long_ago = clock::unix_millis() - 1_000_000;
        let key = Arc::new(StoreKey::new("app", b"http", b"a", b"/", None, &[]));
        let flight = Arc::new(Flight::new(key.clone(), long_ago));
        cache.lead_flight(&key, 0, &flight, long_ago).unwrap();
        assert!(cache.mark_unshared(&key, 0, &flight, long_ago));
        let patience = clock::now() + Duration::from_secs(20);
        while cache.flights() > 0 {
            assert!(clock::now() < patience, "the mark is forgotten");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_route_counts_its_retries_by_its_own_budget_if_it_sets_one() {
        let text = r#"
            [[listen]]
            address = "127.0.0.1:0"
            [upstream.app]
            servers = ["127.0.0.1:1"]
            [[route]]
            path = "/shared"
            upstream = "app"
            [[route]]
            path = "/own"
            upstream = "app"
            retry = { budget = "5%" }
        "#;
        let config = crate::config::load_str("test.toml", text).unwrap().config;
        let snapshot = compile_config(&config, None, 16).unwrap();
        let shared = |route: usize| {
            let Action::Forward(split) = &snapshot.routes[route].action else {
                panic!("forwarded")
            };
            let (_, target) = &split.targets[0];
            Arc::ptr_eq(&target.retry.budget, &target.upstream.budget)
        };
        assert_eq!((shared(0), shared(1)), (true, false));
    }
}
