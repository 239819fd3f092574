//! What the proxy says about itself: its log now, counters through the admin endpoint.

pub mod log;
pub mod refusals;
