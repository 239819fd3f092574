//! What a route does to the exchanges it lets through. One file per policy.

pub mod headers;

pub use headers::{HeaderEdits, Pair};
