//! What is asked, and what is told: the question and the explanation, which is its own description.

use std::fmt::Write as _;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::tls::facts::Certificate;

/// A request that somebody wonders about.
#[derive(Debug, Clone)]
pub struct ExplainQuestion {
    /// The method of the request.
    pub method: String,
    /// Host, path and query: `http://host/path?query`.
    pub url: String,
    /// The header fields of the request.
    pub headers: Vec<(String, String)>,
    /// The address of the client.
    pub client: IpAddr,
    /// The name of the listener where it comes in; the first one when there is no name.
    pub listener: Option<String>,
    /// The name that the TLS connection was made for; the host of the URL when there is no name.
    pub sni: Option<String>,
    /// What the client's certificate says; none when it has none.
    pub certificate: Option<Certificate>,
}

/// The answer to a question: the steps that the request would go through.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// The listener that it comes in by.
    pub listener: String,
    /// The host of the request in the form that is matched.
    pub host: String,
    /// The path of the request in the form that is matched and sent.
    pub path: String,
    /// The reason for a refusal; null when it is not refused.
    pub refused: Option<ExplainedRefusal>,
    /// The route that matches.
    pub route: Option<String>,
    /// What it has to pass on the route, in this order.
    pub policies: Vec<String>,
    /// Routes that would match, but for one thing; told when none does.
    pub near: Vec<NearRoute>,
    /// What else decides: that connections made for another name are answered with 421.
    pub notes: Vec<String>,
    /// `upstream`, `respond`, `redirect`; null when no route matches.
    pub action: Option<String>,
    /// The status that the route answers by itself.
    pub status: Option<u16>,
    /// The target of a redirect.
    pub location: Option<String>,
    /// The path that a server sees.
    pub sent_path: Option<String>,
    /// The host that a server sees.
    pub sent_host: Option<String>,
    /// The names of those of whom one has to let the client in, in the order in which they are
    /// asked.
    pub auth: Vec<String>,
    /// The rate limits that it is counted on, in the order in which they are asked.
    pub limits: Vec<CountedLimit>,
    /// What a cache makes of it; null on a route without one.
    pub cache: Option<ExplainedCache>,
    /// The upstreams that it may go to.
    pub upstreams: Vec<ServerShare>,
}

/// A rate limit that a request is counted on.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CountedLimit {
    /// Its name.
    pub limit: String,
    /// The steady rate, such as `20/10s`.
    pub rate: String,
    /// How many beyond that may pass at once.
    pub burst: u32,
    /// It comes before authentication.
    pub before_auth: bool,
    /// The client is in a network that is not counted.
    pub exempt: bool,
}

/// What a cache makes of a request.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ExplainedCache {
    /// The cache's name.
    pub cache: String,
    /// The reason to go past the cache, in the words of `Cache-Status`; null when it does not.
    pub bypass: Option<String>,
    /// The parts that requests must share to get the same response: the URL, and what the route
    /// adds to it.
    pub key: String,
    /// True if a response is stored that could be selected. What a token claims is not known here.
    pub stored: bool,
    /// For how many seconds that response is fresh; negative once it is stale.
    pub ttl: Option<i64>,
}

/// A route that a request just misses.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct NearRoute {
    /// Its name.
    pub route: String,
    /// Why it does not match.
    pub why: String,
}

/// A refusal.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ExplainedRefusal {
    /// The status that the client gets.
    pub status: u16,
    /// The stable code.
    pub code: String,
    /// The reason in words.
    pub reason: String,
    /// The configuration key that would change it.
    pub key: Option<String>,
}

/// An upstream and how much of the route's requests it gets.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ServerShare {
    /// The name of the upstream.
    pub upstream: String,
    /// From 0 to 1.
    pub share: f64,
    /// The servers that the route may use.
    pub servers: Vec<CandidateServer>,
    /// The upstream that answers when this one cannot.
    pub fallback: Option<String>,
}

/// A server.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CandidateServer {
    /// The name of the server.
    pub server: String,
    /// The weight of the server.
    pub weight: u32,
    /// `up`, or why it gets no requests.
    pub state: String,
}

impl Explanation {
    /// For people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        let mut line = |key: &str, value: &str| {
            // Writing to a string cannot fail.
            let _ok = writeln!(out, "{key:<10}{value}");
        };
        line("listener", &self.listener);
        line("host", &self.host);
        line("path", &self.path);
        if let Some(ExplainedRefusal { status, code, reason, key }) = &self.refused {
            line("refused", &format!("{status} {code}: {reason}"));
            if let Some(key) = key {
                line("key", key);
            }
        }
        for NearRoute { route, why } in &self.near {
            line("  near", &format!("{route}: {why}"));
        }
        if let Some(route) = &self.route {
            line("route", route);
        }
        if !self.auth.is_empty() {
            line("auth", &self.auth.join(", or "));
        }
        for CountedLimit { limit, rate, burst, before_auth, exempt } in &self.limits {
            let early = if *before_auth { ", before auth" } else { "" };
            let exempt = if *exempt { ", not this client" } else { "" };
            line("limit", &format!("{limit}: {rate}, burst {burst}{early}{exempt}"));
        }
        if !self.policies.is_empty() {
            line("policies", &self.policies.join(", "));
        }
        for note in &self.notes {
            line("note", note);
        }
        if let (Some(action), Some(status)) = (&self.action, self.status) {
            let location = self.location.as_deref().unwrap_or_default();
            line(action, format!("{status} {location}").trim_end());
        }
        if let (Some(action), Some(file), None) = (&self.action, &self.location, self.status) {
            line(action, file);
        }
        if let (Some(path), Some(host)) = (&self.sent_path, &self.sent_host) {
            line("sends", &format!("{path} with Host: {host}"));
        }
        if let Some(ExplainedCache { cache, bypass, key, stored, ttl }) = &self.cache {
            let state = match (bypass, ttl) {
                (Some(why), _) => format!("passed by: {why}"),
                (None, Some(ttl)) => format!("stored, fresh for {ttl}s"),
                (None, None) if *stored => "stored".to_owned(),
                (None, None) => "nothing is stored".to_owned(),
            };
            line("cache", &format!("{cache}: {state}"));
            line("  key", key);
        }
        for ServerShare { upstream, share, servers, fallback } in &self.upstreams {
            let fallback = fallback.as_ref().map(|f| format!(", or else {f}")).unwrap_or_default();
            line("upstream", &format!("{upstream} ({:.0} %){fallback}", share * 100.0));
            for CandidateServer { server, weight, state } in servers {
                line("  server", &format!("{server} weight {weight}, {state}"));
            }
        }
        out
    }
}
