//! A short load on a server: as much as it takes on a few connections, for a few seconds. It ends
//! by itself.
//!
//! Each connection sends a request when the one before is answered, so a server is never asked for
//! more than it does; `tidegate plan` wants to know how much that is, not what happens beyond. The
//! load goes to this machine unless it is forced elsewhere: somebody else's server is not to be
//! loaded by a slip.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http::header::{self, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper::client::conn::http1::SendRequest;
use tokio::runtime::Builder;
use tokio::task::{JoinSet, LocalSet};

use super::figures::{self, MILLION, SECOND};
use crate::clock;
use crate::net::fetch::{FetchError, Remote, RequestBody};

/// The most requests of a load, whatever the server takes.
const MOST: u64 = 2_000_000;
/// The longest time for which a connection, or an answer after the end, is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The findings of a load.
#[derive(Debug)]
pub(super) struct TrialFigures {
    /// Requests per second, in millionths.
    pub(super) rate: u128,
    /// Mean time of a request, in nanoseconds.
    mean: u128,
    requests: u64,
    seconds: u64,
    clients: u64,
}

impl TrialFigures {
    /// Returns where the figure comes from.
    pub(super) fn figure_source(&self) -> String {
        format!("measured in {} s on {} connections", self.seconds, self.clients)
    }

    /// Returns what is to be known about it.
    pub(super) fn figure_note(&self) -> String {
        format!(
            "{} requests were answered, in {} on average; the load shared this machine with the server if it is here, so \
             that the server alone does more",
            self.requests,
            figures::show_time(self.mean)
        )
    }
}

/// Reads where a load is to go.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse_target(url: &str) -> Result<Remote, String> {
    Remote::parse_url(url)
}

/// Loads a server.
///
/// # Errors
/// A message for the operator: it is elsewhere, cannot be reached, or does not answer with success.
pub(super) fn run_trial(
    url: &str,
    (seconds, clients): (u64, u64),
    force: bool,
) -> Result<TrialFigures, String> {
    let remote = parse_target(url)?;
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        if !force {
            stay_here(&remote).await?;
        }
        run_load(Rc::new(remote), seconds, clients).await
    })
}

/// Refuses what is not on this machine.
async fn stay_here(remote: &Remote) -> Result<(), String> {
    let authority = remote.authority();
    let port = if remote.uri().scheme_str() == Some("https") { 443 } else { 80 };
    let named = match remote.uri().port_u16() {
        Some(_) => authority.to_owned(),
        None => format!("{authority}:{port}"),
    };
    let looked_up = tokio::time::timeout(PATIENCE, tokio::net::lookup_host(named)).await;
    let addresses: Vec<SocketAddr> = looked_up
        .map_err(|_| format!("the name in {authority} was not found in time"))?
        .map_err(|error| format!("{authority}: {error}"))?
        .collect();
    if addresses.iter().all(|address| address.ip().to_canonical().is_loopback()) {
        return Ok(());
    }
    Err(format!("{authority} is not on this machine: --force sends the load there all the same"))
}

/// The state that the connections of a load share.
#[derive(Default)]
struct TrialCounts {
    answered: Cell<u64>,
    failed: Cell<u64>,
    /// Nanoseconds of all answered requests together.
    nanos: Cell<u128>,
    wrong: Cell<Option<String>>,
}

impl TrialCounts {
    fn count_failure(&self, why: String) {
        self.failed.set(self.failed.get() + 1);
        self.wrong.set(self.wrong.take().or(Some(why)));
    }
}

async fn run_load(remote: Rc<Remote>, seconds: u64, clients: u64) -> Result<TrialFigures, String> {
    let counts = Rc::new(TrialCounts::default());
    // Connections first: they are not what is measured.
    let mut open = Vec::new();
    for _ in 0..clients {
        let connected = tokio::time::timeout(PATIENCE, remote.open_connection()).await;
        let sender = connected
            .map_err(|_| "no connection within 5 s".to_owned())
            .and_then(|c| c.map_err(|error| error.to_string()));
        open.push(sender.map_err(|error| format!("{}: {error}", remote.authority()))?);
    }
    let start = clock::now();
    let end = start + Duration::from_secs(seconds);
    let mut running = JoinSet::new();
    for mut sender in open {
        let (remote, counts) = (remote.clone(), counts.clone());
        running.spawn_local(async move {
            while clock::now() < end && counts.answered.get() + counts.failed.get() < MOST {
                let before = clock::now();
                let patience = end.saturating_duration_since(before) + PATIENCE;
                match tokio::time::timeout(patience, send_request(&remote, &mut sender)).await {
                    Ok(Ok(status)) if status.is_success() || status.is_redirection() => {
                        counts.answered.set(counts.answered.get() + 1);
                        counts.nanos.set(counts.nanos.get() + before.elapsed().as_nanos());
                    }
                    Ok(Ok(status)) => {
                        counts.count_failure(format!("it answered {}", status.as_u16()))
                    }
                    Ok(Err(error)) => {
                        counts.count_failure(error.to_string());
                        // The connection may have had its number of requests.
                        match tokio::time::timeout(PATIENCE, remote.open_connection()).await {
                            Ok(Ok(fresh)) => sender = fresh,
                            Ok(Err(_)) | Err(_) => return,
                        }
                    }
                    Err(_) => {
                        return counts
                            .count_failure("no answer within 5 s after the end".to_owned());
                    }
                }
            }
        });
    }
    while running.join_next().await.is_some() {}
    let nanos = start.elapsed().as_nanos().max(1);
    let (answered, failed) = (counts.answered.get(), counts.failed.get());
    if failed * 100 > answered {
        let why = counts.wrong.take().unwrap_or_default();
        return Err(format!(
            "{failed} of {} requests to {} failed, and a plan cannot rest on that: {why}",
            answered + failed,
            remote.authority()
        ));
    }
    let mean = counts.nanos.get() / u128::from(answered.max(1));
    let rate = (u128::from(answered) * MILLION * SECOND / nanos).max(1);
    Ok(TrialFigures { rate, mean, requests: answered, seconds, clients })
}

/// Sends one request and reads its answer.
async fn send_request(
    remote: &Remote,
    sender: &mut SendRequest<RequestBody>,
) -> Result<StatusCode, FetchError> {
    sender.ready().await?;
    let mut request = Request::new(RequestBody::default());
    *request.uri_mut() = remote.request_target();
    let host = HeaderValue::from_str(remote.authority())?;
    request.headers_mut().insert(header::HOST, host);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(status)
}
