//! Listeners and the admin endpoint.

use std::collections::BTreeMap;

use super::{ReadExtent, SeenNames};
use crate::finding::Finding;
use crate::schema::Config;
use crate::schema::bind::Bind;
use crate::schema::listen::Listen;
use crate::schema::process::Admin;
use crate::schema::units::Bytes;
use crate::schema::words::ListenAddress;
use crate::source::{Place, Spanned};

/// The most worker threads; more than that is a typing error.
const MOST_WORKERS: u16 = 1_024;

pub(super) fn check(
    config: &Config,
    names: &SeenNames,
    read: ReadExtent,
    findings: &mut Vec<Finding>,
) {
    if let Some(workers) =
        config.runtime.workers.filter(|workers| workers.value.get() > MOST_WORKERS)
    {
        let message = format!("{workers} workers are too many");
        let finding = Finding::error("bad_value", workers.place, message);
        findings.push(finding.help(format!("at most {MOST_WORKERS}; the default is one per CPU")));
    }
    if config.listen.is_empty() && read == ReadExtent::Whole {
        let top = Place { file: 0, start: 0, end: 0 };
        findings.push(
            Finding::error("no_listen", top, "there is no [[listen]], so nothing could come in")
                .help("the smallest one is:  [[listen]]  address = \"0.0.0.0:8080\""),
        );
    }
    let mut bound = BTreeMap::new();
    if let Some(admin) = &config.admin {
        if !names.admin_token {
            check_admin(admin, findings);
        }
        bind(&admin.address, &mut bound, findings);
    }
    let mut known: BTreeMap<&str, Place> = BTreeMap::new();
    for listen in &config.listen {
        for address in listen.address.iter() {
            bind(address, &mut bound, findings);
        }
        if let Some(name) = &listen.name {
            super::route::unique("listener", name, &mut known, findings);
        }
        check_listen(listen, findings);
    }
}

fn check_admin(admin: &Admin, findings: &mut Vec<Finding>) {
    let open = match &admin.address.value.at {
        ListenAddress::Ip(address) => !address.ip().to_canonical().is_loopback(),
        ListenAddress::Unix(_) => false,
    };
    if open {
        let message = "an admin address that is not loopback needs a token";
        findings.push(
            Finding::error("admin_token", admin.address.place, message)
                .label("others can reach this")
                .help("add token = \"${ADMIN_TOKEN}\", or listen on 127.0.0.1"),
        );
    }
}

fn bind<'a>(
    address: &'a Spanned<Bind>,
    bound: &mut BTreeMap<&'a ListenAddress, Place>,
    findings: &mut Vec<Finding>,
) {
    if matches!(&address.value.at, ListenAddress::Ip(ip) if ip.port() == 0) {
        return;
    }
    let first = *bound.entry(&address.value.at).or_insert(address.place);
    if first != address.place {
        let message = format!("`{address}` is listened on twice");
        let finding = Finding::error("duplicate_address", address.place, message);
        findings.push(finding.related(first, "first here"));
    }
}

fn check_listen(listen: &Listen, findings: &mut Vec<Finding>) {
    if listen.address.is_empty() {
        let message = "this listener has no address";
        findings.push(Finding::error("bad_value", listen.place, message));
    }
    let head = listen.limits.header_bytes;
    if !(Bytes::kib(1)..=Bytes::mib(16)).contains(&head.value) {
        let message = format!("{head} is not a sensible size of a request head");
        let finding = Finding::error("bad_value", head.place, message);
        findings.push(finding.help("it goes from \"1KiB\" to \"16MiB\""));
    }
    if listen.proxy_protocol && listen.trusted_proxies.is_empty() {
        let message =
            "`proxy_protocol` needs `trusted_proxies`: nobody else may say who a client is";
        findings.push(Finding::error("missing_key", listen.place, message));
    }
    let redirect = listen.redirect.as_ref().filter(|_| !listen.tls.is_empty());
    if let Some(redirect) = redirect {
        let message = "a listener with `tls` would redirect to itself";
        findings.push(Finding::error("bad_value", redirect.place, message));
    }
    let unix = |address: &&Spanned<Bind>| matches!(address.value.at, ListenAddress::Unix(_));
    if let Some(address) = listen.address.iter().find(unix).filter(|_| !listen.tls.is_empty()) {
        let message = "a listener with `tls` needs IP addresses";
        findings.push(Finding::error("bad_value", address.place, message));
    }
    for tls in listen.tls.iter() {
        let pair = tls.cert.is_some() && tls.key.is_some();
        let none = tls.cert.is_none() && tls.key.is_none();
        let whole = if tls.acme.is_some() { none } else { pair };
        if !whole {
            let message = "a certificate is either `cert` and `key`, or `acme`";
            findings.push(Finding::error("bad_value", tls.place, message));
        }
        if !tls.client_crl.is_empty() && tls.client_ca.is_none() {
            let message = "`client_crl` needs `client_ca`";
            findings.push(Finding::error("missing_key", tls.place, message));
        }
        if tls.client_auth.is_some() && tls.client_ca.is_none() {
            let message = "`client_auth` needs `client_ca`";
            findings.push(Finding::error("missing_key", tls.place, message));
        }
    }
}
