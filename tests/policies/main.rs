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

use support::{Origin, Tidegate};

/// A proxy with this route in front of `origin`, and further tables.
fn proxy(origin: &Origin, route: &str, more: &str) -> Tidegate {
    Tidegate::start(&config(origin, route, more))
}

fn config(origin: &Origin, route: &str, more: &str) -> String {
    format!(
        r#"
        [admin]
        address = "127.0.0.1:0"
        [log]
        access = "{{dir}}/access.log"
        [[listen]]
        address = "127.0.0.1:0"
        trusted_proxies = ["127.0.0.0/8"]
        [upstream.app]
        servers = ["{}"]
        [[route]]
        name = "app"
        upstream = "app"
        {route}
        {more}
        "#,
        origin.server()
    )
}
