//! Policies of routes, over real sockets: limits, keys, other origins, faults.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a panic"
)]

mod compression;
mod cors;
mod door;
mod faults;
mod forward;
mod keys;
mod limits;
mod mirroring;
mod networks;
mod passwords;
mod redis;
mod redis_bounds;
mod redis_forms;
mod tokens;
mod ways;

use support::{Configuration, Origin, Tidegate};

/// A proxy with this route in front of `origin`, and further tables.
fn proxy(origin: &Origin, route: &str, more: &str) -> Tidegate {
    Tidegate::start(&config(origin, route, more))
}

fn config(origin: &Origin, route: &str, more: &str) -> String {
    Configuration::of(origin)
        .log("access = '{dir}/access.log'")
        .listen("trusted_proxies = ['127.0.0.0/8']")
        .route(&format!("name = 'app'\n{route}\n{more}"))
        .text()
}
