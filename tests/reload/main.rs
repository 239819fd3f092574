//! Changing the configuration of a running proxy: nothing is lost, nothing is forgotten.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test binary has no public face, and outside of test functions clippy cannot tell it is one"
)]

mod change;
mod keeps;
mod load;
mod ways;
