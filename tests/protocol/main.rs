//! The conformance rows: literal bytes in, the one allowed answer, and what may reach the origin.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test binary has no public face, and outside of test functions clippy cannot tell it is one"
)]

mod bodies_in_flight;
mod chunked;
mod coverage;
mod exchanges;
mod hop_by_hop;
mod host;
mod identity;
mod request_framing;
mod request_line;
mod response_row;
mod responses;
mod row;
