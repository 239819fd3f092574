//! What a user of the proxy can rely on, one sentence per test: real processes on both sides, real
//! sockets between them, nothing shared with the program under test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "outside of the test functions clippy cannot tell that this is a test"
)]

mod harness;
#[path = "../support/mod.rs"]
mod support;
