//! What a user of the proxy can rely on, one sentence per test: real processes on both sides, real
//! sockets between them, nothing shared with the program under test.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test binary has no public face, and outside of test functions clippy cannot tell it is one"
)]

mod admin;
mod counters;
mod departures;
mod fields;
mod harness;
mod headers;
mod idle;
mod interim;
mod loops;
mod paths;
mod peers;
mod picking;
mod pipelines;
mod pressure;
mod rewriting;
mod room;
mod sessions;
mod setup;
mod shutdown;
mod sockets;
mod stale;
mod streaming;
mod timeouts;
mod tools;
mod tunnels;
mod upgrades;
mod uploads;
mod versions;
