//! tidegate: a Layer-7 load balancer and API gateway.
//!
//! Modules are declared in the order in which a request meets them.

pub mod cli;
pub mod clock;
pub mod config;
pub mod net;
pub mod route;
pub mod wire;
