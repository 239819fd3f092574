//! What a route does to the exchanges it lets through. One file per policy; `proxy::policies` asks
//! them in order, and [`stages`] has those that take part in responses.

pub mod api_key;
pub mod basic;
pub mod compress;
pub mod concurrency;
pub mod cors;
pub mod effects;
pub mod fault;
pub mod forward_auth;
pub mod grpc_notes;
pub mod in_flight;
pub mod jwks;
pub mod jwt;
pub mod limit;
pub mod maintenance;
pub mod pages;
pub mod shared;
pub mod stages;
pub mod table;
pub mod way_in;

use std::sync::atomic::Ordering::Relaxed;

use schemars::JsonSchema;
use serde::Serialize;
use smallvec::SmallVec;

use self::way_in::WayIn;
use crate::exchange::queue::QueueStats;
use crate::wire::head::Fields;

/// A field's value that was made for one request; most need no memory of their own.
pub type MadeValue = SmallVec<[u8; 64]>;

/// The policies of a route that has any.
#[derive(Debug, Default)]
pub struct Policies {
    /// The other origins whose pages may use it.
    pub cors: Option<cors::Cors>,
    /// The clients that may use it while nobody else may.
    pub maintenance: Option<maintenance::Maintenance>,
    /// The ways in: whom one of these lets in may use it, asked in this order. Empty lets everybody
    /// in.
    pub ways: Box<[WayIn]>,
    /// The rates of requests.
    pub limits: Box<[limit::Limit]>,
    /// The value of `RateLimit-Policy`.
    pub limit_policies: Box<[u8]>,
    /// The number of requests at a time.
    pub concurrency: Option<concurrency::Concurrency>,
    /// The faults that are made on purpose.
    pub fault: Option<fault::InjectedFault>,
    /// The compression of servers' responses, if there is any.
    pub compress: Option<compress::Compress>,
}

impl Policies {
    /// Returns whether a field of this name says what one of the route's authentications knows.
    #[must_use]
    pub fn replaces_field(&self, name: &[u8]) -> bool {
        self.ways.iter().any(|way| way.auth.replaces_field(name))
    }

    /// Returns whether requests are counted by what their tokens say.
    #[must_use]
    pub fn count_by_claims(&self) -> bool {
        let limits = self.limits.iter().flat_map(|limit| limit.key.iter());
        let places = self.concurrency.iter().flat_map(|concurrency| concurrency.key.iter());
        limits.chain(places).any(|part| matches!(part, limit::KeyPart::Claim(_)))
    }

    /// `If-Match` as the server has to see it; `None` where no policy changes validators on their
    /// way to the client.
    #[must_use]
    pub fn if_match(&self, request: &Fields) -> Option<Vec<u8>> {
        self.compress.as_ref().and_then(|_| compress::turned_back(request))
    }

    /// Describes what a request has to pass, in the order in which it is asked.
    pub fn describe_steps(&self, said: &mut Vec<String>) {
        let limits = |before: bool| {
            let of = self.limits.iter().filter(move |limit| limit.before_auth == before);
            of.map(|limit| format!("limit {}", limit.name))
        };
        said.extend(self.cors.as_ref().map(|_| "cors".to_owned()));
        said.extend(self.maintenance.as_ref().map(|_| "maintenance".to_owned()));
        said.extend(limits(true));
        let ways: Vec<&str> = self.ways.iter().map(|way| &*way.name).collect();
        said.extend((!ways.is_empty()).then(|| format!("auth {}", ways.join(" or "))));
        said.extend(limits(false));
        let at_most = self.concurrency.as_ref().map(|concurrency| concurrency.max);
        said.extend(at_most.map(|max| format!("concurrency {max}")));
        let fault = self.fault.as_ref().map(|fault| fault.share * 100.0);
        said.extend(fault.map(|share| format!("fault {share} %")));
        said.extend(self.compress.as_ref().map(|_| "compress".to_owned()));
    }

    /// Reads what is counted. Without policies, everything is null.
    #[must_use]
    pub fn read_stats(policies: Option<&Self>) -> PolicyStats {
        let concurrency = policies.and_then(|policies| policies.concurrency.as_ref());
        let compress = policies.and_then(|policies| policies.compress.as_ref());
        PolicyStats {
            concurrency_refused: concurrency.map(|it| it.state.refused.load(Relaxed)),
            concurrency_queue: concurrency.map(|it| it.state.queue.read_stats(it.pending)),
            compression: compress.map(compress::Compress::read_stats),
        }
    }
}

/// The counts of a route's policies, as `/stats` shows it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PolicyStats {
    /// Requests refused because too many were under way; null without `concurrency`.
    concurrency_refused: Option<u64>,
    /// Requests that wait for others to end; null without `concurrency`.
    concurrency_queue: Option<QueueStats>,
    /// The counts of compression; null without `compress`.
    compression: Option<compress::CompressionStats>,
}

/// The counters of all policies, for `/metrics`, in the order in which it is shown.
pub const METRICS: [&[PolicyMetric]; 2] = [concurrency::METRICS, compress::METRICS];

/// A number that policies of a route have.
#[derive(Debug, Clone, Copy)]
pub struct PolicyMetric {
    /// The name of the metric.
    pub name: &'static str,
    /// `counter` or `gauge`.
    pub kind: &'static str,
    /// The meaning, in a sentence.
    pub help: &'static str,
    /// Reads the number; `None` without the policy.
    pub read: fn(&Policies) -> Option<f64>,
}

impl PolicyMetric {
    const fn counter_row(
        name: &'static str,
        help: &'static str,
        read: fn(&Policies) -> Option<f64>,
    ) -> Self {
        Self { name, kind: "counter", help, read }
    }

    const fn gauge_row(
        name: &'static str,
        help: &'static str,
        read: fn(&Policies) -> Option<f64>,
    ) -> Self {
        Self { name, kind: "gauge", help, read }
    }
}
