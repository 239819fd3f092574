//! A named group of servers: which of them gets a request, and what happens when that fails.

pub mod attempt;
pub mod relay;
pub mod replay;
pub mod retry;
pub mod send;

use std::sync::Arc;
use std::time::Duration;

use crate::balance::{Ask, Balance, Member};
use crate::endpoint::Endpoint;

pub use retry::Retry;

/// One compiled upstream.
#[derive(Debug)]
pub struct Upstream {
    /// As configured.
    pub name: Arc<str>,
    /// Its servers; never empty.
    pub members: Box<[Member]>,
    /// The strategy, built for exactly these servers.
    pub balance: Box<dyn Balance>,
    /// Idle connections kept per server and worker.
    pub idle: usize,
    /// Requests after which a connection is not used again.
    pub requests_per_connection: u32,
    /// How much of the traffic may be retries; shared by the routes that set no budget of their own.
    pub budget: Arc<retry::Budget>,
}

impl Upstream {
    /// Chooses a server.
    pub fn pick(&self, ask: &mut Ask<'_>) -> Option<&Endpoint> {
        let index = self.balance.pick(&self.members, ask)?;
        self.members.get(index).map(|member| &*member.endpoint)
    }
}

/// The deadlines towards servers. `None` is "off".
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Until the connection is open.
    pub connect: Option<Duration>,
    /// Between two successful writes of a request.
    pub send: Option<Duration>,
    /// From the end of the request to the end of the response head.
    pub first_byte: Option<Duration>,
    /// Between two parts of a response body.
    pub gap: Option<Duration>,
    /// The whole exchange.
    pub total: Option<Duration>,
}
