//! The configuration as it is written: one struct per table, one field per key, named as the key.
//!
//! This is the contract with operators. Units, addresses and patterns are typed; references between
//! tables are still names, and `check` says whether they lead anywhere. Defaults are filled in.

pub mod auth_ref;
pub mod balance;
pub mod bind;
pub mod cache;
pub mod defaults;
pub mod discovery;
pub mod forms;
pub mod health;
pub mod listen;
pub mod pages;
pub mod policy;
pub mod process;
pub mod route;
pub mod units;
pub mod upstream;
pub mod words;

use std::collections::BTreeMap;

use self::cache::Cache;
use self::discovery::Dns;
use self::listen::Listen;
use self::policy::{AuthConfig, LimitConfig};
use self::process::{Admin, Log, RedisConfig, Runtime};
use self::route::{HeaderRules, RouteConfig};
use self::upstream::UpstreamConfig;
use super::read::settings;
use super::shown::Replaced;
use super::source::Spanned;

/// Returns whether a key of a table takes effect only when the process starts again.
#[must_use]
pub fn needs_restart(what: &str, key: &str) -> bool {
    what == "admin" || matches!((what, key), ("runtime", "workers") | ("log", "level" | "format"))
}

settings! {
    /// The configuration of tidegate.
    pub struct Config {
        [#[serde(skip)] replaced: Replaced]
        /// Further files, as glob patterns relative to this one.
        include: Vec<Spanned<String>> = Vec::new(),
        /// Threads and shutdown.
        runtime: Runtime = Runtime::default(),
        /// The admin endpoint.
        admin: Option<Admin> = None,
        /// What is written about the program and about requests.
        log: Log = Log::default(),
        /// The name servers that are asked for the names of servers.
        dns: Dns = Dns::default(),
        /// Shared state.
        redis: Option<RedisConfig> = None,
        /// Where clients come in.
        listen: Vec<Listen> = Vec::new(),
        /// Who answers, by name.
        upstream: BTreeMap<Spanned<String>, UpstreamConfig> = BTreeMap::new(),
        /// Which request goes where.
        route: Vec<RouteConfig> = Vec::new(),
        /// Shared rate limits, by name.
        limit: BTreeMap<Spanned<String>, LimitConfig> = BTreeMap::new(),
        /// Shared changes of headers, by name.
        headers: BTreeMap<Spanned<String>, HeaderRules> = BTreeMap::new(),
        /// Shared authentication, by name.
        auth: BTreeMap<Spanned<String>, AuthConfig> = BTreeMap::new(),
        /// Shared caches, by name.
        cache: BTreeMap<Spanned<String>, Cache> = BTreeMap::new(),
    }
}
