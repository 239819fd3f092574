//! What an operator sees of a running proxy: its access log, its statistics and metrics, its
//! dashboard.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a panic"
)]

mod access_log;
mod browser;
mod collected;
mod containers;
mod dashboard;
mod metrics;
mod openapi;
mod outcomes;
mod plan;
mod stats;
mod tracing;
