//! Servers that go away, come back, hang and break off: who loses an answer, and what is sent
//! twice.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test binary has no public face, and outside of test functions clippy cannot tell it is one"
)]

mod breaking;
mod dns;
mod ejecting;
mod load;
mod names;
mod retrying;
mod rolling;
mod server;
