//! `POST /cache/warm`: asks for URLs as clients would, so that their responses are stored before
//! clients come.
//!
//! One warming at a time; it goes on when whoever ordered it has left, and `GET /cache/warm` tells
//! how far it is.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot};

use super::caches::{read_json, split_url};
use super::calls::{AdminAnswer, json_answer, problem_answer, problem_with_detail};
use crate::explain::{self, ExplainQuestion};
use crate::server::errand::{Errand, ErrandOutcome};
use crate::server::status::Status;
use crate::server::worker::WorkerCommand;
use crate::snapshot::{Listener, Snapshot};

/// The most URLs of one call.
const MOST: usize = 1000;
/// URLs that are asked for at a time, unless the call says so, and at most.
const CONCURRENCY: usize = 8;
const MOST_CONCURRENCY: usize = 64;
/// The longest time for one response.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest time that a call waits for its end: a connection to the admin endpoint lives for a
/// minute.
const WAIT: Duration = Duration::from_secs(45);
/// The most problems that are told.
const PROBLEMS: usize = 100;

/// A wish to fill caches.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WarmWish {
    /// `http://host/path?query` or `https://…`, as clients ask for them; at most 1000.
    urls: Vec<String>,
    /// The number of URLs that are asked for at a time, from 1 to 64; default 8.
    #[serde(rename = "concurrency")]
    at_a_time: Option<usize>,
}

/// The progress of a warming.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub(super) struct WarmProgress {
    /// True if all URLs have been asked for.
    finished: bool,
    urls: usize,
    done: usize,
    /// Responses that are stored now.
    stored: usize,
    /// Responses that were there already, or that a server confirmed.
    fresh: usize,
    /// Responses that are not stored.
    not_stored: usize,
    /// Requests without a whole response.
    failed: usize,
    /// The URLs that were not stored and the reasons; the first hundred.
    problems: Vec<Unstored>,
}

/// A URL whose response is not stored.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct Unstored {
    url: String,
    reason: String,
}

/// The warming under way, or the last one.
#[derive(Debug, Default)]
pub(super) struct Warming(ArcSwapOption<WarmRun>);

#[derive(Debug)]
struct WarmRun {
    urls: Vec<String>,
    next: AtomicUsize,
    progress: ArcSwap<WarmProgress>,
    ended: Notify,
}

/// `POST /cache/warm`.
pub(super) async fn start_warming(
    status: &Arc<Status>,
    warming: &Warming,
    body: &[u8],
) -> AdminAnswer {
    let wish: WarmWish = match read_json(body, &["urls", "concurrency"]) {
        Ok(wish) => wish,
        Err(answer) => return *answer,
    };
    let at_a_time = match check_wish(&wish) {
        Ok(at_a_time) => at_a_time,
        Err(why) => return problem_with_detail(StatusCode::BAD_REQUEST, "bad_warming", &why),
    };
    let busy = warming.0.load().as_ref().is_some_and(|run| !run.progress.load().finished);
    if busy {
        return problem_answer(StatusCode::CONFLICT, "already_warming");
    }
    let progress = WarmProgress { urls: wish.urls.len(), ..WarmProgress::default() };
    let run = Arc::new(WarmRun {
        urls: wish.urls,
        next: AtomicUsize::new(0),
        progress: ArcSwap::from_pointee(progress),
        ended: Notify::new(),
    });
    warming.0.store(Some(run.clone()));
    for _ in 0..at_a_time.min(run.urls.len()) {
        tokio::spawn(fetch_all(run.clone(), status.clone()));
    }
    let ended = run.ended.notified();
    // The end may have been before this is asked for.
    let finished = run.progress.load().finished;
    if !finished {
        let _late = tokio::time::timeout(WAIT, ended).await;
    }
    warming_answer(&run)
}

/// `GET /cache/warm`.
pub(super) fn show_warming(warming: &Warming) -> AdminAnswer {
    match warming.0.load_full() {
        Some(run) => warming_answer(&run),
        None => problem_answer(StatusCode::NOT_FOUND, "nothing_warmed"),
    }
}

fn warming_answer(run: &WarmRun) -> AdminAnswer {
    let progress = run.progress.load_full();
    let status = if progress.finished { StatusCode::OK } else { StatusCode::ACCEPTED };
    json_answer(status, &*progress)
}

/// Returns how many are asked for at a time.
fn check_wish(wish: &WarmWish) -> Result<usize, String> {
    if !(1..=MOST).contains(&wish.urls.len()) {
        return Err(format!("`urls` holds from 1 to {MOST} URLs, not {}", wish.urls.len()));
    }
    if let Some(bad) = wish.urls.iter().find(|url| split_url(url).is_none()) {
        return Err(format!("`{bad}` is no URL of a host"));
    }
    let at_a_time = wish.at_a_time.unwrap_or(CONCURRENCY);
    if !(1..=MOST_CONCURRENCY).contains(&at_a_time) {
        return Err(format!("`concurrency` is from 1 to {MOST_CONCURRENCY}, not {at_a_time}"));
    }
    Ok(at_a_time)
}

/// Asks for one URL after the other, until there are no more.
async fn fetch_all(run: Arc<WarmRun>, status: Arc<Status>) {
    loop {
        let at = run.next.fetch_add(1, Ordering::AcqRel);
        let Some(url) = run.urls.get(at) else { return };
        let outcome = fetch_url(&status, url, at).await;
        run.note_outcome(url, outcome);
    }
}

/// Asks for one.
async fn fetch_url(status: &Status, url: &str, at: usize) -> Result<ErrandOutcome, &'static str> {
    let (scheme, host, target) = split_url(url).ok_or("no URL")?;
    let snapshot = status.store.load_full();
    let listener = listener_for(&snapshot, scheme, url).ok_or("nothing listens")?.id;
    drop(snapshot);
    let workers = status.orders.get().map(|orders| &**orders).unwrap_or_default();
    let worker = workers.get(at % workers.len().max(1)).ok_or("still starting")?;
    let (reply, answer) = oneshot::channel();
    let (host, target) = (host.into(), target.into());
    let errand = Errand { listener, scheme, host, target, reply };
    match tokio::time::timeout(PATIENCE, worker.send(WorkerCommand::Run(errand))).await {
        Ok(sent) => sent.map_err(|_| "stopping")?,
        Err(_) => return Err("no worker took it within 30s"),
    }
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(_)) => Err("the listener has gone"),
        Err(_) => Err("no whole response within 30s"),
    }
}

/// Finds where clients that ask for such a URL come in: where its scheme is spoken and a route with
/// a cache answers; behind a proxy that ends TLS, elsewhere.
fn listener_for<'s>(snapshot: &'s Snapshot, scheme: &str, url: &str) -> Option<&'s Arc<Listener>> {
    let secure = |listener: &&Arc<Listener>| listener.tls.is_some() == (scheme == "https");
    let all = || {
        let listeners = || snapshot.listeners.iter();
        listeners().filter(secure).chain(listeners().filter(move |listener| !secure(listener)))
    };
    let is_cached = |listener: &&Arc<Listener>| {
        let question = ExplainQuestion {
            method: "GET".to_owned(),
            url: url.to_owned(),
            headers: vec![("x-forwarded-proto".to_owned(), scheme.to_owned())],
            client: Ipv4Addr::LOCALHOST.into(),
            listener: Some(listener.name.to_string()),
            sni: None,
            certificate: None,
        };
        explain::explain_exchange(snapshot, &question).is_ok_and(|said| said.cache.is_some())
    };
    all().find(is_cached).or_else(|| all().next())
}

impl WarmRun {
    fn note_outcome(&self, url: &str, outcome: Result<ErrandOutcome, &'static str>) {
        self.progress.rcu(|known| {
            let mut progress = WarmProgress::clone(known);
            progress.done += 1;
            progress.finished = progress.done == progress.urls;
            let reason = progress.count_outcome(&outcome);
            if let Some(reason) = reason.filter(|_| progress.problems.len() < PROBLEMS) {
                progress.problems.push(Unstored { url: url.to_owned(), reason });
            }
            progress
        });
        if self.progress.load().finished {
            self.ended.notify_waiters();
        }
    }
}

impl WarmProgress {
    /// Counts what came of one URL; tells why its response is not stored, if it is not.
    fn count_outcome(&mut self, outcome: &Result<ErrandOutcome, &'static str>) -> Option<String> {
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(why) => {
                self.failed += 1;
                return Some((*why).to_owned());
            }
        };
        let ErrandOutcome { status, cache, whole } = outcome;
        let mut told = cache.split("; ");
        let says = |word: &str| told.clone().any(|part| part == word);
        if !whole {
            self.failed += 1;
            return Some(format!("the response was cut (status {status})"));
        }
        if says("stored") || says("collapsed") {
            self.stored += 1;
            return None;
        }
        if says("hit") || says("fwd-status=304") {
            self.fresh += 1;
            return None;
        }
        self.not_stored += 1;
        let detail = told.find_map(|part| part.strip_prefix("detail="));
        Some(match detail {
            Some(detail) => format!("status {status}, {detail}"),
            None if cache.is_empty() => format!("status {status}, the route has no cache"),
            None => format!("status {status}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_told_apart() {
        let mut progress = WarmProgress::default();
        let mut count = |status, cache: &str, whole| {
            progress.count_outcome(&Ok(ErrandOutcome { status, cache: cache.into(), whole }))
        };
        assert_eq!(count(200, "tidegate; fwd=uri-miss; stored; ttl=60", true), None);
        assert_eq!(count(200, "tidegate; hit; ttl=60", true), None);
        assert_eq!(count(200, "tidegate; fwd=stale; fwd-status=304; ttl=60", true), None);
        let private = count(200, "tidegate; fwd=uri-miss; detail=private", true);
        assert_eq!(private.as_deref(), Some("status 200, private"));
        let uncached = count(404, "", true);
        assert_eq!(uncached.as_deref(), Some("status 404, the route has no cache"));
        assert!(count(200, "tidegate; fwd=uri-miss; stored", false).is_some());
        let WarmProgress { stored, fresh, not_stored, failed, .. } = progress;
        assert_eq!((stored, fresh, not_stored, failed), (1, 2, 2, 1));
    }
}
