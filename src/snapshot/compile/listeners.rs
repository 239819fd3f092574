//! Compiles listeners.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use ipnet::IpNet;

use super::Purpose;
use crate::config::schema::listen::{
    Listen, ListenRedirect, StrictMethods, StrictPath, StrictSni, UnderscoresConfig,
};
use crate::config::schema::words::{ClientIp, ListenAddress, TrustedProxy};
use crate::config::{Config, Finding, certificates};
use crate::exchange::identity::ClientField;
use crate::exchange::target::PathMode;
use crate::h1::client::{HeadTimes, Life};
use crate::net::Address;
use crate::snapshot::Snapshot;
use crate::snapshot::listener::{Listener, Methods, PerClient};
use crate::tls::TlsServer;
use crate::tls::facts::Misdirected;
use crate::wire::request;

pub(super) fn compile_listeners(
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
            // `certificates::inspect` tells what is wrong with them; who explains a request has to
            // know what is right.
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

/// Returns where a listener binds.
#[must_use]
pub fn listen_address(written: &ListenAddress) -> Address {
    match written {
        ListenAddress::Ip(address) => Address::Tcp(*address),
        ListenAddress::Unix(path) => Address::Unix(path.clone()),
    }
}
