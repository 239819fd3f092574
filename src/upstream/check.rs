//! What one check asks for, compiled from `health`.

use std::num::NonZeroU32;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::config::schema::health::{HealthKind, HealthTable};
use crate::config::schema::words::StatusRange;
use crate::net::Announce;
use crate::tls::client::{AlpnOffer, TlsTarget};

/// A compiled check. Two that are equal ask the same thing.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// The kind of the check.
    pub kind: HealthKind,
    /// The path, or the service of a gRPC check.
    pub path: String,
    /// The pause between two checks of a server.
    pub every: Duration,
    /// The time for one check, connecting included.
    pub timeout: Duration,
    /// Failures in a row that make a server unhealthy.
    pub fall: NonZeroU32,
    /// Successes in a row that make it healthy.
    pub rise: NonZeroU32,
    /// Status codes that count as success.
    pub status: Vec<StatusRange>,
    /// Text that the body must contain.
    pub body: Option<String>,
    /// The port, when it is not the server's.
    pub port: Option<u16>,
    /// The method.
    pub method: Method,
    /// The fields of the request, `Host` and `User-Agent` among them.
    pub headers: HeaderMap,
    /// The protocol that is spoken.
    pub offer: AlpnOffer,
    /// The form of a PROXY header that says that nobody else asks.
    pub announce: Option<Announce>,
    /// The security of the connection; `None` speaks plainly.
    pub secured: Option<TlsTarget>,
}

impl Check {
    /// Compiles what all servers of an upstream are asked; [`Check::for_host`] makes it the check
    /// of one of them.
    #[must_use]
    pub fn new(written: &HealthTable, offer: AlpnOffer, announce: Option<Announce>) -> Self {
        let HealthTable {
            path,
            every,
            timeout,
            fall,
            rise,
            status,
            body,
            port,
            method,
            headers: fields,
            kind,
        } = written;
        let mut headers = HeaderMap::new();
        let agent = concat!("tidegate/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        for (name, value) in fields {
            let name: &HeaderName = name.value.get();
            headers.insert(name.clone(), value.get().clone());
        }
        Self {
            kind: *kind,
            path: path.value.clone(),
            every: every.get(),
            timeout: timeout.get(),
            fall: *fall,
            rise: *rise,
            status: status.clone(),
            body: body.clone(),
            port: port.map(std::num::NonZeroU16::get),
            method: method.get().clone(),
            headers,
            offer,
            announce,
            secured: None,
        }
    }

    /// The same check of the server that goes by the name of `host`, unless a name is written in
    /// `health`.
    #[must_use]
    pub fn for_host(&self, host: &str, secured: Option<TlsTarget>) -> Self {
        let mut check = Self { secured, ..self.clone() };
        if let (false, Ok(host)) =
            (check.headers.contains_key(header::HOST), HeaderValue::from_str(host))
        {
            check.headers.insert(header::HOST, host);
        }
        check
    }
}
