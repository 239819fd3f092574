//! Servers that are found elsewhere while the proxy runs: in files, and by records of name servers.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test binary has no public face, and outside of test functions clippy cannot tell it is one"
)]

mod files;
#[path = "../restarts/load.rs"]
#[allow(dead_code, reason = "other tests ask for more")]
mod load;
mod names;
mod real;
#[path = "../restarts/server.rs"]
#[allow(dead_code, reason = "the servers of other tests can do more")]
mod server;
mod services;

use std::time::Duration;

use serde_json::Value;

use support::{Configuration, RawClient, Tidegate};

const MS: Duration = Duration::from_millis(1);

/// A proxy with an upstream `app` whose servers are found so, with these lines at the top and in
/// the upstream.
fn proxy(servers: &str, (top, more): (&str, &str)) -> Tidegate {
    Tidegate::start(&text(servers, (top, more)))
}

fn text(servers: &str, (top, more): (&str, &str)) -> String {
    Configuration::default()
        .runtime("workers = 2\nguard_hold = '2s'")
        .admin(top)
        .route("")
        .upstream_with("app", &format!("servers = {servers}\nslow_start = '0s'\n{more}"))
        .text()
}

/// What the admin endpoint says of the upstream.
fn upstream(proxy: &Tidegate) -> Value {
    let answer = RawClient::connect(proxy.admin()).ask("/upstreams/app");
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

/// What is wrong with the source.
fn fault(proxy: &Tidegate) -> Option<String> {
    upstream(proxy)["supply"]["fault"].as_str().map(str::to_owned)
}

/// The names of the servers, in alphabetical order.
fn names(proxy: &Tidegate) -> Vec<String> {
    let all = upstream(proxy);
    let servers = all["servers"].as_array().unwrap().iter();
    let mut names: Vec<String> =
        servers.map(|server| server["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// The value of a metric.
fn metric(proxy: &Tidegate, sample: &str) -> Option<f64> {
    let page = RawClient::connect(proxy.admin()).ask("/metrics").text();
    let line = page.lines().find_map(|line| line.strip_prefix(sample))?;
    line.trim().parse().ok()
}
