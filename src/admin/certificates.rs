//! `GET /certificates`: what listeners prove who they are with, and until when.

use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::calls::{AdminAnswer, json_answer};
use super::stats::CertificateStats;
use crate::clock;
use crate::server::status::Status;

/// The certificates of all listeners, in the order of the file.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct Certificates(Vec<ServedCertificate>);

/// A certificate of a listener.
#[derive(Debug, Serialize, JsonSchema)]
struct ServedCertificate {
    listener: String,
    #[serde(flatten)]
    certificate: CertificateStats,
    /// Seconds until it ends; below zero when it has ended.
    left: i64,
}

/// Lists the certificates of all listeners; none where there is no TLS.
pub(super) fn list_certificates(status: &Status) -> AdminAnswer {
    let (snapshot, now) = (status.store.load_full(), clock::unix_seconds());
    let mut all = Vec::new();
    for listener in &snapshot.listeners {
        for identity in listener.tls.iter().flat_map(|server| server.identities()) {
            all.push(ServedCertificate {
                listener: listener.name.to_string(),
                certificate: CertificateStats::of(identity),
                left: identity.not_after.saturating_sub_unsigned(now),
            });
        }
    }
    json_answer(StatusCode::OK, &Certificates(all))
}
