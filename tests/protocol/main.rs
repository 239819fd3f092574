//! The conformance rows: literal bytes in, the one allowed answer, and what may reach the origin.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "outside of the test functions clippy cannot tell that this is a test"
)]

#[path = "../support/mod.rs"]
mod support;
