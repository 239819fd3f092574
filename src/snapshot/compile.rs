//! From a checked configuration to a snapshot. The only place that sees both.
//!
//! Every table is taken apart field by field, so a key that nothing uses does not compile.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use ipnet::IpNet;

use super::listener::{Listener, Methods, PerClient};
use super::policies::SharedPolicies;
use super::route::{Action, Files, Redirect, Respond, Route};
use super::weights::Weights;
use super::{
    Snapshot, SnapshotStore, access, cache, pages, policies, rewrite, target, trace, upstream,
};
use crate::config::schema::listen::{
    Listen, ListenRedirect, StrictMethods, StrictPath, StrictSni, UnderscoresConfig,
};
use crate::config::schema::route as schema;
use crate::config::schema::words::{ClientIp, HeaderName, HeaderText, ListenAddress, TrustedProxy};
use crate::config::shown::shown;
use crate::config::{Config, Finding, Spanned};
use crate::config::{certificates, matching};
use crate::discovery::Found;
use crate::exchange::edits::{FieldPart, FilledField};
use crate::exchange::identity::ClientField;
use crate::exchange::target::PathMode;
use crate::exchange::{FieldPair, HeaderEdits, loops};
use crate::files::{self, served};
use crate::h1::client::{HeadTimes, Life};
use crate::machine;
use crate::net::Address;
use crate::pace;
use crate::policy::cors::FIELDS;
use crate::route::RouteTable;
use crate::route::template::{TemplatePiece, field_place, split_pieces};
use crate::tls::TlsServer;
use crate::tls::facts::Misdirected;
use crate::upstream::Upstream;
use crate::wire::request;

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

/// All that keeps a configuration from running, as far as it shows without opening, starting or looking up anything.
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
    let redis = policies::compile_redis(config, previous).unwrap_or_else(|finding| {
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
        masked_query: policies::masked_query(config),
        identity_fields: policies::identity_fields(config),
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
    Ok(Arc::new(arc_swap::ArcSwap::from_pointee(snapshot)))
}

fn compile_listeners(
    config: &Config,
    previous: Option<&Snapshot>,
    connections: u32,
    purpose: Purpose,
    findings: &mut Vec<Finding>,
) -> Box<[Arc<Listener>]> {
    let compiled = config.listen.iter().map(|written| {
        let known =
            previous.and_then(|p| p.listeners.iter().find(|l| *l.name == written.shown_name()));
        let tls = match purpose {
            Purpose::Run => certificates::compile_listener(written).unwrap_or_else(|wrong| {
                findings.extend(wrong);
                None
            }),
            // `certificates::inspect` tells what is wrong with them; who explains a request has to know what is right.
            Purpose::Check { files: true } => {
                certificates::compile_listener(written).ok().flatten()
            }
            Purpose::Check { files: false } => None,
        };
        Arc::new(compile_listener(written, tls, connections, known))
    });
    compiled.collect()
}

fn compile_listener(
    written: &Listen,
    tls: Option<Arc<TlsServer>>,
    connections: u32,
    known: Option<&Arc<Listener>>,
) -> Listener {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let Listen {
        place: _,
        name: _,
        address: _,
        redirect,
        tls: _,
        http3: _,
        trusted_proxies,
        client_ip,
        proxy_protocol,
        limits,
        timeout,
        strict,
    } = written;
    Listener {
        id: known.map_or_else(|| NEXT.fetch_add(1, Ordering::Relaxed), |l| l.id),
        counts: known.map_or_else(Arc::default, |l| l.counts.clone()),
        name: written.shown_name().into(),
        proxy_protocol: *proxy_protocol,
        tls,
        handshake: timeout.tls.get(),
        head: request::Limits {
            bytes: usize::try_from(limits.header_bytes.value.get()).unwrap_or(usize::MAX),
            fields: usize::from(limits.headers.get()),
            underscores: match strict.underscores {
                UnderscoresConfig::Drop => request::Underscores::Drop,
                UnderscoresConfig::Refuse => request::Underscores::Refuse,
                UnderscoresConfig::Keep => request::Underscores::Keep,
            },
        },
        body: limits.body.get(),
        streams: limits.streams.get(),
        times: HeadTimes { headers: Some(timeout.headers.get()), idle: Some(timeout.idle.get()) },
        body_gap: Some(timeout.body_gap.get()),
        write_gap: Some(timeout.write_gap.get()),
        trusted: trusted_proxies.iter().filter_map(|proxy| trusted_network(proxy.value)).collect(),
        client_field: match client_ip {
            ClientIp::ForwardedFor => ClientField::ForwardedFor,
            ClientIp::Forwarded => ClientField::Forwarded,
            ClientIp::Header(name) => ClientField::Named(name.as_str().as_bytes().into()),
        },
        trusts_unix: trusted_proxies.iter().any(|proxy| proxy.value == TrustedProxy::Unix),
        redirect_https: redirect.as_ref().is_some_and(|r| r.value == ListenRedirect::Https),
        methods: Methods {
            refuse_trace: strict.max_forwards,
            any: strict.methods == StrictMethods::Any,
        },
        sni: match strict.sni {
            StrictSni::ClientAuth => Misdirected::ClientAuth,
            StrictSni::Always => Misdirected::Always,
            StrictSni::Off => Misdirected::Never,
        },
        path: match strict.path {
            StrictPath::Normalize => PathMode::Normalize,
            StrictPath::Refuse => PathMode::Refuse,
        },
        connections: limits.connections.map_or(connections, std::num::NonZeroU32::get),
        per_client: limits.connections_per_client.map(|most| PerClient {
            most: most.get(),
            state: known
                .and_then(|known| known.per_client.as_ref())
                .map_or_else(Arc::default, |per_client| per_client.state.clone()),
        }),
        life: Life {
            requests: limits.requests_per_connection.map_or(u32::MAX, std::num::NonZeroU32::get),
            age: timeout.connection_age.get().map(|age| age.get()),
        },
    }
}

fn trusted_network(proxy: TrustedProxy) -> Option<IpNet> {
    match proxy {
        TrustedProxy::Network(network) => Some(network.0),
        TrustedProxy::Unix => None,
    }
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

/// Returns where a listener binds.
#[must_use]
pub fn listen_address(written: &ListenAddress) -> Address {
    match written {
        ListenAddress::Ip(address) => Address::Tcp(*address),
        ListenAddress::Unix(path) => Address::Unix(path.clone()),
    }
}

fn compile_route(
    (written, name): (&schema::RouteConfig, &str),
    config: &Config,
    upstreams: &[Arc<Upstream>],
    known: &HashMap<&str, &Route>,
    shared: &mut SharedPolicies<'_>,
) -> Result<Route, Box<Finding>> {
    let captures = matching::captures(written);
    let name: Arc<str> = name.into();
    let action = match &written.action {
        schema::ActionConfig::Upstream(split) => Action::Forward(target::compile_split(
            split,
            written,
            &target::TargetContext { config, upstreams, subset: true },
        )?),
        schema::ActionConfig::Respond(respond) => Action::Respond(self::compile_respond(respond)),
        schema::ActionConfig::Files(files) => {
            Action::Files(self::compile_files(files, shared.purpose)?)
        }
        schema::ActionConfig::Redirect(redirect) => Action::Redirect(Redirect {
            status: redirect.status.value,
            to: rewrite::compile_template(
                &redirect.to,
                &matching::location(written, redirect),
                &captures,
            )?,
            rests: rewrite::rests_of(&redirect.to.value, written),
        }),
    };
    let known = known.get(&*name).copied();
    let counts = known.map_or_else(Arc::default, |route| route.counts.clone());
    let policies = policies::compile_policies(written, &name, config, shared, known)?;
    let mirror = match &written.mirror {
        Some(mirror) => {
            target::compile_mirror(mirror, written, (config, upstreams), known)?.map(Arc::new)
        }
        None => None,
    };
    let cache = cache::compile_cache(written, &name, config, shared)?;
    let pages = pages::compile_pages(written, shared)?;
    let cors = written.cors.is_some();
    let request_edits =
        compile_edits(matching::header_rules(&written.request_headers, config), &captures, &[]);
    // Whoever takes the field away, or writes another one, wants no loops to be found.
    let mark =
        (!request_edits.hides_field(loops::FIELD.as_bytes())).then(|| loops::route_mark(&name));
    Ok(Route {
        name,
        action,
        rewrite: rewrite::compile_rewrite(written, &captures, config)?,
        policies,
        cache,
        pages,
        mirror,
        request_edits: match &mark {
            Some(mark) => request_edits.with_added((loops::FIELD, mark)),
            None => request_edits,
        },
        mark,
        // What the proxy says about other origins must not be said twice.
        response_edits: compile_edits(
            matching::header_rules(&written.response_headers, config),
            &captures,
            if cors { &FIELDS } else { &[] },
        ),
        body_limit: written.body_limit.map(|b| b.get()),
        access_log: written.access_log,
        counts,
    })
}

fn compile_files(written: &schema::FilesConfig, purpose: Purpose) -> Result<Files, Box<Finding>> {
    let schema::FilesTable { root, index, fallback, precompressed } = &**written;
    if matches!(purpose, Purpose::Run | Purpose::Check { files: true }) {
        served::check_root(&root.value).map_err(|why| {
            let message = format!("the folder {} cannot be served: {why}", root.value.display());
            Box::new(Finding::error("bad_file", root.place, message))
        })?;
    }
    let forms = precompressed.iter().map(|coding| match coding.value {
        schema::Precompressed::Br => ("br", ".br"),
        schema::Precompressed::Gzip => ("gzip", ".gz"),
        schema::Precompressed::Zstd => ("zstd", ".zst"),
    });
    Ok(Files {
        root: root.value.as_path().into(),
        index: index.iter().map(|name| name.value.as_str().into()).collect(),
        fallback: fallback.as_ref().map(|path| path.value.as_str().into()),
        precompressed: forms.collect(),
    })
}

fn compile_respond(written: &schema::RespondConfig) -> Respond {
    let schema::RespondConfig { status, body, headers } = written;
    let mut fields: Vec<FieldPair> = headers
        .iter()
        .map(|(name, value)| {
            (name.value.get().as_str().as_bytes().into(), literal_text(value).into_bytes().into())
        })
        .collect();
    let typed = headers.keys().any(|name| name.value.get() == http::header::CONTENT_TYPE);
    if !typed && !body.value.is_empty() {
        fields.push((b"content-type"[..].into(), b"text/plain; charset=utf-8"[..].into()));
    }
    Respond {
        status: status.value,
        fields: fields.into_boxed_slice(),
        body: body.value.as_bytes().into(),
    }
}

/// The text of a header without placeholders, in which `{{` is a brace.
fn literal_text(value: &HeaderText) -> String {
    String::from_utf8_lossy(value.get().as_bytes()).replace("{{", "{")
}

/// One set of changes after the other: what a later one sets, adds or removes stands.
fn compile_edits<'c>(
    all: impl Iterator<Item = &'c schema::HeaderRules>,
    captures: &[&str],
    hidden: &[&str],
) -> HeaderEdits {
    let mut set: Vec<(&str, &HeaderText)> = Vec::new();
    let mut add: Vec<(&str, &HeaderText)> = Vec::new();
    let mut removed: Vec<&str> = hidden.to_vec();
    for schema::HeaderRules { set: sets, add: adds, remove } in all {
        let name = |name: &'c Spanned<HeaderName>| name.value.get().as_str();
        let removes = remove.iter().map(name);
        for gone in removes.clone().chain(sets.keys().map(name)) {
            set.retain(|(name, _)| *name != gone);
            add.retain(|(name, _)| *name != gone);
        }
        removed.extend(removes);
        set.extend(sets.iter().map(|(of, value)| (name(of), value)));
        add.extend(adds.iter().map(|(of, value)| (name(of), value)));
    }
    removed.extend(set.iter().map(|(name, _)| *name));
    let written = set.into_iter().chain(add);
    let (filled, fixed): (Vec<_>, Vec<_>) =
        written.partition(|(_, value)| value.get().as_bytes().contains(&b'{'));
    let mut plain: Vec<(&str, String)> = Vec::new();
    let mut fields = Vec::new();
    for (name, value) in fixed {
        plain.push((name, String::from_utf8_lossy(value.get().as_bytes()).into_owned()));
    }
    for (name, value) in filled {
        let text = value.to_string();
        let parts = split_pieces(&text).into_iter().map(|piece| match piece {
            TemplatePiece::Text(text) => Some(FieldPart::Text(text.as_bytes().into())),
            TemplatePiece::Name(name) => field_place(name, captures).map(FieldPart::Place),
        });
        // What is unknown has been reported.
        let parts: Box<[FieldPart]> = parts.flatten().collect();
        if parts.iter().all(|part| matches!(part, FieldPart::Text(_))) {
            plain.push((name, literal_text(value)));
        } else {
            fields.push(FilledField { name: name.as_bytes().into(), parts });
        }
    }
    let none = std::iter::empty::<(&str, &str)>();
    let plain = plain.iter().map(|(name, value)| (*name, value.as_str()));
    HeaderEdits::new(none, plain, removed.into_iter()).with_filled(fields.into())
}

#[cfg(test)]
mod tests {
    use super::*;

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
