//! How failing servers are noticed: `health`, `eject`, `breaker`.

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32};

use schemars::{Schema, SchemaGenerator};
use serde::Serialize;

use super::defaults;
use super::units::{Percent, Timeout};
use super::words::{HeaderName, HeaderText, Method, StatusRange};
use crate::read::{Reader, Shape, any_of, settings, table, words};
use crate::source::{Place, Spanned};
use crate::tree::{TreeNode, Value};

/// Active checks. The short form is the path alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Health(HealthTable);

impl std::ops::Deref for Health {
    type Target = HealthTable;

    fn deref(&self) -> &HealthTable {
        &self.0
    }
}

settings! {
    /// Active checks in their long form.
    pub struct HealthTable {
        /// The path to ask for.
        path: Spanned<String> = "/".into(),
        /// The pause between two checks of a server, within 10 %.
        every: Timeout = defaults::HEALTH_EVERY,
        /// How long one check may take.
        timeout: Timeout = defaults::HEALTH_TIMEOUT,
        /// Failures in a row that make a server unhealthy.
        fall: NonZeroU32 = defaults::FALL,
        /// Successes in a row that make it healthy again.
        rise: NonZeroU32 = defaults::RISE,
        /// Status codes that count as success.
        status: Vec<StatusRange> = vec![StatusRange { first: 200, last: 299 }],
        /// Text that the body must contain.
        body: Option<String> = None,
        /// The port to check. Default: that of the server.
        port: Option<NonZeroU16> = None,
        /// The method of the request.
        method: Method = Method::GET,
        /// Headers of the request.
        headers: BTreeMap<Spanned<HeaderName>, HeaderText> = BTreeMap::new(),
        /// What a check is.
        kind: HealthKind = HealthKind::Http,
    }
}

impl Shape for Health {
    fn read_node(node: &TreeNode, reader: &mut Reader) -> Option<Self> {
        match node.value {
            Value::String(_) => {
                let path = Shape::read_node(node, reader)?;
                Some(Self(HealthTable { path, ..HealthTable::default() }))
            }
            Value::Table(_) => HealthTable::read_node(node, reader).map(Self),
            _ => reader.mismatch(node, "a path or a table"),
        }
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        any_of([String::json_schema(generator), HealthTable::json_schema(generator)])
    }
}

words! {
    /// What an active check is.
    pub enum HealthKind ("a kind of check") {
        /// A request.
        Http = "http",
        /// A connection.
        Tcp = "tcp",
        /// The gRPC health protocol.
        Grpc = "grpc",
    }
}

settings! {
    /// Passive ejection: a server that fails real requests is left out for a while.
    pub struct Eject {
        /// Failures in a row.
        failures: NonZeroU32 = defaults::EJECT_FAILURES,
        /// How often ejections are decided and ended.
        every: Timeout = defaults::EJECT_EVERY,
        /// How long, times the number of ejections so far.
        r#for: Timeout = defaults::EJECT_FOR,
        /// The largest share of servers that may be ejected; one always may, the last never.
        at_most: Percent = defaults::EJECT_AT_MOST,
        /// Below this share of healthy servers nothing is ejected.
        min_healthy: Percent = Percent::new(0),
        /// Also ejects above this share of failures in `every`.
        error_rate: Option<Percent> = None,
    }
}

table! {
    /// A circuit breaker: by failures in a row, or by error rate.
    pub struct BreakerConfig {
        [#[serde(skip)] place: Place]
        /// Failures in a row that open it.
        failures: Option<Spanned<NonZeroU32>> = None,
        /// Successes in a row that close it again.
        successes: NonZeroU32 = defaults::BREAKER_SUCCESSES,
        /// How long it stays open before it lets a request try.
        open_for: Timeout = defaults::BREAKER_OPEN_FOR,
        /// The share of failures that opens it.
        error_rate: Option<Spanned<Percent>> = None,
        /// The time over which the share is measured.
        window: Timeout = defaults::BREAKER_WINDOW,
        /// Fewer requests than this in the window prove nothing.
        min_requests: NonZeroU32 = defaults::BREAKER_MIN_REQUESTS,
        /// What one breaker is for.
        per: BreakerPer = BreakerPer::Upstream,
    }
}

words! {
    /// What one breaker is for.
    pub enum BreakerPer ("a scope of a breaker") {
        /// The whole upstream.
        Upstream = "upstream",
        /// Each server.
        Server = "server",
    }
}
