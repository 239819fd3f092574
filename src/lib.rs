//! tidegate: a Layer-7 load balancer and API gateway.
//!
//! `ARCHITECTURE.md` follows a request through the rooms and lists them by floors: a room names
//! only rooms below its own.

pub mod admin;
pub mod balance;
pub mod cache;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod discovery;
pub mod endpoint;
pub mod exchange;
pub mod explain;
pub mod files;
pub mod h1;
pub mod h2;
pub mod health;
pub mod net;
pub mod policy;
pub mod proxy;
pub mod quota;
pub mod reload;
pub mod server;
pub mod snapshot;
pub mod telemetry;
pub mod tls;
pub mod upstream;
pub mod worker;

/// The codec, below all rooms.
pub use ::http_codec as wire;
/// What the process asks of its machine, below all rooms.
pub use ::machine;
/// Work that can wait.
pub use ::machine::pace;
/// The table of routes, below all rooms.
pub use ::route;
