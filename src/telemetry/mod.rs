//! What the proxy says about itself: its logs, and what it counts.
//!
//! Workers write into a [`ledger`] of their own; a collector adds them up to a [`history`], which
//! the admin endpoint reads.

pub mod access;
pub mod history;
pub mod ledger;
pub mod log;
pub(crate) mod otlp;
pub mod process;
pub mod refusals;
pub mod timeline;
pub mod trace;
