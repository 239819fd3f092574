//! The language the end-to-end tests are written in: a real `tidegate` process, scripted origins,
//! a client that speaks raw bytes, and the two real peers (nginx, curl).
//!
//! ```ignore
//! let origin = Origin::ok("fine");
//! let proxy = Configuration::of(&origin).app("eject = false").route("path = '/x/*'").start();
//! assert_eq!(proxy.client().get("/x/y").text(), "fine");
//! ```
//!
//! A [`Configuration`] says what a test is about; a listener, an admin endpoint and a route come by
//! themselves. Where the text is the subject, [`Tidegate::with`] takes it as it is, with `{name}`
//! for ports and addresses.
//!
//! Plain threads and `std::net`, on purpose: the parties of a test must not share a library with
//! the program under test, or one bug would hide behind the other. Every read has a deadline, every
//! wait polls a condition, every port is chosen by the kernel.
#![allow(missing_docs, reason = "the items are named as sentences of tests need them")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a failed expectation is a panic"
)]

mod certificates;
mod client;
mod configuration;
mod connection;
mod message;
pub mod name_server;
mod origin;
mod peers;
mod problem;
mod process;
mod redis;
mod redis_groups;
mod socket;
mod unreachable;

use std::time::{Duration, Instant};

pub use certificates::{Authority, Certificate};
pub use client::RawClient;
pub use configuration::Configuration;
pub use message::{Request, Response, escape, latin1};
pub use origin::{Gate, Mark, Origin, Seen, Step, ok};
pub use peers::{Curl, Haproxy, Nginx, curl};
pub use problem::{assert_problem, assert_problem_and_close, check_problem};
pub use process::Tidegate;
pub use redis::Redis;
pub use redis_groups::{Clustered, Watched};
pub use rustix::process::Signal;
pub use socket::{End, Socket};
pub use unreachable::{Blackhole, refused_address};

/// Generous bound for anything that should happen at once; only a failing test waits this long.
pub const SOON: Duration = Duration::from_secs(5);

/// Polls `condition` every 5 ms and panics with `what` when it is still false at the deadline.
pub fn wait_until(within: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    assert!(holds_within(within, &mut condition), "not within {within:?}: {what}");
}

/// As [`wait_until`], for those who report by themselves.
pub fn holds_within(within: Duration, condition: &mut dyn FnMut() -> bool) -> bool {
    let deadline = Instant::now() + within;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Resident memory of a process in KiB, from `/proc`.
pub fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS in status");
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
