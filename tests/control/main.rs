//! The control plane under hostile and careless input: files, the admin endpoint, orders (cases of
//! 2026-11-26).
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test binary has no public face, and outside of test functions clippy cannot tell it is one"
)]

mod admin;
mod cases;
#[path = "../reload/change.rs"]
mod change;
mod files;
mod folder;
mod orders;
mod places;
