//! Keys that do nothing where they stand: what a key is meant for cannot happen there. A warning
//! each, for the file works all the same.

use crate::finding::Finding;
use crate::schema::Config;
use crate::schema::listen::Listen;
use crate::schema::route::{Rewrite, RouteConfig};
use crate::schema::words::{ClientIp, ListenAddress};

pub(super) fn check(config: &Config, findings: &mut Vec<Finding>) {
    for listen in &config.listen {
        check_listen(listen, findings);
    }
    for route in &config.route {
        check_route(route, config, findings);
    }
}

fn check_listen(listen: &Listen, findings: &mut Vec<Finding>) {
    let tcp = listen.address.iter().all(|it| matches!(it.value.at, ListenAddress::Ip(_)));
    if listen.client_ip != ClientIp::ForwardedFor && tcp && listen.trusted_proxies.is_empty() {
        let message = "`client_ip` does nothing without `trusted_proxies`: no field of a client's \
                       own is believed";
        let finding = Finding::warning("unused_client_ip", listen.place, message);
        findings
            .push(finding.help("add trusted_proxies = [\"10.0.0.0/8\"], the networks in front"));
    }
}

fn check_route(route: &RouteConfig, config: &Config, findings: &mut Vec<Finding>) {
    if let Some(fault) = &route.policies.fault
        && fault.delay.is_none()
        && fault.abort.is_none()
    {
        let message = "this fault does nothing";
        let finding = Finding::warning("unused_fault", route.place, message);
        findings.push(finding.help("add delay = \"200ms\", or abort = 503"));
    }
    if let Some(rewrite) = &route.rewrite {
        check_prefix(rewrite, route, findings);
    }
    let belongs = |listen: &&Listen| {
        let name = listen.name.as_ref().map(|name| &name.value);
        route.listen.is_empty() || route.listen.iter().any(|it| Some(&it.value) == name)
    };
    let mut own = config.listen.iter().filter(belongs);
    let (needs, here) = if route.client_cert.is_some() {
        let asks = |listen: &Listen| listen.tls.iter().any(|tls| tls.client_ca.is_some());
        ("`client_cert`, and no listener that it belongs to asks for certificates", own.any(asks))
    } else if route.tls == Some(true) {
        ("`tls`, and no listener that it belongs to has any", own.any(|it| !it.tls.is_empty()))
    } else {
        return;
    };
    if !here {
        let message = format!("this route can never match: its condition is {needs}");
        findings.push(Finding::warning("unreachable_route", route.place, message));
    }
}

/// Warns of a prefix that no path of the route begins with.
fn check_prefix(rewrite: &Rewrite, route: &RouteConfig, findings: &mut Vec<Finding>) {
    let Some(strip) = &rewrite.strip_prefix else { return };
    let prefix = strip.value.trim_end_matches('/');
    let mut texts = route.path.iter().map(|path| &*path.value).chain([prefix]);
    if prefix.is_empty() || route.path.is_empty() || texts.any(|text| text.contains('{')) {
        return;
    }
    let applies = |path: &str| {
        let (start, open) = match path.strip_suffix('*') {
            Some(start) => (start, true),
            None => (path, false),
        };
        let whole = format!("{prefix}/");
        path == prefix || start.starts_with(&whole) || open && whole.starts_with(start)
    };
    if !route.path.iter().any(|path| applies(&path.value)) {
        let message = format!("no path of this route begins with `{prefix}`: nothing is taken off");
        let finding = Finding::warning("unused_prefix", strip.place, message);
        findings.push(finding.help("a prefix is taken off in whole segments"));
    }
}
