//! Five platforms whose gateway this proxy replaces: each row of theirs with a file in
//! `config/scenarios/`, real processes, real traffic, and the row's own figures.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test binary has no public face, and outside of test functions clippy cannot tell it is one"
)]

mod choosing;
mod failing;
mod limits;
mod policies;
mod scenario;
