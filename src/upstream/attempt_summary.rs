//! What becomes known of a request on its way through its upstreams, for the log and the counters.

use std::sync::Arc;
use std::time::Duration;

use super::Upstream;
use super::membership::HeldMembers;
use crate::endpoint::Endpoint;

/// The last attempt, and how it came to be. Empty for a request that no server was asked for.
#[derive(Debug, Clone, Default)]
pub struct AttemptSummary<'a> {
    /// The upstream asked last.
    pub upstream: Option<&'a Upstream>,
    /// The servers that it had for this request.
    pub members: Option<HeldMembers>,
    /// The place of the server asked last.
    pub asked: Option<u32>,
    /// The status of the response that was passed on, once it has begun.
    pub status: Option<u16>,
    /// The number of attempts, over all upstreams.
    pub attempts: u32,
    /// The time that the request waited for a server to be free.
    pub queue: Duration,
    /// The time that the last attempt took to connect; zero on a kept connection.
    pub connect: Duration,
    /// From the last attempt's first byte out to the head of its response.
    pub first_byte: Option<Duration>,
}

impl AttemptSummary<'_> {
    /// The server asked last.
    #[must_use]
    pub fn server(&self) -> Option<&Arc<Endpoint>> {
        let members = self.members.as_ref()?.members();
        members.get(self.asked? as usize).map(|member| &member.endpoint)
    }
}
